"""How large things are: tiles of pixels, counters that fit into shared memory, ranges that keep a device busy."""

import math
from typing import NamedTuple

from .records import Limits

#: Threads of a block where nothing else decides.
BLOCK = 256
#: Bytes of the logits of a pixel that a thread holds in registers: 20 of float32. With more, fewer threads fit.
HELD_BYTES = 80
MOST_SLICES = 16
#: Shared memory of a tile whose classes lie next to each other.
STAGE_BYTES = 2**15

#: Threads of a block that counts, bytes of a class that each has in flight, and classes that it counts at most.
COUNTING_BLOCK, IN_FLIGHT_BYTES, MOST_CLASSES = 1024, 16, 4
#: Threads of a block that weighs, and bins of a class that it has at least, as each reads the whole class.
WEIGHING_BLOCK, LEAST_PIECE = 512, 4096
#: Shared memory left to what is not counters.
RESERVED = 10240
#: Bytes of the counters of all blocks.
COUNTED_BYTES = 2**26
#: Pixels of a range: any number of them fits into a counter.
MOST_PIXELS = 2**31 - 1


class Tile(NamedTuple):
    """A tile of the softmax: its pixels, threads for each, classes in registers, and whether it is staged."""

    pixels: int
    slices: int
    held: int
    last: bool

    def macros(self, classes: int) -> dict[str, str | int]:
        """Return what a kernel with this tile is compiled with."""
        return {
            "CLASSES": classes, "PIXELS": self.pixels, "SLICES": self.slices, "BLOCK": self.pixels * self.slices,
            "HELD": self.held, "LAST": int(self.last),
        }  # fmt: skip


def tile(classes: int, size: int, last: bool) -> Tile:
    """Return the tile for a number of classes.

    Args:
        classes: number of them.
        size: bytes of the type that is computed in.
        last: whether the classes of a pixel lie next to each other.
    """
    held = HELD_BYTES // size
    slices = 1
    while math.ceil(classes / slices) > held and slices < MOST_SLICES:
        slices *= 2
    pixels = max(32, BLOCK // slices)
    row = (classes | 1) * size
    while last and pixels * row > STAGE_BYTES and pixels > 4:
        pixels //= 2
    if last and pixels * row > STAGE_BYTES:
        return Tile(max(32, BLOCK // slices), slices, held, False)
    return Tile(pixels, slices, held, last)


class Split(NamedTuple):
    """How counting is split into blocks.

    Attributes:
        group: classes that a block counts at once.
        items: pixels that a thread reads at once.
        parts: parts of a class, where the counters of one do not fit.
        slots: counters of a part.
        ranges: ranges of the pixels of a row.
    """

    group: int
    items: int
    parts: int
    slots: int
    ranges: int

    @property
    def shared(self) -> int:
        """Return the bytes of the counters of a block."""
        return 4 * self.slots * self.group

    @property
    def tile(self) -> int:
        """Return the pixels that a block reads at once."""
        return COUNTING_BLOCK * self.items


def split(
    images: int,
    classes: int,
    pixels: int,
    bins: int,
    per_image: bool,
    softmax: bool,
    limits: Limits,
    number: int = 4,
) -> Split:
    """Return how images of so many pixels are counted into a table; a number has 4 bytes, or 8."""
    size = 2 * (bins + 1)
    fit = max(1, (limits.shared - RESERVED) // 4)
    parts = math.ceil(size / fit)
    slots = math.ceil(size / parts)
    group = 1 if parts > 1 else min(classes, MOST_CLASSES, fit // size)
    items = IN_FLIGHT_BYTES // number
    if not softmax:  # labels of each class take registers as well
        items = max(1, items // group)
    rows = images if per_image else 1
    tiles = math.ceil(pixels / (COUNTING_BLOCK * items)) * (images // rows)
    jobs = rows * math.ceil(classes / group) * parts
    most = min(max(tiles, 1), max(1, COUNTED_BYTES // (4 * size * rows * classes)))
    least = math.ceil(tiles * COUNTING_BLOCK * items / MOST_PIXELS)
    return Split(group, items, parts, slots, max(_ranges(jobs, limits.multiprocessors, most), least))


def pieces(rows: int, bins: int, limits: Limits) -> int:
    """Return in how many pieces each row of a table is weighed, by a block each."""
    return min(math.ceil(bins / LEAST_PIECE), max(1, limits.multiprocessors // max(rows, 1)))


def _ranges(jobs: int, multiprocessors: int, most: int) -> int:
    """Return the least number of ranges by which nine tenths of a device are busy, or as many as may be.

    A block that counts takes all registers of a multiprocessor.
    """
    best, busiest = 1, 0.0
    for ranges in range(1, most + 1):
        blocks = jobs * ranges
        busy = blocks / (math.ceil(blocks / multiprocessors) * multiprocessors)
        if busy > busiest:
            best, busiest = ranges, busy
        if busy >= 0.9 or blocks > 8 * multiprocessors:
            break
    return best
