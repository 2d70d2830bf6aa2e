// CUDA on the CPU, in the place of device.cuh: the threads of a block are fibres, which take turns at each barrier.
//
// Races become visible: between two barriers the threads run one after the other, in an order that the caller chooses
// (first to last, last to first, or shuffled anew each time), as do the blocks. Shared memory is filled with NaN
// before each block. A thread that returns before a barrier that others wait at is an error, as is one that writes shared
// memory beyond what the launch has.
#pragma once

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

// What is used of the C library, by declaration: its headers take longer to read than a kernel to compile.
#include <stddef.h>
extern "C" {
void* aligned_alloc(size_t, size_t) noexcept;
[[noreturn]] void abort() noexcept;
void* memset(void*, int, size_t) noexcept;
void* memcpy(void*, const void*, size_t) noexcept;
float exp2f(float) noexcept;
float sqrtf(float) noexcept;
float logf(float) noexcept;
float log1pf(float) noexcept;
double exp(double) noexcept;
double sqrt(double) noexcept;
double log(double) noexcept;
double log1p(double) noexcept;
double ldexp(double, int) noexcept;
double nearbyint(double) noexcept;
int ilogb(double) noexcept;
}

#define __device__
#define __global__
#define __launch_bounds__(...)

struct Index {
  unsigned x;
};
static thread_local Index threadIdx, blockIdx;

