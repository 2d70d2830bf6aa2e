// Count and apply where each channel has a foreground of its own: the sigmoid, the hinge, and probabilities.
#pragma once

#include "memory.hpp"

namespace {

// Of a row of logits: bins into r.slot, `bins` where the error is no number, and, when asked for, dm / dx of the error
// m into r.extra, without its sign, which is - on the foreground.
template <bool derivative, class F, class Stored, class Read>
void binary_row(const Problem& problem, Rows<F>& r, const Stored* LOVASZ_RESTRICT logits, Read read) {
  const int n = r.length;
  const F steps = static_cast<F>(problem.steps), none = static_cast<F>(problem.bins);
  F* LOVASZ_RESTRICT slope = r.extra;
  int32_t *LOVASZ_RESTRICT bin = r.slot, *LOVASZ_RESTRICT label = r.label;
  const auto place = [&](int i, F root, bool number) {
    bin[i] = static_cast<int32_t>((number ? root * steps : none) + F(0.5));
  };
  if (problem.form == Form::sigmoid) {
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) {
      const F x = read(logits[i]);
      F z = label[i] == 1 ? x : -x;
      const bool number = finite(z);
      z = z > F(80) ? F(80) : z;
      z = z < F(-80) ? F(-80) : z;
      const F e = small_exponential(z), error = F(1) / (F(1) + e);
      place(i, square_root(error), number);
      if (derivative) slope[i] = number ? error * (error * e) : F(0);
    }
  } else if (problem.form == Form::hinge) {
    const F last = steps - F(1), scale = static_cast<F>(kHingeScale);
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) {
      const F x = read(logits[i]), z = F(1) + (label[i] == 1 ? -x : x);
      const bool number = finite(x);
      const F error = z > F(0) ? z : F(0);
      F position = number ? error / (error + scale) * steps : F(0);
      position = position > last ? last : position;
      bin[i] = static_cast<int32_t>((number ? position : none) + F(0.5));
      if (derivative) slope[i] = (number & (z > F(0))) ? F(1) : F(0);
    }
  } else {
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) {
      const F x = read(logits[i]), error = label[i] == 1 ? F(1) - x : x;
      const bool number = finite(x);
      place(i, square_root(error > F(0) ? error : F(0)), number);
      if (derivative) slope[i] = F(1);
    }
  }
}

// The parts of one channel of a tile, after binary_row: the logits are read where they are, where they lie in whole
// lanes next to each other.
template <bool derivative, class F, class Work>
void for_binary_parts(const Problem& problem, const Tile& tile, int c, const Rows<F>& whole, Work work) {
  const bool direct = tile.logits_pixel == 1 && tile.length % kLanes == 0;
  if (!direct) read_row(problem, tile, c, whole.x);
  for_parts(problem, tile, whole, [&](Rows<F>& r) {
    if (direct) {
      const int64_t at = c * tile.logits_class + (r.x - whole.x);
      with_stored<F>(problem.real, const_cast<void*>(tile.logits), [&](const auto* in, auto read, auto) {
        binary_row<derivative>(problem, r, in + at, read);
      });
    } else {
      binary_row<derivative>(problem, r, r.x, [](F v) { return v; });
    }
    work(r);
  });
}

template <class F>
void count_binary(const Problem& problem, const Tile& tile, char* scratch, Counts& counts, CrossEntropy&) {
  const Rows<F> whole(problem, scratch);
  const int32_t bins = problem.bins, foreground = static_cast<int32_t>(counts.foreground - counts.background);
  for (int c = 0; c < problem.classes; ++c) {
    const Valid labels = read_labels(problem, tile, c, whole.label);
    counts.valid[c] += labels.valid;
    counts.bad_labels += labels.bad;
    if (labels.valid == 0) continue;
    for_binary_parts<false>(problem, tile, c, whole, [&](Rows<F>& r) {
      const int n = r.length;
      int32_t *LOVASZ_RESTRICT slot = r.slot, *LOVASZ_RESTRICT label = r.label;
      int nans = 0;
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) nans += ((label[i] >= 0) & (slot[i] == bins)) ? 1 : 0;
      if (nans) {
        for (int i = 0; i < n; ++i) {
          if (slot[i] != bins) continue;
          if (label[i] >= 0) (label[i] ? counts.nan_foreground : counts.nan_background)[c] += 1;
          label[i] = -1;
        }
      }
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) {
        const int32_t at = slot_of(slot[i], i) + (label[i] == 1 ? foreground : 0);
        slot[i] = label[i] < 0 ? i % kSpread : at;
      }
      increment(counts.background + c * static_cast<int64_t>(slots(problem)), slot, n);
    });
  }
}

template <class F>
void apply_binary(const Problem& problem, const Tile& tile, char* scratch, const void* table, const Scales& scales) {
  const Rows<F> whole(problem, scratch);
  const int32_t side = problem.bins + 1;
  const F scale = static_cast<F>(scales.loss);
  for (int c = 0; c < problem.classes; ++c) {
    read_labels(problem, tile, c, whole.label);
    const F* weights = static_cast<const F*>(table) + 2 * c * static_cast<int64_t>(side);
    for_binary_parts<true>(problem, tile, c, whole, [&](Rows<F>& r) {
      const int n = r.length;
      const int32_t* LOVASZ_RESTRICT label = r.label;
      int32_t* LOVASZ_RESTRICT bin = r.slot;
      const F* LOVASZ_RESTRICT slope = r.extra;
      F *LOVASZ_RESTRICT out = r.x, *LOVASZ_RESTRICT w = r.q;
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) bin[i] += label[i] == 1 ? side : 0;
      look_up(weights, bin, n, w);
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) {
        const F g = (label[i] == 1 ? -scale : scale) * w[i] * slope[i];
        out[i] = label[i] < 0 ? F(0) : g;
      }
    });
    write_row(problem, tile, c, whole.x);
  }
}

}  // namespace
