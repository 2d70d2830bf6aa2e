"""A tile of pixels, as both passes read it: labels, softmax, errors and bins; and what a launch says of its pixels.

A program takes a tile of pixels through all classes.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..._math import binning
from ..contract import CrossEntropy

#: Elements of a tile; four warps take 16 each.
TILE = 2048
WARPS = 4
#: Classes that a tile holds at once; beyond, it reads the logits again.
MOST_CLASSES = 256
#: Place in an image up to which 32 bits tell it.
FURTHEST = 2**31 - 1
HINGE_SCALE = tl.constexpr(binning.HINGE_SCALE)

# ---- in a kernel ----


@triton.jit
def _labels(
    target, target_at, mask, mask_at, inside, ignored, classes, HAS_IGNORED: tl.constexpr, HAS_MASK: tl.constexpr
):
    """Return the labels of pixels, -1 where void or no class, and which are no class."""
    label = tl.load(target + target_at, mask=inside, other=0).to(tl.int64)
    valid = inside
    if HAS_IGNORED:
        valid = valid & (label != ignored)
    if HAS_MASK:
        valid = valid & (tl.load(mask + mask_at, mask=inside, other=0) != 0)
    good = valid & (label >= 0) & (label < classes)
    return tl.where(good, label, -1).to(tl.int32), valid & (good == 0)


@triton.jit
def _chunk(
    logits, pixel_at, class_stride, inside, first, CLASSES: tl.constexpr, WIDTH: tl.constexpr, REAL: tl.constexpr
):
    """Return some classes, their logits at a tile of pixels, and where there are any."""
    c = first + tl.arange(0, WIDTH)
    there = inside[:, None] & (c < CLASSES)[None, :]
    at = pixel_at[:, None] + c.to(pixel_at.dtype)[None, :] * class_stride
    return c, tl.load(logits + at, mask=there, other=-float("inf")).to(REAL), there


@triton.jit
def _softmax_norm(
    logits, pixel_at, class_stride, inside, CLASSES: tl.constexpr, WIDTH: tl.constexpr, REAL: tl.constexpr
):
    """Return the largest logit of each pixel, and Σ exp(logit - largest): 0 or NaN where there is no softmax."""
    top = tl.full(pixel_at.shape, -float("inf"), REAL)
    total = tl.zeros(pixel_at.shape, REAL)
    for first in range(0, CLASSES, WIDTH):
        _, x, _ = _chunk(logits, pixel_at, class_stride, inside, first, CLASSES, WIDTH, REAL)
        higher = tl.maximum(top, tl.max(x, 1))
        reference = tl.where(higher == -float("inf"), 0.0, higher).to(REAL)
        total = total * tl.exp(top - reference) + tl.sum(tl.exp(x - reference[:, None]), 1)
        top = higher
    return tl.where(top == -float("inf"), 0.0, top).to(REAL), total


@triton.jit
def softmax_tile(
    logits, target, mask, pixels, tiles, image_stride, class_stride, pixel_stride, target_image, target_pixel,
    mask_image, mask_pixel, ignored, CLASSES: tl.constexpr, WIDTH: tl.constexpr, LENGTH: tl.constexpr,
    HAS_IGNORED: tl.constexpr, HAS_MASK: tl.constexpr, REAL: tl.constexpr, AT: tl.constexpr,
):  # fmt: skip
    """Return the tile of a program: its image, pixels, their labels, where their logits lie, and their softmax.

    The softmax is `exp(logit - top) * inverse` where `good`; elsewhere it is no number, or the pixel is void.
    """
    program = tl.program_id(0).to(tl.int64)
    image = program // tiles
    p = ((program % tiles) * LENGTH).to(AT) + tl.arange(0, LENGTH)
    inside = p < pixels
    label, wrong = _labels(
        target + image * target_image, p * target_pixel, mask, image * mask_image + p * mask_pixel, inside, ignored,
        CLASSES, HAS_IGNORED, HAS_MASK,
    )  # fmt: skip
    logits += image * image_stride
    pixel_at = p * pixel_stride
    top, total = _softmax_norm(logits, pixel_at, class_stride, inside, CLASSES, WIDTH, REAL)
    own_at = pixel_at + label.to(AT) * class_stride
    own_logit = tl.load(logits + own_at, mask=label >= 0, other=0.0).to(REAL)
    good = (label >= 0) & (total > 0) & (own_logit > -float("inf"))
    inverse = tl.where(good, 1 / total, 0.0)
    return image, p, inside, label, wrong, logits, pixel_at, top, total, own_logit, good, inverse


@triton.jit
def softmax_bins(
    logits, pixel_at, class_stride, inside, label, top, good, inverse, bins, steps, no_bin, first,
    CLASSES: tl.constexpr, WIDTH: tl.constexpr, REAL: tl.constexpr,
):  # fmt: skip
    """Return a `_chunk`, and there: which class is the label, probabilities, bins of the errors, slots in a table.

    The bin is `no_bin` where the pixel is not `good`.
    """
    c, x, there = _chunk(logits, pixel_at, class_stride, inside, first, CLASSES, WIDTH, REAL)
    own = label[:, None] == c[None, :]
    probability = tl.exp(x - top[:, None]) * inverse[:, None]
    error = tl.where(own, 1 - probability, probability)
    error = tl.where(error > 0, error, 0.0)
    bin = tl.where(good[:, None], (tl.sqrt(error) * steps + 0.5).to(tl.int32), no_bin)
    slot = (c[None, :] * 2 + own.to(tl.int32)) * (bins + 1) + bin
    return c, x, there, own, probability, bin, slot


@triton.jit
def _binary_error(x, foreground, bins, steps, FORM: tl.constexpr, REAL: tl.constexpr):
    """Return the error of each pixel, its derivative without the sign, and its bin: `bins` where it is NaN."""
    signed = tl.where(foreground, -x, x)
    number = (x - x) == 0
    if FORM == "sigmoid":
        bounded = tl.minimum(tl.maximum(signed, -80.0), 80.0).to(REAL)
        e = tl.exp(-bounded)
        error = 1 / (1 + e)
        slope = error * (error * e)
        position = tl.sqrt(error) * steps
    elif FORM == "hinge":
        error = tl.maximum(1 + signed, 0.0).to(REAL)
        slope = tl.where(error > 0, 1.0, 0.0).to(REAL)
        position = tl.minimum(error / (error + HINGE_SCALE) * steps, steps - 1)
    else:
        error = tl.where(foreground, 1 - x, x)
        slope = tl.full(x.shape, 1.0, REAL)
        position = tl.sqrt(tl.where(error > 0, error, 0.0)) * steps
    bin = tl.where(number, position + 0.5, 0.0).to(tl.int32)
    return tl.where(number, slope, 0.0), tl.where(number, bin, bins)


@triton.jit
def binary_tile(
    logits, target, mask, pixels, tiles, classes, image_stride, class_stride, pixel_stride,
    target_image, target_class, target_pixel, mask_image, mask_class, mask_pixel, ignored, bins, steps,
    LENGTH: tl.constexpr, PER_IMAGE: tl.constexpr, HAS_IGNORED: tl.constexpr, HAS_MASK: tl.constexpr,
    FORM: tl.constexpr, REAL: tl.constexpr, AT: tl.constexpr,
):  # fmt: skip
    """Return the tile of a program: image, channel, table's row, pixels, labels, logits, slopes, bins, slots."""
    program = tl.program_id(0).to(tl.int64)
    c = program // tiles % classes
    image = program // tiles // classes
    p = ((program % tiles) * LENGTH).to(AT) + tl.arange(0, LENGTH)
    inside = p < pixels
    label, wrong = _labels(
        target + image * target_image + c * target_class, p * target_pixel,
        mask, image * mask_image + c * mask_class + p * mask_pixel, inside, ignored, 2, HAS_IGNORED, HAS_MASK,
    )  # fmt: skip
    logits += image * image_stride + c * class_stride
    x = tl.load(logits + p * pixel_stride, mask=inside, other=0.0).to(REAL)
    slope, bin = _binary_error(x, label == 1, bins, steps, FORM, REAL)
    row = (image if PER_IMAGE else image * 0) * classes + c
    slot = (label == 1).to(tl.int32) * (bins + 1) + bin
    return image, c, row, p, inside, label, wrong, x, slope, bin, slot


