// From the table to losses and weights (`lovasz/_math/jaccard.py`).

struct IntegerMemory {
  u64 of[BLOCK];
};
struct DoubleMemory {
  double of[BLOCK];
};

__device__ inline double at_least(double least, double v) { return v > least ? v : least; }

// A block for each piece of a class, the first of the largest errors; a thread has some bins of it that follow one
// another. What stands above its piece a block counts for itself.
extern "C" __global__ void __launch_bounds__(BLOCK) weigh(Weighing w) {
  SHARED(IntegerMemory, of_background);
  SHARED(IntegerMemory, of_foreground);
  SHARED(IntegerMemory, of_class);
  SHARED(DoubleMemory, of_loss);
  const int bins = w.bins, t = static_cast<int>(threadIdx.x);
  const i64 row = blockIdx.x / w.pieces, size = 2 * (static_cast<i64>(bins) + 1);
  const int piece = static_cast<int>(blockIdx.x % w.pieces), of_piece = (bins + w.pieces - 1) / w.pieces;
  const int end = bins - piece * of_piece, begin = end > of_piece ? end - of_piece : 0;
  const i64* background = static_cast<const i64*>(w.table) + row * size;
  const i64* foreground = background + bins + 1;
  WEIGHT* out = static_cast<WEIGHT*>(w.weights) + row * size;
  double* loss_of_piece = static_cast<double*>(w.losses) + blockIdx.x;
  const double factor = __ldg(static_cast<const double*>(w.coefficients) + row);
  const bool poisoned = __ldg(background + bins) + __ldg(foreground + bins) > 0;
  if (factor == 0 || poisoned) {  // a class that takes no part may hold NaN
    const double v = factor == 0 ? 0.0 : static_cast<double>(__int_as_float(0x7fc00000));
    for (i64 i = piece * BLOCK + t; i < size; i += w.pieces * BLOCK) out[i] = static_cast<WEIGHT>(v);
    if (t == 0) *loss_of_piece = v;
    return;
  }
  i64 in_class = 0, above_j = 0, above_k = 0;
  for (int i = t; i < bins; i += BLOCK) {
    const i64 more = __ldg(foreground + i);
    in_class += more;
    if (i < end) continue;
    above_k += more;
    above_j += __ldg(background + i);
  }
  in_class = static_cast<i64>(block_sum<u64, BLOCK>(static_cast<u64>(in_class), of_class.of));
  above_j = static_cast<i64>(block_sum<u64, BLOCK>(static_cast<u64>(above_j), of_background.of));
  above_k = static_cast<i64>(block_sum<u64, BLOCK>(static_cast<u64>(above_k), of_foreground.of));
  __syncthreads();  // every thread has read the sums
  const int each = (end - begin + BLOCK - 1) / BLOCK, hi = end - t * each, lo = hi - each > begin ? hi - each : begin;
  i64 k = 0, j = 0;
  for (int i = lo; i < hi; ++i) {
    j += __ldg(background + i);
    k += __ldg(foreground + i);
  }
  // Of the threads before: those of larger errors.
  of_background.of[t] = static_cast<u64>(j);
  of_foreground.of[t] = static_cast<u64>(k);
  __syncthreads();
  for (int back = 1; back < BLOCK; back *= 2) {
    const u64 more_j = t >= back ? of_background.of[t - back] : 0, more_k = t >= back ? of_foreground.of[t - back] : 0;
    __syncthreads();
    of_background.of[t] += more_j;
    of_foreground.of[t] += more_k;
    __syncthreads();
  }
  j = above_j + static_cast<i64>(of_background.of[t]) - j;
  k = above_k + static_cast<i64>(of_foreground.of[t]) - k;
  const double G = static_cast<double>(in_class);
  const double a = w.alpha, b = w.beta, s = w.steps, square = 1 / (s * s);
  const double least = a < b ? (a < 1 ? a : 1) : (b < 1 ? b : 1);
  double loss = 0;
  for (int i = hi - 1; i >= lo; --i) {
    const i64 j_before = j, k_before = k;
    j += __ldg(background + i);
    k += __ldg(foreground + i);
    // From one point of the grid of `binning` to the next.
    double step = 0;
    if (i > 0) step = !HINGE_BINS ? (2.0 * i - 1) * square : i < s ? HINGE_SCALE * s / ((s - i) * (s - i + 1)) : 0.0;
    const double j0 = static_cast<double>(j_before), j1 = static_cast<double>(j);
    const double k0 = static_cast<double>(k_before), k1 = static_cast<double>(k);
    double w_f, w_b;
    if (a == 1 && b == 1) {
      const double before = at_least(1, G + j0), after = at_least(1, G + j1), inverse = 1 / (before * after);
      loss += step * ((k1 + j1) * before) * inverse;
      w_f = 0.5 * (before + after) * inverse;
      w_b = (G - k0 - 0.5 * (k1 - k0)) * inverse;
    } else {
      const double d00 = at_least(least, (G - k0) + a * j0 + b * k0), d10 = at_least(least, (G - k1) + a * j0 + b * k1);
      const double d01 = at_least(least, (G - k0) + a * j1 + b * k0), d11 = at_least(least, (G - k1) + a * j1 + b * k1);
      loss += step * ((a * j1 + b * k1) / d11);
      w_f = 0.5 * ((b * G + a * j0) / (d00 * d10) + (b * G + a * j1) / (d01 * d11));
      w_b = 0.5 * a * ((G - k0) / (d00 * d01) + (G - k1) / (d10 * d11));
    }
    if (G == 0) w_b = j_before == 0 ? 1 / at_least(1, j1) : 0.0;  // the largest errors share the whole
    out[i] = static_cast<WEIGHT>(w_b * factor);
    out[bins + 1 + i] = static_cast<WEIGHT>(w_f * factor);
  }
  if (t == 0 && piece == 0) out[bins] = out[2 * bins + 1] = WEIGHT(0);
  loss = block_sum<double, BLOCK>(loss, of_loss.of);
  if (t == 0) *loss_of_piece = loss * factor;
}
