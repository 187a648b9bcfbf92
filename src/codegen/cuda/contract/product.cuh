// Products: tiles of two operands go through shared memory into registers, and the tile of the result back through
// shared memory to wherever it is wanted. Operands and results are structs that the generator writes:
//   operand: T, V, ALONG, COPY; row(m), sum(k), sum(step, k), get(out, row, sum), address(row, sum, in)
//   result:  V, Kept, cols(n), work(m, cols, V values, kept), keep(m, cols, kept)

struct ganc_bf16 { unsigned short bits; };
struct ganc_f16 { unsigned short bits; };

template <int BYTES> struct ganc_bytes;
template <> struct ganc_bytes<2> { typedef unsigned short type; };
template <> struct ganc_bytes<4> { typedef unsigned type; };
template <> struct ganc_bytes<8> { typedef uint2 type; };
template <> struct ganc_bytes<16> { typedef uint4 type; };

// From and to f32.
template <class T> struct ganc_number;
template <> struct ganc_number<float> {
  static GANC_DEVICE float of(float v) { return v; }
  static GANC_DEVICE float value(float v) { return v; }
};
template <> struct ganc_number<ganc_bf16> {
  static GANC_DEVICE ganc_bf16 of(float v) { return {ganc_to_bf16(v)}; }
  static GANC_DEVICE float value(ganc_bf16 v) { return ganc_from_bf16(v.bits); }
};
template <> struct ganc_number<ganc_f16> {
  static GANC_DEVICE ganc_f16 of(float v) { return {ganc_to_f16(v)}; }
  static GANC_DEVICE float value(ganc_f16 v) { return ganc_from_f16(v.bits); }
};

// V neighbours, converted; zeros if not `in`. The address must be good all the same: without a branch, several loads
// are on their way at once.
template <int V, class S, class T> GANC_DEVICE void ganc_fetch(S* out, const T* from, bool in) {
  __align__(16) T held[V];
  typedef typename ganc_bytes<V * sizeof(T)>::type Word;
  *(Word*)held = *(const Word*)from;
#pragma unroll
  for (int i = 0; i < V; ++i) out[i] = ganc_number<S>::of(in ? ganc_number<T>::value(held[i]) : 0.0f);
}

// V neighbours of a result.
template <int V, class T> GANC_DEVICE void ganc_put(T* to, const float* v) {
  __align__(16) T held[V];
#pragma unroll
  for (int i = 0; i < V; ++i) held[i] = ganc_number<T>::of(v[i]);
  typedef typename ganc_bytes<V * sizeof(T)>::type Word;
  *(Word*)to = *(const Word*)held;
}

// f(0), f(1), … f(N - 1), as straight code: what a thread keeps of its rows must stay in registers, and an unrolled loop
// is a wish only.
template <int N, class F> GANC_DEVICE void ganc_each(F f) {
  if constexpr (N > 0) {
    ganc_each<N - 1>(f);
    f(N - 1);
  }
}

// What is multiplied how. Pads keep the accesses of a warp in different banks.
struct ganc_math_f32 {
  typedef float S;
  enum { TENSOR = 0, K = 1, PAD = 4, PAD_TURNED = 4 };
};
struct ganc_math_tf32 {
  typedef float S;
  enum { TENSOR = 1, K = 8, PAD = 4, PAD_TURNED = 8 };
  static GANC_DEVICE void mma(float* c, const unsigned* a, const unsigned* b) { ganc_mma_tf32(c, a, b); }
  // Operands have been rounded where they were made.
  static GANC_DEVICE unsigned word(unsigned v) { return v; }
  template <int N, int TURNED_A, int TURNED_B>
  static GANC_DEVICE void group(float* c, unsigned long long a, unsigned long long b) {
    static_assert(!TURNED_A && !TURNED_B, "tiles of tf32 lie along the sum");
    ganc_group_mma_tf32<N, TURNED_A, TURNED_B>(c, a, b);
  }
};
struct ganc_math_bf16 {
  typedef ganc_bf16 S;
  enum { TENSOR = 1, K = 16, PAD = 8, PAD_TURNED = 8 };
  static GANC_DEVICE void mma(float* c, const unsigned* a, const unsigned* b) { ganc_mma_bf16(c, a, b); }
  static GANC_DEVICE unsigned word(unsigned v) { return v; }
  template <int N, int TURNED_A, int TURNED_B>
  static GANC_DEVICE void group(float* c, unsigned long long a, unsigned long long b) {
    ganc_group_mma_bf16<N, TURNED_A, TURNED_B>(c, a, b);
  }
};
struct ganc_math_f16 {
  typedef ganc_f16 S;
  enum { TENSOR = 1, K = 16, PAD = 8, PAD_TURNED = 8 };
  static GANC_DEVICE void mma(float* c, const unsigned* a, const unsigned* b) { ganc_mma_f16(c, a, b); }
  static GANC_DEVICE unsigned word(unsigned v) { return v; }
  template <int N, int TURNED_A, int TURNED_B>
  static GANC_DEVICE void group(float* c, unsigned long long a, unsigned long long b) {
    ganc_group_mma_f16<N, TURNED_A, TURNED_B>(c, a, b);
  }
};

