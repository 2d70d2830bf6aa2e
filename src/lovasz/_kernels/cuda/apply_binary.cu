// Apply the weights of the bins where each channel has a foreground of its own, in one launch.

extern "C" __global__ void __launch_bounds__(BLOCK) apply(Pixels a, Entropy ce, Applying g) {
  // With LAST a block has a tile of an image whose channels lie next to each other, else one of a channel.
  const i64 at = blockIdx.x / a.tiles, i = blockIdx.x % a.tiles * BLOCK + threadIdx.x;
  const i64 p = LAST ? i / a.classes : i;
  if (p >= a.pixels) return;
  const i64 image = LAST ? at : at / a.classes, c = LAST ? i - p * a.classes : at % a.classes;
  const int label = read_label(a, image, c, p, 2).label;
  REAL v = 0;
  if (label >= 0) {
    const LOGIT* logits = static_cast<const LOGIT*>(a.logits);
    const REAL x = REAL(read(logits + image * a.image_stride + c * a.class_stride + p * a.pixel_stride));
    const BinaryError error = binary_error(x, label == 1, static_cast<REAL>(a.steps), a.bins);
    const i64 row = (a.per_image ? image : 0) * a.classes + c;
    const REAL w = read(static_cast<const REAL*>(g.weights) + (row * 2 + label) * (a.bins + 1) + error.bin);
    const REAL scale = g.grad == nullptr ? REAL(1) : REAL(read(static_cast<const GRAD*>(g.grad)));
    v = scale * (label == 1 ? -w : w) * error.slope;
    if (CROSS_ENTROPY)
      v += REAL(read(static_cast<const CE_GRAD*>(g.ce_grad))) * side_weight(ce, c, label) *
           binary_entropy(x, label == 1).slope;
  }
  write(static_cast<LOGIT*>(g.gradient) + image * g.image_stride + c * g.class_stride + p * g.pixel_stride, v);
}
