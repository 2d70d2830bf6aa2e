// Count and apply where each channel has a foreground of its own: the sigmoid, the hinge, and probabilities; with the
// binary cross-entropy in the same passes.
#pragma once

#include "memory.hpp"

namespace {

// Of a row of logits: bins into r.slot, `bins` where the error is no number, and, when asked for, dm / dx of the error
// m into r.extra, without its sign, which is - on the foreground. Of the binary cross-entropy the loss of each pixel
// into r.extra or, with the derivative, that into r.rest, likewise without its sign.
template <bool derivative, bool entropy, class F, class Stored, class Read>
void binary_row(const Problem& problem, Rows<F>& r, const Stored* LOVASZ_RESTRICT logits, Read read) {
  const int n = r.length;
  const F steps = static_cast<F>(problem.steps), none = static_cast<F>(problem.bins);
  F *LOVASZ_RESTRICT extra = r.extra, *LOVASZ_RESTRICT likely = r.rest;
  int32_t *LOVASZ_RESTRICT bin = r.slot, *LOVASZ_RESTRICT label = r.label;
  const auto place = [&](int i, F root, bool number) {
    bin[i] = static_cast<int32_t>((number ? root * steps : none) + F(0.5));
  };
  // z is how far the logit is on the right side; the exponential of -|z| serves all.
  const auto exponential_below_1 = [](F z) {
    const F far = z > F(0) ? z : -z;
    return small_exponential(far > F(80) ? F(-80) : -far);
  };
  const auto add_entropy = [&](int i, F z, F e, F error, bool number) {
    const F loss = logarithm_beyond_1(e) - (z > F(0) ? F(0) : z);
    (derivative ? likely : extra)[i] = number ? (derivative ? error : loss) : static_cast<F>(NAN);
  };
  if (problem.form == Form::sigmoid) {
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) {
      const F x = read(logits[i]), z = label[i] == 1 ? x : -x;
      const bool number = finite(z);
      const F e = exponential_below_1(z), likelier = F(1) / (F(1) + e), error = z > F(0) ? e * likelier : likelier;
      place(i, square_root(error), number);
      if (derivative) extra[i] = number ? likelier * (likelier * e) : F(0);
      if (entropy) add_entropy(i, z, e, error, number);
    }
  } else if (problem.form == Form::hinge) {
    const F last = steps - F(1), scale = static_cast<F>(kHingeScale);
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) {
      const F x = read(logits[i]), z = label[i] == 1 ? x : -x, margin = F(1) - z;
      const bool number = finite(x);
      const F error = margin > F(0) ? margin : F(0);
      F position = number ? error / (error + scale) * steps : F(0);
      position = position > last ? last : position;
      bin[i] = static_cast<int32_t>((number ? position : none) + F(0.5));
      if (derivative) extra[i] = (number & (margin > F(0))) ? F(1) : F(0);
      if (entropy) {
        const F e = exponential_below_1(z);
        add_entropy(i, z, e, (z > F(0) ? e : F(1)) / (F(1) + e), number);
      }
    }
  } else {
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) {
      const F x = read(logits[i]), error = label[i] == 1 ? F(1) - x : x;
      const bool number = finite(x);
      place(i, square_root(error > F(0) ? error : F(0)), number);
      if (derivative) extra[i] = F(1);
    }
  }
}

// The parts of one channel of a tile, after binary_row: the logits are read where they are, where they lie in whole
// lanes next to each other.
template <bool derivative, bool entropy, class F, class Work>
void for_binary_parts(const Problem& problem, const Tile& tile, int c, const Rows<F>& whole, Work work) {
  const bool direct = tile.logits_pixel == 1 && tile.length % kLanes == 0;
  if (!direct) read_row(problem, tile, c, whole.x);
  for_parts(problem, tile, whole, [&](Rows<F>& r) {
    if (direct) {
      const int64_t at = c * tile.logits_class + (r.x - whole.x);
      with_stored<F>(problem.real, const_cast<void*>(tile.logits), [&](const auto* in, auto read, auto) {
        binary_row<derivative, entropy>(problem, r, in + at, read);
      });
    } else {
      binary_row<derivative, entropy>(problem, r, r.x, [](F v) { return v; });
    }
    work(r);
  });
}

