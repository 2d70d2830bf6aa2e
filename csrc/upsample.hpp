// Logits at the resolution of the labels, along a row and between rows, and the adjoints of both: their gradients.
// The same order of additions whatever the threads: that of the pixels.
#pragma once

#include "rows.hpp"

namespace {

// A pixel takes 1 - weight of one value and weight of the next, which it does not see where its weight is 0.
template <class F>
inline F mixed(F one, F next, F weight) {
  const F sum = (F(1) - weight) * one + weight * next;
  return weight == F(0) ? one : sum;
}

// Logits of one class between two rows.
template <class F>
void between_rows(const Between& between, int c, int length, F* LOVASZ_RESTRICT out) {
  const F* LOVASZ_RESTRICT lower = static_cast<const F*>(between.lower) + c * between.stride;
  const F* LOVASZ_RESTRICT upper = static_cast<const F*>(between.upper) + c * between.stride;
  const int n = whole_lanes(length);
  const F weight = static_cast<F>(between.weight);
  if (weight == F(0)) {
    std::memcpy(out, lower, sizeof(F) * static_cast<size_t>(n));
    return;
  }
  LOVASZ_ROWS
  for (int i = 0; i < n; ++i) out[i] = (F(1) - weight) * lower[i] + weight * upper[i];
}

// Adds the gradient of one class to those of the two rows.
template <class F>
void add_between(const Between& between, int c, int length, const F* LOVASZ_RESTRICT in) {
  F* LOVASZ_RESTRICT lower = static_cast<F*>(between.lower_gradient) + c * between.stride;
  F* LOVASZ_RESTRICT upper = static_cast<F*>(between.upper_gradient) + c * between.stride;
  const F weight = static_cast<F>(between.weight);
  if (weight == F(0)) {
    LOVASZ_ROWS
    for (int i = 0; i < length; ++i) lower[i] += in[i];
    return;
  }
  LOVASZ_ROWS
  for (int i = 0; i < length; ++i) {
    lower[i] += (F(1) - weight) * in[i];
    upper[i] += weight * in[i];
  }
}

// The places that a line lies between: the first, and how many.
struct Places {
  int first, number;
  template <class F>
  Places(const Line& line, const F* weight) : first(line.lower[0]) {
    const int last = line.length - 1;
    number = line.lower[last] - first + 1 + (weight[last] == F(0) ? 0 : 1);
  }
};

template <class F>
void interpolate_line(const Problem& problem, const Line& line, F* LOVASZ_RESTRICT row, F* out, int64_t stride) {
  const F* LOVASZ_RESTRICT weight = static_cast<const F*>(line.weight);
  const int32_t* LOVASZ_RESTRICT lower = line.lower;
  const Places places(line, weight);
  const F share = static_cast<F>(line.weights[1]);
  for (int c = 0; c < problem.classes; ++c) {
    const int64_t at = c * line.logits_class + places.first * line.logits_place;
    with_stored<F>(problem.real, const_cast<void*>(line.logits[0]), [&](const auto* one, auto read, auto) {
      const auto* next = static_cast<decltype(one)>(line.logits[1]);
      if (next == nullptr) {
        for (int x = 0; x < places.number; ++x) row[x] = read(one[at + x * line.logits_place]);
      } else {
        for (int x = 0; x < places.number; ++x) {
          const int64_t place = at + x * line.logits_place;
          row[x] = mixed(read(one[place]), read(next[place]), share);
        }
      }
    });
    for (int x = places.number; x < places.number + kLanes; ++x) row[x] = F(0);
    F* LOVASZ_RESTRICT to = out + c * stride;
    for (int i = 0; i < line.length; ++i) {
      const F* from = row + (lower[i] - places.first);
      to[i] = mixed(from[0], from[1], weight[i]);
    }
    for (int i = line.length; i < whole_lanes(line.length); ++i) to[i] = F(0);
  }
}

template <class F>
void spread_line(const Problem& problem, const Line& line, F* LOVASZ_RESTRICT row, const F* gradient, int64_t stride) {
  const F* LOVASZ_RESTRICT weight = static_cast<const F*>(line.weight);
  const int32_t* LOVASZ_RESTRICT lower = line.lower;
  const Places places(line, weight);
  for (int c = 0; c < problem.classes; ++c) {
    const F* LOVASZ_RESTRICT from = gradient + c * stride;
    int i = 0;
    F carried = F(0);
    for (int x = 0; x < places.number; ++x) {
      F own = F(0), next = F(0);
      for (; i < line.length && lower[i] - places.first == x; ++i) {
        own += (F(1) - weight[i]) * from[i];
        next += weight[i] * from[i];
      }
      row[x] = carried + own;
      carried = next;
    }
    for (int k = 0; k < 2; ++k) {
      if (line.gradients[k] == nullptr) continue;
      F* to = static_cast<F*>(line.gradients[k]) + c * line.gradient_class + places.first * line.gradient_place;
      const F share = static_cast<F>(line.weights[k]);
      for (int x = 0; x < places.number; ++x) to[x * line.gradient_place] += share * row[x];
    }
  }
}

}  // namespace
