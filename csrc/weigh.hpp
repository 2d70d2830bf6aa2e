// From counts to losses and weights: in one walk what `losses` and `weights` of lovasz/_math/jaccard.py make, with which the
// tests compare it. It goes down from the largest error, so that k and j are the foreground and background pixels of
// a bin and of those above it.
#pragma once

#include "rows.hpp"

namespace {

// Adds counters to a row of the table, or, first of all, starts it; returns their sum.
int64_t merge(const uint32_t* LOVASZ_RESTRICT counters, int64_t n, bool first, int64_t* LOVASZ_RESTRICT row) {
  int64_t sum = 0;
  if (first) {
    LOVASZ_ROWS
    for (int64_t i = 0; i < n; ++i) {
      row[i] = counters[i];
      sum += counters[i];
    }
  } else {
    LOVASZ_ROWS
    for (int64_t i = 0; i < n; ++i) {
      row[i] += counters[i];
      sum += counters[i];
    }
  }
  return sum;
}

// Of an integer from 0 to 2^52: its bits, put into the fraction of a number whose last place is worth 1.
inline double as_double(int64_t v) {
  return bits<double>(static_cast<uint64_t>(v) | 0x4330000000000000u) - 4503599627370496.0;
}

inline double at_least_1(double v) { return v > 1.0 ? v : 1.0; }

constexpr int kBlock = 512;

// Calls work(lo, n, k, j) for blocks of bins lo .. lo + n - 1, from the top down.
template <class Work>
inline void for_blocks(const int64_t* row, int bins, Work work) {
  int64_t k[kBlock], j[kBlock], all_k = 0, all_j = 0;
  for (int hi = bins; hi > 0; hi -= kBlock) {
    const int lo = hi < kBlock ? 0 : hi - kBlock;
    for (int i = hi - 1; i >= lo; --i) {
      k[i - lo] = all_k += row[bins + 1 + i];
      j[i - lo] = all_j += row[i];
    }
    work(lo, hi - lo, k, j);
  }
}

inline double all_foreground(const int64_t* row, int bins) {
  int64_t sum = 0;
  for (int i = 0; i < bins; ++i) sum += row[bins + 1 + i];
  return as_double(sum);
}

inline bool poisoned(const int64_t* row, int bins) { return (row[bins] | row[2 * bins + 1]) != 0; }

// Of n bins whose pixels and those above them are k foreground and j background pixels: the losses of these sets times
// `steps`, and the weights of the bins times `factor`.
template <class F>
void weigh_jaccard(int n, const int64_t* LOVASZ_RESTRICT background, const int64_t* LOVASZ_RESTRICT foreground,
                   const int64_t* LOVASZ_RESTRICT k, const int64_t* LOVASZ_RESTRICT j,
                   const double* LOVASZ_RESTRICT steps, double G, double factor, double* LOVASZ_RESTRICT terms,
                   F* LOVASZ_RESTRICT w_b, F* LOVASZ_RESTRICT w_f) {
  // 1 / (before * after) serves both: the loss is a sum of steps * (k + j) / after, the weights' denominators are
  // `before` and `after`.
  LOVASZ_ROWS
  for (int i = 0; i < n; ++i) {
    const double n_b = as_double(background[i]), n_f = as_double(foreground[i]);
    const double all_j = as_double(j[i]), all_k = as_double(k[i]);
    const double before = at_least_1(G + (all_j - n_b)), after = at_least_1(G + all_j);
    const double inverse = 1.0 / (before * after), scale = factor * inverse;
    terms[i] = steps[i] * ((all_k + all_j) * before) * inverse;
    w_f[i] = static_cast<F>(0.5 * (before + after) * scale);  // (1 / before + 1 / after) / 2
    w_b[i] = static_cast<F>((G - (all_k - n_f) - 0.5 * n_f) * scale);
  }
}

// The same for any measure: D at the four corners of a bin, 0 or 1 for its foreground and its background pixels.
template <class F>
void weigh_tversky(int n, const int64_t* LOVASZ_RESTRICT background, const int64_t* LOVASZ_RESTRICT foreground,
                   const int64_t* LOVASZ_RESTRICT k, const int64_t* LOVASZ_RESTRICT j,
                   const double* LOVASZ_RESTRICT steps, double G, double factor, const Measure& measure,
                   double* LOVASZ_RESTRICT terms, F* LOVASZ_RESTRICT w_b, F* LOVASZ_RESTRICT w_f) {
  const double a = measure.alpha, b = measure.beta;
  double least = a < b ? a : b;
  least = least < 1 ? least : 1;
  const auto denominator = [=](double of_k, double of_j) {
    const double D = (G - of_k) + a * of_j + b * of_k;
    return D > least ? D : least;
  };
  LOVASZ_ROWS
  for (int i = 0; i < n; ++i) {
    const double n_b = as_double(background[i]), n_f = as_double(foreground[i]);
    const double j1 = as_double(j[i]), k1 = as_double(k[i]), j0 = j1 - n_b, k0 = k1 - n_f;
    const double d00 = denominator(k0, j0), d10 = denominator(k1, j0);
    const double d01 = denominator(k0, j1), d11 = denominator(k1, j1);
    terms[i] = steps[i] * (a * j1 + b * k1) / d11;
    w_f[i] = static_cast<F>(0.5 * factor * ((b * G + a * j0) / (d00 * d10) + (b * G + a * j1) / (d01 * d11)));
    w_b[i] = static_cast<F>(0.5 * factor * a * ((G - k0) / (d00 * d01) + (G - k1) / (d10 * d11)));
  }
}

template <class F>
double weigh(const int64_t* row, int bins, const double* steps, double factor, const Measure& measure, F* out) {
  // A class that takes no part may hold NaN, and has no gradient all the same.
  if (factor == 0 || poisoned(row, bins)) {
    for (int i = 0; i < 2 * (bins + 1); ++i) out[i] = factor == 0 ? F(0) : static_cast<F>(NAN);
    return factor == 0 ? 0 : NAN;
  }
  const double G = all_foreground(row, bins);
  Sum sum;
  for_blocks(row, bins, [&](int lo, int n, const int64_t* k, const int64_t* j) {
    const int64_t *background = row + lo, *foreground = row + bins + 1 + lo;
    F *w_b = out + lo, *w_f = out + bins + 1 + lo;
    double terms[kBlock];
    if (measure.jaccard())
      weigh_jaccard(n, background, foreground, k, j, steps + lo, G, factor, terms, w_b, w_f);
    else
      weigh_tversky(n, background, foreground, k, j, steps + lo, G, factor, measure, terms, w_b, w_f);
    for (int i = n; i % 8 != 0; ++i) terms[i] = 0;
    sum.add(terms, n);
    if (G > 0) return;
    for (int i = 0; i < n; ++i)  // no foreground: the largest errors share the whole
      w_b[i] = j[i] == background[i] ? static_cast<F>(factor / at_least_1(as_double(background[i]))) : F(0);
  });
  out[bins] = out[2 * bins + 1] = F(0);
  return factor * sum.total();
}

}  // namespace
