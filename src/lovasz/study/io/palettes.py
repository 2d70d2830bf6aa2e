"""Palettes of pictures, and whether those of many masks give their indices one meaning."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.arrays import opened
from lovasz.study.io.kinds import MOST_VALUES, PICTURES, Stored, UnreadableFileError, suffix
from lovasz.study.io.labels import occurring
from lovasz.study.io.palette import hexadecimal
from lovasz.study.io.pictures import FORMATS
from lovasz.study.io.text import printable

PNG = b"\x89PNG\r\n\x1a\n"
# The colour type of a PNG, where its header has it, and that of a palette.
COLOUR_TYPE, INDEXED = 25, 3


class PalettesDifferError(ValueError):
    """Masks of one data set whose palettes give an index two meanings."""


def palette_of(path: Path, stored: Stored) -> NDArray[np.int64] | None:
    """Return the palette of a picture, ``0xrrggbb`` of each index, -1 where it is not opaque; None without one.

    Args:
        path: The file.
        stored: The same, opened as a mask.

    Raises:
        UnreadableFileError: If it has a palette that cannot be read.
    """
    if stored.palette is not None:
        return _packed(stored.palette >> 8 if stored.palette.dtype == np.uint16 else stored.palette)
    if suffix(path) not in PICTURES:
        return None
    with path.open("rb") as file:
        head = file.read(COLOUR_TYPE + 1)
    png = head.startswith(PNG)
    if png and head[COLOUR_TYPE] != INDEXED:
        return None
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as picture:
            if (picture.format, picture.mode) == ("BMP", "1"):  # black at index 0, else it is a P
                return _packed(np.array([[0] * 3, [255] * 3]))
            if picture.mode != "P" or picture.palette is None:
                return None
            order, content = picture.palette.getdata()
            if order != "RGB":  # as in a PNG it is before any pixel is decoded
                content = bytes(picture.getpalette("RGB") or ())
            entries = np.frombuffer(content, np.uint8).reshape(-1, 3)
            clear = picture.info.get("transparency")
    except Exception as error:  # whatever has decoded another picture knows more than Pillow does
        if png:
            raise UnreadableFileError(path, "has a palette that cannot be read") from error
        return None
    colours = _packed(entries)
    if isinstance(clear, int):
        colours[clear : clear + 1] = -1
    elif isinstance(clear, bytes):
        opacity = np.frombuffer(clear, np.uint8)[: len(colours)]
        colours[: len(opacity)][opacity < 255] = -1
    return colours


def _packed(colours: NDArray[Any]) -> NDArray[np.int64]:
    """Return ``0xrrggbb`` of colours of 8 bits, (K, 3)."""
    packed: NDArray[np.int64] = colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    return packed


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
            palette = palette_of(file, stored)
            if palette is None:
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
