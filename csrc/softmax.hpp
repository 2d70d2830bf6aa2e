// Count and apply where each pixel has one class, with the cross-entropy in the same passes.
//
// For the softmax, with e_c = exp((x_c - max x) / 2) and s = sum of e_c^2, the probability is p_c = e_c^2 / s.
// The bin map works on sqrt(p_c) = e_c / sqrt(s), so the root of every class costs one product, and a bin is
// the nearest integer to e_c * steps / sqrt(s). The pixel's own class has the error 1 - p instead.
//
// The gradient of sum_c w_c p_c in the logits is p_c (w_c - D) with D = sum_c w_c p_c, where the weight of a
// pixel's own class is minus that of its error. The cross-entropy adds a constant to D and takes the target
// distribution off again.
#pragma once

#include "memory.hpp"

namespace {

// Classes whose terms are added one after the other, as the certified bound takes them to be (`rounding`).
constexpr int kTogether = 16;

template <class F>
inline F class_weight(const Problem& problem, int c) {
  return problem.class_weights == nullptr ? F(1) : static_cast<F>(problem.class_weights[c]);
}

// Reads the logits of a tile, and the largest of each pixel.
template <class F>
void read_logits(const Problem& problem, const Tile& tile, const Rows<F>& r) {
  const int n = whole_lanes(tile.length);
  F* LOVASZ_RESTRICT max = r.max;
  const bool neighbours = tile.logits_class == 1 && tile.logits_pixel != 1;
  if (neighbours) {
    with_stored<F>(problem.real, const_cast<void*>(tile.logits), [&](const auto* in, auto read, auto) {
      read_pixels_of(in, tile.logits_pixel, problem.classes, tile.length, r.stride, r.x, read);
    });
  }
  for (int c = 0; c < problem.classes; ++c) {
    F* LOVASZ_RESTRICT x = r.x + c * r.stride;
    if (!neighbours) read_row(problem, tile, c, x);
    if (c == 0) {
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) max[i] = x[i];
    } else {
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) max[i] = x[i] > max[i] ? x[i] : max[i];
    }
  }
}

// Sums e_c^2 of all classes but the pixel's own, kTogether at a time: one after the other, small terms would be lost
// beside a large one, each by half an ulp of it. Leaves e_c in the rows of the part.
template <class F>
void add_others(const Problem& problem, Rows<F>& r, F* LOVASZ_RESTRICT sums, F* LOVASZ_RESTRICT few) {
  const int n = r.length;
  const F* LOVASZ_RESTRICT max = r.max;
  const int32_t* LOVASZ_RESTRICT label = r.label;
  for (int begin = 0; begin < problem.classes; begin += kTogether) {
    const int end = begin + kTogether < problem.classes ? begin + kTogether : problem.classes;
    F* LOVASZ_RESTRICT into = begin ? few : sums;
    for (int c = begin; c < end; ++c) {
      F* LOVASZ_RESTRICT x = r.x + c * r.stride;
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) {
        const F e = root_exponential(x[i] - max[i]);
        x[i] = e;
        into[i] = (c > begin ? into[i] : F(0)) + (label[i] == c ? F(0) : e * e);
      }
    }
    if (begin) {
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) sums[i] += few[i];
    }
  }
}

// Leaves e_c in the rows of a part. In the rows of the pixel: sum s, rest = s without the pixel's own class,
// own_logit = x of its class, and scale = steps / sqrt(s), or 0 where the pixel is void or its cross-entropy is not
// finite. Returns how many valid pixels are of the latter kind.
template <class F>
int softmax_rows(const Problem& problem, Rows<F>& r) {
  const int n = r.length;
  const F* LOVASZ_RESTRICT max = r.max;
  F *LOVASZ_RESTRICT sum = r.sum, *LOVASZ_RESTRICT scale = r.scale;
  F *LOVASZ_RESTRICT rest = r.rest, *LOVASZ_RESTRICT own_logit = r.own_logit;
  const int32_t* LOVASZ_RESTRICT label = r.label;
  int32_t* LOVASZ_RESTRICT index = r.slot;
  const int32_t stride = static_cast<int32_t>(r.stride);
  LOVASZ_ROWS
  for (int i = 0; i < n; ++i) index[i] = (label[i] < 0 ? 0 : label[i]) * stride + i;
  look_up(r.x, index, n, own_logit);
  if (problem.cross_entropy && problem.smoothing > 0) {
    F* LOVASZ_RESTRICT extra = r.extra;
    for (int i = 0; i < n; ++i) extra[i] = F(0);
    for (int c = 0; c < problem.classes; ++c) {
      const F* LOVASZ_RESTRICT x = r.x + c * r.stride;
      const F w = class_weight<F>(problem, c);
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) extra[i] += w * (max[i] - x[i]);
    }
  }
  // The own class is added last: what is left of 1 - p of a pixel that is nearly right is the sum of the others.
  add_others(problem, r, rest, scale);
  const F steps = static_cast<F>(problem.steps);
  int odd = 0, nans = 0;
  LOVASZ_ROWS
  for (int i = 0; i < n; ++i) {
    const F own = root_exponential(own_logit[i] - max[i]);
    sum[i] = rest[i] + own * own;
    const bool number = finite(sum[i]);
    const bool good = number & (own_logit[i] > -static_cast<F>(INFINITY)) & (label[i] >= 0);
    scale[i] = good ? steps / square_root(sum[i]) : F(0);
    odd += number ? 0 : 1;
    nans += ((label[i] >= 0) & !good) ? 1 : 0;
  }
  if (odd)
    for (int c = 0; c < problem.classes; ++c)
      for (int i = 0; i < n; ++i)
        if (!finite(sum[i])) r.x[c * r.stride + i] = F(0);
  return nans;
}

