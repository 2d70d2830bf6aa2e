// The pixels of an input whose labels are finer than its logits, strip by strip: the pixels between a few places of
// the logits along the first two of three spatial axes, whole rows of them.
#pragma once

#include <algorithm>
#include <vector>

#include "lovasz.hpp"
#include "pages.hpp"

namespace lovasz {

// Strips next to each other share places of the logits: of two such the gradients are added in turn, so that each
// place has its sum in the same order for any number of threads.
class Strips {
 public:
  Strips(const Kernel& kernel, const Problem& problem, const Input& input)
      : kernel_(kernel), problem_(problem), input_(input), wide_(problem.real == Real::f64) {
    const Upsample& up = *input.upsample;
    for (int axis = 0; axis < 2; ++axis) {
      const int64_t size = input.sizes[2 + axis];
      int64_t begin = 0;
      for (int64_t place = 0; begin < size; place += kPlaces[axis]) {
        begins_[axis].push_back(begin);
        while (begin < size && up.lower[axis][begin] < place + kPlaces[axis]) ++begin;
      }
      begins_[axis].push_back(size);
    }
    length_ = std::min<int64_t>(std::min(part_length(problem), tile_length(problem)), input.sizes[4]);
    stride_ = (length_ + kLanes - 1) / kLanes * kLanes + kLanes;
    for (int64_t i = 0; i < input.sizes[4]; ++i) {
      if (wide_)
        wide_weights_.push_back(up.weight[2][i]);
      else
        weights_.push_back(static_cast<float>(up.weight[2][i]));
    }
  }

  int64_t in_image() const { return input_.sizes[4] == 0 ? 0 : strips(0) * strips(1); }
  int turns() const { return (strips(0) > 1 ? 2 : 1) * (strips(1) > 1 ? 2 : 1); }
  int turn(int64_t number) const {
    const int64_t rest = number % in_image(), first = rest / strips(1) % 2, second = rest % strips(1) % 2;
    return static_cast<int>(strips(0) > 1 && strips(1) > 1 ? 2 * first + second : first + second);
  }

  int64_t most_pixels() const {
    int64_t most[2] = {0, 0};
    for (int axis = 0; axis < 2; ++axis)
      for (int64_t i = 0; i < strips(axis); ++i)
        most[axis] = std::max(most[axis], begins_[axis][i + 1] - begins_[axis][i]);
    return most[0] * most[1] * input_.sizes[4];
  }

  // Of a row of places, and of the four rows of Between.
  size_t bytes() const {
    return element() * (static_cast<size_t>(stride_ + kLanes) + 4 * static_cast<size_t>(problem_.classes * stride_));
  }

  // Calls work(tile) for each part of a row of the strip, and adds what it leaves in the gradient's rows, if there is
  // one.
  template <class Work>
  void with(int64_t number, char* memory, Work work) const {
    const int64_t image = number / in_image(), rest = number % in_image();
    const int64_t first = rest / strips(1), second = rest % strips(1);
    const size_t rows = element() * static_cast<size_t>(problem_.classes * stride_);
    char* first_row = memory + element() * static_cast<size_t>(stride_ + kLanes);
    Row a = {first_row, first_row + rows, -1}, b = {first_row + 2 * rows, first_row + 3 * rows, -1};
    for (int64_t begin = 0; begin < input_.sizes[4]; begin += length_) {
      const int length = static_cast<int>(std::min(length_, input_.sizes[4] - begin));
      for (int64_t z = begins_[0][first]; z < begins_[0][first + 1]; ++z) {
        a.place = b.place = -1;
        for (int64_t y = begins_[1][second]; y < begins_[1][second + 1]; ++y) {
          const int64_t at[5] = {image, 0, z, y, begin}, lower = input_.upsample->lower[1][y];
          if (a.place != lower) {
            finish(a, at, length, memory);
            std::swap(a, b);
            if (a.place != lower) start(a, lower, at, length, memory);
            start(b, std::min(lower + 1, input_.upsample->places[1] - 1), at, length, memory);
          }
          const Between between = {a.logits, b.logits, a.gradient, b.gradient, stride_, input_.upsample->weight[1][y]};
          Tile tile = labels_at(problem_, input_, at, length);
          tile.between = &between;
          work(tile);
        }
        const int64_t at[5] = {image, 0, z, 0, begin};
        finish(a, at, length, memory);
        finish(b, at, length, memory);
      }
    }
  }

 private:
  // A row of places along the second axis: its logits at the pixels of the third, and their gradients.
  struct Row {
    char *logits, *gradient;
    int64_t place;
  };

  int64_t strips(int axis) const { return static_cast<int64_t>(begins_[axis].size()) - 1; }
  size_t element() const { return wide_ ? sizeof(double) : sizeof(float); }

  Line line(int64_t place_along, const int64_t at[5], int length) const {
    const Upsample& up = *input_.upsample;
    Line found = {};
    found.length = length;
    found.lower = up.lower[2] + at[4];
    found.weight = wide_ ? static_cast<const void*>(wide_weights_.data() + at[4]) : weights_.data() + at[4];
    const double share = up.weight[0][at[2]];
    for (int k = 0; k < (share == 0 ? 1 : 2); ++k) {
      const int64_t in[5] = {at[0], 0, up.lower[0][at[2]] + k, place_along, 0};
      found.logits[k] = place(input_.logits, in, element_size(problem_.real));
      found.gradients[k] = place(input_.gradient, in, element());
      found.weights[k] = k ? share : 1 - share;
    }
    found.logits_class = input_.logits.strides[1], found.logits_place = input_.logits.strides[4];
    found.gradient_class = input_.gradient.strides[1], found.gradient_place = input_.gradient.strides[4];
    return found;
  }

  void start(Row& row, int64_t place_along, const int64_t at[5], int length, char* memory) const {
    row.place = place_along;
    kernel_.interpolate(problem_, line(place_along, at, length), memory, row.logits, stride_);
    if (input_.gradient.data != nullptr)
      std::memset(row.gradient, 0, element() * static_cast<size_t>(problem_.classes * stride_));
  }

  void finish(Row& row, const int64_t at[5], int length, char* memory) const {
    if (row.place >= 0 && input_.gradient.data != nullptr)
      kernel_.spread(problem_, line(row.place, at, length), memory, row.gradient, stride_);
    row.place = -1;
  }

  // Places of a strip along each axis: few, for there to be strips for all threads; along the second the rows of the
  // last are interpolated twice.
  static constexpr int64_t kPlaces[2] = {2, 4};

  const Kernel& kernel_;
  const Problem& problem_;
  const Input& input_;
  bool wide_;
  std::vector<int64_t> begins_[2];
  int64_t length_, stride_;
  std::vector<double> wide_weights_;
  std::vector<float> weights_;
};

}  // namespace lovasz
