// Which of the compiled kernels the processor can run.
#include "kernel.hpp"

#if defined(LOVASZ_X86) && defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace lovasz {

extern const Kernel baseline;
#if defined(LOVASZ_X86)
extern const Kernel avx2, avx512;
#endif

namespace {

#if defined(LOVASZ_X86) && defined(_MSC_VER)
bool has(int bit_of_7_ebx, unsigned long long states) {
  int info[4];
  __cpuid(info, 1);
  const int fma = 1 << 12, osxsave = 1 << 27;
  if ((info[2] & (fma | osxsave)) != (fma | osxsave) || (_xgetbv(0) & states) != states) return false;
  __cpuidex(info, 7, 0);
  return (info[1] & bit_of_7_ebx) == bit_of_7_ebx;
}
bool has_avx2() { return has(1 << 5, 0x6); }
bool has_avx512() { return has((1 << 16) | (1 << 17) | (1 << 30) | static_cast<int>(1u << 31), 0xE6); }
#elif defined(LOVASZ_X86)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

struct List {
  Kernel kernels[4] = {};
  List() {
    int n = 0;
#if defined(LOVASZ_X86)
    if (has_avx512()) kernels[n++] = avx512;
    if (has_avx2()) kernels[n++] = avx2;
#endif
    kernels[n++] = baseline;
  }
};

}  // namespace

const Kernel* kernels() {
  static const List list;
  return list.kernels;
}

namespace {

// As many pixels as fill so many floats, between two limits.
int pixels(const Problem& problem, int floats, int least, int most) {
  const int classes = problem.form == Form::softmax ? problem.classes : 1;
  const int n = floats / (problem.real == Real::f64 ? 2 : 1) / classes / kLanes * kLanes;
  return n < least ? least : n > most ? most : n;
}

}  // namespace

// Where there are few pixels, the tiles are smaller, for there to be some for each thread.
int tile_length(const Problem& problem) {
  const int64_t share = problem.pixels / 16 / kLanes * kLanes;
  return pixels(problem, 1 << 17, 64, share < 256 ? 256 : share > 4096 ? 4096 : static_cast<int>(share));
}
int part_length(const Problem& problem) { return pixels(problem, 1 << 15, 64, 1024); }

size_t scratch_bytes(const Problem& problem) {
  const size_t classes = problem.form == Form::softmax ? static_cast<size_t>(problem.classes) : 1;
  const size_t whole = static_cast<size_t>(tile_length(problem)) + kLanes;
  const size_t part = static_cast<size_t>(part_length(problem)) + kLanes;
  return ((classes + 2) * whole + (classes + 6) * part) * (problem.real == Real::f64 ? sizeof(double) : sizeof(float));
}

}  // namespace lovasz