// Extents of a block's tile and of what a warp (tensor cores), a group of four warps (GROUPS: wgmma) or a thread (f32) has
// of it. SHARES sets of threads each have some of the tile's sums (f32).
template <int M_, int N_, int K_, int OWN_M_, int OWN_N_, int THREADS_, int STAGES_, int GROUPS_ = 0, int SHARES_ = 1>
struct ganc_shape {
  enum { M = M_, N = N_, K = K_, OWN_M = OWN_M_, OWN_N = OWN_N_, THREADS = THREADS_, STAGES = STAGES_ };
  enum { GROUPS = GROUPS_, SHARES = SHARES_ };
};

// Rows of 128 bytes of tiles for groups, of LINE elements, whose 16-byte units are swizzled by the number of the row.
template <class S> struct ganc_lines {
  enum { LINE = 128 / sizeof(S), UNIT = 16 / sizeof(S) };
  static GANC_DEVICE int place(int row, int at) { return row * LINE + ((at / UNIT ^ row % 8) * UNIT | at % UNIT); }
};

// One operand's tiles on their way to shared memory: element (row, k) of a tile is at [k][row] if TURNED, else at
// [row][k]; for groups in swizzled rows of 128 bytes. Bytes that stay as they are go by asynchronous copies, others through
// registers.
template <class Operand, class Math, class Shape, int ROWS> struct ganc_tiles {
  typedef typename Math::S S;
  enum {
    V = Operand::V,
    ALONG = Operand::ALONG,
    TURNED = !Math::TENSOR || !ALONG,
    STRIDE = Shape::GROUPS ? ganc_lines<S>::LINE : TURNED ? ROWS + Math::PAD_TURNED : Shape::K + Math::PAD,
    SIZE = Shape::GROUPS ? ROWS * Shape::K : (TURNED ? Shape::K : ROWS) * STRIDE,
    // Elements from 64 rows of a turned tile for groups to the next 64.
    FAR = Shape::K * 64,
    // Threads side by side along memory, the rest across.
    SIDE = (ALONG ? Shape::K : ROWS) / V,
    STEP = Shape::THREADS / SIDE,
    ACROSS = ALONG ? ROWS : Shape::K,
    COUNT = (ACROSS + STEP - 1) / STEP,
    // From one of a thread's accesses to the next in shared memory: always the same, unless rows are swizzled otherwise
    // (or lie across, where each element has a place of its own).
    EVEN = !Shape::GROUPS || STEP % 8 == 0,
    FURTHER = STEP * STRIDE,
    COPIED = Operand::COPY && V * sizeof(S) >= 4 && ALONG != TURNED
  };
  static_assert(Shape::THREADS % SIDE == 0, "a line of the tile is read by whole threads");
  static_assert(!Shape::GROUPS || (TURNED ? ROWS % 64 == 0 : Shape::K == STRIDE), "rows of 128 bytes");
  Operand from;
  typename Operand::Row rows[ALONG ? COUNT : 1];
  __align__(16) S held[COPIED ? 1 : COUNT * V];

  GANC_DEVICE ganc_tiles(const Operand& o, int row) : from(o) {
    ganc_each<ALONG ? COUNT : 1>([&](int i) {
      rows[i] = from.row(row + (ALONG ? (int)threadIdx.x / SIDE + i * STEP : (int)threadIdx.x % SIDE * V));
    });
  }
  static GANC_DEVICE int place(int along, int across) {
    if constexpr (Shape::GROUPS)
      return along / STRIDE * FAR + ganc_lines<S>::place(across, along % STRIDE);
    return ALONG && TURNED ? along * STRIDE + across : across * STRIDE + along;
  }
  // Where this thread's i-th access goes in a tile, of which the first goes to `first`.
  static GANC_DEVICE S* place(S* to, S* first, int i) {
    if constexpr (EVEN) return first + i * FURTHER;
    return to + place((int)threadIdx.x % SIDE * V, (int)threadIdx.x / SIDE + i * STEP);
  }
  static GANC_DEVICE S* first(S* to) { return to + place((int)threadIdx.x % SIDE * V, (int)threadIdx.x / SIDE); }
  // Begins to read the tile whose first k this is.
  GANC_DEVICE void start(S* to, int k) {
    const int along = (int)threadIdx.x % SIDE * V;
    S* const mine = first(to);
    ganc_each<COUNT>([&](int i) {
      const int across = (int)threadIdx.x / SIDE + i * STEP;
      if (ACROSS % STEP != 0 && across >= ACROSS) return;
      const typename Operand::Sum sum = from.sum(k, ALONG ? along : across);
      if constexpr (COPIED) {
        bool in;
        const typename Operand::T* p = from.address(rows[ALONG ? i : 0], sum, in);
        ganc_copy<V * sizeof(S)>(place(to, mine, i), p, in);
      } else {
        from.get(held + i * V, rows[ALONG ? i : 0], sum);
      }
    });
  }
  // Puts what was read through registers in its place.
  GANC_DEVICE void land(S* to) {
    if constexpr (!COPIED) {
      const int along = (int)threadIdx.x % SIDE * V;
      S* const mine = first(to);
      ganc_each<COUNT>([&](int i) {
        const int across = (int)threadIdx.x / SIDE + i * STEP;
        if (ACROSS % STEP != 0 && across >= ACROSS) return;
        if constexpr (ALONG && TURNED) {
#pragma unroll
          for (int j = 0; j < V; ++j) to[place(along + j, across)] = held[i * V + j];
        } else {
          typedef typename ganc_bytes<V * sizeof(S)>::type Word;
          *(Word*)place(to, mine, i) = *(const Word*)(held + i * V);
        }
      });
    }
  }
  // Where groups multiply: nothing is read before its time, and put in its place at once.
  GANC_DEVICE void early(int, int) {}
  GANC_DEVICE void next(S* to, int step, int) {
    start(to, step * Shape::K);
    land(to);
  }
};

