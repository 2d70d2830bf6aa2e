// Count and apply on one tile of pixels. Compiled once for each instruction set, with LOVASZ_ISA its name:
// loops over rows of whole lanes that the compiler turns into that set's SIMD; nothing else is particular to it.
//
// For the softmax, with e_c = exp((x_c - max x) / 2) and s = sum of e_c^2, the probability is p_c = e_c^2 / s.
// The bin map works on sqrt(p_c) = e_c / sqrt(s), so the root of every class costs one product, and a bin is
// the nearest integer to e_c * steps / sqrt(s). The pixel's own class has the error 1 - p instead.
//
// The gradient of sum_c w_c p_c in the logits is p_c (w_c - D) with D = sum_c w_c p_c, where the weight of a
// pixel's own class is minus that of its error. The cross-entropy adds a constant to D and takes the target
// distribution off again.
#include <type_traits>

#include "kernel.hpp"
#include "numbers.hpp"

#if defined(__GNUC__)
#define LOVASZ_ROWS _Pragma("GCC ivdep")
#else
#define LOVASZ_ROWS
#endif
#define LOVASZ_QUOTE_(x) #x
#define LOVASZ_QUOTE(x) LOVASZ_QUOTE_(x)

namespace {

using namespace lovasz;

#if defined(__GNUC__)
#define LOVASZ_RESTRICT __restrict__
#else
#define LOVASZ_RESTRICT __restrict
#endif

inline int whole_lanes(int n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Rows of scratch memory: of a tile one for each class; of the part at hand one more for each class, and some
// for what belongs to a pixel.
template <class F>
struct Rows {
  int length;  // of the part, in whole lanes
  int64_t stride, part_stride;
  F *x, *max;  // of the part, in the rows of the tile, as its labels
  int32_t* label;
  F *q, *sum, *scale, *own, *own_logit, *extra;
  int32_t* slot;

  Rows(const Problem& problem, char* scratch) {
    // Rows a power of two apart would share the sets of a cache.
    stride = tile_length(problem) + kLanes, part_stride = part_length(problem) + kLanes;
    const int classes = problem.form == Form::softmax ? problem.classes : 1;
    F* next = reinterpret_cast<F*>(scratch);
    const auto take = [&next](int64_t size) { return next += size, next - size; };
    x = take(classes * stride), max = take(stride), label = reinterpret_cast<int32_t*>(take(stride));
    q = take(classes * part_stride);
    sum = take(part_stride), scale = take(part_stride), own = take(part_stride);
    own_logit = take(part_stride), extra = take(part_stride);
    slot = reinterpret_cast<int32_t*>(take(part_stride));
  }
};

// The parts of a tile, one after the other: the rows of each, and how many of its pixels there are.
template <class F, class Work>
inline void for_parts(const Problem& problem, const Tile& tile, const Rows<F>& whole, Work work) {
  const int part = part_length(problem);
  for (int begin = 0; begin < tile.length; begin += part) {
    const int length = tile.length - begin < part ? tile.length - begin : part;
    Rows<F> rows = whole;
    rows.x += begin, rows.max += begin, rows.label += begin;
    rows.length = whole_lanes(length);
    work(rows, length);
  }
}

// ---------------------------------------------------------------------------------------------- in and out

inline int64_t as_label(uint64_t v) { return v > INT64_MAX ? INT64_MAX : static_cast<int64_t>(v); }
template <class I>
inline int64_t as_label(I v) {
  return static_cast<int64_t>(v);
}

using One = std::integral_constant<int64_t, 1>;

struct Valid {
  int valid, bad;
};

// Labels as classes, -1 where void or no class; how many are valid, and how many are no class. `stride` is 1 or
// the argument: a constant stride is what makes the loop SIMD.
template <class I, class Stride>
Valid read_labels_of(const I* LOVASZ_RESTRICT in, Stride stride, const uint8_t* LOVASZ_RESTRICT mask,
                     int64_t mask_stride, const Problem& problem, int length, int32_t* LOVASZ_RESTRICT out) {
  const uint64_t classes = problem.form == Form::softmax ? static_cast<uint64_t>(problem.classes) : 2;
  const int64_t ignored = problem.num_ignore ? problem.ignore[0] : -1, instead = problem.num_ignore ? -1 : -2;
  LOVASZ_ROWS
  for (int i = 0; i < length; ++i) {
    const int64_t v = as_label(in[i * stride]), label = static_cast<uint64_t>(v) < classes ? v : -2;
    out[i] = static_cast<int32_t>(v == ignored ? instead : label);
  }
  int negative = 0, sum = 0;
  for (int i = 0; i < length; ++i) {
    negative += out[i] < 0 ? 1 : 0;
    sum += out[i] < 0 ? out[i] : 0;
  }
  int valid = length - negative, bad = -sum - negative;  // -1 and -2
  if (bad > 0 || problem.num_ignore > 1 || mask != nullptr) {
    for (int k = 1; k < problem.num_ignore; ++k)
      for (int i = 0; i < length; ++i) out[i] = as_label(in[i * stride]) == problem.ignore[k] ? -1 : out[i];
    if (static_cast<I>(-1) > static_cast<I>(0) && sizeof(I) == 8)  // beyond int64: no ignored label either
      for (int i = 0; i < length; ++i)
        if (static_cast<uint64_t>(in[i * stride]) > static_cast<uint64_t>(INT64_MAX)) out[i] = -2;
    if (mask != nullptr)
      for (int i = 0; i < length; ++i) out[i] = mask[i * mask_stride] ? out[i] : -1;
    valid = bad = 0;
    for (int i = 0; i < length; ++i) {
      valid += out[i] >= 0 ? 1 : 0;
      bad += out[i] == -2 ? 1 : 0;
      out[i] = out[i] < 0 ? -1 : out[i];
    }
  }
  for (int i = length; i < whole_lanes(length); ++i) out[i] = -1;
  return {valid, bad};
}

Valid read_labels(const Problem& problem, const Tile& tile, int channel, int32_t* out) {
  const int64_t at = channel * tile.target_class;
  const uint8_t* mask = tile.mask == nullptr ? nullptr : tile.mask + channel * tile.mask_class;
  const auto read = [&](auto* in) {
    const int64_t stride = tile.target_pixel;
    return stride == 1 ? read_labels_of(in + at, One(), mask, tile.mask_pixel, problem, tile.length, out)
                       : read_labels_of(in + at, stride, mask, tile.mask_pixel, problem, tile.length, out);
  };
  switch (problem.integer) {
    case Integer::i8: return read(static_cast<const int8_t*>(tile.target));
    case Integer::i16: return read(static_cast<const int16_t*>(tile.target));
    case Integer::i32: return read(static_cast<const int32_t*>(tile.target));
    case Integer::i64: return read(static_cast<const int64_t*>(tile.target));
    case Integer::u8: return read(static_cast<const uint8_t*>(tile.target));
    case Integer::u16: return read(static_cast<const uint16_t*>(tile.target));
    case Integer::u32: return read(static_cast<const uint32_t*>(tile.target));
    default: return read(static_cast<const uint64_t*>(tile.target));
  }
}

template <class F, class Stored, class Convert>
void read_row_of(const Stored* LOVASZ_RESTRICT in, int64_t stride, int length, F* LOVASZ_RESTRICT out,
                 Convert convert) {
  if (stride == 1) {
    LOVASZ_ROWS
    for (int i = 0; i < length; ++i) out[i] = convert(in[i]);
  } else {
    for (int i = 0; i < length; ++i) out[i] = convert(in[i * stride]);
  }
  for (int i = length; i < whole_lanes(length); ++i) out[i] = F(0);
}

// Logits of one class.
template <class F>
void read_row(const Problem& problem, const Tile& tile, int c, F* out) {
  const int64_t at = c * tile.logits_class;
  const auto read = [&](auto* in, auto convert) {
    read_row_of(in + at, tile.logits_pixel, tile.length, out, convert);
  };
  switch (problem.real) {
    case Real::f64: return read(static_cast<const double*>(tile.logits), [](double v) { return F(v); });
    case Real::f32: return read(static_cast<const float*>(tile.logits), [](float v) { return F(v); });
    case Real::bf16: return read(static_cast<const uint16_t*>(tile.logits), [](uint16_t v) { return F(from_bfloat16(v)); });
    default: return read(static_cast<const uint16_t*>(tile.logits), [](uint16_t v) { return F(from_float16(v)); });
  }
}

// Past the caches, which have no use for what is written once and is larger than they are.
inline void stream(char* out, const char* in, int64_t bytes) {
#if defined(LOVASZ_STREAM)
  int64_t head = static_cast<int64_t>(-reinterpret_cast<uintptr_t>(out) & 63);
  head = head < bytes ? head : bytes;
  std::memcpy(out, in, static_cast<size_t>(head));
  int64_t i = head;
  for (; i + 64 <= bytes; i += 64) stream_line(out + i, in + i);
  std::memcpy(out + i, in + i, static_cast<size_t>(bytes - i));
#else
  std::memcpy(out, in, static_cast<size_t>(bytes));
#endif
}

template <class F, class Stored, class Convert>
void write_row_of(const F* LOVASZ_RESTRICT in, int64_t stride, int length, bool streamed, Stored* LOVASZ_RESTRICT out,
                  Convert convert) {
  if (stride == 1 && streamed) {
    // Converted strip by strip: what is stored past the caches is to be bytes in a row.
    constexpr int strip = 1024;
    alignas(64) Stored stored[strip];
    for (int begin = 0; begin < length; begin += strip) {
      const int n = length - begin < strip ? length - begin : strip;
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) stored[i] = convert(in[begin + i]);
      stream(reinterpret_cast<char*>(out + begin), reinterpret_cast<const char*>(stored), static_cast<int64_t>(sizeof(Stored)) * n);
    }
  } else if (stride == 1) {
    LOVASZ_ROWS
    for (int i = 0; i < length; ++i) out[i] = convert(in[i]);
  } else {
    for (int i = 0; i < length; ++i) out[i * stride] = convert(in[i]);
  }
}

// Gradient in the logits of one class.
template <class F>
void write_row(const Problem& problem, const Tile& tile, int c, const F* in) {
  const int64_t at = c * tile.gradient_class;
  const auto write = [&](auto* out, auto convert) {
    write_row_of(in, tile.gradient_pixel, tile.length, problem.stream, out + at, convert);
  };
  switch (problem.real) {
    case Real::f64: return write(static_cast<double*>(tile.gradient), [](F v) { return double(v); });
    case Real::f32: return write(static_cast<float*>(tile.gradient), [](F v) { return float(v); });
    case Real::bf16: return write(static_cast<uint16_t*>(tile.gradient), [](F v) { return to_bfloat16(float(v)); });
    default: return write(static_cast<uint16_t*>(tile.gradient), [](F v) { return to_float16(float(v)); });
  }
}

// --------------------------------------------------------------------------------------------- table access
// One counter or weight at a time: on the processors measured, a gather instruction costs more than its loads.
// Two indices are read at once.

inline void increment(uint32_t* LOVASZ_RESTRICT counters, const int32_t* LOVASZ_RESTRICT slot, int n) {
  for (int i = 0; i < n; i += 4) {
    uint64_t a, b;
    std::memcpy(&a, slot + i, sizeof a), std::memcpy(&b, slot + i + 2, sizeof b);
    counters[static_cast<uint32_t>(a)] += 1;
    counters[a >> 32] += 1;
    counters[static_cast<uint32_t>(b)] += 1;
    counters[b >> 32] += 1;
  }
}

template <class F>
inline void look_up(const F* LOVASZ_RESTRICT table, const int32_t* LOVASZ_RESTRICT index, int n,
                    F* LOVASZ_RESTRICT out) {
  for (int i = 0; i < n; i += 4) {
    uint64_t a, b;
    std::memcpy(&a, index + i, sizeof a), std::memcpy(&b, index + i + 2, sizeof b);
    out[i] = table[static_cast<uint32_t>(a)];
    out[i + 1] = table[a >> 32];
    out[i + 2] = table[static_cast<uint32_t>(b)];
    out[i + 3] = table[b >> 32];
  }
}

// ------------------------------------------------------------------------------------------------- softmax

// Reads the logits of a tile, and the largest of each pixel.
template <class F>
void read_logits(const Problem& problem, const Tile& tile, const Rows<F>& r) {
  const int n = whole_lanes(tile.length);
  F* LOVASZ_RESTRICT max = r.max;
  for (int c = 0; c < problem.classes; ++c) {
    F* LOVASZ_RESTRICT x = r.x + c * r.stride;
    read_row(problem, tile, c, x);
    if (c == 0) {
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) max[i] = x[i];
    } else {
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) max[i] = x[i] > max[i] ? x[i] : max[i];
    }
  }
}

