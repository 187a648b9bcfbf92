// A program around kernels that g++ has compiled with the shim: memory and launches come in on standard input, what
// the memory holds afterwards goes out on standard output. Every region lies before a page that nobody may touch, and
// begins with NaN, so that reads and writes out of bounds and reads of what was never written show.
#pragma once
#include <signal.h>
#include <unistd.h>

typedef int (*Launcher)(const unsigned*, const unsigned*, size_t, void**, const shim::Options*);
struct Entry {
  const char* name;
  Launcher launch;
};

namespace driver {
static const char* running = "";
static void take(void* p, size_t n) {
  if (n && fread(p, 1, n, stdin) != n) { fprintf(stderr, "the input ends early\n"); _exit(2); }
}
static unsigned long number() {
  unsigned long v;
  take(&v, sizeof v);
  return v;
}
static void fault(int, siginfo_t* info, void*) {
  char text[256];
  const int n = snprintf(text, sizeof text, "%s touches memory outside its tensors at %p, block (%u,%u,%u), thread %d\n",
                         running, info->si_addr, shim::blk->bid.x, shim::blk->bid.y, shim::blk->bid.z, shim::cur->index);
  if (write(2, text, n) != n) _exit(4);
  _exit(3);
}

// A region of `bytes`, 16-byte aligned, whose last bytes touch the forbidden page.
struct Region {
  unsigned char *base, *data;
  size_t bytes, room;
};
static Region make(size_t bytes) {
  const size_t page = 4096, room = (bytes + 15) / 16 * 16;
  const size_t whole = (room + page - 1) / page * page + page;
  Region r{};
  r.base = (unsigned char*)mmap(nullptr, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (r.base == MAP_FAILED) { fprintf(stderr, "no memory\n"); _exit(2); }
  memset(r.base, 0xFF, whole);
  mprotect(r.base + whole, page, PROT_NONE);
  r.data = r.base + whole - room, r.bytes = bytes, r.room = room;
  return r;
}
// Whether what lies around the region is as it was.
static bool whole(const Region& r) {
  for (unsigned char* p = r.base; p < r.data; ++p) if (*p != 0xFF) return false;
  for (size_t i = r.bytes; i < r.room; ++i) if (r.data[i] != 0xFF) return false;
  return true;
}

static int run(const Entry* entries, size_t count) {
  struct sigaction on {};
  on.sa_sigaction = fault, on.sa_flags = SA_SIGINFO;
  static char stack[65536];
  stack_t other{};
  other.ss_sp = stack, other.ss_size = sizeof stack;
  sigaltstack(&other, nullptr);
  on.sa_flags |= SA_ONSTACK;
  sigaction(SIGSEGV, &on, nullptr), sigaction(SIGBUS, &on, nullptr);

  const unsigned seed = (unsigned)number();
  const size_t regions = number();
  Region* r = (Region*)calloc(regions, sizeof(Region));
  for (size_t i = 0; i < regions; ++i) {
    r[i] = make(number());
    take(r[i].data, number()); // what it holds at first, perhaps nothing
  }
  const size_t launches = number();
  for (size_t i = 0; i < launches; ++i) {
    char name[256] = {};
    take(name, number());
    running = name;
    unsigned grid[3], block[3];
    take(grid, sizeof grid), take(block, sizeof block);
    const size_t shared = number(), n = number();
    unsigned long* values = (unsigned long*)calloc(n + 1, sizeof *values);
    void** args = (void**)calloc(n + 1, sizeof *args);
    for (size_t k = 0; k < n; ++k) {
      const unsigned long region = number(), value = number(); // the last region's successor: a number
      values[k] = region < regions ? (unsigned long)(r[region].data + value) : value;
      args[k] = &values[k];
    }
    const Entry* e = entries;
    while (e < entries + count && strcmp(e->name, name)) ++e;
    if (e == entries + count) { fprintf(stderr, "no kernel %s\n", name); return 2; }
    const shim::Options options{1, seed ? seed + (unsigned)i : 0, 0, 1};
    if (e->launch(grid, block, shared, args, &options)) { fprintf(stderr, "%s: %s\n", name, shim_error()); return 3; }
    free(values), free(args);
  }
  for (size_t i = 0; i < regions; ++i) {
    if (!whole(r[i])) { fprintf(stderr, "a launch wrote beside region %zu\n", i); return 3; }
    if (fwrite(r[i].data, 1, r[i].bytes, stdout) != r[i].bytes) return 4;
  }
  return 0;
}
} // namespace driver