// Bin of the error 1 - p of the pixel's own class.
template <class F>
inline int32_t own_bin(F rest, F sum, F scale, F steps) {
  const F root = square_root(rest / sum);
  return static_cast<int32_t>((scale > F(0) ? root : F(0)) * steps + F(0.5));
}

// Weight of each pixel's class in the cross-entropy, 0 where void.
template <class F>
void class_weights(const Problem& problem, const Rows<F>& r, F* LOVASZ_RESTRICT out) {
  const int32_t* LOVASZ_RESTRICT label = r.label;
  if (problem.class_weights == nullptr) {
    LOVASZ_ROWS
    for (int i = 0; i < r.length; ++i) out[i] = label[i] < 0 ? F(0) : F(1);
  } else {
    for (int i = 0; i < r.length; ++i) out[i] = label[i] < 0 ? F(0) : class_weight<F>(problem, label[i]);
  }
}

// Cross-entropy of the valid pixels of a part, after softmax_rows.
template <class F>
void add_cross_entropy(const Problem& problem, const Rows<F>& r, CrossEntropy& ce) {
  const F share = static_cast<F>(problem.smoothing / problem.classes), sharp = static_cast<F>(1 - problem.smoothing);
  F all = F(0);
  for (int c = 0; c < problem.classes; ++c) all += class_weight<F>(problem, c);
  const bool smooth = problem.smoothing > 0;
  const int32_t* LOVASZ_RESTRICT label = r.label;
  const F *LOVASZ_RESTRICT max = r.max, *LOVASZ_RESTRICT own_logit = r.own_logit, *LOVASZ_RESTRICT sum = r.sum;
  F *LOVASZ_RESTRICT extra = r.extra, *LOVASZ_RESTRICT weight = r.q;  // the last is free until the gradient
  class_weights(problem, r, weight);
  LOVASZ_ROWS
  for (int i = 0; i < r.length; ++i) {
    const F log = logarithm(sum[i]);
    F loss = sharp * weight[i] * (log + (max[i] - own_logit[i]));
    loss += smooth ? share * (all * log + extra[i]) : F(0);
    loss = finite(sum[i]) ? loss : static_cast<F>(NAN);
    extra[i] = label[i] < 0 ? F(0) : loss;
  }
  ce.loss += sum_of(extra, r.length);
  ce.weight += sum_of(weight, r.length);
}

template <class F>
void count_softmax_part(const Problem& problem, Rows<F>& r, Counts& counts, CrossEntropy& ce) {
  const int nans = softmax_rows(problem, r);
  if (problem.cross_entropy) add_cross_entropy(problem, r, ce);
  if (nans) {
    for (int i = 0; i < r.length; ++i) {
      if (r.label[i] < 0 || r.scale[i] > F(0)) continue;
      counts.nan_background[0] += 1;
      counts.nan_foreground[r.label[i]] += 1;
    }
  }

  const int n = r.length;
  const int32_t row = slots(problem), foreground = static_cast<int32_t>(counts.foreground - counts.background);
  const F steps = static_cast<F>(problem.steps);
  const F *LOVASZ_RESTRICT scale = r.scale, *LOVASZ_RESTRICT rest = r.rest, *LOVASZ_RESTRICT sum = r.sum;
  const int32_t* LOVASZ_RESTRICT label = r.label;
  int32_t* LOVASZ_RESTRICT slot = r.slot;
  LOVASZ_ROWS
  for (int i = 0; i < n; ++i) {
    const int32_t at = slot_of(own_bin(rest[i], sum[i], scale[i], steps), i) + label[i] * row + foreground;
    slot[i] = scale[i] > F(0) ? at : i % kSpread;
  }
  increment(counts.background, slot, n);
  for (int c = 0; c < problem.classes; ++c) {
    const F* LOVASZ_RESTRICT e = r.x + c * r.stride;
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) {
      const int32_t at = slot_of(static_cast<int32_t>(e[i] * scale[i] + F(0.5)), i);
      slot[i] = label[i] == c ? i % kSpread : at;
    }
    increment(counts.background + c * static_cast<int64_t>(row), slot, n);
  }
}