namespace on_cpu {

constexpr size_t kStack = 1 << 16;

#if defined(__x86_64__)
// Keeps what a function call keeps on one stack and goes on with another: glibc's would ask the kernel of the system.
extern "C" void on_cpu_switch(void** from, void* to);
asm(R"(
  .text
  .type on_cpu_switch, @function
on_cpu_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");
using Context = void*;
inline void change(Context* from, Context* to) { on_cpu_switch(from, *to); }
inline void prepare(Context* context, char* stack, void (*start)()) {
  void** top = reinterpret_cast<void**>(stack + kStack) - 8;
  top[6] = reinterpret_cast<void*>(start);  // where it returns to
  *context = top;
}
#else
using Context = ucontext_t;
inline void change(Context* from, Context* to) { swapcontext(from, to); }
inline void prepare(Context* context, char* stack, void (*start)()) {
  getcontext(context);
  context->uc_stack.ss_sp = stack;
  context->uc_stack.ss_size = kStack;
  context->uc_link = nullptr;
  makecontext(context, start, 0);
}
#endif

struct Fibre {
  Context context;
  bool done;
};

constexpr int kThreads = 1024, kVariables = 64;
constexpr size_t kDynamic = 1 << 18;  // where what the size of a launch decides ends, and what has a fixed size begins
constexpr size_t kGap = 1 << 12;
constexpr size_t kShared = kDynamic + (1 << 17);

struct Block {
  Fibre fibres[kThreads];
  char *stacks, *shared;
  Context scheduler;
  int running, counted, count;
  size_t used;            // of the shared memory
  size_t dynamic;         // bytes of it that the size of the launch decides
  size_t at[kVariables];  // where each variable of it is
  void (*kernel)(void**);
  void** given;
};
static Block block;

inline void yield() { change(&block.fibres[block.running].context, &block.scheduler); }

inline void enter() {
  block.kernel(block.given);
  block.fibres[block.running].done = true;
  yield();
}

// A variable of shared memory, the same for all threads of a block.
inline char* variable(int id, size_t size) {
  if (block.at[id] == 0) {
    block.at[id] = kDynamic + kGap + block.used;
    block.used += (size + 63) / 64 * 64;
    if (kDynamic + kGap + block.used > kShared) abort();
  }
  return block.shared + block.at[id];
}

inline void shuffle(int* turns, int n) {
  static unsigned state = 1;
  for (int i = n - 1; i > 0; --i) {
    state = state * 1664525u + 1013904223u;
    const int other = static_cast<int>((state >> 8) % static_cast<unsigned>(i + 1)), kept = turns[i];
    turns[i] = turns[other];
    turns[other] = kept;
  }
}

// Whether nothing was written before what the size of the launch decides, nor, as no block has all of them, between
// the variables of fixed size that this one has and the end.
inline bool intact() {
  size_t wrong = 0;
  for (size_t i = 0; i < kDynamic - block.dynamic; ++i) wrong += block.shared[i] != static_cast<char>(0xff);
  for (size_t i = kDynamic + kGap + block.used; i < kShared; ++i) wrong += block.shared[i] != static_cast<char>(0xff);
  for (size_t i = kDynamic; i < kDynamic + kGap; ++i) wrong += block.shared[i] != static_cast<char>(0xff);
  return wrong == 0;
}

// Returns 0, or 1 where a thread has left others at a barrier, 2 for more than there is, 4 where shared memory was
// written that the launch does not have.
inline int run(long long blocks, int threads, int shared, int order, void (*kernel)(void**), void** given) {
  if (shared > static_cast<int>(kDynamic) || threads > kThreads) return 2;
  if (block.stacks == nullptr) {
    block.stacks = static_cast<char*>(aligned_alloc(64, kThreads * kStack));
    block.shared = static_cast<char*>(aligned_alloc(64, kShared));
  }
  block.kernel = kernel;
  block.given = given;
  block.dynamic = static_cast<size_t>(shared);
  int turns[kThreads];
  for (int t = 0; t < threads; ++t) turns[t] = order == 1 ? threads - 1 - t : t;
  for (long long b = 0; b < blocks; ++b) {
    blockIdx.x = static_cast<unsigned>(order == 1 ? blocks - 1 - b : b);
    memset(block.shared, 0xff, kShared);
    block.used = 0;
    memset(block.at, 0, sizeof block.at);
    block.count = 0;
    for (int t = 0; t < threads; ++t) {
      block.fibres[t].done = false;
      prepare(&block.fibres[t].context, block.stacks + t * kStack, enter);
    }
    for (int done = 0; done == 0;) {
      if (order > 1) shuffle(turns, threads);
      block.counted = block.count;
      block.count = 0;
      for (int i = 0; i < threads; ++i) {
        block.running = turns[i];
        threadIdx.x = static_cast<unsigned>(turns[i]);
        change(&block.scheduler, &block.fibres[turns[i]].context);
        done += block.fibres[turns[i]].done;
      }
      if (done != 0 && done != threads) return 1;
    }
    if (!intact()) return 4;
  }
  return 0;
}

}  // namespace on_cpu

#define SHARED(type, name) type& name = *reinterpret_cast<type*>(on_cpu::variable(__COUNTER__, sizeof(type)))
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(on_cpu::block.shared + on_cpu::kDynamic - on_cpu::block.dynamic)

static inline void __syncthreads() { on_cpu::yield(); }

static inline int __syncthreads_count(bool wanted) {
  on_cpu::block.count += wanted;
  on_cpu::yield();
  const int all = on_cpu::block.counted;
  return all;
}

template <class T>
static inline T __ldg(const T* at) {
  return *at;
}

template <class T>
static inline void atomicAdd(T* at, T v) {
  *at += v;
}

static inline float __fmul_rn(float x, float y) { return x * y; }
static inline double __dmul_rn(double x, double y) { return x * y; }

static inline float __int_as_float(int v) {
  float f;
  memcpy(&f, &v, sizeof f);
  return f;
}

static inline int __float_as_int(float f) {
  int v;
  memcpy(&v, &f, sizeof v);
  return v;
}

static inline float half_to_float(unsigned short h) {
  const int sign = (h & 0x8000) ? -1 : 1, exponent = h >> 10 & 31, fraction = h & 1023;
  if (exponent == 31) return fraction ? __builtin_nanf("") : static_cast<float>(sign) * __builtin_inff();
  const double size = exponent ? 1024.0 + fraction : fraction;
  return static_cast<float>(sign * ldexp(size, exponent ? exponent - 25 : -24));
}

// The nearest half, ties to even, by search in the bits.
static inline unsigned short float_to_half(float v) {
  const unsigned short sign = __builtin_signbit(v) ? 0x8000 : 0;
  if (v != v) return 0x7e00;
  const double size = __builtin_fabs(v);
  if (size >= 65520.0) return sign | 0x7c00;
  const int exponent = size < 6.1e-5 ? -14 : ilogb(size);
  const double scaled = nearbyint(ldexp(size, 10 - exponent));  // ties to even by default
  const int whole = static_cast<int>(scaled);
  return sign | static_cast<unsigned short>(whole < 1024 ? whole : (exponent + 15) * 1024 + (whole - 1024));
}
