"""Apply the weights of the bins to the pixels: the gradient, in one launch."""

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from ..._math import binning
from .. import strips
from ..contract import CrossEntropy, Pixels
from ..strips import Part
from . import finer, tile
from .finer import on
from .tile import binary_entropy, binary_tile, softmax_bins, softmax_tile, weights_of


@triton.jit(do_not_specialize=["tiles", "ignored", "bins", "steps"])
def _apply_softmax(
    logits, target, mask, gradient, weights, grad, ce_grad, class_weights,
    pixels, tiles, image_stride, class_stride, pixel_stride, target_image, target_pixel, mask_image, mask_pixel,
    gradient_image, gradient_class, gradient_pixel, ignored, bins, steps,
    CLASSES: tl.constexpr, WIDTH: tl.constexpr, LENGTH: tl.constexpr, PER_IMAGE: tl.constexpr,
    HAS_IGNORED: tl.constexpr, HAS_MASK: tl.constexpr, CROSS_ENTROPY: tl.constexpr, SMOOTHING: tl.constexpr,
    HAS_WEIGHT: tl.constexpr, HAS_GRAD: tl.constexpr, REAL: tl.constexpr, AT: tl.constexpr,
):  # fmt: skip
    image, p, inside, label, _, logits, pixel_at, top, _, _, good, inverse = softmax_tile(
        logits, target, mask, pixels, tiles, image_stride, class_stride, pixel_stride, target_image, target_pixel,
        mask_image, mask_pixel, ignored, CLASSES, WIDTH, LENGTH, HAS_IGNORED, HAS_MASK, REAL, AT,
    )  # fmt: skip
    gradient += image * gradient_image
    row = image if PER_IMAGE else image * 0
    row_weights = weights + row * CLASSES * 2 * (bins + 1)
    scale = tl.load(grad).to(REAL) if HAS_GRAD else tl.full((), 1.0, REAL)

    dot = tl.zeros(p.shape, REAL)
    every = tl.zeros((), REAL)
    for first in range(0, CLASSES, WIDTH):
        c, _x, there, own, probability, _bin, slot = softmax_bins(
            logits, pixel_at, class_stride, inside, label, top, good, inverse, bins, steps, 0, first,
            CLASSES, WIDTH, REAL,
        )  # fmt: skip
        w = tl.load(row_weights + slot, mask=there & good[:, None], other=0.0).to(REAL)
        dot += tl.sum(tl.where(good[:, None], probability * tl.where(own, -w, w), 0.0), 1)
        if SMOOTHING > 0:
            every += tl.sum(weights_of(class_weights, c, CLASSES, HAS_WEIGHT, REAL), 0)
    dot = tl.where(good, dot * scale, float("nan"))
    own_share = tl.zeros(p.shape, REAL)
    share = tl.zeros((), REAL)
    if CROSS_ENTROPY:
        ce_scale = tl.load(ce_grad).to(REAL)
        own_share = ce_scale * (1 - SMOOTHING) * weights_of(class_weights, label, CLASSES, HAS_WEIGHT, REAL)
        if SMOOTHING > 0:
            share = (ce_scale * SMOOTHING / CLASSES).to(REAL)
        dot -= own_share + share * every
    for first in range(0, CLASSES, WIDTH):
        c, _x, there, own, probability, _bin, slot = softmax_bins(
            logits, pixel_at, class_stride, inside, label, top, good, inverse, bins, steps, 0, first,
            CLASSES, WIDTH, REAL,
        )  # fmt: skip
        w = tl.load(row_weights + slot, mask=there & good[:, None], other=0.0).to(REAL)
        g = probability * (scale * tl.where(own, -w, w) - dot[:, None])
        if CROSS_ENTROPY:
            g -= tl.where(own, own_share[:, None], 0.0)
            if SMOOTHING > 0:
                g -= share * weights_of(class_weights, c, CLASSES, HAS_WEIGHT, REAL)[None, :]
        g = tl.where((label >= 0)[:, None], g, 0.0)
        out = (p * gradient_pixel)[:, None] + c.to(AT)[None, :] * gradient_class
        tl.store(gradient + out, g.to(gradient.dtype.element_ty), mask=there)


