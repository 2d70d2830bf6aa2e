// From the counters of all blocks to the table, and from it to losses and weights (`lovasz/_math/jaccard.py`).

struct IntegerMemory {
  u64 of[BLOCK];
};
struct DoubleMemory {
  double of[BLOCK];
};

// A block for each BLOCK bins of a class: adds the ranges; the background pixels of the lowest bin are the rest.
extern "C" __global__ void __launch_bounds__(BLOCK) merge(Merging m) {
  SHARED(IntegerMemory, scratch);
  const i64 blocks = (m.bins + 1 + BLOCK - 1) / BLOCK;
  const i64 row = blockIdx.x / blocks;
  const int i = static_cast<int>(blockIdx.x % blocks) * BLOCK + static_cast<int>(threadIdx.x);
  const i64 size = 2 * (static_cast<i64>(m.bins) + 1), start = row * size;
  u64 background = 0, foreground = 0;
  if (i <= m.bins) {
    const unsigned* counted = static_cast<const unsigned*>(m.counted) + start + i;
    for (i64 range = 0; range < m.ranges; ++range) {
      background += __ldg(counted + range * m.rows * size);
      foreground += __ldg(counted + range * m.rows * size + m.bins + 1);
    }
    u64* table = static_cast<u64*>(m.table) + start + i;
    if (i > 0) table[0] += background;  // to the lowest other blocks add at the same time
    table[m.bins + 1] += foreground;
  }
  const u64 of_foreground = block_sum<u64, BLOCK>(foreground, scratch.of);
  const u64 of_background = block_sum<u64, BLOCK>(i > 0 ? background : 0, scratch.of);
  if (threadIdx.x == 0) {
    const bool once = blockIdx.x % blocks == 0;
    const u64 valid = once ? static_cast<const u64*>(m.valid)[row / m.classes_a_number] : 0;
    atomicAdd(static_cast<u64*>(m.table) + start, valid - of_background - of_foreground);
    if (once) static_cast<u64*>(m.numbers)[row] += valid;
    if (of_foreground) atomicAdd(static_cast<u64*>(m.numbers) + m.foreground + row, of_foreground);
  }
}

__device__ inline double at_least(double least, double v) { return v > least ? v : least; }

// A block for each class: each thread has some bins that follow one another, from the largest error down.
extern "C" __global__ void __launch_bounds__(BLOCK) weigh(Weighing w) {
  SHARED(IntegerMemory, of_background);
  SHARED(IntegerMemory, of_foreground);
  SHARED(DoubleMemory, of_loss);
  const int bins = w.bins, each = (bins + BLOCK - 1) / BLOCK, t = static_cast<int>(threadIdx.x);
  const i64 row = blockIdx.x, size = 2 * (static_cast<i64>(bins) + 1);
  const i64* background = static_cast<const i64*>(w.table) + row * size;
  const i64* foreground = background + bins + 1;
  WEIGHT* out = static_cast<WEIGHT*>(w.weights) + row * size;
  const double factor = static_cast<const double*>(w.coefficients)[row];
  const bool poisoned = background[bins] + foreground[bins] > 0;
  if (factor == 0 || poisoned) {  // a class that takes no part may hold NaN
    const double v = factor == 0 ? 0.0 : static_cast<double>(__int_as_float(0x7fc00000));
    for (i64 i = t; i < size; i += BLOCK) out[i] = static_cast<WEIGHT>(v);
    if (t == 0) static_cast<double*>(w.losses)[row] = v;
    return;
  }
  const int hi = bins - t * each, lo = hi - each > 0 ? hi - each : 0;
  i64 k = 0, j = 0;
  for (int i = lo; i < hi; ++i) {
    j += background[i];
    k += foreground[i];
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
  const double G = static_cast<double>(static_cast<i64>(of_foreground.of[BLOCK - 1]));
  j = static_cast<i64>(of_background.of[t]) - j;
  k = static_cast<i64>(of_foreground.of[t]) - k;
  const double a = w.alpha, b = w.beta, s = w.steps;
  const double least = a < b ? (a < 1 ? a : 1) : (b < 1 ? b : 1);
  double loss = 0;
  for (int i = hi - 1; i >= lo; --i) {
    const i64 j_before = j, k_before = k;
    j += background[i];
    k += foreground[i];
    // From one point of the grid of `binning` to the next.
    double step = 0;
    if (i > 0) step = !HINGE_BINS ? (2.0 * i - 1) / (s * s) : i < s ? HINGE_SCALE * s / ((s - i) * (s - i + 1)) : 0.0;
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
  if (t == 0) out[bins] = out[2 * bins + 1] = WEIGHT(0);
  loss = block_sum<double, BLOCK>(loss, of_loss.of);
  if (t == 0) static_cast<double*>(w.losses)[row] = loss * factor;
}
