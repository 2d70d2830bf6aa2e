"""Palettes of pictures, and whether those of many masks give their indices one meaning."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.arrays import opened
from lovasz.study.io.kinds import MOST_VALUES, UnreadableFileError
from lovasz.study.io.labels import occurring
from lovasz.study.io.palette import hexadecimal
from lovasz.study.io.text import printable


class PalettesDifferError(ValueError):
    """Masks of one data set whose palettes give an index two meanings."""


class Palettes:
    """Whether palettes are one: each, as far as its picture uses it, the beginning of the longest.

    Attributes:
        longest: The longest.
        agree: Whether those seen so far are one.
    """

    def __init__(self) -> None:
        self.longest, self.agree = b"", True

    def take(self, palette: bytes) -> None:
        """Take in the palette of a mask as far as it is used, which may be empty."""
        if palette != self.longest:
            longer, shorter = sorted((self.longest, palette), key=len, reverse=True)
            self.longest, self.agree = longer, self.agree and longer.startswith(shorter)

    def add(self, other: "Palettes") -> None:
        """Take in those that another has seen."""
        self.take(other.longest)
        self.agree = self.agree and other.agree


def used_part(palette: NDArray[np.int64], indices: NDArray[np.integer[Any]]) -> bytes:
    """Return a palette up to the last index that is used, for `Palettes`."""
    return palette[: int(indices.max()) + 1].tobytes()


def check_palettes(files: Iterable[Path], most: int = MOST_VALUES) -> None:
    """Check that no index stands for two colours, and no colour for two indices, where they are used.

    Args:
        files: Masks; those without a palette, or that cannot be read, are passed over.
        most: How many values are read at most.

    Raises:
        PalettesDifferError: If two palettes differ; the message has both files and where they first do.
    """
    of_index: dict[int, _Entry] = {}
    of_colour: dict[int, list[_Entry]] = {}
    for file in files:
        for entry in _entries(file, most):
            other = of_index.setdefault(entry.index, entry)
            if other.colour != entry.colour:
                raise PalettesDifferError(_differ(other, entry))
            if other is not entry:
                continue
            for other in of_colour.get(entry.colour, ()):
                # Two indices of one colour are two labels where both palettes have both.
                if other.index not in entry.alike or entry.index not in other.alike:
                    raise PalettesDifferError(_differ(other, entry))
            of_colour.setdefault(entry.colour, []).append(entry)


@dataclass(frozen=True)
class _Entry:
    """An index that a file uses: its colour, and all indices of that colour."""

    file: Path
    index: int
    colour: int
    alike: frozenset[int]


def _entries(file: Path, most: int) -> list[_Entry]:
    try:
        with opened(file, most) as stored:
            if (palette := stored.palette) is None:
                return []
            used = [index for index in occurring(stored.read()) if index < len(palette)]
    except UnreadableFileError:
        return []
    alike = {int(c): frozenset(np.flatnonzero(palette == c).tolist()) for c in np.unique(palette[used])}
    return [_Entry(file, index, int(palette[index]), alike[int(palette[index])]) for index in used]


def _differ(one: _Entry, other: _Entry) -> str:
    first, second = (
        f"{printable(entry.file)} has {hexadecimal(entry.colour) if entry.colour >= 0 else 'a clear colour'} at "
        f"index {entry.index}"
        for entry in (one, other)
    )
    return (
        f"palettes differ, so that an index is not one class: {first}, {second}. Give --classes FILE.json with the "
        "colour of each class, and the colours are read; if the indices are the labels all the same, save the "
        "masks without palettes, as grey"
    )
