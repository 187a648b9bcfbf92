// Minibatches of rows that lie in device memory. Block (s, c) writes the c-th piece of stored row s of the batch. The
// top bit of a row's number: its lines, of `line` elements, are reversed. A batch that a graph takes lies in the place
// of that input; what it holds is bit for bit what the host would have sent there.
struct ganc_pick {
  unsigned long long from, to;
  bool reversed;
};
GANC_DEVICE ganc_pick ganc_picked(const unsigned* rows, const unsigned* index, unsigned planes, unsigned part) {
  const unsigned sample = blockIdx.x / planes, plane = blockIdx.x - sample * planes, row = rows[sample];
  const unsigned number = row & 0x7fffffffu;
  const unsigned stored = index ? index[(unsigned long long)number * planes + plane] : number;
  return {(unsigned long long)stored * part, (unsigned long long)blockIdx.x * part, row >> 31 != 0u};
}
GANC_DEVICE unsigned ganc_place(unsigned e, unsigned line, bool reversed) {
  if (!reversed) return e;
  const unsigned first = e - e % line;
  return first + (line - 1u - (e - first));
}

// kernel ganc_held_bytes
extern "C" __global__ void __launch_bounds__(256) ganc_held_bytes(
    const unsigned char* __restrict__ held, const float* __restrict__ values, const unsigned* __restrict__ index,
    const unsigned* __restrict__ rows, float* __restrict__ batch, unsigned planes, unsigned part, unsigned line) {
  ganc_begin();
  __shared__ float value[256];
  value[threadIdx.x] = values[threadIdx.x];
  const ganc_pick p = ganc_picked(rows, index, planes, part);
  __syncthreads();
#pragma unroll
  for (unsigned i = 0; i < 8u; ++i) {
    const unsigned e = blockIdx.y * 2048u + i * 256u + threadIdx.x;
    if (e < part) batch[p.to + e] = value[held[p.from + ganc_place(e, line, p.reversed)]];
  }
}

// kernel ganc_held_words
extern "C" __global__ void __launch_bounds__(256) ganc_held_words(
    const unsigned* __restrict__ held, const unsigned* __restrict__ index, const unsigned* __restrict__ rows,
    unsigned* __restrict__ batch, unsigned planes, unsigned part, unsigned line) {
  ganc_begin();
  const ganc_pick p = ganc_picked(rows, index, planes, part);
#pragma unroll
  for (unsigned i = 0; i < 8u; ++i) {
    const unsigned e = blockIdx.y * 2048u + i * 256u + threadIdx.x;
    if (e < part) batch[p.to + e] = held[p.from + ganc_place(e, line, p.reversed)];
  }
}

// kernel ganc_held_numbers
extern "C" __global__ void __launch_bounds__(256) ganc_held_numbers(
    const unsigned* __restrict__ held, const unsigned* __restrict__ index, const unsigned* __restrict__ rows,
    unsigned* __restrict__ batch, unsigned samples) {
  ganc_begin();
  const unsigned sample = blockIdx.x * 256u + threadIdx.x;
  if (sample >= samples) return;
  const unsigned number = rows[sample] & 0x7fffffffu;
  batch[sample] = held[index ? index[number] : number];
}