// The same of an operand of 32 bits that lies along its rows, for groups, whose tiles of 32 bits lie along the sum: squares
// of four by four are turned in registers, to which they come one step before they are put in their place. A warp has 32
// rows of 16 elements of the sum: lanes read 128 bytes side by side, and write eight units at a time of different banks.
template <class Operand, class Math, class Shape, int ROWS> struct ganc_turned_tiles {
  typedef typename Math::S S;
  enum {
    TURNED = 0,
    STRIDE = ganc_lines<S>::LINE,
    SIZE = ROWS * Shape::K,
    FAR = 0,
    SIDE = ROWS / 32,
    ALL = SIDE * (Shape::K / 16),
    WARPS = Shape::THREADS / 32,
    COUNT = (ALL + WARPS - 1) / WARPS
  };
  static_assert(sizeof(S) == 4 && Operand::V == 4 && ROWS % 32 == 0 && Shape::K == STRIDE, "squares of rows of 128 bytes");
  Operand from;
  typename Operand::Row rows[COUNT];
  __align__(16) S held[COUNT * 16];

  GANC_DEVICE ganc_turned_tiles(const Operand& o, int row) : from(o) {
    ganc_each<COUNT>([&](int i) { rows[i] = from.row(row + line(i)); });
  }
  // This thread's first row and element of the sum.
  static GANC_DEVICE int line(int i) {
    return ((int)(threadIdx.x >> 5) + i * WARPS) % SIDE * 32 + (threadIdx.x >> 3 & 3) * 8 + (threadIdx.x & 1) * 4;
  }
  static GANC_DEVICE int first(int i) {
    return ((int)(threadIdx.x >> 5) + i * WARPS) / SIDE * 16 + (threadIdx.x >> 1 & 3) * 4;
  }
  static GANC_DEVICE bool idle(int i) { return ALL % WARPS != 0 && (int)(threadIdx.x >> 5) + i * WARPS >= ALL; }
  GANC_DEVICE void start(S*, int k) {
    ganc_each<COUNT>([&](int i) {
      if (idle(i)) return;
      ganc_each<4>([&](int j) { from.get(held + (i * 4 + j) * 4, rows[i], from.sum(k, first(i) + j)); });
    });
  }
  GANC_DEVICE void land(S* to) {
    ganc_each<COUNT>([&](int i) {
      if (idle(i)) return;
      ganc_each<4>([&](int j) {
        const S* const x = held + i * 16 + j;
        *(float4*)(to + ganc_lines<S>::place(line(i) + j, first(i))) = make_float4(x[0], x[4], x[8], x[12]);
      });
    });
  }
  GANC_DEVICE void early(int step, int last) {
    if (step < last) start(nullptr, step * Shape::K);
  }
  GANC_DEVICE void next(S* to, int step, int last) {
    land(to);
    early(step + 1, last);
  }
};

