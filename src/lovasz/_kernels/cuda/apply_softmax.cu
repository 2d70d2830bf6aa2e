// Apply the weights of the bins for the softmax, in one launch: p (w - Σ p w), w with a minus on the own class.

// Where a weight lies among those of all classes: in 32 bits where these suffice.
template <bool NARROW>
struct OffsetType {
  typedef i64 type;
};
template <>
struct OffsetType<true> {
  typedef int type;
};
typedef OffsetType<(CLASSES * 2ll * (MAX_BINS + 1) < 1ll << 31)>::type Offset;

extern "C" __global__ void __launch_bounds__(BLOCK, 1) apply(Pixels a, Entropy ce, Applying g) {
  SHARED(TileMemory, memory);
  SoftmaxTile tile = softmax_tile(a, memory);
  const Offset size = 2 * (static_cast<Offset>(a.bins) + 1);
  const i64 row = a.per_image ? tile.image : 0;
  const REAL* weights = static_cast<const REAL*>(g.weights) + row * CLASSES * size;
  const REAL steps = static_cast<REAL>(a.steps);
  const REAL scale = g.grad == nullptr ? REAL(1) : REAL(read(static_cast<const GRAD*>(g.grad)));
  REAL kept[IN_REGISTERS ? EACH : 1];

  // Looked up for void pixels too, and for NaN in the lowest bin, whose probability decides: a branch for each class
  // would let the look-ups of a thread wait for one another.
  const auto weight_of = [&](Offset of_class, int c, REAL probability) {
    const bool own = tile.label == c;
    const int bin = root_bin(own ? REAL(1) - probability : probability, steps);
    const REAL w = read(weights + (of_class + (own ? a.bins + 1 : 0) + bin));
    return own ? -w : w;
  };

  REAL dot = 0, every = 0;
  Offset of_class = tile.slice * size;
#pragma unroll UNROLL
  for (int k = 0; k < EACH; ++k, of_class += SLICES * size) {
    const int c = class_of(tile, k);
    if (!has_class(tile, k)) continue;
    const REAL probability = probability_of(logit(a, tile, k), tile.top, tile.inverse);
    const REAL w = weight_of(of_class, c, probability);
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
  LOGIT* at = out + tile.p * g.pixel_stride + tile.slice * g.class_stride;
  of_class = tile.slice * size;
#pragma unroll UNROLL
  for (int k = 0; k < EACH; ++k, at += SLICES * g.class_stride, of_class += SLICES * size) {
    const int c = class_of(tile, k);
    if (!has_class(tile, k)) continue;
    const REAL probability =
        IN_REGISTERS ? tile.x[k] : probability_of(logit(a, tile, k), tile.top, tile.inverse);
    const REAL w = IN_REGISTERS ? kept[k] : weight_of(of_class, c, probability);
    REAL v = probability * (scale * w - dot);
    if (CROSS_ENTROPY) {
      v -= tile.label == c ? own_share : REAL(0);
      if (ce.smoothing > 0) v -= share * class_weight(ce, c);
    }
    if (tile.label < 0) v = 0;
    if (LAST_OUT)
      memory.stage[tile.pixel * STAGE_ROW + c] = v;
    else if (tile.inside)
      write(at, v);
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
