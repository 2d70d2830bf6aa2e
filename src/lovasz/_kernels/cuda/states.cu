// The first launch of count for the softmax: reads the logits once and leaves of each pixel what its softmax takes.

// Of each pixel the largest logit, 1 / Σ exp(logit - largest), NaN where there is no softmax, and the label.
extern "C" __global__ void __launch_bounds__(BLOCK, 1) states(Pixels a, States s, Entropy ce) {
  SHARED(TileMemory, memory);
  SHARED(SumMemory, sums);
  const SoftmaxTile tile = softmax_tile(a, memory);
  if (tile.inside && tile.slice == 0) {
    const i64 at = tile.image * a.pixels + tile.p;
    static_cast<LABEL*>(s.label)[at] = static_cast<LABEL>(tile.label);
    static_cast<REAL*>(s.inverse)[at] = tile.inverse;
    write(static_cast<LOGIT*>(s.top) + at, tile.top);
  }
  const int valid = __syncthreads_count(tile.slice == 0 && tile.label >= 0);
  const int wrong = __syncthreads_count(tile.slice == 0 && tile.wrong);
  if (threadIdx.x == 0) {
    const i64 row = a.per_image ? tile.image : 0;
    if (valid) atomicAdd(static_cast<u64*>(s.valid) + row, static_cast<u64>(valid));
    if (wrong) atomicAdd(static_cast<u64*>(s.wrong), static_cast<u64>(wrong));
  }
  if (CROSS_ENTROPY) {
    const REAL smoothing = static_cast<REAL>(ce.smoothing), log = logarithm(tile.total);
    REAL extra = 0;
    if (ce.smoothing > 0) {
#pragma unroll UNROLL
      for (int k = 0; k < EACH; ++k) {
        if (has_class(tile, k)) extra += class_weight(ce, class_of(tile, k)) * (log + (tile.top - logit(a, tile, k)));
      }
      extra = across_slices<false>(tile, extra, memory);
    }
    double loss = 0, weight = 0;
    if (tile.slice == 0 && tile.label >= 0) {
      const REAL w = class_weight(ce, tile.label);
      loss = (REAL(1) - smoothing) * w * (log + (tile.top - tile.own)) + smoothing / CLASSES * extra;
      weight = w;
    }
    write_sums(ce, loss, weight, sums);
  }
}
