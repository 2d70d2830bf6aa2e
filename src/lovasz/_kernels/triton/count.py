"""Count the pixels of each class by the bin of their error, in one launch and another that merges the counters.

Counters are integers, so no order of the programs changes a bit; the cross-entropy is summed tile by tile in a
fixed order. Three things keep programs from waiting for each other's counters: the background pixels of the lowest
bin are known from the number of pixels and not counted; in each tile the pixels that share the bin of its first are
added at once; and where the table is small there are several, for programs that run at once.
"""

import functools
from collections.abc import Iterator, Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..._math import binning
from ..contract import Counted, CrossEntropy, Pixels
from ..strips import Part, Strips, operands, refuse_wrong_labels, whole
from . import finer, tile
from .finer import on
from .tile import binary_entropy, binary_tile, softmax_bins, softmax_tile, weights_of

#: Bins that a program merges.
BLOCK = 1024
#: Bytes that copies of the counters may take together, and how many there may be: programs that run at once count
#: into different ones.
COPIES_BYTES = 2**24
MOST_COPIES = 8
#: Pixels that are counted at once: any number of them fits into a counter.
MOST_PIXELS = 2**31 - 1


@triton.jit
def _add_pixels(valid, bad, label, wrong):
    """Add how many pixels have a label, and how many a wrong one."""
    number = tl.sum((label >= 0).to(tl.int32), 0)
    tl.atomic_add(valid, number.to(tl.int64), mask=number > 0, sem="relaxed")
    number = tl.sum(wrong.to(tl.int32), 0)
    tl.atomic_add(bad, number, mask=number > 0, sem="relaxed")


@triton.jit
def _increment(counters, slot, wanted, is_first):
    """Add 1 to the counter of each pixel along axis 0, at once for all that share that of the first."""
    shared = tl.sum(tl.where(is_first, slot, 0), 0)
    number = tl.sum((wanted & (slot == shared)).to(tl.int32), 0)
    tl.atomic_add(counters + shared, number, mask=number > 0, sem="relaxed")
    tl.atomic_add(counters + slot, 1, mask=wanted & (slot != shared), sem="relaxed")


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
    image, p, inside, label, wrong, logits, pixel_at, top, total, own_logit, good, inverse = softmax_tile(
        logits, target, mask, pixels, tiles, image_stride, class_stride, pixel_stride, target_image, target_pixel,
        mask_image, mask_pixel, ignored, CLASSES, WIDTH, LENGTH, HAS_IGNORED, HAS_MASK, REAL, AT,
    )  # fmt: skip
    row = image if PER_IMAGE else image * 0
    copy = counters + (program % copies) * size + row * CLASSES * 2 * (bins + 1)
    extra = tl.zeros(p.shape, REAL)
    every = tl.zeros((), REAL)
    for first in range(0, CLASSES, WIDTH):
        c, x, there, own, _, bin, slot = softmax_bins(
            logits, pixel_at, class_stride, inside, label, top, good, inverse, bins, steps, bins, first,
            CLASSES, WIDTH, REAL,
        )  # fmt: skip
        wanted = there & (label >= 0)[:, None] & (own | (bin > 0))
        _increment(copy, slot, wanted, tl.arange(0, LENGTH)[:, None] == 0)
        if SMOOTHING > 0:
            w = weights_of(class_weights, c, CLASSES, HAS_WEIGHT, REAL)
            extra += tl.sum(tl.where(there, w[None, :] * (top[:, None] - x), 0.0), 1)
            every += tl.sum(w, 0)
    # After the loop: before it they would keep the compiler from reading the logits once for both loops.
    _add_pixels(valid + row, bad, label, wrong)
    if CROSS_ENTROPY:
        w = weights_of(class_weights, label, CLASSES, HAS_WEIGHT, REAL)
        log = tl.log(total)
        loss = (1 - SMOOTHING) * w * (log + (top - own_logit))
        if SMOOTHING > 0:
            loss += SMOOTHING / CLASSES * (every * log + extra)
        loss = tl.where(label >= 0, loss, 0.0)
        tl.store(sums + 2 * program, tl.sum(loss.to(tl.float64), 0))
        tl.store(sums + 2 * program + 1, tl.sum(w.to(tl.float64), 0))