// How an operand's tiles come.
template <class Operand, class Math, class Shape, int ROWS, bool TURNS> struct ganc_way {
  typedef ganc_tiles<Operand, Math, Shape, ROWS> Tiles;
};
template <class Operand, class Math, class Shape, int ROWS> struct ganc_way<Operand, Math, Shape, ROWS, true> {
  typedef ganc_turned_tiles<Operand, Math, Shape, ROWS> Tiles;
};
template <class Operand, class Math, class Shape, int ROWS>
using ganc_tiles_of =
    typename ganc_way<Operand, Math, Shape, ROWS, Shape::GROUPS && sizeof(typename Math::S) == 4 && !Operand::ALONG>::Tiles;

// Begins to read the first AHEAD tiles of both operands, a set of copies each.
template <class Shape, int AHEAD, class Left, class Right>
GANC_DEVICE void ganc_ahead(Left& left, Right& right, typename Left::S* stages, int first, int last) {
  enum { SIZE = Left::SIZE + Right::SIZE };
#pragma unroll
  for (int i = 0; i < AHEAD; ++i) {
    if (first + i < last) {
      left.start(stages + i * SIZE, (first + i) * Shape::K);
      right.start(stages + i * SIZE + Left::SIZE, (first + i) * Shape::K);
      left.land(stages + i * SIZE);
      right.land(stages + i * SIZE + Left::SIZE);
    }
    ganc_copy_commit();
  }
}

// Runs `multiply(left tile, right tile)` over the tiles first..last of the sum, STAGES of them in shared memory.
template <class Shape, class Left, class Right, class F>
GANC_DEVICE void ganc_stream(Left& left, Right& right, int first, int last, F multiply) {
  typedef typename Left::S S;
  extern __shared__ __align__(1024) unsigned char ganc_shared[];
  S* const stages = (S*)ganc_shared;
  enum { SIZE = Left::SIZE + Right::SIZE, AHEAD = Shape::STAGES - 1 };
  ganc_ahead<Shape, AHEAD>(left, right, stages, first, last);
  int now = 0, next = AHEAD;
#pragma unroll 1
  for (int i = first; i < last; ++i) {
    ganc_copy_wait<AHEAD - 1>();
    __syncthreads();
    S* const ahead = stages + next * SIZE;
    const bool more = i + AHEAD < last;
    if (more) {
      left.start(ahead, (i + AHEAD) * Shape::K);
      right.start(ahead + Left::SIZE, (i + AHEAD) * Shape::K);
    }
    ganc_copy_commit();
    multiply(stages + now * SIZE, stages + now * SIZE + Left::SIZE);
    if (more) {
      left.land(ahead);
      right.land(ahead + Left::SIZE);
    }
    now = now + 1 == Shape::STAGES ? 0 : now + 1;
    next = next + 1 == Shape::STAGES ? 0 : next + 1;
  }
  ganc_copy_wait<0>();
  __syncthreads();
}

