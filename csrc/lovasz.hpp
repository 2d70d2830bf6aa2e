// Count, weigh, apply over whole inputs: tables in memory, threads, and which kernel.
#pragma once

#include <cstdint>

#include "kernel.hpp"

namespace lovasz {

// A tensor (N, C, spatial axes) with its strides in elements; a target and a mask of the softmax have stride 0
// along C. Spatial axes that all tensors of a call step through as one are one.
struct Tensor {
  void* data;
  int64_t strides[5];
};

// Where the labels are finer than the logits: for each spatial axis the places of the logits, and between which of
// them a pixel lies, as a Line has it.
struct Upsample {
  int64_t places[3];
  const int32_t* lower[3];
  const double* weight[3];
};

struct Input {
  int64_t sizes[5];                       // of the labels, and of the logits where `upsample` is null
  Tensor logits, target, mask, gradient;  // a mask or gradient may have no data
  const Upsample* upsample;
  void merge_axes();
  int64_t elements() const { return sizes[0] * sizes[1] * sizes[2] * sizes[3] * sizes[4]; }
};

struct Found {
  int64_t bad_labels;
  CrossEntropy cross_entropy;
};

// Fills table (rows, C, 2, bins + 1), and the numbers of valid and of foreground pixels (rows, C); rows is N, or 1
// for all images together.
Found count(const Kernel&, const Problem&, const Input&, bool per_image, int threads, int64_t* table, int64_t* valid,
            int64_t* foreground);

// Of each row of table (rows, 2, bins + 1) its loss and the weights of its bins, both times a factor of the row: float,
// or double where `wide`.
void weigh(const Kernel&, const int64_t* table, int64_t rows, int bins, const double* steps, const double* factors,
           const Measure&, int threads, double* losses, bool wide, void* weights);

// Fills the gradient of the input from weights (N or 1, C, 2, bins + 1) as `weigh` makes them; with `upsample` adds
// to it, in float, or double for float64 logits.
void apply(const Kernel&, Problem, const Input&, bool per_image, int threads, const void* weights, const Scales&);

}  // namespace lovasz
