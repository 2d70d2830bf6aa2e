"""Count the pixels of each class by the bin of their error: counters in shared memory, then one table of them all.

Counters are integers, so no order of threads or blocks changes a bit; the cross-entropy is summed block by block in
a fixed order.
"""

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..contract import Counted, CrossEntropy, Pixels
from ..strips import Part, Strips, refuse_wrong_labels, whole
from . import finer, operands, records, shapes
from .operands import Operands
from .records import Launch, Launcher


def count(
    launcher: Launcher, pixels: Pixels, bins: int, per_image: bool, ce: CrossEntropy | None = None
) -> Counted:
    """Count the pixels: two launches for the softmax, else one, and one that merges; strips of finer labels."""
    logits, _, _, ignored, form, _ = pixels
    N, C = logits.shape[:2]
    rows, device = N if per_image else 1, logits.device
    zeros = functools.partial(torch.zeros, dtype=torch.int64, device=device)
    table, numbers, wrong = zeros(rows, C, 2, bins + 1), zeros(2, rows, C), zeros(1)
    sums = torch.zeros(2, dtype=torch.float64, device=device)
    for part in _parts(launcher, pixels):
        if part.logits.numel() == 0:
            continue
        images = part.images if per_image else slice(0, 1)
        valid = zeros((images.stop - images.start) * (1 if form == "softmax" else C))
        of = Operands(part, ignored, form)
        counted, found = (_softmax if form == "softmax" else _binary)(
            launcher, of, bins, per_image, ce, valid, wrong
        )
        _merge(launcher, counted, valid, table[images], numbers, images.start * C, form == "softmax")
        sums += found.sum(0)
    refuse_wrong_labels(wrong, pixels)
    return Counted(table, numbers, sums)


def _parts(launcher: Launcher, pixels: Pixels) -> Iterator[Part]:
    """Return all pixels, or strips of them."""
    if pixels.interpolation is None:
        yield whole(pixels)
    else:
        yield from Strips(pixels).parts(functools.partial(finer.interpolate, launcher))


def _counters(of: Operands, bins: int, per_image: bool, launcher: Launcher) -> tuple[shapes.Split, Tensor]:
    """Return how the pixels are split, and where the counters of all blocks go: (ranges, rows * C * 2 (K + 1))."""
    N, C, P = of.logits.shape
    limits = launcher.limits(of.logits.device)
    split = shapes.split(N, C, P, bins, per_image, of.form == "softmax", limits, of.real.itemsize)
    size = (N if per_image else 1) * C * 2 * (bins + 1)
    return split, torch.empty(split.ranges, size, dtype=torch.int32, device=of.logits.device)


def _softmax(
    launcher: Launcher,
    of: Operands,
    bins: int,
    per_image: bool,
    ce: CrossEntropy | None,
    valid: Tensor,
    wrong: Tensor,
) -> tuple[Tensor, Tensor]:
    """Count for the softmax; return the counters and the sums of the cross-entropy."""
    x = of.logits
    N, C, P = x.shape
    device = x.device
    tile = shapes.tile(C, of.real.itemsize, operands.class_last(x))
    label = torch.int8 if C <= 127 else torch.int16 if C <= 32767 else torch.int32
    states = [torch.empty(N, P, dtype=dtype, device=device) for dtype in (x.dtype, of.real, label)]
    pointers = records.States(*(t.data_ptr() for t in (*states, valid, wrong)))
    of.macros["LABEL"] = operands.name(label)
    blocks = N * -(-P // tile.pixels)
    sums = torch.zeros(blocks if ce is not None else 1, 2, dtype=torch.float64, device=device)
    entropy, weights = operands.entropy(ce, of.real, sums)
    macros = of.macros | tile.macros(C) | {"CROSS_ENTROPY": int(ce is not None)}
    pixels = of.pixels(tile.pixels, bins, per_image)
    launcher.launch(Launch("states", "states", macros, blocks, 0, (pixels, pointers, entropy)), device)
    split, counted = _counters(of, bins, per_image, launcher)
    counting = records.Counting(counted.data_ptr(), split.ranges, split.parts, split.slots)
    pixels = of.pixels(split.tile, bins, per_image)
    launcher.launch(_counting("count_softmax", of, split, len(valid), C, (pixels, pointers, counting)), device)
    del weights
    return counted, sums


def _binary(
    launcher: Launcher,
    of: Operands,
    bins: int,
    per_image: bool,
    ce: CrossEntropy | None,
    valid: Tensor,
    wrong: Tensor,
) -> tuple[Tensor, Tensor]:
    """Count where each channel has a foreground of its own; return the same."""
    C = of.logits.shape[1]
    split, counted = _counters(of, bins, per_image, launcher)
    pointers = records.States(None, None, None, valid.data_ptr(), wrong.data_ptr())
    counting = records.Counting(counted.data_ptr(), split.ranges, split.parts, split.slots)
    pixels = of.pixels(split.tile, bins, per_image)
    of.macros["CROSS_ENTROPY"] = int(ce is not None)
    launch = _counting("count_binary", of, split, len(valid) // C, C, ())
    sums = torch.zeros(launch.blocks if ce is not None else 1, 2, dtype=torch.float64, device=of.logits.device)
    entropy, weights = operands.entropy(ce, of.real, sums)
    launcher.launch(launch._replace(arguments=(pixels, pointers, entropy, counting)), of.logits.device)
    del weights
    return counted, sums


def _counting(
    file: str, of: Operands, split: shapes.Split, rows: int, classes: int, arguments: tuple[Any, ...]
) -> Launch:
    """Return the launch that counts."""
    macros = of.macros | {
        "BLOCK": shapes.COUNTING_BLOCK, "ITEMS": split.items, "GROUP": split.group,
        "SEVERAL_PARTS": int(split.parts > 1),
    }  # fmt: skip
    blocks = rows * -(-classes // split.group) * split.parts * split.ranges
    return Launch(file, "count", macros, blocks, split.shared, arguments)


def _merge(
    launcher: Launcher, counted: Tensor, valid: Tensor, table: Tensor, numbers: Tensor, first: int, softmax: bool
) -> None:
    """Add the counters of all ranges to rows of the table, and to the numbers of pixels from row `first` on."""
    rows, C, _, places = table.shape
    merging = records.Merging(
        counted.data_ptr(), valid.data_ptr(), table.data_ptr(), numbers.view(-1)[first:].data_ptr(),
        len(counted), rows * C, numbers[0].numel(), C if softmax else 1, places - 1,
    )  # fmt: skip
    blocks = rows * C * -(-places // shapes.BLOCK)
    macros: dict[str, str | int] = {"REAL": "double", "BLOCK": shapes.BLOCK}
    launcher.launch(Launch("merge", "merge", macros, blocks, 0, (merging,)), table.device)
