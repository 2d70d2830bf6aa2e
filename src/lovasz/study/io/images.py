"""Images from files, with their channels first."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.arrays import opened
from lovasz.study.io.kinds import MOST_VALUES, VOLUMES, Stored, UnreadableFileError, suffix
from lovasz.study.io.numbers import not_finite


@contextmanager
def open_image(path: Path, most: int = MOST_VALUES) -> Iterator[Stored]:
    """Open an image without decoding it, but for one with transparency; `read_image` says what it holds.

    Args:
        path: The file.
        most: How many values are read at most.

    Raises:
        UnreadableFileError: As `read_image`, some only when it is decoded.
    """
    with opened(path, most, colours=True) as stored:
        shape, values = stored.shape, None
        # Channels are the last axis of a picture, and a fourth axis of a volume holds them (or time).
        last = stored.axes.endswith("C") or (suffix(path) in VOLUMES and len(shape) == 4)
        if stored.alpha:
            values = stored.read()
            if (values[..., -1] == np.iinfo(values.dtype).max).all():  # opaque: it says nothing
                values = values[..., :-1]
                shape = values.shape
        if last:
            shape = (shape[-1], *shape[:-1])
        elif stored.axes or len(shape) == (3 if suffix(path) in VOLUMES else 2):
            shape = (1, *shape)
        if len(shape) not in (3, 4):
            raise UnreadableFileError(path, f"has the shape {shape}; expected (C, H, W) or (C, H, W, D)")

        def read() -> NDArray[Any]:
            image = stored.read() if values is None else values
            image = np.ascontiguousarray(np.moveaxis(image, -1, 0) if last else image.reshape(shape))
            if problem := not_finite(image):
                raise UnreadableFileError(path, f"holds {problem}; replace them before training")
            return image

        yield dataclasses.replace(stored, shape=shape, read=read)


def read_image(path: Path, most: int = MOST_VALUES) -> NDArray[Any]:
    """Read an image with its channels first.

    It is (C, H, W) of a picture, (C, D, H, W) of a stack of pages, (1, H, W, D) of a volume. Values and types are
    those that are stored; a palette is looked up, and an alpha channel that is opaque everywhere is dropped. An
    array must have its channels first; one of two axes is one channel.

    Args:
        path: The file.
        most: How many values are read at most.

    Raises:
        UnreadableFileError: If the file is missing, broken or too large, would have to be converted, or its
            values are not finite in float32, in which networks are trained.
    """
    with open_image(path, most) as image:
        return image.read()
