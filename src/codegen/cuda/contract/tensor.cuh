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
// An f32 rounded to the ten bits of tf32, ties away from zero.
GANC_DEVICE unsigned ganc_tf32(unsigned f) {
  unsigned r;
  asm("cvt.rna.tf32.f32 %0,%1;" : "=r"(r) : "f"(__uint_as_float(f)));
  return r;
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
#else
#include "tensor.h" // the same for text that runs on the CPU
#endif