@triton.jit
def binary_entropy(x, label, sides, c, HAS_WEIGHT: tl.constexpr, REAL: tl.constexpr):
    """Return the binary cross-entropy of pixels of a channel and its derivative, without the weights; and these.

    The logarithm of 1 + e, for an e from 0 to 1, is twice the area tangent of e / (2 + e), by its series.
    """
    foreground = label == 1
    wrong = tl.where(foreground, -x, x)
    e = tl.exp(-tl.abs(wrong))
    f = e / (2 + e)
    TERMS: tl.constexpr = 17 if tl.float64 == REAL else 8
    series = tl.zeros(x.shape, REAL)
    for k in tl.static_range(TERMS):
        series = series * (f * f) + 2.0 / (2 * (TERMS - k) - 1)
    loss = tl.maximum(wrong, 0.0) + f * series
    slope = tl.where(wrong > 0, 1.0, e) / (1 + e)
    number = (x - x) == 0
    loss = tl.where(number, loss, float("nan"))
    slope = tl.where(number, tl.where(foreground, -slope, slope), float("nan"))
    w = tl.where(label >= 0, 1.0, 0.0).to(REAL)
    background = w
    if HAS_WEIGHT:
        background = w * tl.load(sides + 2 * c).to(REAL)
        w = tl.where(foreground, tl.load(sides + 2 * c + 1).to(REAL), background)
    return loss.to(REAL), slope.to(REAL), w, background


