// Words for tensor cores and asynchronous copies, as the PTX manual defines them, for text that runs on the CPU. The
// fragment layouts are written out as in the manual's figures: which lane holds which elements in which word.
#pragma once

// m16n8k16, 16-bit operands: rows and columns of a's, b's and c's elements by lane (group = lane / 4, q = lane % 4).
static inline int ganc_a16_row(int lane, int i) { return i % 4 < 2 ? lane / 4 : lane / 4 + 8; }
static inline int ganc_a16_col(int lane, int i) { return i < 4 ? lane % 4 * 2 + (i & 1) : lane % 4 * 2 + (i & 1) + 8; }
static inline int ganc_b16_row(int lane, int i) { return i < 2 ? lane % 4 * 2 + (i & 1) : lane % 4 * 2 + (i & 1) + 8; }
static inline int ganc_b16_col(int lane, int) { return lane / 4; }
// m16n8k8, tf32 operands.
static inline int ganc_a8_row(int lane, int i) { return i == 0 || i == 2 ? lane / 4 : lane / 4 + 8; }
static inline int ganc_a8_col(int lane, int i) { return i < 2 ? lane % 4 : lane % 4 + 4; }
static inline int ganc_b8_row(int lane, int i) { return i == 0 ? lane % 4 : lane % 4 + 4; }
static inline int ganc_b8_col(int lane, int) { return lane / 4; }
// The sum, of both.
static inline int ganc_c_row(int lane, int i) { return i < 2 ? lane / 4 : lane / 4 + 8; }
static inline int ganc_c_col(int lane, int i) { return lane % 4 * 2 + (i & 1); }

struct ganc_mma {
  const unsigned *a, *b;
  float* c;
};

static float ganc_tf32_value(unsigned bits) { return __uint_as_float(bits & 0xffffe000u); } // ten bits are looked at

// The product of whole matrices that 32 lanes hold, in f32.
template <int K, class A, class B, class At, class Bt> static void ganc_mma_lanes(shim::Thread* t, A a, B b, At at, Bt bt) {
  float x[16][K], y[K][8], z[16][8];
  for (int l = 0; l < 32; l++) {
    auto* m = (ganc_mma*)t[l].data;
    for (int i = 0; i < K / 2; i++) x[at(l, i, 0)][at(l, i, 1)] = a(m->a, i);
    for (int i = 0; i < K / 4; i++) y[bt(l, i, 0)][bt(l, i, 1)] = b(m->b, i);
    for (int i = 0; i < 4; i++) z[ganc_c_row(l, i)][ganc_c_col(l, i)] = m->c[i];
  }
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < K; k++)
      for (int j = 0; j < 8; j++) z[i][j] += x[i][k] * y[k][j];
  for (int l = 0; l < 32; l++) {
    auto* m = (ganc_mma*)t[l].data;
    for (int i = 0; i < 4; i++) m->c[i] = z[ganc_c_row(l, i)][ganc_c_col(l, i)];
  }
}
template <class F> static void ganc_mma_halves(float* c, const unsigned* a, const unsigned* b, int kind, F value) {
  ganc_mma m{a, b, c};
  shim::collective(kind, ~0u, &m, [=](shim::Thread* t, unsigned need) {
    if (need != ~0u) shim::fail("mma.sync with lanes missing (live mask %ld)", need);
    auto half = [=](const unsigned* w, int i) { return value((unsigned short)(w[i / 2] >> i % 2 * 16)); };
    ganc_mma_lanes<16>(t, half, half, [](int l, int i, int d) { return d ? ganc_a16_col(l, i) : ganc_a16_row(l, i); },
                       [](int l, int i, int d) { return d ? ganc_b16_col(l, i) : ganc_b16_row(l, i); });
  });
}
static void ganc_mma_bf16(float* c, const unsigned* a, const unsigned* b) {
  ganc_mma_halves(c, a, b, 21, [](unsigned short h) { return ganc_from_bf16(h); });
}
static void ganc_mma_f16(float* c, const unsigned* a, const unsigned* b) {
  ganc_mma_halves(c, a, b, 22, [](unsigned short h) { return ganc_from_f16(h); });
}
static void ganc_mma_tf32(float* c, const unsigned* a, const unsigned* b) {
  ganc_mma m{a, b, c};
  shim::collective(23, ~0u, &m, [](shim::Thread* t, unsigned need) {
    if (need != ~0u) shim::fail("mma.sync with lanes missing (live mask %ld)", need);
    auto word = [](const unsigned* w, int i) { return ganc_tf32_value(w[i]); };
    ganc_mma_lanes<8>(t, word, word, [](int l, int i, int d) { return d ? ganc_a8_col(l, i) : ganc_a8_row(l, i); },
                      [](int l, int i, int d) { return d ? ganc_b8_col(l, i) : ganc_b8_row(l, i); });
  });
}

struct ganc_rows {
  unsigned* r;
  const void* row;
};
// ldmatrix x4: word i of lane l is elements 2 (l % 4) and the next of row l / 4 of matrix i; transposed: of column.
template <bool TURNED> static void ganc_matrices_of(unsigned* r, const void* row, int kind) {
  ganc_rows d{r, row};
  shim::collective(kind, ~0u, &d, [](shim::Thread* t, unsigned need) {
    if (need != ~0u) shim::fail("ldmatrix with lanes missing (live mask %ld)", need);
    for (int l = 0; l < 32; l++)
      for (int i = 0; i < 4; i++) {
        unsigned word = 0;
        for (int h = 0; h < 2; h++) {
          const int row = TURNED ? l % 4 * 2 + h : l / 4, col = TURNED ? l / 4 : l % 4 * 2 + h;
          const char* p = (const char*)((ganc_rows*)t[i * 8 + row].data)->row;
          if ((uintptr_t)p & 15) shim::fail("ldmatrix row of lane %ld is not 16-byte aligned", i * 8 + row);
          unsigned short e;
          memcpy(&e, p + 2 * col, 2);
          word |= (unsigned)e << 16 * h;
        }
        ((ganc_rows*)t[l].data)->r[i] = word;
      }
  });
}
static void ganc_matrices(unsigned* r, const void* row) { ganc_matrices_of<false>(r, row, 24); }
static void ganc_matrices_turned(unsigned* r, const void* row) { ganc_matrices_of<true>(r, row, 25); }