// The weight of a channel's background, or foreground, in the binary cross-entropy.
template <class F>
inline F side_weight(const Problem& problem, int c, int foreground) {
  return problem.class_weights == nullptr ? F(1) : static_cast<F>(problem.class_weights[2 * c + foreground]);
}

template <bool entropy, class F>
void count_channels(const Problem& problem, const Tile& tile, char* scratch, Counts& counts, CrossEntropy& ce) {
  const Rows<F> whole(problem, scratch);
  const int32_t bins = problem.bins, foreground = static_cast<int32_t>(counts.foreground - counts.background);
  for (int c = 0; c < problem.classes; ++c) {
    const Valid labels = read_labels(problem, tile, c, whole.label);
    counts.valid[c] += labels.valid;
    counts.bad_labels += labels.bad;
    if (labels.valid == 0) continue;
    const F no = side_weight<F>(problem, c, 0), yes = side_weight<F>(problem, c, 1);
    ce.weight += entropy ? static_cast<double>(no) * static_cast<double>(labels.valid) : 0;
    for_binary_parts<false, entropy>(problem, tile, c, whole, [&](Rows<F>& r) {
      const int n = r.length;
      int32_t *LOVASZ_RESTRICT slot = r.slot, *LOVASZ_RESTRICT label = r.label;
      if (entropy) {
        F* LOVASZ_RESTRICT loss = r.extra;
        LOVASZ_ROWS
        for (int i = 0; i < n; ++i) loss[i] = label[i] < 0 ? F(0) : (label[i] == 1 ? yes : no) * loss[i];
        ce.loss += sum_of(r.extra, n);
      }
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
void count_binary(const Problem& problem, const Tile& tile, char* scratch, Counts& counts, CrossEntropy& ce) {
  (problem.cross_entropy ? count_channels<true, F> : count_channels<false, F>)(problem, tile, scratch, counts, ce);
}

template <bool entropy, class F>
void apply_channels(const Problem& problem, const Tile& tile, char* scratch, const void* table, const Scales& scales) {
  const Rows<F> whole(problem, scratch);
  const int32_t side = problem.bins + 1;
  const F scale = static_cast<F>(scales.loss), ce = static_cast<F>(scales.cross_entropy);
  for (int c = 0; c < problem.classes; ++c) {
    read_labels(problem, tile, c, whole.label);
    const F* weights = static_cast<const F*>(table) + 2 * c * static_cast<int64_t>(side);
    const F no = ce * side_weight<F>(problem, c, 0), yes = ce * side_weight<F>(problem, c, 1);
    for_binary_parts<true, entropy>(problem, tile, c, whole, [&](Rows<F>& r) {
      const int n = r.length;
      const int32_t* LOVASZ_RESTRICT label = r.label;
      int32_t* LOVASZ_RESTRICT bin = r.slot;
      const F *LOVASZ_RESTRICT slope = r.extra, *LOVASZ_RESTRICT likely = r.rest;
      F *LOVASZ_RESTRICT out = r.x, *LOVASZ_RESTRICT w = r.q;
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) bin[i] += label[i] == 1 ? side : 0;
      look_up(weights, bin, n, w);
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) {
        F g = (label[i] == 1 ? -scale : scale) * w[i] * slope[i];
        if (entropy) g += (label[i] == 1 ? -yes : no) * likely[i];
        out[i] = label[i] < 0 ? F(0) : g;
      }
    });
    write_row(problem, tile, c, whole.x);
  }
}

template <class F>
void apply_binary(const Problem& problem, const Tile& tile, char* scratch, const void* table, const Scales& scales) {
  (problem.cross_entropy ? apply_channels<true, F> : apply_channels<false, F>)(problem, tile, scratch, table, scales);
}

}  // namespace
