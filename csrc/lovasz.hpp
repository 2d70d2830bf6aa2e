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

inline size_t element_size(Real real) { return real == Real::f64 ? 8 : real == Real::f32 ? 4 : 2; }

inline size_t element_size(Integer integer) {
  switch (integer) {
    case Integer::i8: case Integer::u8: return 1;
    case Integer::i16: case Integer::u16: return 2;
    case Integer::i32: case Integer::u32: return 4;
    default: return 8;
  }
}

// Where an element is, of a tensor that may have no data.
inline void* place(const Tensor& tensor, const int64_t at[5], size_t size) {
  if (tensor.data == nullptr) return nullptr;
  int64_t offset = 0;
  for (int axis = 0; axis < 5; ++axis) offset += at[axis] * tensor.strides[axis];
  return static_cast<char*>(tensor.data) + offset * static_cast<int64_t>(size);
}

// Pixels of a row from a place on, with their labels; logits and gradient are still to come.
inline Tile labels_at(const Problem& problem, const Input& input, const int64_t at[5], int length) {
  Tile tile = {};
  tile.length = length;
  tile.target = place(input.target, at, element_size(problem.integer));
  tile.target_class = input.target.strides[1], tile.target_pixel = input.target.strides[4];
  tile.mask = static_cast<const uint8_t*>(place(input.mask, at, 1));
  tile.mask_class = input.mask.strides[1], tile.mask_pixel = input.mask.strides[4];
  return tile;
}

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
