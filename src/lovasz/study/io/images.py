"""Images from files, with their channels first."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.arrays import MOST_VALUES, PICTURES, VOLUMES, Stored, UnreadableFileError, opened, suffix
from lovasz.study.io.numbers import below

# From here on float64 is rounded to infinity in float32.
BEYOND_FLOAT32 = 2.0**128 - 2.0**103


@contextmanager
def open_image(path: Path, most: int = MOST_VALUES) -> Iterator[Stored]:
    """Opens an image without decoding it; `read_image` says what it holds.

    Args:
        path: The file.
        most: How many values are read at most.

    Raises:
        UnreadableFileError: As `read_image`, some only when it is decoded.
    """
    with opened(path, most, colours=True) as stored:
        # Channels are the last axis of a picture, and a fourth axis of a volume holds them (or time).
        last = suffix(path) in PICTURES or (suffix(path) in VOLUMES and len(stored.shape) == 4)
        shape = stored.shape
        if len(shape) == (3 if suffix(path) in VOLUMES else 2):
            last, shape = False, (1, *shape)
        elif last:
            shape = (shape[-1], *shape[:-1])
        if len(shape) not in (3, 4):
            raise UnreadableFileError(path, f"has the shape {shape}; expected (C, H, W) or (C, H, W, D)")

        def read() -> NDArray[Any]:
            image = stored.read()
            image = np.ascontiguousarray(np.moveaxis(image, -1, 0) if last else image.reshape(shape))
            if np.issubdtype(image.dtype, np.floating) and not below(image, BEYOND_FLOAT32):
                raise UnreadableFileError(path, "holds values that are not finite numbers in float32")
            return image

        yield Stored(shape, read)


def read_image(path: Path, most: int = MOST_VALUES) -> NDArray[Any]:
    """Reads an image with its channels first: (C, H, W) of a picture, (1, H, W, D) of a volume.

    A palette is looked up, transparency dropped. An array must have its channels first; one of
    two axes is one channel. Values keep their type and range.

    Args:
        path: The file.
        most: How many values are read at most.

    Raises:
        UnreadableFileError: If the file is missing, broken or too large, or its values are not
            finite in float32, in which networks are trained.
    """
    with open_image(path, most) as image:
        return image.read()
