// The kernel of one instruction set, LOVASZ_ISA, compiled once for each: loops over rows of whole lanes that the
// compiler turns into that set's SIMD; nothing else is particular to it.
#include "binary.hpp"
#include "kernel.hpp"
#include "softmax.hpp"
#include "weigh.hpp"

#define LOVASZ_QUOTE_(x) #x
#define LOVASZ_QUOTE(x) LOVASZ_QUOTE_(x)

namespace {

void count(const Problem& problem, const Tile& tile, char* scratch, Counts& counts, CrossEntropy& ce) {
  const bool wide = problem.real == Real::f64, softmax = problem.form == Form::softmax;
  const auto pass = softmax ? (wide ? count_softmax<double> : count_softmax<float>)
                            : (wide ? count_binary<double> : count_binary<float>);
  pass(problem, tile, scratch, counts, ce);
}

void apply(const Problem& problem, const Tile& tile, char* scratch, const void* weights, const Scales& scales) {
  const bool wide = problem.real == Real::f64, softmax = problem.form == Form::softmax;
  const auto pass = softmax ? (wide ? apply_softmax<double> : apply_softmax<float>)
                            : (wide ? apply_binary<double> : apply_binary<float>);
  pass(problem, tile, scratch, weights, scales);
#if defined(LOVASZ_STREAM)
  if (problem.stream) _mm_sfence();
#endif
}

void interpolate(const Problem& problem, const Line& line, void* row, void* out, int64_t stride) {
  if (problem.real == Real::f64)
    interpolate_line(problem, line, static_cast<double*>(row), static_cast<double*>(out), stride);
  else
    interpolate_line(problem, line, static_cast<float*>(row), static_cast<float*>(out), stride);
}

void spread(const Problem& problem, const Line& line, void* row, const void* gradient, int64_t stride) {
  if (problem.real == Real::f64)
    spread_line(problem, line, static_cast<double*>(row), static_cast<const double*>(gradient), stride);
  else
    spread_line(problem, line, static_cast<float*>(row), static_cast<const float*>(gradient), stride);
}

void exponentials(const float* in, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = exponential(in[i]);
}

}  // namespace

namespace lovasz {

extern const Kernel LOVASZ_ISA;
const Kernel LOVASZ_ISA = {
    LOVASZ_QUOTE(LOVASZ_ISA), count, apply, merge, weigh<float>, weigh<double>, interpolate, spread, exponentials};

}  // namespace lovasz
