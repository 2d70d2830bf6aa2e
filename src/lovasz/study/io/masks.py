"""Masks from files: class indices, exactly as they are stored."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.arrays import MOST_VALUES, VOLUMES, Stored, UnreadableFileError, opened, suffix
from lovasz.study.io.numbers import below


@contextmanager
def open_mask(path: Path, most: int = MOST_VALUES) -> Iterator[Stored]:
    """Opens a mask without decoding it; `read_mask` says what it holds.

    Args:
        path: The file.
        most: How many values are read at most.

    Raises:
        UnreadableFileError: As `read_mask`, some only when it is decoded.
    """
    if suffix(path) in (".jpg", ".jpeg"):
        raise UnreadableFileError(path, "a mask cannot be a JPEG, which changes labels; expected a PNG")
    with opened(path, most) as stored:
        shape = stored.shape
        if stored.axes.endswith("C"):
            raise UnreadableFileError(
                path, f"holds {shape[-1]} channels of colour; expected one channel of class indices, or a palette"
            )
        if suffix(path) in VOLUMES:
            shape = shape[:3] if len(shape) == 4 and shape[3] == 1 else shape
            if len(shape) != 3:
                raise UnreadableFileError(path, f"has the shape {shape}; expected a volume (H, W, D)")
        yield replace(stored, shape=shape, read=lambda: _labels(path, stored.read().reshape(shape)))


def read_mask(path: Path, most: int = MOST_VALUES) -> NDArray[np.integer[Any]]:
    """Reads class indices, (H, W) of a picture, (H, W, D) of a volume, any shape of an array.

    A picture must be an 8-bit or 16-bit index or palette image: its indices are read, not its
    colours. Whole numbers stored as floating point, as volumes often are, are accepted.

    Args:
        path: The file.
        most: How many values are read at most.

    Raises:
        UnreadableFileError: If the file is missing, broken or too large, holds colours or
            fractions, or was compressed with loss, which changes labels.
    """
    with open_mask(path, most) as mask:
        return mask.read()


def _labels(path: Path, labels: NDArray[Any]) -> NDArray[np.integer[Any]]:
    if labels.dtype == bool:
        return labels.astype(np.uint8)
    if np.issubdtype(labels.dtype, np.integer):
        return labels
    # Beyond 2^53 not every whole number is a float64, and none is a label.
    if not below(labels, 2.0**53) or (labels != np.rint(labels)).any():
        raise UnreadableFileError(path, f"holds {labels.dtype} values that are not whole numbers")
    return labels.astype(np.int64)
