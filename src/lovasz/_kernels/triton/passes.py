"""Count, weigh and apply in Triton, for CUDA and ROCm: the functions of `plain`, one launch each and never a wait.

A program takes a tile of pixels through all classes. Counters are integers, so no order of the programs changes a
bit; the cross-entropy is summed tile by tile in a fixed order. Three things keep programs from waiting for each
other's counters: the background pixels of the lowest bin are known from the number of pixels and not counted; in
each tile the pixels that share the bin of its first are added at once; and where the table is small there are
several, for programs that run at once.

Where the labels are finer than the logits, both passes go over strips of these: see `finer`.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..._inputs.layouts import assert_on_device, canonical_target, flat, num_labels
from ..._math import binning
from ..contract import Counted, CrossEntropy, Pixels
from ..plain import compute_dtype
from .finer import Finer, Part, on

#: Elements of a tile; four warps take 16 each.
TILE = 2048
WARPS = 4
#: Classes that a tile holds at once; beyond, it reads the logits again.
MOST_CLASSES = 256
#: Bins that a program merges, and that it weighs at a time.
BLOCK = 1024
WEIGH_BLOCK, WEIGH_WARPS = 512, 8
#: Bytes that copies of the counters may take together, and how many there may be: programs that run at once count
#: into different ones.
COPIES_BYTES = 2**24
MOST_COPIES = 8
#: Place in an image up to which 32 bits tell it.
FURTHEST = 2**31 - 1
#: Pixels that are counted at once: any number of them fits into a counter.
MOST_PIXELS = 2**31 - 1

# ---- what the kernels share ----


@triton.jit
def _labels(
    target, target_at, mask, mask_at, inside, ignored, classes, HAS_IGNORED: tl.constexpr, HAS_MASK: tl.constexpr
):
    """Labels of pixels, -1 where void or no class, and which are no class."""
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
    """Some classes, their logits at a tile of pixels, and where there are any."""
    c = first + tl.arange(0, WIDTH)
    there = inside[:, None] & (c < CLASSES)[None, :]
    at = pixel_at[:, None] + c.to(pixel_at.dtype)[None, :] * class_stride
    return c, tl.load(logits + at, mask=there, other=-float("inf")).to(REAL), there


@triton.jit
def _softmax_norm(
    logits, pixel_at, class_stride, inside, CLASSES: tl.constexpr, WIDTH: tl.constexpr, REAL: tl.constexpr
):
    """The largest logit of each pixel, and Σ exp(logit - largest): 0 or no number where the softmax is none."""
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
def _softmax_tile(
    logits, target, mask, pixels, tiles, image_stride, class_stride, pixel_stride, target_image, target_pixel,
    mask_image, mask_pixel, ignored, CLASSES: tl.constexpr, WIDTH: tl.constexpr, LENGTH: tl.constexpr,
    HAS_IGNORED: tl.constexpr, HAS_MASK: tl.constexpr, REAL: tl.constexpr, AT: tl.constexpr,
):  # fmt: skip
    """The tile of a program: its image, pixels, their labels, where their logits lie, and their softmax.

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
def _softmax_bins(
    logits, pixel_at, class_stride, inside, label, top, good, inverse, bins, steps, no_bin, first,
    CLASSES: tl.constexpr, WIDTH: tl.constexpr, REAL: tl.constexpr,
):  # fmt: skip
    """A `_chunk`, and there: which class is the label, probabilities, bins of the errors, slots in a table.

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
    """Error of each pixel, its derivative without the sign, and its bin: `bins` where it is no number."""
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
        position = tl.minimum(error / (error + 4) * steps, steps - 1)
    else:
        error = tl.where(foreground, 1 - x, x)
        slope = tl.full(x.shape, 1.0, REAL)
        position = tl.sqrt(tl.where(error > 0, error, 0.0)) * steps
    bin = tl.where(number, position + 0.5, 0.0).to(tl.int32)
    return tl.where(number, slope, 0.0), tl.where(number, bin, bins)


@triton.jit
def _binary_tile(
    logits, target, mask, pixels, tiles, classes, image_stride, class_stride, pixel_stride,
    target_image, target_class, target_pixel, mask_image, mask_class, mask_pixel, ignored, bins, steps,
    LENGTH: tl.constexpr, PER_IMAGE: tl.constexpr, HAS_IGNORED: tl.constexpr, HAS_MASK: tl.constexpr,
    FORM: tl.constexpr, REAL: tl.constexpr, AT: tl.constexpr,
):  # fmt: skip
    """The tile of a program: image, channel, row of the table, pixels, labels, slopes, bins, slots in the row."""
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
    return image, c, row, p, inside, label, wrong, slope, bin, slot


@triton.jit
def _add_pixels(valid, bad, label, wrong):
    """Adds how many pixels have a label, and how many a wrong one."""
    number = tl.sum((label >= 0).to(tl.int32), 0)
    tl.atomic_add(valid, number.to(tl.int64), mask=number > 0, sem="relaxed")
    number = tl.sum(wrong.to(tl.int32), 0)
    tl.atomic_add(bad, number, mask=number > 0, sem="relaxed")


@triton.jit
def _increment(counters, slot, wanted, is_first):
    """Adds 1 to the counter of each pixel along axis 0, at once for all that share that of the first."""
    shared = tl.sum(tl.where(is_first, slot, 0), 0)
    number = tl.sum((wanted & (slot == shared)).to(tl.int32), 0)
    tl.atomic_add(counters + shared, number, mask=number > 0, sem="relaxed")
    tl.atomic_add(counters + slot, 1, mask=wanted & (slot != shared), sem="relaxed")


@triton.jit
def _class_weights(class_weights, c, CLASSES: tl.constexpr, HAS_WEIGHT: tl.constexpr, REAL: tl.constexpr):
    """The weights of classes in the cross-entropy, 0 beyond the last."""
    if HAS_WEIGHT:
        return tl.load(class_weights + c, mask=(c >= 0) & (c < CLASSES), other=0.0).to(REAL)
    return ((c >= 0) & (c < CLASSES)).to(REAL)


# ---- count ----


@triton.jit(do_not_specialize=["tiles", "ignored", "bins", "steps", "size", "copies"])
def _count_softmax(
    logits, target, mask, counters, valid, bad, sums, class_weights,
    pixels, tiles, image_stride, class_stride, pixel_stride, target_image, target_pixel, mask_image, mask_pixel,
    ignored, bins, steps, size, copies,
    CLASSES: tl.constexpr, WIDTH: tl.constexpr, LENGTH: tl.constexpr, PER_IMAGE: tl.constexpr,
    HAS_IGNORED: tl.constexpr, HAS_MASK: tl.constexpr, CROSS_ENTROPY: tl.constexpr, SMOOTHING: tl.constexpr,
    HAS_WEIGHT: tl.constexpr, REAL: tl.constexpr, AT: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    image, p, inside, label, wrong, logits, pixel_at, top, total, own_logit, good, inverse = _softmax_tile(
        logits, target, mask, pixels, tiles, image_stride, class_stride, pixel_stride, target_image, target_pixel,
        mask_image, mask_pixel, ignored, CLASSES, WIDTH, LENGTH, HAS_IGNORED, HAS_MASK, REAL, AT,
    )  # fmt: skip
    row = image if PER_IMAGE else image * 0
    copy = counters + (program % copies) * size + row * CLASSES * 2 * (bins + 1)
    extra = tl.zeros(p.shape, REAL)
    every = tl.zeros((), REAL)
    for first in range(0, CLASSES, WIDTH):
        c, x, there, own, _, bin, slot = _softmax_bins(
            logits, pixel_at, class_stride, inside, label, top, good, inverse, bins, steps, bins, first,
            CLASSES, WIDTH, REAL,
        )  # fmt: skip
        wanted = there & (label >= 0)[:, None] & (own | (bin > 0))
        _increment(copy, slot, wanted, tl.arange(0, LENGTH)[:, None] == 0)
        if SMOOTHING > 0:
            w = _class_weights(class_weights, c, CLASSES, HAS_WEIGHT, REAL)
            extra += tl.sum(tl.where(there, w[None, :] * (top[:, None] - x), 0.0), 1)
            every += tl.sum(w, 0)
    # After the loop: before it they would keep the compiler from reading the logits once for both loops.
    _add_pixels(valid + row, bad, label, wrong)
    if CROSS_ENTROPY:
        w = _class_weights(class_weights, label, CLASSES, HAS_WEIGHT, REAL)
        log = tl.log(total)
        loss = (1 - SMOOTHING) * w * (log + (top - own_logit))
        if SMOOTHING > 0:
            loss += SMOOTHING / CLASSES * (every * log + extra)
        loss = tl.where(label >= 0, loss, 0.0)
        tl.store(sums + 2 * program, tl.sum(loss.to(tl.float64), 0))
        tl.store(sums + 2 * program + 1, tl.sum(w.to(tl.float64), 0))


@triton.jit(do_not_specialize=["tiles", "ignored", "bins", "steps", "size", "copies"])
def _count_binary(
    logits, target, mask, counters, valid, bad,
    pixels, tiles, classes, image_stride, class_stride, pixel_stride, target_image, target_class, target_pixel,
    mask_image, mask_class, mask_pixel, ignored, bins, steps, size, copies,
    LENGTH: tl.constexpr, PER_IMAGE: tl.constexpr, HAS_IGNORED: tl.constexpr, HAS_MASK: tl.constexpr,
    FORM: tl.constexpr, REAL: tl.constexpr, AT: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    _, _, row, _, _, label, wrong, _, bin, slot = _binary_tile(
        logits, target, mask, pixels, tiles, classes, image_stride, class_stride, pixel_stride,
        target_image, target_class, target_pixel, mask_image, mask_class, mask_pixel, ignored, bins, steps,
        LENGTH, PER_IMAGE, HAS_IGNORED, HAS_MASK, FORM, REAL, AT,
    )  # fmt: skip
    _add_pixels(valid + row, bad, label, wrong)
    wanted = (label >= 0) & ((label == 1) | (bin > 0))
    counters += (program % copies) * size + row * 2 * (bins + 1)
    _increment(counters, slot, wanted, tl.arange(0, LENGTH) == 0)


@triton.jit
def _merge(
    counters, valid, table, numbers, rows, size,
    CLASSES_A_ROW: tl.constexpr, BINS: tl.constexpr, COPIES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The counters of some bins of a class to its table; and the background pixels of the lowest bin, the rest."""
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    start = row * 2 * (BINS + 1)
    i = block * BLOCK + tl.arange(0, BLOCK)
    there = i <= BINS
    background = tl.zeros((BLOCK,), tl.int64)
    foreground = tl.zeros((BLOCK,), tl.int64)
    for copy in tl.static_range(COPIES):
        at = counters + copy * size + start + i
        background += tl.load(at, mask=there, other=0).to(tl.int64)
        foreground += tl.load(at + BINS + 1, mask=there, other=0).to(tl.int64)
    tl.store(table + start + i, background, mask=there & (i > 0))
    tl.store(table + start + BINS + 1 + i, foreground, mask=there)
    all_valid = tl.load(valid + row // CLASSES_A_ROW)
    number = tl.sum(foreground, 0)
    # Both start from 0, and every program takes its part off, or adds it: integers, in any order.
    rest = tl.where(block == 0, all_valid, 0) - number - tl.sum(background, 0)
    tl.atomic_add(table + start, rest, sem="relaxed")
    tl.atomic_add(numbers + rows + row, number, sem="relaxed")
    tl.store(numbers + row, all_valid)


# ---- weigh ----


@triton.jit
def _denominator(k, j, G, a, b):
    return tl.maximum((G - k) + a * j + b * k, tl.minimum(tl.minimum(a, b), 1.0))


@triton.jit
def _weigh(
    table, coefficients, losses, weights, steps, HINGE: tl.constexpr, BINS: tl.constexpr, BLOCK: tl.constexpr,
    ALPHA: tl.constexpr, BETA: tl.constexpr,
):  # fmt: skip
    """Loss and weights of one class times its coefficient, from the largest error down: see `jaccard`."""
    row = tl.program_id(0).to(tl.int64)
    background_row = table + row * 2 * (BINS + 1)
    foreground_row = background_row + BINS + 1
    out = weights + row * 2 * (BINS + 1)
    factor = tl.load(coefficients + row)
    all_foreground = tl.zeros((BLOCK,), tl.int64)
    for lo in range(0, BINS, BLOCK):
        i = lo + tl.arange(0, BLOCK)
        all_foreground += tl.load(foreground_row + i, mask=i < BINS, other=0)
    G = tl.sum(all_foreground, 0).to(tl.float64)
    poisoned = (tl.load(background_row + BINS) + tl.load(foreground_row + BINS)) > 0
    scale = tl.where(poisoned & (factor != 0), float("nan"), factor)
    k_above = tl.zeros((), tl.int64)
    j_above = tl.zeros((), tl.int64)
    loss = tl.zeros((BLOCK,), tl.float64)
    for lo in range(0, BINS, BLOCK):
        i = (BINS - 1) // BLOCK * BLOCK - lo + tl.arange(0, BLOCK)
        there = i < BINS
        n_b = tl.load(background_row + i, mask=there, other=0)
        n_f = tl.load(foreground_row + i, mask=there, other=0)
        j = j_above + tl.cumsum(n_b, 0, reverse=True)
        k = k_above + tl.cumsum(n_f, 0, reverse=True)
        s = tl.full((), 1.0, tl.float64) * steps
        position = i.to(tl.float64)
        if HINGE:  # of the grid of `binning`, from one point to the next
            step = tl.where(i < steps, 4 * s / ((s - position) * (s - position + 1)), 0.0)
        else:
            step = (2 * position - 1) / (s * s)
        step = tl.where((i > 0) & there, step, 0.0)
        if ALPHA == 1 and BETA == 1:
            before = tl.maximum(G + (j - n_b).to(tl.float64), 1.0)
            after = tl.maximum(G + j.to(tl.float64), 1.0)
            inverse = 1.0 / (before * after)
            loss += step * ((k + j).to(tl.float64) * before) * inverse
            w_f = 0.5 * (before + after) * inverse
            w_b = (G - (k - n_f).to(tl.float64) - 0.5 * n_f.to(tl.float64)) * inverse
        else:
            a = tl.full((), ALPHA, tl.float64)
            b = tl.full((), BETA, tl.float64)
            k0, k1 = (k - n_f).to(tl.float64), k.to(tl.float64)
            j0, j1 = (j - n_b).to(tl.float64), j.to(tl.float64)
            d00, d10 = _denominator(k0, j0, G, a, b), _denominator(k1, j0, G, a, b)
            d01, d11 = _denominator(k0, j1, G, a, b), _denominator(k1, j1, G, a, b)
            loss += step * ((a * j1 + b * k1) / d11)
            w_f = 0.5 * ((b * G + a * j0) / (d00 * d10) + (b * G + a * j1) / (d01 * d11))
            w_b = 0.5 * a * ((G - k0) / (d00 * d01) + (G - k1) / (d10 * d11))
        # No foreground: the largest errors share the whole.
        top = tl.where(j == n_b, 1.0 / tl.maximum(n_b.to(tl.float64), 1.0), 0.0)
        w_b = tl.where(G > 0, w_b, top)
        w_f = tl.where(factor == 0, 0.0, w_f * scale)
        w_b = tl.where(factor == 0, 0.0, w_b * scale)
        tl.store(out + i, w_b.to(weights.dtype.element_ty), mask=there)
        tl.store(out + BINS + 1 + i, w_f.to(weights.dtype.element_ty), mask=there)
        j_above += tl.sum(n_b, 0)
        k_above += tl.sum(n_f, 0)
    last = tl.where(poisoned & (factor != 0), float("nan"), 0.0).to(weights.dtype.element_ty)
    tl.store(out + BINS, last)
    tl.store(out + 2 * BINS + 1, last)
    tl.store(losses + row, tl.where(factor == 0, 0.0, tl.sum(loss, 0) * scale))


# ---- apply ----


@triton.jit(do_not_specialize=["tiles", "ignored", "bins", "steps"])
def _apply_softmax(
    logits, target, mask, gradient, weights, grad, ce_grad, class_weights,
    pixels, tiles, image_stride, class_stride, pixel_stride, target_image, target_pixel, mask_image, mask_pixel,
    gradient_image, gradient_class, gradient_pixel, ignored, bins, steps,
    CLASSES: tl.constexpr, WIDTH: tl.constexpr, LENGTH: tl.constexpr, PER_IMAGE: tl.constexpr,
    HAS_IGNORED: tl.constexpr, HAS_MASK: tl.constexpr, CROSS_ENTROPY: tl.constexpr, SMOOTHING: tl.constexpr,
    HAS_WEIGHT: tl.constexpr, HAS_GRAD: tl.constexpr, REAL: tl.constexpr, AT: tl.constexpr,
):  # fmt: skip
    image, p, inside, label, _, logits, pixel_at, top, _, _, good, inverse = _softmax_tile(
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
        c, _x, there, own, probability, _bin, slot = _softmax_bins(
            logits, pixel_at, class_stride, inside, label, top, good, inverse, bins, steps, 0, first,
            CLASSES, WIDTH, REAL,
        )  # fmt: skip
        w = tl.load(row_weights + slot, mask=there & good[:, None], other=0.0).to(REAL)
        dot += tl.sum(tl.where(good[:, None], probability * tl.where(own, -w, w), 0.0), 1)
        if SMOOTHING > 0:
            every += tl.sum(_class_weights(class_weights, c, CLASSES, HAS_WEIGHT, REAL), 0)
    dot = tl.where(good, dot * scale, float("nan"))
    own_share = tl.zeros(p.shape, REAL)
    share = tl.zeros((), REAL)
    if CROSS_ENTROPY:
        ce_scale = tl.load(ce_grad).to(REAL)
        own_share = ce_scale * (1 - SMOOTHING) * _class_weights(class_weights, label, CLASSES, HAS_WEIGHT, REAL)
        if SMOOTHING > 0:
            share = (ce_scale * SMOOTHING / CLASSES).to(REAL)
        dot -= own_share + share * every
    for first in range(0, CLASSES, WIDTH):
        c, _x, there, own, probability, _bin, slot = _softmax_bins(
            logits, pixel_at, class_stride, inside, label, top, good, inverse, bins, steps, 0, first,
            CLASSES, WIDTH, REAL,
        )  # fmt: skip
        w = tl.load(row_weights + slot, mask=there & good[:, None], other=0.0).to(REAL)
        g = probability * (scale * tl.where(own, -w, w) - dot[:, None])
        if CROSS_ENTROPY:
            g -= tl.where(own, own_share[:, None], 0.0)
            if SMOOTHING > 0:
                g -= share * _class_weights(class_weights, c, CLASSES, HAS_WEIGHT, REAL)[None, :]
        g = tl.where((label >= 0)[:, None], g, 0.0)
        out = (p * gradient_pixel)[:, None] + c.to(AT)[None, :] * gradient_class
        tl.store(gradient + out, g.to(gradient.dtype.element_ty), mask=there)


@triton.jit(do_not_specialize=["tiles", "ignored", "bins", "steps"])
def _apply_binary(
    logits, target, mask, gradient, weights, grad,
    pixels, tiles, classes, image_stride, class_stride, pixel_stride, target_image, target_class, target_pixel,
    mask_image, mask_class, mask_pixel, gradient_image, gradient_class, gradient_pixel, ignored, bins, steps,
    LENGTH: tl.constexpr, PER_IMAGE: tl.constexpr, HAS_IGNORED: tl.constexpr, HAS_MASK: tl.constexpr,
    HAS_GRAD: tl.constexpr, FORM: tl.constexpr, REAL: tl.constexpr, AT: tl.constexpr,
):  # fmt: skip
    image, c, row, p, inside, label, _, slope, _, slot = _binary_tile(
        logits, target, mask, pixels, tiles, classes, image_stride, class_stride, pixel_stride,
        target_image, target_class, target_pixel, mask_image, mask_class, mask_pixel, ignored, bins, steps,
        LENGTH, PER_IMAGE, HAS_IGNORED, HAS_MASK, FORM, REAL, AT,
    )  # fmt: skip
    w = tl.load(weights + row * 2 * (bins + 1) + slot, mask=label >= 0, other=0.0).to(REAL)
    scale = tl.load(grad).to(REAL) if HAS_GRAD else tl.full((), 1.0, REAL)
    g = scale * tl.where(label == 1, -w, w) * slope
    g = tl.where(label >= 0, g, 0.0)
    gradient += image * gradient_image + c * gradient_class
    tl.store(gradient + p * gradient_pixel, g.to(gradient.dtype.element_ty), mask=inside)


# ---- launches ----


def _operands(part: Part, ignored: Sequence[int], form: str) -> tuple[Tensor, Tensor, Tensor | None, int | None]:
    """What the kernels read: one axis of pixels, bytes for bool, at most one ignored label."""
    x, t, m = part[3:]
    if len(ignored) > 1 or t.dtype in (torch.uint16, torch.uint32, torch.uint64):
        t, m, ignored = canonical_target(t, m, ignored, num_labels(form, x.shape[1])), None, [-1]
    t = t.view(torch.uint8) if t.dtype == torch.bool else t
    m = None if m is None else m.view(torch.uint8)
    return x, t, m, ignored[0] if ignored else None


def _strides(x: Tensor, t: Tensor, m: Tensor | None) -> tuple[int, ...]:
    """Those of logits, target and mask, as every kernel takes them; zeros where there is no mask."""
    return *x.stride(), *t.stride(), *((0,) * t.ndim if m is None else m.stride())


def _settings(
    ignored: int | None, x: Tensor, t: Tensor, m: Tensor | None, out: Tensor | None = None
) -> dict[str, Any]:
    """What may be void, what to compute in, and integers that hold every place of an image of these (N, .., P)."""
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
    """Pixels and classes of a tile."""
    width = min(triton.next_power_of_2(classes), MOST_CLASSES)
    return max(16, TILE // width), width


def _parts(pixels: Pixels) -> Iterator[Part]:
    """The pixels of an input: all of them, as many as can be counted at once, or strips."""
    if pixels.interpolation is not None:
        yield from Finer(pixels).parts()
        return
    x, t, m = flat(pixels.logits, pixels.target, pixels.mask)
    N, _, P = x.shape
    length = max(1, MOST_PIXELS // max(N, 1))
    for begin in range(0, P, length):
        p = slice(begin, min(begin + length, P))
        yield Part(slice(0, N), begin, p.stop, x[..., p], t[..., p], None if m is None else m[..., p])


def _contiguous(ce: CrossEntropy | None) -> CrossEntropy | None:
    """With the class weights as the kernels read them."""
    if ce is None or ce.class_weights is None:
        return ce
    return CrossEntropy(ce.class_weights.contiguous(), ce.smoothing)


def count(pixels: Pixels, bins: int, per_image: bool, ce: CrossEntropy | None = None) -> Counted:
    """Counts the pixels, in one launch for all that fit into counters of 32 bits."""
    logits, target, mask, ignored, form, _ = pixels
    N, C = logits.shape[:2]
    bad = torch.zeros(1, dtype=torch.int64, device=logits.device)
    new = functools.partial(_Counters, N if per_image else 1, C, form, bins, per_image, bad, _contiguous(ce))
    counters = [new()]
    for part in _parts(pixels):
        if not counters[-1].holds(part):
            counters.append(new())
        counters[-1].add(part, ignored)
    if bad.device.type == "cuda":
        assert_on_device(bad == 0, num_labels(form, C))
    elif bad.item():  # raises, and names them
        canonical_target(target, mask, ignored, num_labels(form, C))
    counted = [one.merged() for one in counters]
    if len(counted) == 1:
        return counted[0]
    return Counted(*(torch.stack(same).sum(0) for same in zip(*counted, strict=True)))


class _Counters:
    """Counters of 32 bits, for so many pixels that any number of them fits into one."""

    def __init__(
        self,
        rows: int,
        classes: int,
        form: str,
        bins: int,
        per_image: bool,
        bad: Tensor,
        ce: CrossEntropy | None,
    ) -> None:
        self.rows, self.classes, self.form, self.bins, self.per_image = rows, classes, form, bins, per_image
        self.bad, self.ce = bad, ce
        self.softmax = form == "softmax"
        self.size = rows * classes * 2 * (bins + 1)
        self.copies = max(1, min(MOST_COPIES, COPIES_BYTES // max(1, 4 * self.size)))
        self.counters = torch.zeros(self.copies * self.size, dtype=torch.int32, device=bad.device)
        self.valid = torch.zeros(rows * (1 if self.softmax else classes), dtype=torch.int64, device=bad.device)
        self.sums: list[Tensor] = []
        self.pixels = 0

    def holds(self, part: Part) -> bool:
        """Whether there is room for its pixels."""
        return self.pixels == 0 or self.pixels + part.logits[:, 0].numel() <= MOST_PIXELS

    def add(self, part: Part, ignored_labels: Sequence[int]) -> None:
        """Counts the pixels of a part; labels that are no class are added to `bad`."""
        x, t, m, ignored = _operands(part, ignored_labels, self.form)
        N, C, P = x.shape
        self.pixels += N * P
        first = part.images.start if self.per_image else 0
        counters = self.counters[first * C * 2 * (self.bins + 1) :]
        valid = self.valid[first * (1 if self.softmax else C) :]
        common = _settings(ignored, x, t, m) | {"PER_IMAGE": self.per_image}
        steps = binning.steps(self.bins, self.form)
        class_weights, smoothing = self.ce or (None, None)
        with on(x.device):
            if self.softmax:
                length, width = shape_of_tile(C)
                tiles = triton.cdiv(P, length)
                programs = N * tiles if smoothing is not None else 1
                sums = torch.zeros(programs, 2, dtype=torch.float64, device=x.device)
                _count_softmax[(N * tiles,)](
                    x, t, m, counters, valid, self.bad, sums, class_weights, P, tiles, *_strides(x, t, m),
                    ignored or 0, self.bins, steps, self.size, self.copies,
                    CLASSES=C, WIDTH=width, LENGTH=length, CROSS_ENTROPY=smoothing is not None,
                    SMOOTHING=smoothing or 0.0, HAS_WEIGHT=class_weights is not None, **common,
                )  # fmt: skip
                self.sums.append(sums)
            else:
                tiles = triton.cdiv(P, TILE)
                _count_binary[(N * C * tiles,)](
                    x, t, m, counters, valid, self.bad, P, tiles, C, *_strides(x, t, m),
                    ignored or 0, self.bins, steps, self.size, self.copies, LENGTH=TILE, FORM=self.form, **common,
                )  # fmt: skip

    def merged(self) -> Counted:
        """What `count` returns."""
        rows, C, bins, device = self.rows, self.classes, self.bins, self.bad.device
        table = torch.zeros(rows, C, 2, bins + 1, dtype=torch.int64, device=device)
        numbers = torch.zeros(2, rows, C, dtype=torch.int64, device=device)
        with on(device):
            _merge[(rows * C, triton.cdiv(bins + 1, BLOCK))](
                self.counters, self.valid, table, numbers, rows * C, self.size,
                CLASSES_A_ROW=C if self.softmax else 1, BINS=bins, COPIES=self.copies, BLOCK=BLOCK, num_warps=WARPS,
            )  # fmt: skip
        sums = torch.cat(self.sums) if self.sums else torch.zeros(1, 2, dtype=torch.float64, device=device)
        return Counted(table, numbers, sums.sum(0))


def weigh(
    table: Tensor, form: str, coefficients: Tensor, dtype: torch.dtype, alpha: float, beta: float
) -> tuple[Tensor, Tensor]:
    """Weighs a table, one program for each row of it."""
    losses = torch.empty(table.shape[:2], dtype=torch.float64, device=table.device)
    weights = torch.empty(table.shape, dtype=dtype, device=table.device)
    bins = table.shape[-1] - 1
    with on(table.device):
        _weigh[(losses.numel(),)](
            table.contiguous(), coefficients.contiguous(), losses, weights, binning.steps(bins, form),
            HINGE=form == "hinge", BINS=bins, BLOCK=WEIGH_BLOCK, ALPHA=alpha, BETA=beta, num_warps=WEIGH_WARPS,
        )  # fmt: skip
    return losses, weights


def apply(
    pixels: Pixels,
    weights: Tensor,
    grad: Tensor | None = None,
    ce: CrossEntropy | None = None,
    ce_grad: Tensor | None = None,
) -> Tensor:
    """Applies the weights of the bins to the pixels, in one launch or strip by strip."""
    logits, target, mask, ignored, form, mode = pixels
    weights = weights.to(compute_dtype(logits)).contiguous()
    factors = (grad, ce_grad, None if ce_grad is None else _contiguous(ce))
    if mode is not None:
        finer = Finer(pixels)
        total = torch.zeros_like(logits, dtype=compute_dtype(logits))
        for part in finer.parts():
            gradient = torch.empty_like(part.logits)
            some = weights[part.images] if len(weights) > 1 else weights
            _apply(part, ignored, form, some, *factors, gradient)
            finer.collect(part, gradient, total)
        return total.to(logits.dtype)
    x, t, m = flat(logits, target, mask)
    out = torch.empty_like(logits)
    flat_out = out.flatten(2) if out.flatten(2).data_ptr() == out.data_ptr() else torch.empty_like(x)
    _apply(Part(slice(0, x.shape[0]), 0, x.shape[2], x, t, m), ignored, form, weights, *factors, flat_out)
    return out if flat_out.data_ptr() == out.data_ptr() else out.copy_(flat_out.view(out.shape))


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
    """Fills the gradient of a part (n, C, p); that of the cross-entropy is added where there is one."""
    x, t, m, ignored = _operands(part, ignored_labels, form)
    class_weights, smoothing = ce or (None, None)
    N, C, P = x.shape
    bins = weights.shape[-1] - 1
    common = _settings(ignored, x, t, m, out) | {"PER_IMAGE": len(weights) > 1, "HAS_GRAD": grad is not None}
    with on(x.device):
        if form == "softmax":
            length, width = shape_of_tile(C)
            tiles = triton.cdiv(P, length)
            _apply_softmax[(N * tiles,)](
                x, t, m, out, weights, grad, ce_grad, class_weights, P, tiles, *_strides(x, t, m),
                *out.stride(), ignored or 0, bins, binning.steps(bins, form),
                CLASSES=C, WIDTH=width, LENGTH=length, CROSS_ENTROPY=smoothing is not None,
                SMOOTHING=smoothing or 0.0, HAS_WEIGHT=class_weights is not None, **common,
            )  # fmt: skip
        else:
            tiles = triton.cdiv(P, TILE)
            _apply_binary[(N * C * tiles,)](
                x, t, m, out, weights, grad, P, tiles, C, *_strides(x, t, m),
                *out.stride(), ignored or 0, bins, binning.steps(bins, form),
                LENGTH=TILE, FORM=form, **common,
            )  # fmt: skip
