// Labels, logits and gradients in every type and layout: from memory into rows, and back.
#pragma once

#include <cstring>
#include <type_traits>

#include "upsample.hpp"

namespace {

// Labels as integers that hold them all: 32 bits where they suffice, for a register holds more of these.
inline int64_t as_label(uint64_t v) { return v > INT64_MAX ? INT64_MAX : static_cast<int64_t>(v); }
inline int64_t as_label(uint32_t v) { return v; }
inline int64_t as_label(int64_t v) { return v; }
inline int32_t as_label(int32_t v) { return v; }  // and what is smaller

using One = std::integral_constant<int64_t, 1>;

struct Valid {
  int valid, bad;
};

// Labels as classes, -1 where void or no class; how many are valid, and how many are no class. `stride` is 1 or
// the argument: a constant stride is what makes the loop SIMD.
template <class I, class Stride>
Valid read_labels_of(const I* LOVASZ_RESTRICT in, Stride stride, const uint8_t* LOVASZ_RESTRICT mask,
                     int64_t mask_stride, const Problem& problem, int length, int32_t* LOVASZ_RESTRICT out) {
  using Label = decltype(as_label(I()));
  const Label classes = problem.form == Form::softmax ? problem.classes : 2;
  const int64_t wanted = problem.num_ignore ? problem.ignore[0] : -1;
  const Label ignored = static_cast<Label>(wanted);
  const Label instead = problem.num_ignore && ignored == wanted ? -1 : -2;
  LOVASZ_ROWS
  for (int i = 0; i < length; ++i) {
    const Label v = as_label(in[i * stride]), label = ((v >= 0) & (v < classes)) ? v : -2;
    out[i] = static_cast<int32_t>(((v == ignored) & (instead == -1)) ? instead : label);
  }
  int negative = 0, sum = 0;
  for (int i = 0; i < length; ++i) {
    negative += out[i] < 0 ? 1 : 0;
    sum += out[i] < 0 ? out[i] : 0;
  }
  int valid = length - negative, bad = -sum - negative;  // -1 and -2
  constexpr bool clamped = std::is_same<I, uint64_t>::value;
  if (bad > 0 || problem.num_ignore > 1 || mask != nullptr || clamped) {
    for (int k = 1; k < problem.num_ignore; ++k)
      for (int i = 0; i < length; ++i) out[i] = as_label(in[i * stride]) == problem.ignore[k] ? -1 : out[i];
    if (clamped)  // beyond int64: no ignored label either
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

// out[k][l] = in[l][k] for whole squares of k < columns, l < n; returns how many columns that were. Both are n long.
template <class From, class To>
inline int transpose_squares(const From*, int64_t, int, int, To*, int64_t) {
  return 0;
}
#if defined(LOVASZ_STREAM)
inline int transpose_squares(const float* in, int64_t in_stride, int n, int columns, float* out, int64_t out_stride) {
  int k = 0;
  for (; k + 4 <= columns; k += 4) {
    for (int l = 0; l < n; l += 4) {
      const float* from = in + l * in_stride + k;
      float* to = out + k * out_stride + l;
      __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + in_stride);
      __m128 c = _mm_loadu_ps(from + 2 * in_stride), d = _mm_loadu_ps(from + 3 * in_stride);
      _MM_TRANSPOSE4_PS(a, b, c, d);
      _mm_storeu_ps(to, a), _mm_storeu_ps(to + out_stride, b);
      _mm_storeu_ps(to + 2 * out_stride, c), _mm_storeu_ps(to + 3 * out_stride, d);
    }
  }
  return k;
}
#endif

// Classes that are neighbours in memory, to one row each: a few pixels at a time, which a cache holds.
template <class F, class Stored, class Convert>
void read_pixels_of(const Stored* LOVASZ_RESTRICT in, int64_t stride, int classes, int length, int64_t row_stride,
                    F* LOVASZ_RESTRICT out, Convert convert) {
  int i = 0;
  for (; i + kLanes <= length; i += kLanes) {
    const int done = transpose_squares(in + i * stride, stride, kLanes, classes, out + i, row_stride);
    for (int c = done; c < classes; ++c)
      for (int l = 0; l < kLanes; ++l) out[c * row_stride + i + l] = convert(in[(i + l) * stride + c]);
  }
  for (int c = 0; c < classes; ++c)
    for (int l = i; l < whole_lanes(length); ++l)
      out[c * row_stride + l] = l < length ? convert(in[l * stride + c]) : F(0);
}

// Logits of one class.
template <class F>
void read_row(const Problem& problem, const Tile& tile, int c, F* out) {
  if (tile.between != nullptr) return between_rows(*tile.between, c, tile.length, out);
  with_stored<F>(problem.real, const_cast<void*>(tile.logits), [&](const auto* in, auto read, auto) {
    read_row_of(in + c * tile.logits_class, tile.logits_pixel, tile.length, out, read);
  });
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
      stream(reinterpret_cast<char*>(out + begin), reinterpret_cast<const char*>(stored),
             static_cast<int64_t>(sizeof(Stored)) * n);
    }
  } else if (stride == 1) {
    LOVASZ_ROWS
    for (int i = 0; i < length; ++i) out[i] = convert(in[i]);
  } else {
    for (int i = 0; i < length; ++i) out[i * stride] = convert(in[i]);
  }
}

