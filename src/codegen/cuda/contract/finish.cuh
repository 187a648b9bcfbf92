// What several blocks have is put together by the last of them: no second kernel. Additions have a fixed order,
// whichever block comes last.

// Writes this block's part of a tile; the last block of a tile has the sum of all parts in shared memory then, the
// others are done (false).
template <class Shape, int PARTS>
GANC_DEVICE bool ganc_gather(float* parts, unsigned* counts, int at, int part) {
  extern __shared__ __align__(1024) unsigned char ganc_shared[];
  float* const tile = (float*)ganc_shared;
  enum { QUADS = Shape::M * Shape::N / 4, SIDE = Shape::N / 4 };
  float4* const all = (float4*)parts + (long long)at * PARTS * QUADS;
  for (int i = threadIdx.x; i < QUADS; i += Shape::THREADS)
    all[part * QUADS + i] = *(const float4*)(tile + i / SIDE * (Shape::N + 4) + i % SIDE * 4);
  if (!ganc_last(counts + at, PARTS)) return false;
  for (int i = threadIdx.x; i < QUADS; i += Shape::THREADS) {
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 4
    for (int p = 0; p < PARTS; ++p) {
      const float4 v = all[p * QUADS + i];
      sum = make_float4(sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w);
    }
    *(float4*)(tile + i / SIDE * (Shape::N + 4) + i % SIDE * 4) = sum;
  }
  __syncthreads();
  return true;
}

// Combines what the threads of a block have, for each of W columns side by side; the first W threads get it.
template <int THREADS, int W, class How, class V> GANC_DEVICE V ganc_fold(V v) {
  extern __shared__ __align__(1024) unsigned char ganc_shared[];
  V* const held = (V*)ganc_shared;
  __syncthreads();
  if constexpr (W == 1)
    return ganc_fold_rows<THREADS, How>(v, held);
  else
    return ganc_fold_columns<THREADS / W, W, How>(v, held);
}

// The same of LINES lines that lie `stride` apart; `from`: this thread's column of the first one.
template <int THREADS, int W, class How, int LINES>
GANC_DEVICE float ganc_total(const float* from, int stride, float v) {
#pragma unroll 16
  for (int i = (int)threadIdx.x / W; i < LINES; i += THREADS / W) v = How::of(v, from[(long long)i * stride]);
  return ganc_fold<THREADS, W, How>(v);
}
// The same of moments, whose means and squares are `plane` behind their counts.
template <int THREADS, int W, int LINES>
GANC_DEVICE ganc_moments ganc_total_moments(const float* from, int stride, int plane) {
  ganc_moments v = ganc_nothing();
#pragma unroll 4
  for (int i = (int)threadIdx.x / W; i < LINES; i += THREADS / W) {
    const float* const line = from + (long long)i * stride;
    v = v + ganc_moments_of(line[0], line[plane], line[2 * plane]);
  }
  return ganc_fold<THREADS, W, ganc_sum>(v);
}

// Combines what threads have for COUNT neighbouring columns each, of W threads side by side; the first W * COUNT threads get
// one each. Needs a place in shared memory for all of it.
template <int THREADS, int W, int COUNT, class How, class V> GANC_DEVICE V ganc_fold_each(const V* v) {
  extern __shared__ __align__(1024) unsigned char ganc_shared[];
  V* const held = (V*)ganc_shared;
  enum { ALL = W * COUNT, SLICES = THREADS / ALL };
  static_assert(SLICES * ALL == THREADS, "a thread for each column");
  if constexpr (COUNT == 1) return ganc_fold<THREADS, W, How>(*v);
  __syncthreads();
#pragma unroll
  for (int j = 0; j < COUNT; ++j) held[(int)threadIdx.x * COUNT + j] = v[j];
  __syncthreads();
  V sum = held[threadIdx.x];
  for (int i = 1; i < COUNT; ++i) sum = How::of(sum, held[i * THREADS + (int)threadIdx.x]);
  // What is written from here on is where this thread alone has read.
  return ganc_fold_columns<SLICES, ALL, How>(sum, held);
}
