// Numbers as the loops need them: branch-free, so that a compiler turns a loop over them into SIMD.
// No function here is visible outside its file: each instruction set compiles its own.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX__) || defined(__SSE2__) || defined(_M_X64)
#include <immintrin.h>
#define LOVASZ_STREAM
#endif

namespace {

#if defined(LOVASZ_STREAM)
// 64 bytes to an address that is a multiple of 64, past the caches.
inline void stream_line(char* out, const char* in) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(out), _mm512_loadu_si512(in));
#else
  for (int i = 0; i < 64; i += 16)
    _mm_stream_si128(reinterpret_cast<__m128i*>(out + i), _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i)));
#endif
}
#endif

template <class To, class From>
inline To bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// x = n ln 2 + r with |r| <= ln 2 / 2, and e^r; the low bits of the result hold n, whatever lies above them.
struct Reduced {
  float exp_r;
  uint32_t n;
};

inline Reduced reduce(float x) {
  const float shift = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const float shifted = x * 1.44269504088896341f + shift;
  const float n = shifted - shift;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  // Minimax for (e^r - 1 - r) / r^2, relative to e^r within 4e-9.
  float p = 0.00139505246968f;
  p = p * r + 0.00836891757829f;
  p = p * r + 0.0416662053089f;
  p = p * r + 0.166665186066f;
  p = p * r + 0.500000009535f;
  return {p * (r * r) + r + 1.0f, bits<uint32_t>(shifted)};
}

// e^x to 2 ulp over the whole range: subnormal results, 0, infinity and NaN included. 2^n is made in two
// halves, for neither can n overflow.
inline float exponential(float x) {
  x = x > 89.0f ? 89.0f : x;
  x = x < -104.0f ? -104.0f : x;
  const Reduced e = reduce(x);
  const int32_t power = static_cast<int32_t>(e.n - 0x4B400000u), half = power >> 1;
  const float first = bits<float>(static_cast<uint32_t>(half + 127) << 23);
  const float second = bits<float>(static_cast<uint32_t>(power - half + 127) << 23);
  return e.exp_r * first * second;
}

// The same for |x| <= 87 (and NaN), where 2^n is a float.
inline float small_exponential(float x) {
  const Reduced e = reduce(x);
  return e.exp_r * bits<float>((e.n << 23) + 0x3F800000u);
}

inline double small_exponential(double x) { return std::exp(x); }

// e^(x/2) for x <= 0, the root of a softmax's term; where the term would be 0, so is the square of the root.
inline float root_exponential(float x) { return small_exponential(x < -174.0f ? -87.0f : 0.5f * x); }
inline double root_exponential(double x) { return std::exp(0.5 * x); }

// ln x for finite x >= 1.
inline float logarithm(float x) {
  const uint32_t u = bits<uint32_t>(x) - 0x3F3504F3u;  // of sqrt(1/2): the fraction lies about 1
  const float power = static_cast<float>(static_cast<int32_t>(u) >> 23);
  const float fraction = bits<float>((u & 0x7FFFFFu) + 0x3F3504F3u);
  const float f = (fraction - 1.0f) / (fraction + 1.0f), g = f * f;
  float p = 2.0f / 9.0f;
  p = p * g + 2.0f / 7.0f;
  p = p * g + 2.0f / 5.0f;
  p = p * g + 2.0f / 3.0f;
  return power * 0.693359375f + (2.0f * f + (f * g * p - power * 2.12194440e-4f));
}

inline double logarithm(double x) { return std::log(x); }

// ln (1 + x) for 0 <= x <= 1, small ones included.
inline float logarithm_beyond_1(float x) {
  // Minimax for (ln (1 + x) - x) / x^2, relative to ln (1 + x) within 5e-9; a division would cost more.
  float p = -0.0033184699713841f;
  p = p * x + 0.0202045738697052f;
  p = p * x - 0.0576644279062748f;
  p = p * x + 0.106805540621281f;
  p = p * x - 0.153553947806358f;
  p = p * x + 0.196953997015953f;
  p = p * x - 0.249585866928101f;
  p = p * x + 0.333305120468140f;
  p = p * x - 0.499999314546585f;
  return p * (x * x) + x;
}

inline double logarithm_beyond_1(double x) { return std::log1p(x); }

inline float square_root(float x) { return std::sqrt(x); }
inline double square_root(double x) { return std::sqrt(x); }

template <class F>
inline bool finite(F x) {
  return x - x == F(0);
}

// A sum in 8 parts, in an order that depends on nothing.
struct Sum {
  double parts[8] = {};
  // n entries, and what there is up to a multiple of 8.
  template <class F>
  void add(const F* row, int n) {
    for (int i = 0; i < n; i += 8)
      for (int l = 0; l < 8; ++l) parts[l] += static_cast<double>(row[i + l]);
  }
  double total() const {
    return ((parts[0] + parts[1]) + (parts[2] + parts[3])) + ((parts[4] + parts[5]) + (parts[6] + parts[7]));
  }
};

template <class F>
inline double sum_of(const F* row, int n) {
  Sum sum;
  sum.add(row, n);
  return sum.total();
}

inline float from_bfloat16(uint16_t h) { return bits<float>(static_cast<uint32_t>(h) << 16); }

inline uint16_t to_bfloat16(float f) {
  const uint32_t u = bits<uint32_t>(f);
  const uint32_t rounded = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
  const uint32_t quiet = (u >> 16) | 0x40u;
  return static_cast<uint16_t>((u & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded);
}

inline float from_float16(uint16_t h) {
  const uint32_t magnitude = static_cast<uint32_t>(h & 0x7FFFu) << 13;
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t scaled = bits<uint32_t>(bits<float>(magnitude) * 0x1p112f);  // moves the exponent's bias
  const uint32_t special = magnitude | 0x7F800000u;                           // infinity and NaN
  return bits<float>((magnitude >= 0x0F800000u ? special : scaled) | sign);
}

inline uint16_t to_float16(float f) {
  const uint32_t u = bits<uint32_t>(f), magnitude = u & 0x7FFFFFFFu;
  const uint32_t normal = (magnitude - 0x38000000u + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13;
  const uint32_t subnormal = bits<uint32_t>(bits<float>(magnitude) + 0.5f) - 0x3F000000u;
  const uint32_t special = magnitude > 0x7F800000u ? 0x7E00u : 0x7C00u;
  const uint32_t small = magnitude < 0x38800000u ? subnormal : normal;
  return static_cast<uint16_t>((magnitude >= 0x47800000u ? special : small) | ((u >> 16) & 0x8000u));
}

}  // namespace