// cp.async: there after a wait, and not before.
template <int BYTES> static void ganc_copy(void* to, const void* from, bool in) {
  shim::Thread* t = shim::cur;
  if (((uintptr_t)to | (uintptr_t)from) & (BYTES - 1)) shim::fail("cp.async of %ld bytes is not aligned", BYTES);
  if (!in) {
    // A checker of memory takes the address as read even where no byte of it is.
    unsigned char bytes[BYTES], unwritten[BYTES];
    memcpy(bytes, from, BYTES), memset(unwritten, 0xFF, BYTES);
    if (!memcmp(bytes, unwritten, BYTES)) shim::fail("cp.async of no bytes from where nobody has written");
  }
  if (t->ncp == t->ccp) {
    t->ccp = t->ccp ? 2 * t->ccp : 16;
    t->cp = (shim::Copy*)realloc((void*)t->cp, t->ccp * sizeof(shim::Copy));
  }
  t->cp[t->ncp++] = {to, from, BYTES, in ? BYTES : 0, t->cp_group};
}
static void ganc_copy_commit() { shim::cur->cp_group++; }
template <int GROUPS> static void ganc_copy_wait() { shim::deliver(shim::cur, GROUPS); }

// wgmma from tiles in shared memory: descriptors of 128-byte swizzled tiles. A warp makes its 16 rows of the 64. Products
// are done when they are issued, which is one of the orders that hardware may take.
struct ganc_group {
  float* c;
  unsigned long long a, b;
};
template <bool TURNED, class T, class F> static float ganc_described(unsigned long long d, int mn, int k, F value) {
  auto field = [=](int at) { return (unsigned)(d >> at & 0x3fff) << 4; };
  if (d >> 62 != 1) shim::fail("a matrix descriptor without 128-byte swizzle");
  unsigned at = field(0);
  if (TURNED)
    at += mn / 64 * field(16) + mn % 64 * sizeof(T) + k / 8 * field(32) + k % 8 * 128;
  else
    at += mn / 8 * field(32) + mn % 8 * 128 + k * sizeof(T);
  at ^= (at >> 7 & 7) << 4;
  T e;
  memcpy(&e, shim::blk->dyn + at, sizeof e);
  return value(e);
}
template <class T, int N, int TURNED_A, int TURNED_B, class F>
static void ganc_group_mma(float* c, unsigned long long a, unsigned long long b, int kind, F value) {
  static_assert(sizeof(T) == 2 || (!TURNED_A && !TURNED_B), "only tiles of 16-bit elements may be turned");
  ganc_group g{c, a, b};
  shim::collective(kind, ~0u, &g, [=](shim::Thread* t, unsigned need) {
    if (need != ~0u) shim::fail("wgmma with lanes missing (live mask %ld)", need);
    enum { K = 32 / sizeof(T) };
    static thread_local float x[16][K], y[K][N];
    auto* first = (ganc_group*)t[0].data;
    const int row = t[0].warp % 4 * 16;
    for (int i = 0; i < 16; i++)
      for (int k = 0; k < K; k++) x[i][k] = ganc_described<TURNED_A, T>(first->a, row + i, k, value);
    for (int j = 0; j < N; j++)
      for (int k = 0; k < K; k++) y[k][j] = ganc_described<TURNED_B, T>(first->b, j, k, value);
    for (int l = 0; l < 32; l++) {
      auto* m = (ganc_group*)t[l].data;
      if (m->a != first->a || m->b != first->b) shim::fail("wgmma: lane %ld has descriptors of its own", l);
      for (int j = 0; j < N / 8; j++)
        for (int i = 0; i < 4; i++) {
          float& sum = m->c[4 * j + i];
          for (int k = 0; k < K; k++) sum += x[ganc_c_row(l, i)][k] * y[k][8 * j + ganc_c_col(l, i)];
        }
    }
  });
}
template <int N, int TURNED_A, int TURNED_B>
static void ganc_group_mma_bf16(float* c, unsigned long long a, unsigned long long b) {
  auto value = [](unsigned short h) { return ganc_from_bf16(h); };
  ganc_group_mma<unsigned short, N, TURNED_A, TURNED_B>(c, a, b, 31, value);
}
template <int N, int TURNED_A, int TURNED_B>
static void ganc_group_mma_f16(float* c, unsigned long long a, unsigned long long b) {
  auto value = [](unsigned short h) { return ganc_from_f16(h); };
  ganc_group_mma<unsigned short, N, TURNED_A, TURNED_B>(c, a, b, 32, value);
}
template <int N, int TURNED_A, int TURNED_B>
static void ganc_group_mma_tf32(float* c, unsigned long long a, unsigned long long b) {
  ganc_group_mma<unsigned, N, TURNED_A, TURNED_B>(c, a, b, 33, [](unsigned w) { return ganc_tf32_value(w); });
}
static void ganc_group_begin() {}
static void ganc_group_commit() {}
template <int SETS> static void ganc_group_wait() {}
static void ganc_group_fence() {}
