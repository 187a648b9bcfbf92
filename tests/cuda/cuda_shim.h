// cuda_shim.h: runs the unmodified text of a CUDA C++ kernel on the CPU (g++, C++17, Linux).
// One CUDA thread = one fiber; one block at a time per OS thread. For tests, not for speed.
//
//   g++ -std=c++17 -O2 -shared -fPIC -fno-extern-tls-init -mtls-dialect=gnu2 -Wno-unknown-pragmas
//       -DSHIM_SOURCE='"gen.cu"' -include cuda_shim.h tail.cpp -o gen.so
//   tail.cpp:   #include SHIM_SOURCE          // kernel text, as given to NVRTC
//               SHIM_DYNAMIC_SHARED(smem)     // once per name used in `extern __shared__ T smem[];`
//               SHIM_KERNEL(my_kernel)        // exports int shim_launch_my_kernel(grid, block, smem, args, opt)
// `args` is exactly cuLaunchKernel's kernelParams. The return value is 0, or 1 with shim_error() set.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <link.h>
#include <sched.h>
#include <sys/mman.h>
#include <pthread.h>

#define __CUDA_SHIM__ 1
#ifndef SHIM_STACK
#define SHIM_STACK 65536 // bytes per fiber
#endif
#ifndef SHIM_SMEM_MAX
#define SHIM_SMEM_MAX 232448 // 227 KiB, sm_90's opt-in limit
#endif

// ---------------------------------------------------------------- vector types
struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {} };
#define SHIM_VEC(T, N)                                                                               \
  struct alignas(2 * sizeof(T)) N##2 { T x, y; };                                                    \
  struct N##3_ { T x, y, z; };                                                                       \
  struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) N##4 { T x, y, z, w; };                    \
  static inline N##2 make_##N##2(T x, T y) { return {x, y}; }                                        \
  static inline N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
SHIM_VEC(float, float) SHIM_VEC(int, int) SHIM_VEC(unsigned, uint) SHIM_VEC(double, double)
SHIM_VEC(unsigned short, ushort) SHIM_VEC(unsigned char, uchar)