// The same for groups (`multiply(stage)`), whose products go on while the next tiles are asked for: a stage is written again
// when the products before the latest are done with it, which all groups know after a barrier.
template <class Shape, class Left, class Right, class F>
GANC_DEVICE void ganc_stream_groups(Left& left, Right& right, int first, int last, F multiply) {
  typedef typename Left::S S;
  extern __shared__ __align__(1024) unsigned char ganc_shared[];
  S* const stages = (S*)ganc_shared;
  enum { SIZE = Left::SIZE + Right::SIZE, AHEAD = Shape::STAGES - 2 };
  static_assert(AHEAD > 0, "a stage for what is read, one for what is multiplied, one that comes");
  ganc_ahead<Shape, AHEAD>(left, right, stages, first, last);
  left.early(first + AHEAD, last);
  right.early(first + AHEAD, last);
  int now = 0, next = AHEAD;
#pragma unroll 1
  for (int i = first; i < last; ++i) {
    ganc_copy_wait<AHEAD - 1>();
    ganc_group_fence();
    __syncthreads();
    multiply(now);
    ganc_group_commit();
    S* const ahead = stages + next * SIZE;
    if (i + AHEAD < last) {
      left.next(ahead, i + AHEAD, last);
      right.next(ahead + Left::SIZE, i + AHEAD, last);
    }
    ganc_copy_commit();
    ganc_group_wait<1>();
    now = now + 1 == Shape::STAGES ? 0 : now + 1;
    next = next + 1 == Shape::STAGES ? 0 : next + 1;
  }
  ganc_group_wait<0>();
  ganc_copy_wait<0>();
  __syncthreads();
}

// The part of a tile of 16 rows that is the left argument of an mma.
template <class Math, class Tiles>
GANC_DEVICE void ganc_left(unsigned* f, const typename Math::S* tile, int row, int k) {
  const int lane = threadIdx.x & 31;
  if constexpr (!Tiles::TURNED) {
    ganc_matrices(f, tile + (row + (lane & 15)) * Tiles::STRIDE + k + (lane >> 4) * (Math::K / 2));
  } else if constexpr (sizeof(typename Math::S) == 2) {
    ganc_matrices_turned(f, tile + (k + (lane & 7) + (lane >> 4) * 8) * Tiles::STRIDE + row + (lane >> 3 & 1) * 8);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      f[i] = __float_as_uint(tile[(k + (lane & 3) + (i >> 1) * 4) * Tiles::STRIDE + row + (lane >> 2) + (i & 1) * 8]);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) f[i] = Math::word(f[i]);
}

// Two neighbouring right arguments, of 8 columns each: words 0 and 1, words 2 and 3.
template <class Math, class Tiles>
GANC_DEVICE void ganc_right(unsigned* f, const typename Math::S* tile, int col, int k) {
  const int lane = threadIdx.x & 31;
  if constexpr (!Tiles::TURNED) {
    const int half = lane >> 3 & 1, block = lane >> 4;
    ganc_matrices(f, tile + (col + (lane & 7) + block * 8) * Tiles::STRIDE + k + half * (Math::K / 2));
  } else if constexpr (sizeof(typename Math::S) == 2) {
    ganc_matrices_turned(f, tile + (k + (lane & 15)) * Tiles::STRIDE + col + (lane >> 4) * 8);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      f[i] = __float_as_uint(tile[(k + (lane & 3) + (i & 1) * 4) * Tiles::STRIDE + col + (lane >> 2) + (i >> 1) * 8]);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) f[i] = Math::word(f[i]);
}