// Leaves e_c in the rows of a part. In the rows of the pixel: sum s, own = e of its class, own_logit = x of its
// class, and scale = steps / sqrt(s), or 0 where the pixel is void or its cross-entropy is not finite. Returns
// how many valid pixels are of the latter kind.
template <class F>
int softmax_rows(const Problem& problem, Rows<F>& r) {
  const int n = r.length;
  const F* LOVASZ_RESTRICT max = r.max;
  F *LOVASZ_RESTRICT sum = r.sum, *LOVASZ_RESTRICT scale = r.scale;
  F *LOVASZ_RESTRICT own = r.own, *LOVASZ_RESTRICT own_logit = r.own_logit;
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
      const F w = static_cast<F>(problem.class_weights[c]);
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) extra[i] += w * (max[i] - x[i]);
    }
  }
  for (int c = 0; c < problem.classes; ++c) {
    F* LOVASZ_RESTRICT x = r.x + c * r.stride;
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) {
      const F e = root_exponential(x[i] - max[i]);
      x[i] = e;
      sum[i] = (c ? sum[i] : F(0)) + e * e;
    }
  }
  const F steps = static_cast<F>(problem.steps);
  int odd = 0, nans = 0;
  LOVASZ_ROWS
  for (int i = 0; i < n; ++i) {
    const bool number = finite(sum[i]);
    const bool good = number & (own_logit[i] > -static_cast<F>(INFINITY)) & (label[i] >= 0);
    own[i] = root_exponential(own_logit[i] - max[i]);
    scale[i] = good ? steps / square_root(sum[i]) : F(0);
    odd += number ? 0 : 1;
    nans += (label[i] >= 0) & !good ? 1 : 0;
  }
  if (odd)
    for (int c = 0; c < problem.classes; ++c)
      for (int i = 0; i < n; ++i)
        if (!finite(sum[i])) r.x[c * r.stride + i] = F(0);
  return nans;
}

