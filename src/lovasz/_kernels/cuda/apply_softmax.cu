// Apply the weights of the bins for the softmax, in one launch: p (w - Σ p w), w with a minus on the own class.

extern "C" __global__ void __launch_bounds__(BLOCK, 1) apply(Pixels a, Entropy ce, Applying g) {
  SHARED(TileMemory, memory);
  SoftmaxTile tile = softmax_tile(a, memory);
  const i64 size = 2 * (static_cast<i64>(a.bins) + 1), row = a.per_image ? tile.image : 0;
  const REAL* weights = static_cast<const REAL*>(g.weights) + row * CLASSES * size;
  const REAL steps = static_cast<REAL>(a.steps);
  const REAL scale = g.grad == nullptr ? REAL(1) : REAL(read(static_cast<const GRAD*>(g.grad)));
  REAL kept[IN_REGISTERS ? EACH : 1];

  const auto probability_of = [&](int k) { return exponential(logit(a, tile, k) - tile.top) * tile.inverse; };
  const auto weight_of = [&](int c, REAL probability) {
    const bool own = tile.label == c;
    const int bin = root_bin(own ? REAL(1) - probability : probability, steps);
    const REAL w = read(weights + c * size + (own ? a.bins + 1 : 0) + bin);
    return own ? -w : w;
  };

  REAL dot = 0, every = 0;
#pragma unroll UNROLL
  for (int k = 0; k < EACH; ++k) {
    const int c = class_of(tile, k);
    if (c >= CLASSES) continue;
    const REAL probability = probability_of(k), w = tile.good ? weight_of(c, probability) : REAL(0);
    dot += probability * w;
    if (CROSS_ENTROPY && ce.smoothing > 0) every += class_weight(ce, c);
    if (IN_REGISTERS) {
      tile.x[k] = probability;
      kept[k] = w;
    }
  }
  dot = across_slices<false>(tile, dot, memory) * scale;
  REAL own_share = 0, share = 0;
  if (CROSS_ENTROPY) {
    const REAL ce_scale = REAL(read(static_cast<const CE_GRAD*>(g.ce_grad))), smoothing = static_cast<REAL>(ce.smoothing);
    if (tile.label >= 0) own_share = ce_scale * (REAL(1) - smoothing) * class_weight(ce, tile.label);
    if (ce.smoothing > 0) {
      share = ce_scale * smoothing / CLASSES;
      every = across_slices<false>(tile, every, memory);
    }
    dot -= own_share + share * every;
  }
  LOGIT* out = static_cast<LOGIT*>(g.gradient) + tile.image * g.image_stride;
#pragma unroll UNROLL
  for (int k = 0; k < EACH; ++k) {
    const int c = class_of(tile, k);
    if (c >= CLASSES) continue;
    const REAL probability = IN_REGISTERS ? tile.x[k] : probability_of(k);
    const REAL w = IN_REGISTERS ? kept[k] : tile.good ? weight_of(c, probability) : REAL(0);
    REAL v = probability * (scale * w - dot);
    if (CROSS_ENTROPY) {
      v -= tile.label == c ? own_share : REAL(0);
      if (ce.smoothing > 0) v -= share * class_weight(ce, c);
    }
    if (tile.label < 0) v = 0;
    if (LAST_OUT)
      memory.stage[tile.pixel * STAGE_ROW + c] = v;
    else if (tile.inside)
      write(out + c * g.class_stride + tile.p * g.pixel_stride, v);
  }
  if (LAST_OUT) {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < PIXELS * CLASSES; i += BLOCK) {
      const i64 p = tile.first + i / CLASSES;
      if (p < a.pixels)
        write(out + p * g.pixel_stride + i % CLASSES, memory.stage[i / CLASSES * STAGE_ROW + i % CLASSES]);
    }
  }
}
