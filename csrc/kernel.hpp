// What the two passes over the pixels work on, and the instruction sets they are compiled for.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lovasz {

// Error of the hinge that lies in the middle of its bins, as `binning.HINGE_SCALE`: u = m / (m + scale).
constexpr double kHingeScale = 4;

// The error of a pixel: of its softmax or sigmoid, of the hinge, or of what already is a probability.
enum class Form { softmax, sigmoid, hinge, probs };
enum class Real { f64, f32, bf16, f16 };
enum class Integer { i8, i16, i32, i64, u8, u16, u32, u64 };

// One call, the same for all of its tiles.
struct Problem {
  Form form;
  Real real;
  Integer integer;
  int classes;
  int64_t pixels;  // of all images
  int bins;
  int steps;  // grid points of the bin map: position = u * steps, u in [0, 1]
  const int64_t* ignore;
  int num_ignore;
  bool cross_entropy;           // its sum when counting, its gradient when applying; the binary one but for the softmax
  double smoothing;             // label smoothing of the cross-entropy, from 0 to 1; softmax only
  const double* class_weights;  // of the cross-entropy: softmax one for each class, else two for each channel, of its
                                // background and its foreground; null: all are 1
  bool stream;                  // the gradient is too large to stay in a cache
};

// Where the labels are finer than the logits, a tile lies between two rows of these, which are at the resolution of
// the labels along the row already, a row for each class; and so are their gradients. Numbers are double for float64
// logits, else float.
struct Between {
  void *lower, *upper, *lower_gradient, *upper_gradient;
  int64_t stride;
  double weight;  // of the upper row; where it is 0 that is not read
};

// A part of a row of pixels that lies between places of a row of the logits: each between `lower` and the next, whose
// weight is `weight`; where that is 0, at `lower`. The row is itself between two, whose second may be null.
struct Line {
  int length;
  const int32_t* lower;  // not decreasing, by at most one from one pixel to the next
  const void* weight;    // double for float64 logits, else float
  const void* logits[2];
  void* gradients[2];  // sums: double or float
  double weights[2];
  int64_t logits_class, logits_place, gradient_class, gradient_place;
};

// Pixels of one image that lie one stride apart; strides count elements. A mask may be null.
struct Tile {
  int length;
  const void* logits;
  int64_t logits_class, logits_pixel;
  void* gradient;
  int64_t gradient_class, gradient_pixel;
  const void* target;
  int64_t target_class, target_pixel;
  const uint8_t* mask;
  int64_t mask_class, mask_pixel;
  const Between* between;  // instead of logits and gradient, or null
};

// A tile is read and written whole, in rows long enough for the memory, and worked on a part at a time, in rows
// short enough for the caches. Both are whole numbers of lanes long, whatever is left over in the input.
constexpr int kLanes = 16;
int tile_length(const Problem& problem);
int part_length(const Problem& problem);

// Background bin 0 is known from the number of pixels, so its pixels go to slots that nobody reads, one for
// each lane: no two neighbours wait for the same counter. Foreground bin 0 is the sum of its slots.
constexpr int kSpread = kLanes;
static inline int slots(const Problem& problem) { return kSpread + problem.bins - 1; }

// What one thread counts.
struct Counts {
  uint32_t* background;  // [class][slot]
  uint32_t* foreground;  // [class][slot]
  int64_t* valid;        // [class], for the softmax [0] for all of them
  int64_t* nan_background;
  int64_t* nan_foreground;  // for the softmax nan_background[0] holds all pixels that are not numbers
  int64_t bad_labels;
};

// Sums of the cross-entropy and of the weights of its pixels.
struct CrossEntropy {
  double loss, weight;
};

// The weights of false positives and false negatives in the measure, as lovasz/measures.py has them.
struct Measure {
  double alpha, beta;
  bool jaccard() const { return alpha == 1 && beta == 1; }
};

// What the gradients of the loss and of the cross-entropy are multiplied by.
struct Scales {
  double loss, cross_entropy;
};

// Bytes of scratch memory that one thread needs.
size_t scratch_bytes(const Problem& problem);

struct Kernel {
  const char* name;
  void (*count)(const Problem&, const Tile&, char* scratch, Counts&, CrossEntropy&);
  // `weights` are float, for float64 logits double, (class, side, bins + 1).
  void (*apply)(const Problem&, const Tile&, char* scratch, const void* weights, const Scales&);
  // Adds counters to a row of the table, or, first of all, starts it; returns their sum.
  int64_t (*merge)(const uint32_t* counters, int64_t n, bool first, int64_t* row);
  // Of one class's row of the table (2, bins + 1): its loss, for a grid whose points are `steps` apart, and the
  // weights of its bins, both times a factor; 0 where that is.
  double (*weigh32)(const int64_t* row, int bins, const double* steps, double factor, const Measure&, float* weights);
  double (*weigh64)(const int64_t* row, int bins, const double* steps, double factor, const Measure&, double* weights);
  // The logits of a line at its pixels, a row for each class; and adds the gradient there to that of the logits.
  // `row` holds the places of a line and kLanes more.
  void (*interpolate)(const Problem&, const Line&, void* row, void* out, int64_t stride);
  void (*spread)(const Problem&, const Line&, void* row, const void* gradient, int64_t stride);
  void (*exponential)(const float* in, float* out, int64_t n);
};

// The kernels that this processor can run, the best first; the last has null for its name.
const Kernel* kernels();

}  // namespace lovasz