// The block's tile of the result, in shared memory, row after row of N + 4.
template <class Math, class Shape, class A, class B>
GANC_DEVICE void ganc_multiply(const A& a, const B& b, int row, int col, int first, int last) {
  typedef typename Math::S S;
  extern __shared__ __align__(1024) unsigned char ganc_shared[];
  float* const tile = (float*)ganc_shared;
  typedef ganc_tiles_of<A, Math, Shape, Shape::M> Left;
  typedef ganc_tiles_of<B, Math, Shape, Shape::N> Right;
  Left left(a, row);
  Right right(b, col);
  if constexpr (Shape::GROUPS) {
    enum { ROWS = Shape::OWN_M / 64, ACROSS = Shape::N / Shape::OWN_N, LINE = ganc_lines<S>::LINE };
    // Where a warp's tiles lie is the same for its lanes; told so, the compiler works it out once.
    const int group = __shfl_sync(0xffffffffu, (int)threadIdx.x >> 7, 0), warp = threadIdx.x >> 5 & 3, lane = threadIdx.x & 31;
    const int m = group / ACROSS * Shape::OWN_M, n = group % ACROSS * Shape::OWN_N;
    float c[ROWS][Shape::OWN_N / 2] = {};
    // Descriptors count in units of 16 bytes.
    enum { UNIT = ganc_lines<S>::UNIT, STAGE = (Left::SIZE + Right::SIZE) / UNIT };
    const S* const l = (const S*)ganc_shared + (Left::TURNED ? m / 64 * Left::FAR : m * LINE);
    const S* const r = (const S*)ganc_shared + Left::SIZE + (Right::TURNED ? n / 64 * Right::FAR : n * LINE);
    const unsigned long long a = ganc_lies(l, 1024, Left::TURNED ? 2 * Left::FAR : 0);
    const unsigned long long b = ganc_lies(r, 1024, Right::TURNED ? 2 * Right::FAR : 0);
    ganc_stream_groups<Shape>(left, right, first, last, [&](int stage) {
      const int at = stage * STAGE;
      ganc_group_begin();
#pragma unroll
      for (int k = 0; k < Shape::K; k += LINE / 4) {
#pragma unroll
        for (int i = 0; i < ROWS; ++i)
          Math::template group<Shape::OWN_N, Left::TURNED, Right::TURNED>(
              c[i], ganc_further(a, at + (Left::TURNED ? i * Left::FAR + k * 64 : i * 64 * LINE + k) / UNIT),
              ganc_further(b, at + (Right::TURNED ? k * 64 : k) / UNIT));
      }
    });
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
#pragma unroll
      for (int j = 0; j < Shape::OWN_N / 8; ++j)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const int at = m + i * 64 + warp * 16 + h * 8 + (lane >> 2);
          *(float2*)(tile + at * (Shape::N + 4) + n + j * 8 + (lane & 3) * 2) =
              make_float2(c[i][4 * j + 2 * h], c[i][4 * j + 2 * h + 1]);
        }
  } else if constexpr (Math::TENSOR) {
    enum { ROWS = Shape::OWN_M / 16, PAIRS = Shape::OWN_N / 16, ACROSS = Shape::N / Shape::OWN_N };
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    const int m = warp / ACROSS * Shape::OWN_M, n = warp % ACROSS * Shape::OWN_N;
    float c[ROWS][2 * PAIRS][4] = {};
    ganc_stream<Shape>(left, right, first, last, [&](const S* l, const S* r) {
#pragma unroll
      for (int k = 0; k < Shape::K; k += Math::K) {
        unsigned x[ROWS][4], y[PAIRS][4];
#pragma unroll
        for (int i = 0; i < ROWS; ++i) ganc_left<Math, Left>(x[i], l, m + i * 16, k);
#pragma unroll
        for (int j = 0; j < PAIRS; ++j) ganc_right<Math, Right>(y[j], r, n + j * 16, k);
#pragma unroll
        for (int i = 0; i < ROWS; ++i)
#pragma unroll
          for (int j = 0; j < 2 * PAIRS; ++j) Math::mma(c[i][j], x[i], y[j / 2] + j % 2 * 2);
      }
    });
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
#pragma unroll
      for (int j = 0; j < 2 * PAIRS; ++j)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float* const to = tile + (m + i * 16 + h * 8 + (lane >> 2)) * (Shape::N + 4) + n + j * 8 + (lane & 3) * 2;
          *(float2*)to = make_float2(c[i][j][2 * h], c[i][j][2 * h + 1]);
        }
  } else {
    // Rows and columns of a thread come in fours, as far apart as all threads' fours together.
    enum { ACROSS = Shape::N / Shape::OWN_N, FAR_M = Shape::M / Shape::OWN_M * 4, FAR_N = ACROSS * 4 };
    enum { SHARES = Shape::SHARES, WORKERS = Shape::THREADS / SHARES, SIZE = Shape::M * (Shape::N + 4) };
    const int share = (int)threadIdx.x / WORKERS, worker = (int)threadIdx.x % WORKERS;
    const int m = worker / ACROSS * 4, n = worker % ACROSS * 4;
    float c[Shape::OWN_M][Shape::OWN_N] = {};
    ganc_stream<Shape>(left, right, first, last, [&](const S* l, const S* r) {
#pragma unroll
      for (int step = 0; step < Shape::K; step += SHARES) {
        const int k = step + (SHARES > 1 ? share : 0);
        __align__(16) float x[Shape::OWN_M], y[Shape::OWN_N];
#pragma unroll
        for (int i = 0; i < Shape::OWN_M; i += 4) *(float4*)(x + i) = *(const float4*)(l + k * Left::STRIDE + m + i / 4 * FAR_M);
#pragma unroll
        for (int j = 0; j < Shape::OWN_N; j += 4) *(float4*)(y + j) = *(const float4*)(r + k * Right::STRIDE + n + j / 4 * FAR_N);
#pragma unroll
        for (int i = 0; i < Shape::OWN_M; ++i)
#pragma unroll
          for (int j = 0; j < Shape::OWN_N; ++j) c[i][j] = fmaf(x[i], y[j], c[i][j]);
      }
    });
#pragma unroll
    for (int i = 0; i < Shape::OWN_M; ++i)
#pragma unroll
      for (int j = 0; j < Shape::OWN_N; j += 4)
        *(float4*)(tile + share * SIZE + (m + i / 4 * FAR_M + i % 4) * (Shape::N + 4) + n + j / 4 * FAR_N) =
            make_float4(c[i][j], c[i][j + 1], c[i][j + 2], c[i][j + 3]);
    if constexpr (SHARES > 1) {
      // The shares' sums, in order.
      __syncthreads();
      for (int i = threadIdx.x; i < Shape::M * Shape::N; i += Shape::THREADS) {
        float* const at = tile + i / Shape::N * (Shape::N + 4) + i % Shape::N;
        float sum = *at;
#pragma unroll 8
        for (int g = 1; g < SHARES; ++g) sum += at[g * SIZE];
        *at = sum;
      }
    }
  }
  __syncthreads();
}