@triton.jit
def weights_of(class_weights, c, CLASSES: tl.constexpr, HAS_WEIGHT: tl.constexpr, REAL: tl.constexpr):
    """Return the weights of classes in the cross-entropy, 0 beyond the last."""
    if HAS_WEIGHT:
        return tl.load(class_weights + c, mask=(c >= 0) & (c < CLASSES), other=0.0).to(REAL)
    return ((c >= 0) & (c < CLASSES)).to(REAL)


# ---- for a launch ----


def strides(x: Tensor, t: Tensor, m: Tensor | None) -> tuple[int, ...]:
    """Return the strides of logits, target and mask, as every kernel takes them; zeros where there is no mask."""
    return *x.stride(), *t.stride(), *((0,) * t.ndim if m is None else m.stride())


def settings(
    ignored: int | None, x: Tensor, t: Tensor, m: Tensor | None, out: Tensor | None = None
) -> dict[str, Any]:
    """Return what may be void, what to compute in, and integers that hold each place of an image (.., P)."""
    furthest = max(
        sum((n - 1) * s for n, s in zip(a.shape[1:], a.stride()[1:], strict=True))
        for a in (x, t, m, out)
        if a is not None
    )
    return {
        "HAS_IGNORED": ignored is not None,
        "HAS_MASK": m is not None,
        "REAL": tl.float64 if x.dtype == torch.float64 else tl.float32,
        "AT": tl.int32 if furthest <= FURTHEST else tl.int64,
        "num_warps": WARPS,
    }


def shape_of_tile(classes: int) -> tuple[int, int]:
    """Return the pixels and classes of a tile."""
    width = min(triton.next_power_of_2(classes), MOST_CLASSES)
    return max(16, TILE // width), width


def contiguous(ce: CrossEntropy | None) -> CrossEntropy | None:
    """Return the cross-entropy with the class weights as the kernels read them."""
    if ce is None or ce.class_weights is None:
        return ce
    return CrossEntropy(ce.class_weights.contiguous(), ce.smoothing)
