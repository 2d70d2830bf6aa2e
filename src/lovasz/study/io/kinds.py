"""Which kinds of files are read, how much of one at most, and how one is refused."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.text import printable

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
VOLUMES = (".nii", ".nii.gz")
SUFFIXES = (*PICTURES, *VOLUMES, ".npy")
# One array in an archive: read where scores are, and nowhere else.
ARCHIVE = ".npz"
# Values of one file, pixels times channels: a small file can unfold to any number. A satellite tile of 20,000 x
# 20,000 has 1.6e9 with four channels, a volume of 1024 x 1024 x 1024 has 1.1e9; both pass.
MOST_VALUES = 2**31


class UnreadableFileError(ValueError):
    """A file does not hold what it should; the message names it and says why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{printable(path)}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Rebuild itself on its way out of another process."""
        return type(self), (self.path, self.reason)


class TooLargeError(UnreadableFileError):
    """A file unfolds to more values than are read: to so many."""

    def __init__(self, path: Path, reason: str, values: int) -> None:
        super().__init__(path, reason)
        self.values = values

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Rebuild itself on its way out of another process."""
        return type(self), (self.path, self.reason, self.values)


@dataclass(frozen=True)
class Stored:
    """An array in an open file.

    Attributes:
        shape: Its shape once it is read.
        read: Decodes it.
        dtype: The type of its values in the file.
        axes: A letter for each axis of a picture: "HW", "HWC", and with the pages of a stack first "DHW", "DHWC";
            empty for an array or a volume.
        alpha: Whether the last channel is the transparency of a picture, and no data where it is opaque.
        palette: Of a picture read as indices: the colour of each, ``0xrrggbb``, -1 where it is not opaque, more
            where it has 16 bits a channel.
        bits: Of a picture: how many a sample has in the file.
    """

    shape: tuple[int, ...]
    read: Callable[[], NDArray[Any]]
    dtype: np.dtype[Any]
    axes: str = ""
    alpha: bool = False
    palette: NDArray[np.int64] | None = None
    bits: int = 0


def suffix(path: Path) -> str:
    """Return the suffix in small letters, ``.nii.gz`` as one."""
    return suffix_of(path.name)


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name as `suffix` does."""
    name = name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else os.path.splitext(name)[1]


def check_upright(path: Path, orientation: object) -> None:
    """Check EXIF's orientation of a picture, which says how it is shown: 1 is as it is stored.

    Raises:
        UnreadableFileError: If it is shown turned or mirrored.
    """
    if orientation != 1:
        raise UnreadableFileError(
            path,
            f"is shown turned or mirrored by its EXIF orientation {orientation}, and its mask may be either way; "
            "save it upright",
        )