// Rows, one for each class, to classes that are neighbours in memory.
template <class F, class Stored, class Convert>
void write_pixels_of(const F* LOVASZ_RESTRICT in, int64_t row_stride, int classes, int length, bool streamed,
                     Stored* LOVASZ_RESTRICT out, int64_t stride, Convert convert) {
  constexpr int size = 4096;
  alignas(64) Stored stored[size];
  const int strip = size / classes / kLanes * kLanes;
  if (strip == 0 || stride != classes || !streamed) {
    for (int i = 0; i < length; ++i)
      for (int c = 0; c < classes; ++c) out[i * stride + c] = convert(in[c * row_stride + i]);
    return;
  }
  for (int begin = 0; begin < length; begin += strip) {
    const int n = length - begin < strip ? length - begin : strip;
    int i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const F* row = in + begin + i;
      // Pixels are the columns here, and all of them are in squares: those of the classes are whole up to `squares`.
      const int squares = classes / 4 * 4;
      const int done = transpose_squares(row, row_stride, squares, kLanes, stored + i * classes, classes) ? squares : 0;
      for (int l = 0; l < kLanes; ++l)
        for (int c = done; c < classes; ++c) stored[(i + l) * classes + c] = convert(row[c * row_stride + l]);
    }
    for (; i < n; ++i)
      for (int c = 0; c < classes; ++c) stored[i * classes + c] = convert(in[c * row_stride + begin + i]);
    stream(reinterpret_cast<char*>(out + begin * stride), reinterpret_cast<const char*>(stored),
           static_cast<int64_t>(sizeof(Stored)) * n * classes);
  }
}

// Gradient in the logits of one class.
template <class F>
void write_row(const Problem& problem, const Tile& tile, int c, const F* in) {
  if (tile.between != nullptr) return add_between(*tile.between, c, tile.length, in);
  with_stored<F>(problem.real, tile.gradient, [&](auto* out, auto, auto write) {
    write_row_of(in, tile.gradient_pixel, tile.length, problem.stream, out + c * tile.gradient_class, write);
  });
}

// Gradient in the logits of all classes.
template <class F>
void write_gradient(const Problem& problem, const Tile& tile, const Rows<F>& r) {
  if (tile.gradient_class != 1 || tile.gradient_pixel == 1) {
    for (int c = 0; c < problem.classes; ++c) write_row(problem, tile, c, r.x + c * r.stride);
    return;
  }
  with_stored<F>(problem.real, tile.gradient, [&](auto* out, auto, auto write) {
    write_pixels_of(r.x, r.stride, problem.classes, tile.length, problem.stream, out, tile.gradient_pixel, write);
  });
}

}  // namespace
