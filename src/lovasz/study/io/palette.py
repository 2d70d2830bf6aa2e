"""A colour for each of any number of classes, and colours as numbers."""

import colorsys
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Chosen by hand: hues are spread over light and dark so that greys differ as well.
CHOSEN = (
    "#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6",
    "#a3d900", "#ff8fa3", "#008080", "#b48bff", "#9a6324", "#1d6b1d", "#800000", "#7c87a5",
)  # fmt: skip
# Turns of the colour wheel that no number of steps bring close to where they began.
GOLDEN = (5**0.5 - 1) / 2
LIGHTNESS = (0.35, 0.75, 0.5, 0.85, 0.25, 0.62)
SATURATION = (0.9, 0.7, 0.5)
# Added to colours of 16 bits a channel, so that none is one of 8.
DEEP = 1 << 48
# Steps by that rule alone, some 4,000 of which give a new colour; from there on the next free one is taken.
BY_RULE = 2**15


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue of ``#rrggbb``."""
    red, green, blue = (int(colour[index : index + 2], 16) for index in (1, 3, 5))
    return red, green, blue


def value_of(colour: str) -> int:
    """Return ``0xrrggbb`` of ``#rrggbb``."""
    return int(colour[1:], 16)


def hexadecimal(value: int) -> str:
    """Return ``#rrggbb`` of ``0xrrggbb``, and ``#rrrrggggbbbb`` of a colour that is `deep`."""
    return f"#{value - DEEP:012x}" if deep(value) else f"#{value:06x}"


def packed(colours: NDArray[Any]) -> NDArray[np.int64]:
    """Return ``0xrrggbb`` of colours of 8 bits, (K, 3)."""
    values: NDArray[np.int64] = colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    return values


def packed_16(colours: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Return ``0xrrggbb`` of colours of 16 bits, (K, 3), that were made of 8, and others as `deep` ones.

    A channel was made of 8 bits v if it is 257 v or 256 v.
    """
    shallow = ((colours % 257 == 0) | (colours % 256 == 0)).all(1)
    whole = colours.astype(np.int64) @ np.array([1 << 32, 1 << 16, 1])
    values: NDArray[np.int64] = np.where(shallow, packed(colours >> 8), DEEP + whole)
    return values


def deep(value: int) -> bool:
    """Return whether a colour that was packed has 16 bits a channel and cannot be told with 8."""
    return value >= DEEP


def palette(number: int) -> list[str]:
    """Return so many different colours, the first sixteen chosen by hand, the others by rule.

    Each further colour lies a golden section of the wheel beyond the one before; lightness and
    saturation go round in cycles of 6 and 3, so that neighbours in number differ in both.

    Args:
        number: How many, at least 0.

    Returns:
        Colours as ``#rrggbb``; a longer palette begins with the shorter one.

    Example:
        >>> palette(18)[15:]
        ['#7c87a5', '#aa0909', '#86a7f9']
    """
    colours = list(CHOSEN[:number])
    taken, step = set(colours), 0
    while len(colours) < number:
        hue = step * GOLDEN % 1
        lightness, saturation = LIGHTNESS[step % len(LIGHTNESS)], SATURATION[step // 2 % len(SATURATION)]
        red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, saturation))
        value = red << 16 | green << 8 | blue
        while step >= BY_RULE and f"#{value:06x}" in taken:
            value = (value + 1) % 2**24
        colour = f"#{value:06x}"
        if colour not in taken:
            taken.add(colour)
            colours.append(colour)
        step += 1
    return colours