// A matrix as it lies in memory, as an operand. What is out of its extents has an address in the last row or column: the
// block's own, where the matrix is what other blocks of the launch are still writing.
template <class T_, int V_, int ALONG_, int COPY_> struct ganc_matrix {
  typedef T_ T;
  enum { V = V_, ALONG = ALONG_, COPY = COPY_, ROWS = ALONG ? 1 : V };
  struct Row { bool in; int at; };
  typedef Row Sum;
  const T* from;
  int rows, row_step, sums, sum_step;
  GANC_DEVICE Row row(int n) const {
    return {n < rows, (n < rows ? n : (rows - 1) / ROWS * ROWS) * (V > 1 && !ALONG ? 1 : row_step)};
  }
  GANC_DEVICE Sum sum(int n) const { return {n < sums, n < sums ? n * (V > 1 && ALONG ? 1 : sum_step) : 0}; }
  GANC_DEVICE Sum sum(int step, int n) const { return sum(step + n); }
  GANC_DEVICE const T* address(const Row& r, const Sum& s, bool& in) const {
    in = r.in && s.in;
    return from + (r.at + s.at);
  }
  template <class S> GANC_DEVICE void get(S* to, const Row& r, const Sum& s) const {
    bool in;
    const T* const at = address(r, s, in);
    ganc_fetch<V>(to, at, in);
  }
};

// The product of two matrices, whatever their extents: many stages of a kernel are such products, and a compiler that
// meets them all inlined takes longer than the first step may.
template <class Math, class Shape, class A, class B>
GANC_APART void ganc_multiply_matrices(
    const typename A::T* a, int rows, int a_row, int a_sum, const typename B::T* b, int cols, int b_row, int b_sum,
    int sums, int row, int col) {
  const A left = {a, rows, a_row, sums, a_sum};
  const B right = {b, cols, b_row, sums, b_sum};
  ganc_multiply<Math, Shape>(left, right, row, col, 0, (sums + Shape::K - 1) / Shape::K);
}

