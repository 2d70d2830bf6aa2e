// Where each channel has a foreground of its own: the sigmoid, the hinge, and probabilities.

enum { SIGMOID = 1, HINGE = 2, PROBS = 3 };

struct BinaryError {
  int bin;     // `bins` where the error is NaN
  REAL slope;  // of the error in the logit, without its sign, which is - on the foreground
};

__device__ inline BinaryError binary_error(REAL x, bool foreground, REAL steps, int bins) {
  const REAL z = foreground ? -x : x;
  if (!is_finite(x)) return {bins, REAL(0)};
  if (FORM == SIGMOID) {
    const REAL bounded = z < REAL(-80) ? REAL(-80) : z > REAL(80) ? REAL(80) : z;
    const REAL e = exponential(-bounded), error = REAL(1) / (REAL(1) + e);
    return {root_bin(error, steps), error * (error * e)};
  }
  if (FORM == HINGE) {
    const REAL error = larger(REAL(1) + z, REAL(0));
    return {hinge_bin(error, steps), error > REAL(0) ? REAL(1) : REAL(0)};
  }
  return {root_bin(foreground ? REAL(1) - x : x, steps), REAL(1)};
}

struct BinaryEntropy {
  REAL loss, slope;  // without the weight
};

__device__ inline BinaryEntropy binary_entropy(REAL x, bool foreground) {
  if (!is_finite(x)) return {NAN_REAL, NAN_REAL};
  const REAL wrong = foreground ? -x : x, e = exponential(wrong > REAL(0) ? -wrong : wrong);
  const REAL slope = (wrong > REAL(0) ? REAL(1) : e) / (REAL(1) + e);
  return {larger(wrong, REAL(0)) + logarithm_beyond_1(e), foreground ? -slope : slope};
}

// The weight of the background, or foreground, of a channel in the binary cross-entropy.
__device__ inline REAL side_weight(const Entropy& ce, i64 c, int foreground) {
  if (ce.class_weights == nullptr) return REAL(1);
  return REAL(read(static_cast<const REAL*>(ce.class_weights) + 2 * c + foreground));
}