// Bin of the error 1 - p of the pixel's own class.
template <class F>
inline int32_t own_bin(F own, F sum, F scale, F steps) {
  const F error = F(1) - own * own / sum;
  const F root = square_root(error > F(0) ? error : F(0));
  return static_cast<int32_t>((scale > F(0) ? root : F(0)) * steps + F(0.5));
}

inline int32_t slot_of(int32_t bin, int i) { return bin ? bin + (kSpread - 1) : i % kSpread; }

// Cross-entropy of the valid pixels among the first `length` of a part, after softmax_rows.
template <class F>
void add_cross_entropy(const Problem& problem, int length, const Rows<F>& r, CrossEntropy& ce) {
  const double share = problem.smoothing / problem.classes, rest = 1 - problem.smoothing;
  double all = 0;
  for (int c = 0; c < problem.classes; ++c) all += problem.class_weights[c];
  F* LOVASZ_RESTRICT log_sum = r.q;
  LOVASZ_ROWS
  for (int i = 0; i < r.length; ++i) log_sum[i] = logarithm(r.sum[i]);
  for (int i = 0; i < length; ++i) {
    if (r.label[i] < 0) continue;
    const double w = problem.class_weights[r.label[i]], log = static_cast<double>(log_sum[i]);
    double loss = rest * w * (log + static_cast<double>(r.max[i] - r.own_logit[i]));
    if (share > 0) loss += share * (all * log + static_cast<double>(r.extra[i]));
    ce.loss += finite(r.sum[i]) ? loss : static_cast<double>(NAN);
    ce.weight += w;
  }
}