@triton.jit(do_not_specialize=["tiles", "ignored", "bins", "steps"])
def _apply_binary(
    logits, target, mask, gradient, weights, grad, ce_grad, sides,
    pixels, tiles, classes, image_stride, class_stride, pixel_stride, target_image, target_class, target_pixel,
    mask_image, mask_class, mask_pixel, gradient_image, gradient_class, gradient_pixel, ignored, bins, steps,
    LENGTH: tl.constexpr, PER_IMAGE: tl.constexpr, HAS_IGNORED: tl.constexpr, HAS_MASK: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr, HAS_WEIGHT: tl.constexpr, HAS_GRAD: tl.constexpr, FORM: tl.constexpr,
    REAL: tl.constexpr, AT: tl.constexpr,
):  # fmt: skip
    image, c, row, p, inside, label, _, x, slope, _, slot = binary_tile(
        logits, target, mask, pixels, tiles, classes, image_stride, class_stride, pixel_stride,
        target_image, target_class, target_pixel, mask_image, mask_class, mask_pixel, ignored, bins, steps,
        LENGTH, PER_IMAGE, HAS_IGNORED, HAS_MASK, FORM, REAL, AT,
    )  # fmt: skip
    w = tl.load(weights + row * 2 * (bins + 1) + slot, mask=label >= 0, other=0.0).to(REAL)
    scale = tl.load(grad).to(REAL) if HAS_GRAD else tl.full((), 1.0, REAL)
    g = scale * tl.where(label == 1, -w, w) * slope
    if CROSS_ENTROPY:
        _, ce_slope, ce_weight, _ = binary_entropy(x, label, sides, c, HAS_WEIGHT, REAL)
        g += tl.load(ce_grad).to(REAL) * ce_weight * ce_slope
    g = tl.where(label >= 0, g, 0.0)
    gradient += image * gradient_image + c * gradient_class
    tl.store(gradient + p * gradient_pixel, g.to(gradient.dtype.element_ty), mask=inside)


def apply(
    pixels: Pixels,
    weights: Tensor,
    grad: Tensor | None = None,
    ce: CrossEntropy | None = None,
    ce_grad: Tensor | None = None,
) -> Tensor:
    """Apply the weights of the bins to the pixels, in one launch or strip by strip."""
    factors = (grad, ce_grad, None if ce_grad is None else tile.contiguous(ce))

    def fill(part: Part, some: Tensor, out: Tensor) -> None:
        _apply(part, pixels.ignored, pixels.form, some, *factors, out)

    return strips.gradient(pixels, weights, fill, finer.interpolate, finer.collect)


def _apply(
    part: Part,
    ignored_labels: Sequence[int],
    form: str,
    weights: Tensor,
    grad: Tensor | None,
    ce_grad: Tensor | None,
    ce: CrossEntropy | None,
    out: Tensor,
) -> None:
    """Fill the gradient of a part (n, C, p); that of the cross-entropy is added where there is one."""
    x, t, m, ignored = strips.operands(part, ignored_labels, form)
    class_weights, smoothing = ce or (None, None)
    N, C, P = x.shape
    bins = weights.shape[-1] - 1
    common = tile.settings(ignored, x, t, m, out) | {"PER_IMAGE": len(weights) > 1, "HAS_GRAD": grad is not None}
    with on(x.device):
        if form == "softmax":
            length, width = tile.shape_of_tile(C)
            tiles = triton.cdiv(P, length)
            _apply_softmax[(N * tiles,)](
                x, t, m, out, weights, grad, ce_grad, class_weights, P, tiles, *tile.strides(x, t, m),
                *out.stride(), ignored or 0, bins, binning.steps(bins, form),
                CLASSES=C, WIDTH=width, LENGTH=length, CROSS_ENTROPY=smoothing is not None,
                SMOOTHING=smoothing or 0.0, HAS_WEIGHT=class_weights is not None, **common,
            )  # fmt: skip
        else:
            tiles = triton.cdiv(P, tile.TILE)
            _apply_binary[(N * C * tiles,)](
                x, t, m, out, weights, grad, ce_grad, class_weights, P, tiles, C, *tile.strides(x, t, m),
                *out.stride(), ignored or 0, bins, binning.steps(bins, form),
                LENGTH=tile.TILE, CROSS_ENTROPY=smoothing is not None, HAS_WEIGHT=class_weights is not None,
                FORM=form, **common,
            )  # fmt: skip
