// Numbers as they are stored and as they are computed with, and the bins of `lovasz/_math/binning.py`.
// REAL is float or double; LOGIT what the logits are stored as.

typedef long long i64;
typedef unsigned long long u64;

struct bfloat16 {
  unsigned short bits;
};
struct float16 {
  unsigned short bits;
};

#define NAN_REAL (REAL(__int_as_float(0x7fc00000)))
#define INFINITE (REAL(__int_as_float(0x7f800000)))

// ---- reading and writing; what is read is not written by the same launch ----

__device__ inline double read(const double* at) { return __ldg(at); }
__device__ inline float read(const float* at) { return __ldg(at); }
__device__ inline float read(const bfloat16* at) {
  return __int_as_float(static_cast<int>(static_cast<unsigned>(__ldg(&at->bits)) << 16));
}
__device__ inline float read(const float16* at) { return half_to_float(__ldg(&at->bits)); }

__device__ inline void write(double* at, double v) { *at = v; }
__device__ inline void write(float* at, float v) { *at = v; }
__device__ inline void write(bfloat16* at, float v) {
  const unsigned u = static_cast<unsigned>(__float_as_int(v));
  // To the nearest, ties to even; NaN stays NaN.
  at->bits = static_cast<unsigned short>(v != v ? 0x7fc0u : (u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}
__device__ inline void write(float16* at, float v) { at->bits = float_to_half(v); }

// ---- functions of REAL ----

// By the power of two, which is one instruction; to 1e-6 where the result is no smaller than e^-20, exact at 0.
__device__ inline float exponential(float x) { return exp2f(x * 1.44269504088896341f); }
__device__ inline double exponential(double x) { return exp(x); }
__device__ inline float root(float x) { return sqrtf(x); }
__device__ inline double root(double x) { return sqrt(x); }
__device__ inline float logarithm(float x) { return logf(x); }
__device__ inline double logarithm(double x) { return log(x); }
__device__ inline float logarithm_beyond_1(float x) { return log1pf(x); }
__device__ inline double logarithm_beyond_1(double x) { return log1p(x); }

// A product that is rounded by itself, never as a part of a sum.
__device__ inline float product(float x, float y) { return __fmul_rn(x, y); }
__device__ inline double product(double x, double y) { return __dmul_rn(x, y); }

// The probability of a logit: the same bits in every launch, and so the same bin.
__device__ inline REAL probability_of(REAL logit, REAL top, REAL inverse) {
  return product(exponential(logit - top), inverse);
}

__device__ inline bool is_finite(REAL x) { return x - x == REAL(0); }
__device__ inline REAL larger(REAL x, REAL y) { return x > y ? x : y; }

// The bin of an error from 0 to 1: that of the nearest grid point.
__device__ inline int root_bin(REAL error, REAL steps) {
  return static_cast<int>(root(error > REAL(0) ? error : REAL(0)) * steps + REAL(0.5));
}

// The bin of an error of the hinge.
__device__ inline int hinge_bin(REAL error, REAL steps) {
  const REAL position = error / (error + REAL(HINGE_SCALE)) * steps, last = steps - REAL(1);
  return static_cast<int>((position < last ? position : last) + REAL(0.5));
}

// The sum of v over the N threads of a block, N a power of two, in an order that depends on nothing: in thread 0.
template <class T, int N>
__device__ inline T block_sum(T v, T* scratch) {
  const int i = static_cast<int>(threadIdx.x);
  scratch[i] = v;
  __syncthreads();
  for (int half = N / 2; half > 0; half /= 2) {
    if (i < half) scratch[i] += scratch[i + half];
    __syncthreads();
  }
  return scratch[0];
}
