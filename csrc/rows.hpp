// The scratch memory of one thread, in rows of whole lanes, and one access after the other to counters and weights.
// Included, as the headers below it, by passes.cpp alone, once for each instruction set.
#pragma once

#include <cstring>

#include "kernel.hpp"
#include "numbers.hpp"

// Before a loop over rows that do not overlap.
#if defined(__GNUC__) && !defined(__clang__)
#define LOVASZ_ROWS _Pragma("GCC ivdep")
#else
#define LOVASZ_ROWS
#endif
#if defined(__GNUC__)
#define LOVASZ_RESTRICT __restrict__
#else
#define LOVASZ_RESTRICT __restrict
#endif

namespace {

using namespace lovasz;

inline int whole_lanes(int n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Rows of scratch memory: of a tile one for each class; of the part at hand one more for each class, and some
// for what belongs to a pixel.
template <class F>
struct Rows {
  int length;  // of the part, in whole lanes
  int64_t stride, part_stride;
  F *x, *max;  // of the part, in the rows of the tile, as its labels
  int32_t* label;
  F *q, *sum, *scale, *rest, *own_logit, *extra;
  int32_t* slot;

  Rows(const Problem& problem, char* scratch) {
    // Rows a power of two apart would share the sets of a cache.
    stride = tile_length(problem) + kLanes, part_stride = part_length(problem) + kLanes;
    const int classes = problem.form == Form::softmax ? problem.classes : 1;
    F* next = reinterpret_cast<F*>(scratch);
    const auto take = [&next](int64_t size) { return next += size, next - size; };
    x = take(classes * stride), max = take(stride), label = reinterpret_cast<int32_t*>(take(stride));
    q = take(classes * part_stride);
    sum = take(part_stride), scale = take(part_stride), rest = take(part_stride);
    own_logit = take(part_stride), extra = take(part_stride);
    slot = reinterpret_cast<int32_t*>(take(part_stride));
  }
};

// Calls work(pointer, conversion to F and back) with the type that is stored.
template <class F, class Work>
void with_stored(Real real, void* pointer, Work work) {
  switch (real) {
    case Real::f64:
      return work(static_cast<double*>(pointer), [](double v) { return F(v); }, [](F v) { return double(v); });
    case Real::f32:
      return work(static_cast<float*>(pointer), [](float v) { return F(v); }, [](F v) { return float(v); });
    case Real::bf16:
      return work(static_cast<uint16_t*>(pointer), [](uint16_t v) { return F(from_bfloat16(v)); },
                  [](F v) { return to_bfloat16(float(v)); });
    default:
      return work(static_cast<uint16_t*>(pointer), [](uint16_t v) { return F(from_float16(v)); },
                  [](F v) { return to_float16(float(v)); });
  }
}

// The rows of the parts of a tile, one after the other.
template <class F, class Work>
inline void for_parts(const Problem& problem, const Tile& tile, const Rows<F>& whole, Work work) {
  const int part = part_length(problem);
  for (int begin = 0; begin < tile.length; begin += part) {
    const int length = tile.length - begin < part ? tile.length - begin : part;
    Rows<F> rows = whole;
    rows.x += begin, rows.max += begin, rows.label += begin;
    rows.length = whole_lanes(length);
    work(rows);
  }
}

// The counter of a bin, for the pixel in lane i.
inline int32_t slot_of(int32_t bin, int i) { return bin ? bin + (kSpread - 1) : i % kSpread; }

// One counter or weight at a time: on the processors measured, a gather instruction costs more than its loads.
// Two indices are read at once; where the first of them lies depends on the order of bytes.
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
constexpr int kFirst = 32;
#else
constexpr int kFirst = 0;
#endif

struct Two {
  uint64_t both;
  explicit Two(const int32_t* index) { std::memcpy(&both, index, sizeof both); }
  uint32_t first() const { return static_cast<uint32_t>(both >> kFirst); }
  uint32_t second() const { return static_cast<uint32_t>(both >> (32 - kFirst)); }
};

inline void increment(uint32_t* LOVASZ_RESTRICT counters, const int32_t* LOVASZ_RESTRICT slot, int n) {
  for (int i = 0; i < n; i += 4) {
    const Two a(slot + i), b(slot + i + 2);
    counters[a.first()] += 1;
    counters[a.second()] += 1;
    counters[b.first()] += 1;
    counters[b.second()] += 1;
  }
}

template <class F>
inline void look_up(const F* LOVASZ_RESTRICT table, const int32_t* LOVASZ_RESTRICT index, int n,
                    F* LOVASZ_RESTRICT out) {
  for (int i = 0; i < n; i += 4) {
    const Two a(index + i), b(index + i + 2);
    out[i] = table[a.first()];
    out[i + 1] = table[a.second()];
    out[i + 2] = table[b.first()];
    out[i + 3] = table[b.second()];
  }
}

}  // namespace