@triton.jit(do_not_specialize=["tiles", "ignored", "bins", "steps", "size", "copies"])
def _count_binary(
    logits, target, mask, counters, valid, bad, sums, sides,
    pixels, tiles, classes, image_stride, class_stride, pixel_stride, target_image, target_class, target_pixel,
    mask_image, mask_class, mask_pixel, ignored, bins, steps, size, copies,
    LENGTH: tl.constexpr, PER_IMAGE: tl.constexpr, HAS_IGNORED: tl.constexpr, HAS_MASK: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr, HAS_WEIGHT: tl.constexpr, FORM: tl.constexpr, REAL: tl.constexpr,
    AT: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    _, c, row, _, _, label, wrong, x, _, bin, slot = binary_tile(
        logits, target, mask, pixels, tiles, classes, image_stride, class_stride, pixel_stride,
        target_image, target_class, target_pixel, mask_image, mask_class, mask_pixel, ignored, bins, steps,
        LENGTH, PER_IMAGE, HAS_IGNORED, HAS_MASK, FORM, REAL, AT,
    )  # fmt: skip
    _add_pixels(valid + row, bad, label, wrong)
    wanted = (label >= 0) & ((label == 1) | (bin > 0))
    counters += (program % copies) * size + row * 2 * (bins + 1)
    _increment(counters, slot, wanted, tl.arange(0, LENGTH) == 0)
    if CROSS_ENTROPY:
        loss, _, w, background = binary_entropy(x, label, sides, c, HAS_WEIGHT, REAL)
        loss = tl.where(label >= 0, w * loss, 0.0)
        tl.store(sums + 2 * program, tl.sum(loss.to(tl.float64), 0))
        tl.store(sums + 2 * program + 1, tl.sum(background.to(tl.float64), 0))


@triton.jit
def _merge(
    counters, valid, table, numbers, rows, size,
    CLASSES_A_ROW: tl.constexpr, BINS: tl.constexpr, COPIES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Merge the counters of some bins of a class; the background pixels of the lowest bin are the rest."""
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


def _parts(pixels: Pixels) -> Iterator[Part]:
    """Return the pixels of an input: all of them, as many as can be counted at once, or strips."""
    if pixels.interpolation is not None:
        yield from Strips(pixels).parts(finer.interpolate)
        return
    *_, x, t, m = whole(pixels)
    N, _, P = x.shape
    length = max(1, MOST_PIXELS // max(N, 1))
    for begin in range(0, P, length):
        p = slice(begin, min(begin + length, P))
        yield Part(slice(0, N), begin, p.stop, x[..., p], t[..., p], None if m is None else m[..., p])


def count(pixels: Pixels, bins: int, per_image: bool, ce: CrossEntropy | None = None) -> Counted:
    """Count the pixels, in one launch for all that fit into counters of 32 bits."""
    logits, _, _, ignored, form, _ = pixels
    N, C = logits.shape[:2]
    bad = torch.zeros(1, dtype=torch.int64, device=logits.device)
    new = functools.partial(_Counters, N if per_image else 1, C, form, bins, per_image, bad, tile.contiguous(ce))
    counters = [new()]
    for part in _parts(pixels):
        if not counters[-1].holds(part):
            counters.append(new())
        counters[-1].add(part, ignored)
    refuse_wrong_labels(bad, pixels)
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
        """Return whether there is room for its pixels."""
        return self.pixels == 0 or self.pixels + part.logits[:, 0].numel() <= MOST_PIXELS

    def add(self, part: Part, ignored_labels: Sequence[int]) -> None:
        """Count the pixels of a part; labels that are no class are added to `bad`."""
        x, t, m, ignored = operands(part, ignored_labels, self.form)
        N, C, P = x.shape
        self.pixels += N * P
        first = part.images.start if self.per_image else 0
        counters = self.counters[first * C * 2 * (self.bins + 1) :]
        valid = self.valid[first * (1 if self.softmax else C) :]
        common = tile.settings(ignored, x, t, m) | {"PER_IMAGE": self.per_image}
        steps = binning.steps(self.bins, self.form)
        class_weights, smoothing = self.ce or (None, None)
        with on(x.device):
            if self.softmax:
                length, width = tile.shape_of_tile(C)
                tiles = triton.cdiv(P, length)
                programs = N * tiles if smoothing is not None else 1
                sums = torch.zeros(programs, 2, dtype=torch.float64, device=x.device)
                _count_softmax[(N * tiles,)](
                    x, t, m, counters, valid, self.bad, sums, class_weights, P, tiles, *tile.strides(x, t, m),
                    ignored or 0, self.bins, steps, self.size, self.copies,
                    CLASSES=C, WIDTH=width, LENGTH=length, CROSS_ENTROPY=smoothing is not None,
                    SMOOTHING=smoothing or 0.0, HAS_WEIGHT=class_weights is not None, **common,
                )  # fmt: skip
            else:
                tiles = triton.cdiv(P, tile.TILE)
                programs = N * C * tiles if smoothing is not None else 1
                sums = torch.zeros(programs, 2, dtype=torch.float64, device=x.device)
                _count_binary[(N * C * tiles,)](
                    x, t, m, counters, valid, self.bad, sums, class_weights, P, tiles, C, *tile.strides(x, t, m),
                    ignored or 0, self.bins, steps, self.size, self.copies,
                    LENGTH=tile.TILE, CROSS_ENTROPY=smoothing is not None,
                    HAS_WEIGHT=class_weights is not None, FORM=self.form, **common,
                )  # fmt: skip
            self.sums.append(sums)

    def merged(self) -> Counted:
        """Return what `count` returns."""
        rows, C, bins, device = self.rows, self.classes, self.bins, self.bad.device
        table = torch.zeros(rows, C, 2, bins + 1, dtype=torch.int64, device=device)
        numbers = torch.zeros(2, rows, C, dtype=torch.int64, device=device)
        with on(device):
            _merge[(rows * C, triton.cdiv(bins + 1, BLOCK))](
                self.counters, self.valid, table, numbers, rows * C, self.size,
                CLASSES_A_ROW=C if self.softmax else 1, BINS=bins, COPIES=self.copies, BLOCK=BLOCK,
                num_warps=tile.WARPS,
            )  # fmt: skip
        sums = torch.cat(self.sums) if self.sums else torch.zeros(1, 2, dtype=torch.float64, device=device)
        return Counted(table, numbers, sums.sum(0))