// Hands the tile on, V columns at a time: some rows are read and worked out before any of them is written, so that their
// loads are on their way together.
template <class Shape, class Result> GANC_DEVICE void ganc_finish(Result& result, int row, int col) {
  extern __shared__ __align__(1024) unsigned char ganc_shared[];
  const float* const tile = (const float*)ganc_shared;
  enum { V = Result::V, SIDE = Shape::N / V, STEP = Shape::THREADS / SIDE, ROUNDS = (Shape::M + STEP - 1) / STEP };
  enum { TOGETHER = ROUNDS < 8 / V ? ROUNDS : V == 1 ? 8 : 4 };
  typedef typename ganc_bytes<V * 4>::type Word;
  const int n = (int)threadIdx.x % SIDE * V;
  const typename Result::Cols cols = result.cols(col + n);
#pragma unroll 1
  for (int m = (int)threadIdx.x / SIDE; m < Shape::M; m += STEP * TOGETHER) {
    typename Result::Kept kept[TOGETHER];
    ganc_each<TOGETHER>([&](int i) {
      if (m + i * STEP >= Shape::M) return;
      __align__(16) float v[V];
      *(Word*)v = *(const Word*)(tile + (m + i * STEP) * (Shape::N + 4) + n);
      result.work(row + m + i * STEP, cols, v, kept[i]);
    });
    ganc_each<TOGETHER>([&](int i) {
      if (m + i * STEP < Shape::M) result.keep(row + m + i * STEP, cols, kept[i]);
    });
  }
}

// A part of the sum, as it is: rows of WIDTH, a multiple of four.
template <int ROWS, int WIDTH> struct ganc_partial {
  enum { V = 4 };
  float* to;
  struct Cols {
    int n;
  };
  typedef float4 Kept;
  GANC_DEVICE Cols cols(int n) const { return {n}; }
  GANC_DEVICE void work(int, const Cols&, const float* v, Kept& k) const { k = *(const float4*)v; }
  GANC_DEVICE void keep(int m, const Cols& c, const Kept& k) const {
    if (m < ROWS && c.n < WIDTH) *(float4*)(to + (long long)m * WIDTH + c.n) = k;
  }
};

// Adds up the parts of the sum in a fixed order, V columns a unit: ACROSS units of a block lie side by side, SLICES
// threads each add some neighbouring parts of a unit, and the first of them the slices.
template <int ROWS, int WIDTH, int PARTS, int ACROSS, int SLICES, class Result>
GANC_DEVICE void ganc_add_parts(Result& result, const float* parts, long long stride, int unit, bool in) {
  enum { V = Result::V, EACH = (PARTS + SLICES - 1) / SLICES };
  typedef typename ganc_bytes<V * 4>::type Word;
  const int m = unit / (WIDTH / V), n = unit % (WIDTH / V) * V, slice = (int)threadIdx.x / ACROSS;
  __align__(16) float v[V] = {};
  if (in) {
    const int first = slice * EACH, last = min(first + EACH, PARTS);
    const float* from = parts + (long long)m * WIDTH + n + first * stride;
#pragma unroll 8
    for (int i = first; i < last; ++i, from += stride) {
      __align__(16) float x[V];
      *(Word*)x = *(const Word*)from;
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] += x[j];
    }
  }
  if constexpr (SLICES > 1) {
    extern __shared__ __align__(1024) unsigned char ganc_shared[];
    float* const held = (float*)ganc_shared + ((int)threadIdx.x % ACROSS) * V;
#pragma unroll
    for (int j = 0; j < V; ++j) held[slice * ACROSS * V + j] = v[j];
    __syncthreads();
    if (slice > 0 || !in) return;
    for (int s = 1; s < SLICES; ++s) {
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] += held[s * ACROSS * V + j];
    }
  } else if (!in) {
    return;
  }
  const typename Result::Cols cols = result.cols(n);
  typename Result::Kept kept;
  result.work(m, cols, v, kept);
  result.keep(m, cols, kept);
}

// An operand laid out row by row, each row padded with zeros to WIDTH: a unit is V rows' elements at one place of the sum.
template <int WIDTH, class S, class Operand>
GANC_DEVICE void ganc_pack(S* to, const Operand& from, int unit) {
  enum { V = Operand::V };
  const int row = unit / WIDTH * V, at = unit % WIDTH;
  __align__(16) S held[V];
  from.get(held, from.row(row), from.sum(at));
  ganc_each<V>([&](int j) { to[(row + j) * WIDTH + at] = held[j]; });
}
