// What every kernel may use. No headers; PTX stands only here, and the CPU shim of the tests has functions of the same
// names in its place.
#ifndef __CUDA_SHIM__
#define GANC_DEVICE __device__ __forceinline__
// Compiled once, however often it is called.
#define GANC_APART __device__ __noinline__
GANC_DEVICE float ganc_from_f16(unsigned short h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}
GANC_DEVICE unsigned short ganc_to_f16(float f) {
  unsigned short h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
GANC_DEVICE float ganc_from_bf16(unsigned short h) { return __uint_as_float((unsigned)h << 16); }
GANC_DEVICE unsigned short ganc_to_bf16(float f) {
  unsigned short h;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
// A NaN in either gives NaN.
GANC_DEVICE float ganc_larger(float a, float b) {
  float r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}
GANC_DEVICE float ganc_smaller(float a, float b) {
  float r;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}
// The nearest number of ten fraction bits, ties away from zero.
GANC_DEVICE float ganc_as_tf32(float v) {
  unsigned r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
  return __uint_as_float(r);
}
// Every kernel begins with this, before it touches memory: from sm_90 on a kernel may be launched before the results of
// the one before it are seen by all (programmatic dependent launch). It waits until they are; since that one had waited
// too, all kernels before it have ended as well. None lets its successor begin earlier: blocks that come while others
// still run are packed onto the multiprocessors that are free first, and the rest of the device idles.
GANC_DEVICE void ganc_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
#else
#define GANC_DEVICE __forceinline__
#define GANC_APART inline
#endif

GANC_DEVICE unsigned ganc_larger(unsigned a, unsigned b) { return a < b ? b : a; }
GANC_DEVICE unsigned ganc_smaller(unsigned a, unsigned b) { return a < b ? a : b; }
GANC_DEVICE float ganc_sign(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }

// Conversions between what registers hold: float, unsigned, bool.
GANC_DEVICE float ganc_float(float x) { return x; }
GANC_DEVICE float ganc_float(unsigned x) { return (float)x; }
GANC_DEVICE float ganc_float(bool x) { return x ? 1.0f : 0.0f; }
template <class T> GANC_DEVICE float ganc_as_f16(T x) { return ganc_from_f16(ganc_to_f16(ganc_float(x))); }
template <class T> GANC_DEVICE float ganc_as_bf16(T x) { return ganc_from_bf16(ganc_to_bf16(ganc_float(x))); }
GANC_DEVICE unsigned ganc_word(float x) { return __float2uint_rz(x); } // 0 for NaN, the nearest word outside their range
GANC_DEVICE unsigned ganc_word(unsigned x) { return x; }
GANC_DEVICE unsigned ganc_word(bool x) { return x ? 1u : 0u; }
GANC_DEVICE bool ganc_truth(float x) { return x != 0.0f; }
GANC_DEVICE bool ganc_truth(unsigned x) { return x != 0u; }
GANC_DEVICE bool ganc_truth(bool x) { return x; }

// Philox4x32-10 (Salmon et al. 2011).
struct ganc_quad {
  unsigned x, y, z, w;
};
GANC_DEVICE ganc_quad ganc_philox(ganc_quad c, unsigned k0, unsigned k1) {
#pragma unroll
  for (int i = 0; i < 10; ++i) {
    const unsigned h0 = __umulhi(0xD2511F53u, c.x), l0 = 0xD2511F53u * c.x;
    const unsigned h1 = __umulhi(0xCD9E8D57u, c.z), l1 = 0xCD9E8D57u * c.z;
    c = {h1 ^ c.y ^ k0, l1, h0 ^ c.w ^ k1, l0};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}
template <class I> GANC_DEVICE ganc_quad ganc_draw(unsigned k0, unsigned k1, unsigned counter, I sample, I element) {
  return ganc_philox({counter, (unsigned)sample, (unsigned)(element >> 2), 0u}, k0, k1);
}
template <class I>
GANC_DEVICE unsigned ganc_bits(unsigned k0, unsigned k1, unsigned counter, I sample, I element) {
  const ganc_quad q = ganc_draw(k0, k1, counter, sample, element);
  const unsigned lane = (unsigned)element & 3u;
  return lane == 0u ? q.x : lane == 1u ? q.y : lane == 2u ? q.z : q.w;
}
template <class I>
GANC_DEVICE float ganc_uniform(unsigned k0, unsigned k1, unsigned counter, I sample, I element) {
  return (float)(ganc_bits(k0, k1, counter, sample, element) >> 8) * 0x1p-24f;
}
// Box & Muller 1958 on a pair of words; the second of them gives the sine.
struct ganc_pair {
  float x, y;
};
GANC_DEVICE ganc_pair ganc_box_muller(unsigned a, unsigned b) {
  const float r = sqrtf(-2.0f * logf((float)((a >> 8) + 1u) * 0x1p-24f));
  float s, c;
  sincospif((float)(b >> 8) * 0x1p-23f, &s, &c);
  return {r * c, r * s};
}
template <class I>
GANC_DEVICE float ganc_normal(unsigned k0, unsigned k1, unsigned counter, I sample, I element) {
  const ganc_quad q = ganc_draw(k0, k1, counter, sample, element);
  const bool second = ((unsigned)element & 2u) != 0u;
  const ganc_pair p = ganc_box_muller(second ? q.z : q.x, second ? q.w : q.y);
  return ((unsigned)element & 1u) != 0u ? p.y : p.x;
}
// N neighbours from an element on whose number is divisible by 4: each counter is drawn once.
template <int N, class I>
GANC_DEVICE void ganc_bits(unsigned (&r)[N], unsigned k0, unsigned k1, unsigned counter, I sample, I element) {
#pragma unroll
  for (int i = 0; i < N; i += 4) {
    const ganc_quad q = ganc_draw(k0, k1, counter, sample, element + i);
    r[i] = q.x, r[i + 1] = q.y, r[i + 2] = q.z, r[i + 3] = q.w;
  }
}
template <int N, class I>
GANC_DEVICE void ganc_uniform(float (&r)[N], unsigned k0, unsigned k1, unsigned counter, I sample, I element) {
  unsigned w[N];
  ganc_bits(w, k0, k1, counter, sample, element);
#pragma unroll
  for (int i = 0; i < N; ++i) r[i] = (float)(w[i] >> 8) * 0x1p-24f;
}
template <int N, class I>
GANC_DEVICE void ganc_normal(float (&r)[N], unsigned k0, unsigned k1, unsigned counter, I sample, I element) {
  unsigned w[N];
  ganc_bits(w, k0, k1, counter, sample, element);
#pragma unroll
  for (int i = 0; i < N; i += 2) {
    const ganc_pair p = ganc_box_muller(w[i], w[i + 1]);
    r[i] = p.x, r[i + 1] = p.y;
  }
}

// A value with its position.
template <class V> struct ganc_best {
  V value;
  unsigned at;
};
template <class V> GANC_DEVICE ganc_best<V> ganc_at(V value, unsigned at) { return {value, at}; }
GANC_DEVICE bool ganc_above(float a, float b) { return a > b || (a != a && b == b); } // NaN is above all
GANC_DEVICE bool ganc_above(unsigned a, unsigned b) { return a > b; }

// Numbers that have come so far: how many, and sums of their distances from the first one (or from their mean) and of the
// squares of those. Put together as by Chan, Golub and LeVeque 1983: what differs by much less than it is large keeps its
// digits, unless the first of a thread's k numbers is far from their mean (z deviations: k eps (1 + z^2) are lost).
struct __align__(16) ganc_moments {
  float n, from, sum, square;
};
GANC_DEVICE ganc_moments ganc_nothing() { return {0.0f, 0.0f, 0.0f, 0.0f}; }
GANC_DEVICE ganc_moments ganc_moments_of(float n, float mean, float square) { return {n, mean, 0.0f, square}; }
GANC_DEVICE ganc_moments ganc_collect(ganc_moments m, float x) {
  const float from = m.n == 0.0f ? x : m.from;
  const float d = x - from;
  return {m.n + 1.0f, from, m.sum + d, fmaf(d, d, m.square)};
}
GANC_DEVICE float ganc_mean(ganc_moments m) { return m.n == 0.0f ? 0.0f : m.from + m.sum / m.n; }
// The sum of squared distances from the mean.
GANC_DEVICE float ganc_deviation(ganc_moments m) {
  const float v = m.n == 0.0f ? 0.0f : m.square - m.sum * (m.sum / m.n);
  return v < 0.0f ? 0.0f : v;
}
// Distances from the mean: what `+` takes, so that it divides but once.
GANC_DEVICE ganc_moments ganc_settled(ganc_moments m) { return {m.n, ganc_mean(m), 0.0f, ganc_deviation(m)}; }
GANC_DEVICE ganc_moments operator+(ganc_moments a, ganc_moments b) {
  if (a.n == 0.0f) return b;
  if (b.n == 0.0f) return a;
  const float n = a.n + b.n, d = b.from - a.from, part = b.n / n;
  return {n, a.from + d * part, 0.0f, a.square + b.square + d * d * (a.n * part)};
}

// How values are combined.
struct ganc_sum {
  template <class V> static GANC_DEVICE V of(V a, V b) { return a + b; }
};
struct ganc_max {
  static GANC_DEVICE float of(float a, float b) { return ganc_larger(a, b); }
  static GANC_DEVICE unsigned of(unsigned a, unsigned b) { return ganc_larger(a, b); }
  template <class V> static GANC_DEVICE ganc_best<V> of(ganc_best<V> a, ganc_best<V> b) {
    const bool other = ganc_above(b.value, a.value) || (!ganc_above(a.value, b.value) && b.at < a.at);
    return other ? b : a;
  }
};
template <class V> GANC_DEVICE V ganc_from_lane(V v, int distance) {
  return __shfl_xor_sync(0xffffffffu, v, distance);
}
template <class V> GANC_DEVICE ganc_best<V> ganc_from_lane(ganc_best<V> v, int distance) {
  return {__shfl_xor_sync(0xffffffffu, v.value, distance), __shfl_xor_sync(0xffffffffu, v.at, distance)};
}
GANC_DEVICE ganc_moments ganc_from_lane(ganc_moments v, int distance) {
  return {__shfl_xor_sync(0xffffffffu, v.n, distance), __shfl_xor_sync(0xffffffffu, v.from, distance),
          __shfl_xor_sync(0xffffffffu, v.sum, distance), __shfl_xor_sync(0xffffffffu, v.square, distance)};
}
// Combines over T neighbouring threads; the first of them has the result. s has a place for each thread.
template <int T, class How, class V> GANC_DEVICE V ganc_fold_rows(V v, V* s) {
#pragma unroll
  for (int d = (T < 32 ? T : 32) / 2; d > 0; d /= 2) v = How::of(v, ganc_from_lane(v, d));
  if (T > 32) {
    const int warp = threadIdx.x / 32;
    if (threadIdx.x % 32 == 0) s[warp] = v;
    __syncthreads();
    if (threadIdx.x % T == 0) {
      for (int i = 1; i < T / 32; ++i) v = How::of(v, s[warp + i]);
    }
  }
  return v;
}
// The same over T threads that are W apart.
template <int T, int W, class How, class V> GANC_DEVICE V ganc_fold_columns(V v, V* s) {
  const int me = threadIdx.x, row = me / W;
  if (T > 1) s[me] = v;
#pragma unroll
  for (int d = T / 2; d > 0; d /= 2) {
    __syncthreads();
    if (row < d) {
      v = How::of(v, s[me + d * W]);
      s[me] = v;
    }
  }
  return v;
}

// Blocks that have come so far: at first of those that share a tile or a result, then of those that share sums. Always 0 between
// kernels, since the last block counts none again.
enum { GANC_TILES = 1024 };
__device__ unsigned ganc_counts[2 * GANC_TILES];

// True in the last of `of` blocks that come here; it sees what all of them have written.
GANC_DEVICE bool ganc_last(unsigned* count, unsigned of) {
  __threadfence();
  __syncthreads();
  int last = 0;
  if (threadIdx.x == 0) {
    last = atomicAdd(count, 1u) == of - 1;
    if (last) *count = 0;
  }
  last = __syncthreads_or(last);
  if (last) __threadfence();
  return last != 0;
}

// N neighbouring elements, 16 bytes at a time where there are so many.
template <int N> GANC_DEVICE void ganc_load(float (&r)[N], const float* p) {
#pragma unroll
  for (int i = 0; i < N / 4; ++i) {
    const float4 v = ((const float4*)p)[i];
    r[4 * i] = v.x, r[4 * i + 1] = v.y, r[4 * i + 2] = v.z, r[4 * i + 3] = v.w;
  }
}
template <int N> GANC_DEVICE void ganc_load(unsigned (&r)[N], const unsigned* p) {
#pragma unroll
  for (int i = 0; i < N / 4; ++i) {
    const uint4 v = ((const uint4*)p)[i];
    r[4 * i] = v.x, r[4 * i + 1] = v.y, r[4 * i + 2] = v.z, r[4 * i + 3] = v.w;
  }
}
template <int N> GANC_DEVICE void ganc_load(bool (&r)[N], const unsigned char* p) {
#pragma unroll
  for (int i = 0; i < N / 4; ++i) {
    const uchar4 v = ((const uchar4*)p)[i];
    r[4 * i] = v.x != 0, r[4 * i + 1] = v.y != 0, r[4 * i + 2] = v.z != 0, r[4 * i + 3] = v.w != 0;
  }
}
template <int N> GANC_DEVICE void ganc_load_words(unsigned (&w)[N / 2], const unsigned short* p) {
  if (N % 8 == 0) {
#pragma unroll
    for (int i = 0; i < N / 8; ++i) {
      const uint4 v = ((const uint4*)p)[i];
      w[4 * i] = v.x, w[4 * i + 1] = v.y, w[4 * i + 2] = v.z, w[4 * i + 3] = v.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < N / 4; ++i) {
      const uint2 v = ((const uint2*)p)[i];
      w[2 * i] = v.x, w[2 * i + 1] = v.y;
    }
  }
}
template <int N> GANC_DEVICE void ganc_load_bf16(float (&r)[N], const unsigned short* p) {
  unsigned w[N / 2];
  ganc_load_words<N>(w, p);
#pragma unroll
  for (int i = 0; i < N; ++i) r[i] = ganc_from_bf16((unsigned short)(w[i / 2] >> i % 2 * 16));
}
template <int N> GANC_DEVICE void ganc_load_f16(float (&r)[N], const unsigned short* p) {
  unsigned w[N / 2];
  ganc_load_words<N>(w, p);
#pragma unroll
  for (int i = 0; i < N; ++i) r[i] = ganc_from_f16((unsigned short)(w[i / 2] >> i % 2 * 16));
}
template <int N> GANC_DEVICE void ganc_store(float* p, const float (&r)[N]) {
#pragma unroll
  for (int i = 0; i < N / 4; ++i) ((float4*)p)[i] = make_float4(r[4 * i], r[4 * i + 1], r[4 * i + 2], r[4 * i + 3]);
}
template <int N> GANC_DEVICE void ganc_store(unsigned* p, const unsigned (&r)[N]) {
#pragma unroll
  for (int i = 0; i < N / 4; ++i) ((uint4*)p)[i] = make_uint4(r[4 * i], r[4 * i + 1], r[4 * i + 2], r[4 * i + 3]);
}
template <int N> GANC_DEVICE void ganc_store(unsigned char* p, const bool (&r)[N]) {
#pragma unroll
  for (int i = 0; i < N / 4; ++i) ((uchar4*)p)[i] = make_uchar4(r[4 * i], r[4 * i + 1], r[4 * i + 2], r[4 * i + 3]);
}
template <int N> GANC_DEVICE void ganc_store_words(unsigned short* p, const unsigned (&w)[N / 2]) {
  if (N % 8 == 0) {
#pragma unroll
    for (int i = 0; i < N / 8; ++i) ((uint4*)p)[i] = make_uint4(w[4 * i], w[4 * i + 1], w[4 * i + 2], w[4 * i + 3]);
  } else {
#pragma unroll
    for (int i = 0; i < N / 4; ++i) ((uint2*)p)[i] = make_uint2(w[2 * i], w[2 * i + 1]);
  }
}
template <int N> GANC_DEVICE void ganc_store_bf16(unsigned short* p, const float (&r)[N]) {
  unsigned w[N / 2];
#pragma unroll
  for (int i = 0; i < N / 2; ++i) w[i] = ganc_to_bf16(r[2 * i]) | (unsigned)ganc_to_bf16(r[2 * i + 1]) << 16;
  ganc_store_words<N>(p, w);
}
template <int N> GANC_DEVICE void ganc_store_f16(unsigned short* p, const float (&r)[N]) {
  unsigned w[N / 2];
#pragma unroll
  for (int i = 0; i < N / 2; ++i) w[i] = ganc_to_f16(r[2 * i]) | (unsigned)ganc_to_f16(r[2 * i + 1]) << 16;
  ganc_store_words<N>(p, w);
}