template <class F>
void count_softmax(const Problem& problem, const Tile& tile, char* scratch, Counts& counts, CrossEntropy& ce) {
  const Rows<F> whole(problem, scratch);
  const Valid labels = read_labels(problem, tile, 0, whole.label);
  counts.valid[0] += labels.valid;
  counts.bad_labels += labels.bad;
  if (labels.valid == 0) return;
  read_logits(problem, tile, whole);
  for_parts(problem, tile, whole, [&](Rows<F>& r) { count_softmax_part(problem, r, counts, ce); });
}

// Leaves the gradient of a part in its rows; `clean` says that no pixel of it is void.
template <class F>
void apply_softmax_part(const Problem& problem, bool clean, Rows<F>& r, const F* weights, const Scales& scales) {
  const int n = r.length, classes = problem.classes;
  const int32_t side = problem.bins + 1;
  softmax_rows(problem, r);
  const F steps = static_cast<F>(problem.steps);
  const int32_t* LOVASZ_RESTRICT label = r.label;
  int32_t* LOVASZ_RESTRICT bin = r.slot;
  F *LOVASZ_RESTRICT dot = r.extra, *LOVASZ_RESTRICT sum = r.sum, *LOVASZ_RESTRICT scale = r.scale;
  F *LOVASZ_RESTRICT rest = r.rest, *LOVASZ_RESTRICT own_weight = r.own_logit;
  LOVASZ_ROWS
  for (int i = 0; i < n; ++i)
    bin[i] = own_bin(rest[i], sum[i], scale[i], steps) + (label[i] < 0 ? 0 : 2 * label[i] + 1) * side;
  look_up(weights, bin, n, own_weight);
  LOVASZ_ROWS
  for (int i = 0; i < n; ++i) {
    own_weight[i] = -own_weight[i];
    dot[i] = F(0);
  }
  for (int c = 0; c < classes; ++c) {
    const F* LOVASZ_RESTRICT e = r.x + c * r.stride;
    F* LOVASZ_RESTRICT w = r.q + c * r.part_stride;
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) bin[i] = static_cast<int32_t>(e[i] * scale[i] + F(0.5));
    look_up(weights + 2 * c * static_cast<int64_t>(side), bin, n, w);
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) dot[i] += e[i] * e[i] * (label[i] == c ? own_weight[i] : w[i]);
  }
  const F loss_scale = static_cast<F>(scales.loss);
  // From here on: sum = scale / s, and dot = (D - the cross-entropy's constant) / s, both NaN where the pixel is no
  // number; rest = what the cross-entropy takes off the pixel's own class.
  F smooth = F(0), all = F(0);
  if (problem.cross_entropy) {
    const F sharp = static_cast<F>(scales.cross_entropy * (1 - problem.smoothing));
    class_weights(problem, r, rest);
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) rest[i] *= sharp;
    smooth = static_cast<F>(scales.cross_entropy * problem.smoothing / classes);
    for (int c = 0; c < classes; ++c) all += smooth * class_weight<F>(problem, c);
  }
  LOVASZ_ROWS
  for (int i = 0; i < n; ++i) {
    const F inverse = scale[i] > F(0) ? F(1) / sum[i] : static_cast<F>(NAN);
    const F constant = problem.cross_entropy ? rest[i] + all : F(0);
    sum[i] = loss_scale * inverse;
    dot[i] = (dot[i] * sum[i] - constant) * inverse;
  }
  for (int c = 0; c < classes; ++c) {
    F* LOVASZ_RESTRICT x = r.x + c * r.stride;
    const F* LOVASZ_RESTRICT w = r.q + c * r.part_stride;
    const F off = problem.cross_entropy ? smooth * class_weight<F>(problem, c) : F(0);
    if (problem.cross_entropy) {
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) {
        const F g = x[i] * x[i] * ((label[i] == c ? own_weight[i] : w[i]) * sum[i] - dot[i]);
        x[i] = g - off - (label[i] == c ? rest[i] : F(0));
      }
    } else {
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i)
        x[i] = x[i] * x[i] * ((label[i] == c ? own_weight[i] : w[i]) * sum[i] - dot[i]);
    }
    if (!clean) {
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) x[i] = label[i] < 0 ? F(0) : x[i];
    }
  }
}

template <class F>
void apply_softmax(const Problem& problem, const Tile& tile, char* scratch, const void* weights, const Scales& scales) {
  const Rows<F> whole(problem, scratch);
  const bool clean = read_labels(problem, tile, 0, whole.label).valid == tile.length;
  read_logits(problem, tile, whole);
  for_parts(problem, tile, whole, [&](Rows<F>& r) {
    apply_softmax_part(problem, clean, r, static_cast<const F*>(weights), scales);
  });
  write_gradient(problem, tile, whole);
}

}  // namespace
