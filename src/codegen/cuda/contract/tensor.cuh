// Words for tensor cores and asynchronous copies. What a lane holds of a fragment is in the PTX manual ("Matrix
// fragments for mma.m16n8k16", "… mma.m16n8k8", "ldmatrix").
#ifndef __CUDA_SHIM__
// c += a b for a 16x16 and a 16x8 matrix of bf16.
GANC_DEVICE void ganc_mma_bf16(float* c, const unsigned* a, const unsigned* b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// The same of f16.
GANC_DEVICE void ganc_mma_f16(float* c, const unsigned* a, const unsigned* b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// c += a b for a 16x8 and an 8x8 matrix of tf32.
GANC_DEVICE void ganc_mma_tf32(float* c, const unsigned* a, const unsigned* b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8.
GANC_DEVICE void ganc_matrices(unsigned* r, const void* row) {
  const unsigned at = (unsigned)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
// The same, each transposed.
GANC_DEVICE void ganc_matrices_turned(unsigned* r, const void* row) {
  const unsigned at = (unsigned)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
// 4, 8 or 16 bytes from device to shared memory, zeros if not `in`; there after a wait.
template <int BYTES> GANC_DEVICE void ganc_copy(void* to, const void* from, bool in) {
  const unsigned at = (unsigned)__cvta_generic_to_shared(to);
  const int bytes = in ? BYTES : 0;
  if constexpr (BYTES == 16)
    asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0],[%1],%3,%2;" ::"r"(at), "l"(from), "r"(bytes), "n"(BYTES) : "memory");
}
// Closes a group of copies.
GANC_DEVICE void ganc_copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most this many of the latest groups are on their way.
template <int GROUPS> GANC_DEVICE void ganc_copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
}
// Products of a group of 128 threads (sm_90a), from tiles in shared memory that lie in 128-byte rows, their 16-byte units
// swizzled. c += a b for a 64xK and a KxN matrix, K elements being 32 bytes; a lane holds of each 64x8 of c what it holds
// of an mma's sum, a warp its 16 rows. A tile that is TURNED lies along its rows or columns, else along the sum, as tiles
// of tf32 must. In the order of their issue, done after a wait (PTX manual, "Asynchronous warpgroup level matrix
// instructions").
#define GANC_4(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define GANC_16(i) GANC_4(i), GANC_4(i + 4), GANC_4(i + 8), GANC_4(i + 12)
#define GANC_32(i) GANC_16(i), GANC_16(i + 16)
#define GANC_64(i) GANC_32(i), GANC_32(i + 32)
#define GANC_GROUP_MMA(NAME, K, TYPE, TURNS_64, TURNS_128)                                                             \
template <int N, int TURNED_A, int TURNED_B>                                                                           \
GANC_DEVICE void NAME(float* c, unsigned long long a, unsigned long long b) {                                          \
  if constexpr (N == 64)                                                                                               \
    asm volatile("{.reg .pred p; setp.ne.b32 p,%34,0; "                                                                \
                 "wgmma.mma_async.sync.aligned.m64n64k" K ".f32." TYPE "." TYPE " {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31},%32,%33,p,1,1" TURNS_64 ";}" \
                 : GANC_32(0) : "l"(a), "l"(b), "r"(1), "n"(TURNED_A), "n"(TURNED_B));                                 \
  if constexpr (N == 128)                                                                                              \
    asm volatile("{.reg .pred p; setp.ne.b32 p,%66,0; "                                                                \
                 "wgmma.mma_async.sync.aligned.m64n128k" K ".f32." TYPE "." TYPE " {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63},%64,%65,p,1,1" TURNS_128 ";}" \
                 : GANC_64(0) : "l"(a), "l"(b), "r"(1), "n"(TURNED_A), "n"(TURNED_B));                                 \
}
GANC_GROUP_MMA(ganc_group_mma_bf16, "16", "bf16", ",%35,%36", ",%67,%68")
GANC_GROUP_MMA(ganc_group_mma_f16, "16", "f16", ",%35,%36", ",%67,%68")
GANC_GROUP_MMA(ganc_group_mma_tf32, "8", "tf32", "", "")
// Registers of sums are ready for products that follow.
GANC_DEVICE void ganc_group_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// Closes a set of products.
GANC_DEVICE void ganc_group_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits until at most this many of the latest sets are under way.
template <int SETS> GANC_DEVICE void ganc_group_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(SETS) : "memory"); }
// What this thread wrote to shared memory is there for products of groups, after a barrier.
GANC_DEVICE void ganc_group_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
#else
#include "tensor.h" // the same for text that runs on the CPU
#endif
// How a tile of swizzled 128-byte rows lies in shared memory: where it begins (a multiple of 1024 bytes, or 32 a step of
// the sum further), bytes from eight rows to the next, and, if it is turned, from 64 rows or columns to the next (PTX
// manual, "Matrix-descriptor").
GANC_DEVICE unsigned long long ganc_lies(const void* at, int eight, int across) {
  const unsigned start = (unsigned)__cvta_generic_to_shared(at);
  return (unsigned long long)(start >> 4 & 0x3fff) | (unsigned long long)(across >> 4) << 16 |
         (unsigned long long)(eight >> 4) << 32 | 1ull << 62;
}
// The same so many units of 16 bytes further on: places have 14 bits, of a word with others that nothing is carried into.
GANC_DEVICE unsigned long long ganc_further(unsigned long long lies, int units) {
  return lies & 0xffffffff00000000ull | (unsigned)lies + (unsigned)units;
}