namespace shim {
// ---------------------------------------------------------------- fibers
struct Fiber { void* sp; Fiber* free_next; char* stack; };
extern "C" void shim_switch(void** save, void* load);
#if defined(__x86_64__)
asm(".text\n.local shim_switch\n.type shim_switch,@function\nshim_switch:\n"
    " pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
    " movq %rsp,(%rdi)\n movq %rsi,%rsp\n"
    " popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n.size shim_switch,.-shim_switch\n");
static inline void* fiber_init(char* top, void (*fn)()) {
  void** s = (void**)((uintptr_t)top & ~15ull);
  *--s = nullptr; *--s = (void*)fn; // `ret` target; rsp % 16 == 8 at entry, as after a call
  for (int i = 0; i < 6; i++) *--s = nullptr;
  return s;
}
#elif defined(__aarch64__)
asm(".text\n.local shim_switch\n.type shim_switch,%function\nshim_switch:\n sub sp,sp,#160\n"
    " stp x19,x20,[sp]\n stp x21,x22,[sp,#16]\n stp x23,x24,[sp,#32]\n stp x25,x26,[sp,#48]\n stp x27,x28,[sp,#64]\n stp x29,x30,[sp,#80]\n"
    " stp d8,d9,[sp,#96]\n stp d10,d11,[sp,#112]\n stp d12,d13,[sp,#128]\n stp d14,d15,[sp,#144]\n"
    " mov x9,sp\n str x9,[x0]\n mov sp,x1\n"
    " ldp x19,x20,[sp]\n ldp x21,x22,[sp,#16]\n ldp x23,x24,[sp,#32]\n ldp x25,x26,[sp,#48]\n ldp x27,x28,[sp,#64]\n ldp x29,x30,[sp,#80]\n"
    " ldp d8,d9,[sp,#96]\n ldp d10,d11,[sp,#112]\n ldp d12,d13,[sp,#128]\n ldp d14,d15,[sp,#144]\n add sp,sp,#160\n ret\n");
static inline void* fiber_init(char* top, void (*fn)()) { // not run by the author
  char* s = (char*)((uintptr_t)top & ~15ull) - 160; memset(s, 0, 160); *(void**)(s + 88) = (void*)fn; return s;
}
#else
#error "cuda_shim: add shim_switch for this processor"
#endif

// ---------------------------------------------------------------- state of the block being run
struct Copy { void* d; const void* s; int n, src_n; unsigned group; };
struct Thread {
  uint3 tid; int lane, warp, index; bool started, done; Fiber* fib;
  int kind; unsigned mask; void* data; // pending warp or block operation
  Copy* cp; int ncp, ccp; unsigned cp_group; // cp.async emulation: delivered by wait_group, not before
};
struct Warp { unsigned live, arrived, exist; Thread* t; };
struct Options { unsigned threads, seed, cooperative, poison; }; // OS threads; 0 = fixed order, else random order
struct Launch { void (*tramp)(void**); void** args; dim3 grid, block; size_t smem; Options opt; char* dyn; volatile long next; long nblocks; pthread_barrier_t gbar; volatile int failed; };
struct Block {
  Launch* l; uint3 bid; int n, live, next, waiting; int bar_line; Thread* t; Warp* w; int* order; int* ready; int nready;
  Fiber main, *free_list, *all; int nall; bool failed; unsigned rng; char* dyn;
};
static thread_local Thread* cur;
static thread_local Block* blk;
static char err[512];
static inline unsigned rnd(Block* b) { unsigned x = b->rng; x ^= x << 13; x ^= x >> 17; x ^= x << 5; return b->rng = x; }

__attribute__((noinline, cold)) static void fail(const char* fmt, long a = 0, long b = 0, long c = 0) {
  if (!__sync_lock_test_and_set(&blk->l->failed, 1)) {
    int k = snprintf(err, sizeof err, "block (%u,%u,%u): ", blk->bid.x, blk->bid.y, blk->bid.z);
    snprintf(err + k, sizeof err - k, fmt, a, b, c);
  }
  blk->failed = true; // leave the block for good: no fiber of it runs again
  void* dummy; shim_switch(&dummy, blk->main.sp); __builtin_unreachable();
}
static void fiber_main();
static Fiber* fiber_get() {
  Block* b = blk; Fiber* f = b->free_list;
  if (f) { b->free_list = f->free_next; return f; }
  f = &b->all[b->nall++];
  if (!f->stack) f->stack = (char*)mmap(nullptr, SHIM_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  size_t colour = (size_t)(f - b->all) * 320 & 0x3fff; // else all stacks' hot lines fall on the same cache sets
  f->sp = fiber_init(f->stack + SHIM_STACK - colour, fiber_main);
  return f;
}
static inline Thread* pick() { // next thread to run: released ones first, then threads not yet started
  Block* b = blk;
  if (b->nready) {
    if (b->rng) { int i = rnd(b) % b->nready, j = b->nready - 1, x = b->ready[i]; b->ready[i] = b->ready[j]; b->ready[j] = x; }
    return &b->t[b->ready[--b->nready]];
  }
  return b->next < b->n ? &b->t[b->order[b->next++]] : nullptr;
}
__attribute__((noinline)) static void park() { // the current thread waits: run another one
  Thread* me = cur; Fiber* mine = me->fib; Thread* t = pick();
  if (!t) fail("deadlock: %ld threads wait at __syncthreads, %ld live, thread %ld waits for others that wait elsewhere", blk->waiting, blk->live, me->index);
  if (t == me) return;
  if (!t->started) { t->started = true; t->fib = fiber_get(); }
  cur = t; shim_switch(&mine->sp, t->fib->sp);
}
static inline void release(Thread* t) { blk->ready[blk->nready++] = t->index; }
static void release_barrier() {
  Block* b = blk; b->waiting = 0;
  for (int i = b->n - 1; i >= 0; i--) if (!b->t[i].done && b->t[i].kind == -1 && &b->t[i] != cur) release(&b->t[i]);
  for (int i = 0; i < b->n; i++) b->t[i].kind = 0;
}
// warp operation: each lane of `mask` brings `data`; the last one to come does the work for all
template <class F> static inline void collective(int kind, unsigned mask, void* data, F work) {
  Thread* me = cur; Warp& w = blk->w[me->warp]; unsigned bit = 1u << me->lane;
  if (!(mask & bit)) fail("thread %ld calls a warp operation with a mask that lacks its own lane (line/kind %ld)", me->index, kind);
  if (mask & w.exist & ~w.live) fail("thread %ld calls a warp operation whose mask names a lane that has returned", me->index);
  me->kind = kind; me->mask = mask; me->data = data; w.arrived |= bit;
  unsigned need = mask & w.live;
  if ((w.arrived & need) != need) { park(); return; }
  for (int l = 0; l < 32; l++) if (need >> l & 1 && (w.t[l].kind != kind || w.t[l].mask != mask))
    fail("divergent warp operation in warp %ld: lane %ld is at another operation or mask (kind %ld)", me->warp, l, w.t[l].kind);
  work(w.t, need); w.arrived &= ~need;
  for (int l = 31; l >= 0; l--) if (need >> l & 1) { w.t[l].kind = 0; if (l != me->lane) release(&w.t[l]); }
}
static inline void barrier(int line) {
  Block* b = blk;
  if (b->waiting && b->bar_line != line) fail("divergent __syncthreads: thread %ld is at line %ld, others at line %ld", cur->index, line, b->bar_line);
  b->bar_line = line; cur->kind = -1;
  if (++b->waiting == b->live) release_barrier(); else park();
}
static void deliver(Thread* t, unsigned keep) { // cp.async.wait_group
  int k = 0;
  for (int i = 0; i < t->ncp; i++) {
    Copy& c = t->cp[i];
    if ((int)(t->cp_group - c.group) > (int)keep) { memcpy(c.d, c.s, c.src_n); memset((char*)c.d + c.src_n, 0, c.n - c.src_n); } else t->cp[k++] = c;
  }
  t->ncp = k;
}
static void finish() { // the current thread's body has returned
  Block* b = blk; Thread* me = cur; Warp& w = b->w[me->warp];
  if (me->ncp) fail("thread %ld ends with %ld cp.async copies never waited for", me->index, me->ncp);
  me->done = true; w.live &= ~(1u << me->lane); b->live--;
  if (b->waiting && b->waiting == b->live) release_barrier();
}
static void fiber_main() {
  for (;;) {
    Fiber* self = cur->fib; cur->started = true;
    blk->l->tramp(blk->l->args);
    finish();
    Thread* t = pick();
    if (!t) {
      if (blk->live) fail("deadlock: %ld live threads wait for threads that have returned or wait elsewhere", blk->live);
      shim_switch(&self->sp, blk->main.sp); continue;
    }
    if (!t->started) { t->fib = self; cur = t; continue; } // no switch at all for kernels that never wait
    self->free_next = blk->free_list; blk->free_list = self;
    cur = t; shim_switch(&self->sp, t->fib->sp);
  }
}
// Poison for `__shared__ T x[N]`: these are the module's thread-locals, so fill its TLS block and put the shim's own back.
struct Tls { char* base; size_t size; const void* self; };
static int find_tls(struct dl_phdr_info* i, size_t, void* out) {
  Tls* r = (Tls*)out; bool mine = false; size_t n = 0;
  for (int k = 0; k < i->dlpi_phnum; k++) {
    auto& p = i->dlpi_phdr[k]; uintptr_t a = i->dlpi_addr + p.p_vaddr;
    if (p.p_type == PT_LOAD && (uintptr_t)r->self >= a && (uintptr_t)r->self < a + p.p_memsz) mine = true;
    if (p.p_type == PT_TLS) n = p.p_memsz;
  }
  if (!mine || !n) return mine;
  r->base = (char*)i->dlpi_tls_data; r->size = n; return 1;
}
static void poison_static(Block* b);
static void run_block(Block* b, long id) {
  Launch* l = b->l;
  b->bid = {(unsigned)(id % l->grid.x), (unsigned)(id / l->grid.x % l->grid.y), (unsigned)(id / l->grid.x / l->grid.y)};
  b->live = b->n; b->next = b->waiting = b->nready = 0; b->free_list = nullptr; b->nall = 0;
  for (int i = 0; i < b->n; i++) { Thread& t = b->t[i]; t.started = t.done = false; t.kind = 0; t.ncp = 0; t.cp_group = 0; }
  for (int i = 0; i < b->n; i += 32) { int k = b->n - i < 32 ? b->n - i : 32; unsigned m = k == 32 ? ~0u : (1u << k) - 1; b->w[i / 32] = {m, 0, m, &b->t[i]}; }
  if (l->opt.seed) { b->rng = l->opt.seed * 2654435761u + (unsigned)id * 40503u + 1; for (int i = b->n - 1; i > 0; i--) { int j = rnd(b) % (i + 1), x = b->order[i]; b->order[i] = b->order[j]; b->order[j] = x; } }
  if (l->opt.poison) poison_static(b);
  if (b->dyn && l->opt.poison) { memset(b->dyn, 0xFF, l->smem); memset(b->dyn + l->smem, 0xA5, 256); } // NaN, and a fence behind the last byte
  Thread* t = pick(); t->fib = fiber_get(); cur = t;
  shim_switch(&b->main.sp, t->fib->sp);
  if (b->failed) return;
  if (b->dyn && l->opt.poison) for (int i = 0; i < 256; i++) if ((unsigned char)b->dyn[l->smem + i] != 0xA5) {
    if (!__sync_lock_test_and_set(&l->failed, 1)) snprintf(err, sizeof err, "block (%u,%u,%u): write past the %zu bytes of dynamic shared memory (at +%d)", b->bid.x, b->bid.y, b->bid.z, l->smem, i);
    b->failed = true; return;
  }
}
static char* dyn_base(); // defined by SHIM_DYNAMIC_SHARED, else null
static thread_local Block pool; // kept between launches: stacks are reused
static thread_local Tls tls;
static void poison_static(Block* b) {
  if (!tls.size) { tls.self = (const void*)&find_tls; dl_iterate_phdr(find_tls, &tls); if (!tls.size) return; }
  Tls t = tls; Thread* c = cur; Block* k = blk; Block p = pool;
  char *e = t.base + t.size, *d = b->dyn;
  asm volatile("" ::"r"(&tls), "r"(&cur), "r"(&blk), "r"(&pool) : "memory"); // the compiler must see that memset reaches them
  if (d) { memset(t.base, 0xFF, d - t.base); d += SHIM_SMEM_MAX + 1024; memset(d, 0xFF, e - d); } else memset(t.base, 0xFF, t.size);
  asm volatile("" ::"r"(&tls), "r"(&cur), "r"(&blk), "r"(&pool) : "memory");
  tls = t; cur = c; blk = k; memcpy((void*)&pool, &p, sizeof p);
}
// Which block runs as the i-th one: with a seed they take turns in another order, which is one as well (the step has no
// divisor in common with their number), so that a block that reads what another one of its launch writes is found out.
static long turn(const Launch* l, long i) {
  if (!l->opt.seed) return i;
  unsigned long n = (unsigned long)l->nblocks, step = l->opt.seed * 2654435761u % n;
  for (;; step++) {
    unsigned long a = step, b = n;
    while (b) { unsigned long r = a % b; a = b; b = r; }
    if (a == 1) break;
  }
  return (long)(((unsigned long)i * step + l->opt.seed) % n);
}
static void* worker(void* p) {
  Launch* l = (Launch*)p; Block* b = &pool; int n = l->block.x * l->block.y * l->block.z;
  if (b->n < n) {
    for (int i = 0; i < b->n; i++) free(b->t[i].cp);
    for (int i = 0; i < b->n; i++) if (b->all[i].stack) munmap(b->all[i].stack, SHIM_STACK);
    free(b->t); free(b->w); free(b->order); free(b->ready); free(b->all);
    b->t = (Thread*)calloc(n, sizeof(Thread)); b->w = (Warp*)calloc((n + 31) / 32, sizeof(Warp)); b->all = (Fiber*)calloc(n, sizeof(Fiber));
    b->order = (int*)malloc(n * sizeof(int)); b->ready = (int*)malloc(n * sizeof(int));
  }
  int cap = b->n > n ? b->n : n; b->l = l; b->n = n; b->failed = false; b->rng = 0; b->dyn = dyn_base(); blk = b;
  for (int i = 0; i < n; i++) { Thread& t = b->t[i]; t.index = i; t.lane = i & 31; t.warp = i >> 5; b->order[i] = i;
    t.tid = {i % l->block.x, i / l->block.x % l->block.y, i / l->block.x / l->block.y}; }
  for (;;) {
    long id = __sync_fetch_and_add(&l->next, 1);
    if (id >= l->nblocks || l->failed) break;
    run_block(b, turn(l, id));
    if (b->failed) break;
  }
  b->n = cap; return nullptr;
}
static void release_pool() { Block* b = &pool; for (int i = 0; i < b->n; i++) { if (b->all[i].stack) munmap(b->all[i].stack, SHIM_STACK); free(b->t[i].cp); } free(b->t); free(b->w); free(b->order); free(b->ready); free(b->all); memset((void*)b, 0, sizeof *b); }
static void* worker_thread(void* p) { worker(p); release_pool(); return nullptr; }
static int launch(void (*tramp)(void**), const unsigned* g, const unsigned* bl, size_t smem, void** args, const Options* o) {
  Launch l{}; l.tramp = tramp; l.args = args; l.grid = dim3(g[0], g[1], g[2]); l.block = dim3(bl[0], bl[1], bl[2]); l.smem = smem;
  l.opt = o ? *o : Options{1, 0, 0, 1}; l.nblocks = (long)g[0] * g[1] * g[2]; err[0] = 0;
  long n = (long)bl[0] * bl[1] * bl[2];
  if (n < 1 || n > 1024) { snprintf(err, sizeof err, "block of %ld threads", n); return 1; }
  if (smem + 256 > SHIM_SMEM_MAX + 256) { snprintf(err, sizeof err, "%zu bytes of dynamic shared memory", smem); return 1; }
  long k = l.opt.cooperative ? l.nblocks : l.opt.threads > 1 ? (long)l.opt.threads : 1; // grid sync: one OS thread per block
  if (k > 256) { snprintf(err, sizeof err, "cooperative launch of %ld blocks: at most 256 here", k); return 1; }
  if (k == 1) { pthread_barrier_init(&l.gbar, nullptr, 1); worker(&l); }
  else {
    pthread_barrier_init(&l.gbar, nullptr, (unsigned)k);
    pthread_t th[256]; for (long i = 0; i < k; i++) pthread_create(&th[i], nullptr, worker_thread, &l);
    for (long i = 0; i < k; i++) pthread_join(th[i], nullptr);
  }
  return l.failed;
}
template <size_t... I> struct Seq {};
template <size_t N, size_t... I> struct Mk : Mk<N - 1, N - 1, I...> {};
template <size_t... I> struct Mk<0, I...> { typedef Seq<I...> type; };
template <class T> struct Plain { typedef T type; };
template <class T> struct Plain<const T> { typedef T type; };
template <class... A, size_t... I> static inline void call(void (*f)(A...), void** a, Seq<I...>) { f(*(typename Plain<A>::type*)a[I]...); }
template <class... A> static inline void call(void (*f)(A...), void** a) { call(f, a, typename Mk<sizeof...(A)>::type()); }
} // namespace shim

#define SHIM_KERNEL(name)                                                                                       \
  static void shim_tramp_##name(void** a) { shim::call(name, a); }                                              \
  extern "C" __attribute__((visibility("default"))) int shim_launch_##name(const unsigned* g, const unsigned* b, size_t smem, void** args, const shim::Options* o) { return shim::launch(shim_tramp_##name, g, b, smem, args, o); }
// defines the thread-local array behind `extern __shared__ T name[];` whatever T is
#define SHIM_STR2(x) #x
#define SHIM_STR(x) SHIM_STR2(x)
#define SHIM_DYNAMIC_SHARED(name)                                                                               \
  asm(".section .tbss,\"awT\",@nobits\n.globl " #name "\n.hidden " #name "\n.balign 1024\n.type " #name ",@object\n" #name ": .zero " SHIM_STR(SHIM_SMEM_MAX) "+1024\n.size " #name ",.-" #name "\n.text\n"); \
  namespace shim_dyn { extern thread_local char b_[] __asm__(#name); }                                          \
  char* shim::dyn_base() { return shim_dyn::b_; }
#define SHIM_NO_DYNAMIC_SHARED char* shim::dyn_base() { return nullptr; }
extern "C" __attribute__((visibility("default"))) const char* shim_error() { return shim::err; }

// ---------------------------------------------------------------- language
#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__ thread_local // block scope: implicitly static; also legal after `extern`
#define __constant__ static
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#define threadIdx (shim::cur->tid)
#define blockIdx (shim::blk->bid)
#define blockDim (shim::blk->l->block)
#define gridDim (shim::blk->l->grid)
#define warpSize 32
#define __syncthreads() shim::barrier(__LINE__)
#define __syncwarp(...) shim::syncwarp(__LINE__, ##__VA_ARGS__)
static inline void __threadfence() { __sync_synchronize(); }
static inline void __threadfence_block() {}
static inline void __trap() { shim::fail("__trap() by thread %ld", shim::cur->index); }
#define __nanosleep(n) sched_yield()

namespace shim {
static inline void syncwarp(int line, unsigned mask = ~0u) { collective(line << 8 | 1, mask, nullptr, [](Thread*, unsigned) {}); }
static inline void grid_sync() { // cooperative launch only
  barrier(-2);
  if (cur->index == 0) pthread_barrier_wait(&blk->l->gbar);
  barrier(-3);
}
template <class T> struct Shfl { T v, out; int src; };
template <class T> static inline T shfl(int kind, unsigned mask, T v, int src) {
  Shfl<T> s{v, v, src};
  collective(kind, mask, &s, [](Thread* t, unsigned need) {
    for (int l = 0; l < 32; l++) if (need >> l & 1) { auto* d = (Shfl<T>*)t[l].data; if (d->src >= 0 && need >> d->src & 1) d->out = ((Shfl<T>*)t[d->src].data)->v; }
  });
  return s.out;
}
template <class T> static inline T shfl_idx(unsigned m, T v, int i, int w) { int l = cur->lane; return shfl(2, m, v, (l & ~(w - 1)) | (i & (w - 1))); }
template <class T> static inline T shfl_xor(unsigned m, T v, int x, int w) { int l = cur->lane, s = l ^ x; return shfl(3, m, v, s >= (l & ~(w - 1)) + w ? l : s); }
template <class T> static inline T shfl_down(unsigned m, T v, int d, int w) { int l = cur->lane; return shfl(4, m, v, (l & (w - 1)) + d < w ? l + d : l); }
template <class T> static inline T shfl_up(unsigned m, T v, int d, int w) { int l = cur->lane; return shfl(5, m, v, (l & (w - 1)) >= d ? l - d : l); }
static inline unsigned ballot(unsigned mask, bool p) {
  unsigned v[2] = {p, 0};
  collective(6, mask, v, [](Thread* t, unsigned need) {
    unsigned r = 0; for (int l = 0; l < 32; l++) if (need >> l & 1 && ((unsigned*)t[l].data)[0]) r |= 1u << l;
    for (int l = 0; l < 32; l++) if (need >> l & 1) ((unsigned*)t[l].data)[1] = r;
  });
  return v[1];
}
// block-wide votes
static thread_local int vote_acc;
static inline int vote(int line, int p, int how) { // 0 count, 1 and, 2 or
  barrier(line << 2); if (cur->index == 0) vote_acc = 0; barrier(line << 2 | 1); vote_acc += !!p; barrier(line << 2 | 2);
  int v = vote_acc, n = blk->n; barrier(line << 2 | 3); return how == 0 ? v : how == 1 ? v == n : v > 0;
}
} // namespace shim
#define __syncthreads_count(p) shim::vote(__LINE__, p, 0)
#define __syncthreads_and(p) shim::vote(__LINE__, p, 1)
#define __syncthreads_or(p) shim::vote(__LINE__, p, 2)
template <class T> static inline T __shfl_sync(unsigned m, T v, int i, int w = 32) { return shim::shfl_idx(m, v, i, w); }
template <class T> static inline T __shfl_xor_sync(unsigned m, T v, int x, int w = 32) { return shim::shfl_xor(m, v, x, w); }
template <class T> static inline T __shfl_down_sync(unsigned m, T v, unsigned d, int w = 32) { return shim::shfl_down(m, v, (int)d, w); }
template <class T> static inline T __shfl_up_sync(unsigned m, T v, unsigned d, int w = 32) { return shim::shfl_up(m, v, (int)d, w); }
static inline unsigned __ballot_sync(unsigned m, int p) { return shim::ballot(m, p); }
static inline int __any_sync(unsigned m, int p) { return shim::ballot(m, p) != 0; }
static inline int __all_sync(unsigned m, int p) { return shim::ballot(m, !p) == 0; }
static inline unsigned __activemask() { return shim::blk->w[shim::cur->warp].live; }

// ---------------------------------------------------------------- atomics (true ones: blocks may run on several OS threads)
template <class T, class F> static inline T shim_rmw(T* p, F f) {
  T o, n; __atomic_load(p, &o, __ATOMIC_RELAXED);
  do { n = f(o); } while (!__atomic_compare_exchange(p, &o, &n, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return o;
}
template <class T> static inline T atomicAdd(T* p, T v) { return shim_rmw(p, [=](T o) { return (T)(o + v); }); }
static inline float atomicAdd(float* p, double v) { return atomicAdd(p, (float)v); }
static inline unsigned atomicAdd(unsigned* p, int v) { return atomicAdd(p, (unsigned)v); }
template <class T> static inline T atomicSub(T* p, T v) { return shim_rmw(p, [=](T o) { return (T)(o - v); }); }
template <class T> static inline T atomicMax(T* p, T v) { return shim_rmw(p, [=](T o) { return o > v ? o : v; }); }
template <class T> static inline T atomicMin(T* p, T v) { return shim_rmw(p, [=](T o) { return o < v ? o : v; }); }
template <class T> static inline T atomicOr(T* p, T v) { return shim_rmw(p, [=](T o) { return (T)(o | v); }); }
template <class T> static inline T atomicAnd(T* p, T v) { return shim_rmw(p, [=](T o) { return (T)(o & v); }); }
template <class T> static inline T atomicExch(T* p, T v) { return shim_rmw(p, [=](T) { return v; }); }
template <class T> static inline T atomicCAS(T* p, T c, T v) { return shim_rmw(p, [=](T o) { return o == c ? v : o; }); }
static inline unsigned atomicInc(unsigned* p, unsigned m) { return shim_rmw(p, [=](unsigned o) { return o >= m ? 0u : o + 1; }); }

// ---------------------------------------------------------------- maths and bits
template <class T> static inline T shim_bits(const void* p) { T r; memcpy(&r, p, sizeof r); return r; }
static inline unsigned __float_as_uint(float v) { return shim_bits<unsigned>(&v); }
static inline int __float_as_int(float v) { return shim_bits<int>(&v); }
static inline float __uint_as_float(unsigned v) { return shim_bits<float>(&v); }
static inline float __int_as_float(int v) { return shim_bits<float>(&v); }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __saturatef(float a) { return a < 0 ? 0 : a > 1 ? 1 : a; }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned long long)((unsigned __int128)a * b >> 64); }
static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
static inline int __ffs(int v) { return __builtin_ffs(v); }
#define __expf(x) expf(x) // glibc declares functions of these names
#define __logf(x) logf(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __powf(x, y) powf(x, y)
#define __ldg(p) (*(p))
#define __ldcs(p) (*(p))
#define __stcs(p, v) (*(p) = (v))
template <class A, class B> static inline auto min(A a, B b) -> decltype(a + b) { return b < a ? b : a; }
template <class A, class B> static inline auto max(A a, B b) -> decltype(a + b) { return a < b ? b : a; }
static inline size_t __cvta_generic_to_shared(const void* p) { return (size_t)((const char*)p - shim::blk->dyn); } // dynamic shared memory only
static inline float shim_bf16_f32(unsigned short h) { return __uint_as_float((unsigned)h << 16); }
static inline unsigned short shim_f32_bf16(float f) { unsigned u = __float_as_uint(f); return f != f ? 0x7fff : (unsigned short)((u + 0x7fff + (u >> 16 & 1)) >> 16); }

// ---------------------------------------------------------------- what the GPU prelude writes as inline PTX (names are the generator's)
namespace shim {
struct Mma { const unsigned *a, *b; float* c; };
struct Ldm { unsigned* r; const void* p; int n; bool trans; };
}
// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32, D = A*B + C in place; fragments as in the PTX manual
static inline void ganc_mma_m16n8k16_bf16(float* c, const unsigned* a, const unsigned* b) {
  shim::Mma m{a, b, c};
  shim::collective(7, ~0u, &m, [](shim::Thread* t, unsigned need) {
    if (need != ~0u) shim::fail("mma.sync with lanes missing (live mask %ld)", need);
    float A[16][16], B[16][8], C[16][8];
    for (int l = 0; l < 32; l++) {
      auto* m = (shim::Mma*)t[l].data; int g = l >> 2, q = (l & 3) * 2;
      for (int i = 0; i < 4; i++) for (int h = 0; h < 2; h++) A[g + (i & 1) * 8][q + (i >> 1) * 8 + h] = shim_bf16_f32((unsigned short)(m->a[i] >> 16 * h));
      for (int i = 0; i < 2; i++) for (int h = 0; h < 2; h++) B[q + i * 8 + h][g] = shim_bf16_f32((unsigned short)(m->b[i] >> 16 * h));
      for (int i = 0; i < 4; i++) C[g + (i >> 1) * 8][q + (i & 1)] = m->c[i];
    }
    for (int i = 0; i < 16; i++) for (int k = 0; k < 16; k++) for (int j = 0; j < 8; j++) C[i][j] += A[i][k] * B[k][j];
    for (int l = 0; l < 32; l++) { auto* m = (shim::Mma*)t[l].data; for (int i = 0; i < 4; i++) m->c[i] = C[(l >> 2) + (i >> 1) * 8][(l & 3) * 2 + (i & 1)]; }
  });
}
// ldmatrix.sync.aligned.m8n8.x{1,2,4}[.trans].shared.b16
static inline void ganc_ldmatrix(unsigned* r, const void* p, int n, bool trans = false) {
  shim::Ldm d{r, p, n, trans};
  shim::collective(8, ~0u, &d, [](shim::Thread* t, unsigned) {
    for (int l = 0; l < 32; l++) {
      auto* d = (shim::Ldm*)t[l].data;
      for (int i = 0; i < d->n; i++) {
        unsigned short h[2];
        for (int k = 0; k < 2; k++) {
          int row = d->trans ? (l & 3) * 2 + k : l >> 2, col = d->trans ? l >> 2 : (l & 3) * 2 + k;
          const char* p = (const char*)((shim::Ldm*)t[i * 8 + row].data)->p;
          if ((uintptr_t)p & 15) shim::fail("ldmatrix row of lane %ld is not 16-byte aligned", i * 8 + row);
          memcpy(&h[k], p + 2 * col, 2);
        }
        d->r[i] = h[0] | (unsigned)h[1] << 16;
      }
    }
  });
}
static inline void ganc_cp_async16(void* dst, const void* src, int src_bytes = 16) {
  shim::Thread* t = shim::cur;
  if (((uintptr_t)dst | (uintptr_t)src) & 15) shim::fail("cp.async: thread %ld gives an address that is not 16-byte aligned", t->index);
  if (t->ncp == t->ccp) { t->ccp = t->ccp ? 2 * t->ccp : 16; t->cp = (shim::Copy*)realloc((void*)t->cp, t->ccp * sizeof(shim::Copy)); }
  t->cp[t->ncp++] = {dst, src, 16, src_bytes, t->cp_group};
}
static inline void ganc_cp_async_commit() { shim::cur->cp_group++; }
static inline void ganc_cp_async_wait(int n) { shim::deliver(shim::cur, n); }
#include "ganc_words.h"
