"""Images and masks from files: PNG, JPEG, WebP, TIFF, BMP, NumPy arrays and NIfTI volumes."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.arrays import MOST_VALUES as MOST_VALUES
from lovasz.study.io.arrays import PICTURES, SUFFIXES, VOLUMES, Stored, opened, suffix, suffix_of
from lovasz.study.io.arrays import TooLargeError as TooLargeError
from lovasz.study.io.arrays import UnreadableFileError as UnreadableFileError
from lovasz.study.io.text import printable

# From here on float64 is rounded to infinity in float32.
BEYOND_FLOAT32 = 2.0**128 - 2.0**103


def stem(path: Path) -> str:
    """Returns the name without its suffix."""
    return path.name[: len(path.name) - len(suffix(path))]


def files_in(folder: Path) -> dict[str, Path]:
    """Lists the readable kinds of files in a folder by stem, in the order of their stems.

    Hidden files and files of other kinds (a README, ``Thumbs.db``) are left out.

    Raises:
        UnreadableFileError: If the folder cannot be listed or two files share a stem.
    """
    return {name: folder / file for name, file in names_in(folder).items()}


def names_in(folder: Path) -> dict[str, str]:
    """Lists as `files_in` does, but the name of each file alone: a third of the memory of paths.

    The stems are `printable`, the names as they are.
    """
    try:
        with os.scandir(folder) as entries:
            files = [
                e.name for e in entries if suffix_of(e.name) in SUFFIXES and e.name[0] != "." and not _is_dir(e)
            ]
    except OSError as error:
        raise UnreadableFileError(folder, error.strerror or str(error)) from error
    pairs = sorted((printable(file[: -len(suffix_of(file))]), file) for file in files)
    for (name, file), (following, other) in itertools.pairwise(pairs):
        if name == following:
            reason = f"has the same name as {printable(file)}; which of the two is meant?"
            raise UnreadableFileError(folder / other, reason)
    return dict(pairs)


def _is_dir(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, which is refused when it is read
        return False


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
        if suffix(path) in PICTURES and len(shape) != 2:
            raise UnreadableFileError(
                path, f"holds {shape[2]} channels of colour; expected one channel of class indices, or a palette"
            )
        if suffix(path) in VOLUMES:
            shape = shape[:3] if len(shape) == 4 and shape[3] == 1 else shape
            if len(shape) != 3:
                raise UnreadableFileError(path, f"has the shape {shape}; expected a volume (H, W, D)")
        yield Stored(shape, lambda: _labels(path, stored.read().reshape(shape)))


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
    if not _below(labels, 2.0**53) or (labels != np.rint(labels)).any():
        raise UnreadableFileError(path, f"holds {labels.dtype} values that are not whole numbers")
    return labels.astype(np.int64)


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
            if np.issubdtype(image.dtype, np.floating) and not _below(image, BEYOND_FLOAT32):
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


def _below(values: NDArray[np.floating[Any]], bound: float) -> bool:
    """Returns whether all are numbers of less than a bound, which their type may not reach; NaN is none."""
    bound = bound if float(np.finfo(values.dtype).max) >= bound else np.inf
    return bool((np.abs(values) < bound).all())


def check_same_place(path: Path, other: Path) -> None:
    """Checks that two volumes hold the same voxels of the same body: that their affines agree.

    Raises:
        UnreadableFileError: If both are NIfTI files and their affines differ by more than 1e-3.
    """
    if suffix(path) not in VOLUMES or suffix(other) not in VOLUMES:
        return
    if not np.allclose(_canonical_affine(path), _canonical_affine(other), atol=1e-3):
        raise UnreadableFileError(
            path,
            f"lies elsewhere in space than {printable(other)}: their affines differ; resample one to the grid of "
            "the other",
        )


def _canonical_affine(path: Path) -> NDArray[np.float64]:
    """Returns the affine of a volume once its axes are in one order; from the header alone."""
    import nibabel

    volume: Any = nibabel.load(path)
    turns = nibabel.io_orientation(volume.affine)
    affine: NDArray[np.float64] = volume.affine @ nibabel.orientations.inv_ornt_aff(turns, volume.shape)
    return affine