template <class F>
void count_softmax_part(const Problem& problem, int length, Rows<F>& r, Counts& counts, CrossEntropy& ce) {
  const int nans = softmax_rows(problem, r);
  if (problem.cross_entropy) add_cross_entropy(problem, length, r, ce);
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
  const F *LOVASZ_RESTRICT scale = r.scale, *LOVASZ_RESTRICT own = r.own, *LOVASZ_RESTRICT sum = r.sum;
  const int32_t* LOVASZ_RESTRICT label = r.label;
  int32_t* LOVASZ_RESTRICT slot = r.slot;
  LOVASZ_ROWS
  for (int i = 0; i < n; ++i) {
    const int32_t at = slot_of(own_bin(own[i], sum[i], scale[i], steps), i) + label[i] * row + foreground;
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
  for_parts(problem, tile, whole, [&](Rows<F>& r, int length) { count_softmax_part(problem, length, r, counts, ce); });
}

// Leaves the gradient of a part in its rows; `clean` says that no pixel of it is void.
template <class F>
void apply_softmax_part(const Problem& problem, bool clean, Rows<F>& r, const F* weights, double scale_ce) {
  const int n = r.length, classes = problem.classes;
  const int32_t side = problem.bins + 1;
  softmax_rows(problem, r);
  const F steps = static_cast<F>(problem.steps);
  const int32_t* LOVASZ_RESTRICT label = r.label;
  int32_t* LOVASZ_RESTRICT bin = r.slot;
  F *LOVASZ_RESTRICT dot = r.extra, *LOVASZ_RESTRICT sum = r.sum, *LOVASZ_RESTRICT scale = r.scale;
  F *LOVASZ_RESTRICT own = r.own, *LOVASZ_RESTRICT own_product = r.own_logit, *LOVASZ_RESTRICT w = r.max;
  LOVASZ_ROWS
  for (int i = 0; i < n; ++i)
    bin[i] = own_bin(own[i], sum[i], scale[i], steps) + (label[i] < 0 ? 0 : 2 * label[i] + 1) * side;
  look_up(weights, bin, n, w);
  LOVASZ_ROWS
  for (int i = 0; i < n; ++i) {
    own_product[i] = -own[i] * own[i] * w[i];
    dot[i] = F(0);
  }
  for (int c = 0; c < classes; ++c) {
    const F* LOVASZ_RESTRICT e = r.x + c * r.stride;
    F* LOVASZ_RESTRICT q = r.q + c * r.part_stride;
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) bin[i] = static_cast<int32_t>(e[i] * scale[i] + F(0.5));
    look_up(weights + 2 * c * static_cast<int64_t>(side), bin, n, w);
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) {
      q[i] = label[i] == c ? own_product[i] : e[i] * e[i] * w[i];
      dot[i] += q[i];
    }
  }
  // From here on: sum = 1 / s, dot = (D - the cross-entropy's constant) / s, NaN where the pixel is no number;
  // own = what the cross-entropy takes off the pixel's own class.
  F smooth = F(0), all = F(0);
  if (problem.cross_entropy) {
    F* LOVASZ_RESTRICT off = own;
    for (int i = 0; i < n; ++i)
      off[i] = label[i] < 0 ? F(0) : static_cast<F>(scale_ce * (1 - problem.smoothing) * problem.class_weights[label[i]]);
    smooth = static_cast<F>(scale_ce * problem.smoothing / classes);
    for (int c = 0; c < classes; ++c) all += smooth * static_cast<F>(problem.class_weights[c]);
  }
  LOVASZ_ROWS
  for (int i = 0; i < n; ++i) {
    const F inverse = scale[i] > F(0) ? F(1) / sum[i] : static_cast<F>(NAN);
    const F constant = problem.cross_entropy ? own[i] + all : F(0);
    sum[i] = inverse;
    dot[i] = (dot[i] * inverse - constant) * inverse;
  }
  for (int c = 0; c < classes; ++c) {
    F* LOVASZ_RESTRICT x = r.x + c * r.stride;
    const F* LOVASZ_RESTRICT q = r.q + c * r.part_stride;
    if (problem.cross_entropy) {
      const F off = smooth * static_cast<F>(problem.class_weights[c]);
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i)
        x[i] = q[i] * sum[i] - x[i] * x[i] * dot[i] - off - (label[i] == c ? own[i] : F(0));
    } else {
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) x[i] = q[i] * sum[i] - x[i] * x[i] * dot[i];
    }
    if (!clean) {
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) x[i] = label[i] < 0 ? F(0) : x[i];
    }
  }
}

template <class F>
void apply_softmax(const Problem& problem, const Tile& tile, char* scratch, const void* weights, double scale_ce) {
  const Rows<F> whole(problem, scratch);
  const bool clean = read_labels(problem, tile, 0, whole.label).valid == tile.length;
  read_logits(problem, tile, whole);
  for_parts(problem, tile, whole, [&](Rows<F>& r, int) {
    apply_softmax_part(problem, clean, r, static_cast<const F*>(weights), scale_ce);
  });
  for (int c = 0; c < problem.classes; ++c) write_row(problem, tile, c, whole.x + c * whole.stride);
}

// -------------------------------------------------------------------------- a foreground for each channel

// Of a row of logits x: errors m into r.q, dm / dx without its sign into r.extra (when asked for), and bins
// into r.slot, `bins` where the error is no number. The sign is - on the foreground.
template <bool derivative, class F>
void binary_row(const Problem& problem, Rows<F>& r) {
  const int n = r.length;
  const F steps = static_cast<F>(problem.steps), none = static_cast<F>(problem.bins);
  const F* LOVASZ_RESTRICT x = r.x;
  F* LOVASZ_RESTRICT slope = r.extra;
  int32_t *LOVASZ_RESTRICT bin = r.slot, *LOVASZ_RESTRICT label = r.label;
  const auto place = [&](int i, F root, bool number) {
    bin[i] = static_cast<int32_t>((number ? root * steps : none) + F(0.5));
  };
  if (problem.form == Form::sigmoid) {
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) {
      F z = label[i] == 1 ? x[i] : -x[i];
      const bool number = finite(z);
      z = z > F(80) ? F(80) : z;
      z = z < F(-80) ? F(-80) : z;
      const F e = exponential(z), error = F(1) / (F(1) + e);
      place(i, square_root(error), number);
      if (derivative) slope[i] = number ? error * (error * e) : F(0);
    }
  } else if (problem.form == Form::hinge) {
    const F last = steps - F(1);
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) {
      const F z = F(1) + (label[i] == 1 ? -x[i] : x[i]);
      const bool number = finite(x[i]);
      const F error = z > F(0) ? z : F(0);
      F position = number ? error / (error + F(4)) * steps : F(0);
      position = position > last ? last : position;
      bin[i] = static_cast<int32_t>((number ? position : none) + F(0.5));
      if (derivative) slope[i] = number & (z > F(0)) ? F(1) : F(0);
    }
  } else {
    LOVASZ_ROWS
    for (int i = 0; i < n; ++i) {
      const F error = label[i] == 1 ? F(1) - x[i] : x[i];
      const bool number = finite(x[i]);
      place(i, square_root(error > F(0) ? error : F(0)), number);
      if (derivative) slope[i] = F(1);
    }
  }
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
    read_row(problem, tile, c, whole.x);
    for_parts(problem, tile, whole, [&](Rows<F>& r, int) {
      binary_row<false>(problem, r);
      const int n = r.length;
      int32_t *LOVASZ_RESTRICT slot = r.slot, *LOVASZ_RESTRICT label = r.label;
      int nans = 0;
      LOVASZ_ROWS
      for (int i = 0; i < n; ++i) nans += (label[i] >= 0) & (slot[i] == bins) ? 1 : 0;
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
void apply_binary(const Problem& problem, const Tile& tile, char* scratch, const void* table, double) {
  const Rows<F> whole(problem, scratch);
  const int32_t side = problem.bins + 1;
  for (int c = 0; c < problem.classes; ++c) {
    read_labels(problem, tile, c, whole.label);
    read_row(problem, tile, c, whole.x);
    const F* weights = static_cast<const F*>(table) + 2 * c * static_cast<int64_t>(side);
    for_parts(problem, tile, whole, [&](Rows<F>& r, int) {
      binary_row<true>(problem, r);
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
        const F g = (label[i] == 1 ? -w[i] : w[i]) * slope[i];
        out[i] = label[i] < 0 ? F(0) : g;
      }
    });
    write_row(problem, tile, c, whole.x);
  }
}

void count(const Problem& problem, const Tile& tile, char* scratch, Counts& counts, CrossEntropy& ce) {
  const bool wide = problem.real == Real::f64, softmax = problem.form == Form::softmax;
  const auto pass = softmax ? (wide ? count_softmax<double> : count_softmax<float>)
                            : (wide ? count_binary<double> : count_binary<float>);
  pass(problem, tile, scratch, counts, ce);
}

void apply(const Problem& problem, const Tile& tile, char* scratch, const void* weights, double scale) {
  const bool wide = problem.real == Real::f64, softmax = problem.form == Form::softmax;
  const auto pass = softmax ? (wide ? apply_softmax<double> : apply_softmax<float>)
                            : (wide ? apply_binary<double> : apply_binary<float>);
  pass(problem, tile, scratch, weights, scale);
#if defined(LOVASZ_STREAM)
  if (problem.stream) _mm_sfence();
#endif
}

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

void exponentials(const float* in, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = exponential(in[i]);
}

}  // namespace

namespace lovasz {

extern const Kernel LOVASZ_ISA;
const Kernel LOVASZ_ISA = {LOVASZ_QUOTE(LOVASZ_ISA), count, apply, merge, exponentials};

}  // namespace lovasz
