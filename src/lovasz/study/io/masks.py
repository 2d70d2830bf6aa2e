"""Masks from files: class indices, exactly as they are stored or as a labelling says."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lovasz.study.io.arrays import opened
from lovasz.study.io.colours import labels_of_colours, labels_of_palette
from lovasz.study.io.kinds import MOST_VALUES, VOLUMES, Stored, UnreadableFileError, suffix
from lovasz.study.io.labelling import Labelling, UnknownLabelError
from lovasz.study.io.labels import Labels
from lovasz.study.io.lossy import is_lossy
from lovasz.study.io.palettes import used_part
from lovasz.study.io.whole import check_one_label, whole

JPEGS = (".jpg", ".jpeg")
AS_STORED = Labelling()


class UnknownLabelsError(UnreadableFileError):
    """A mask holds values or colours that stand for no class."""


class Mask:
    """A mask in an open file.

    Attributes:
        shape: Its shape once it is read.
        palette: Once it is read: the palette of its indices as far as it is used; empty where there is none, or
            where its colours were looked up.
        named: Once it is read: the values of the map that occur.
    """

    def __init__(self, path: Path, stored: Stored, shape: tuple[int, ...], labelling: Labelling) -> None:
        self.path, self.stored, self.shape, self.labelling = path, stored, shape, labelling
        self.palette, self.named = b"", frozenset[int]()

    def read(self, one_label: bool = False) -> Labels:
        """Decode it.

        Args:
            one_label: Whether its shape is known to be that of one label of each pixel.
        """
        try:
            return self._read(one_label)
        except UnknownLabelError as error:
            raise UnknownLabelsError(self.path, str(error)) from error

    def _read(self, one_label: bool) -> Labels:
        values: NDArray[Any] = self.stored.read()
        if self.stored.axes:
            if self.stored.axes.endswith("C"):
                values, done = labels_of_colours(self.path, values, self.labelling)
                if done:
                    return values
            elif self.stored.palette is not None:
                if self.labelling.colours:
                    return labels_of_palette(values, self.stored.palette, self.labelling)
                self.palette = used_part(self.stored.palette, values)
        if not one_label:
            check_one_label(self.path, values, self.labelling.num_classes, self.labelling.ignored)
        labels, self.named = self.labelling.mapped(whole(self.path, values).reshape(self.shape))
        return labels


@contextmanager
def open_mask(path: Path, most: int = MOST_VALUES, labelling: Labelling = AS_STORED) -> Iterator[Mask]:
    """Open a mask without decoding it; `read_mask` says what it holds.

    Args:
        path: The file.
        most: How many values are read at most.
        labelling: How what it stores becomes labels.

    Raises:
        UnreadableFileError: As `read_mask`, some only when it is decoded.
    """
    if suffix(path) in JPEGS:
        raise UnreadableFileError(path, "a mask cannot be a JPEG, which changes labels; expected a PNG")
    with opened(path, most) as stored:
        shape = stored.shape
        if stored.axes:
            if stored.axes.endswith("C") and is_lossy(path):  # every WebP has three channels or four
                raise UnreadableFileError(path, "is compressed with loss, which changes labels; expected a PNG")
            shape = tuple(side for side, axis in zip(shape, stored.axes, strict=True) if axis != "C")
        elif suffix(path) in VOLUMES:
            shape = shape[:3] if len(shape) == 4 and shape[3] == 1 else shape
            if len(shape) != 3:
                raise UnreadableFileError(path, f"has the shape {shape}; expected a volume (H, W, D)")
        yield Mask(path, stored, shape, labelling)


def read_mask(path: Path, most: int = MOST_VALUES, labelling: Labelling = AS_STORED) -> Labels:
    """Read labels, (H, W) of a picture, (H, W, D) of a volume, any shape of an array.

    Without colours and a map in the labelling these are the values as stored: grey values, indices of a
    palette, whole numbers stored as floating point.

    Args:
        path: The file.
        most: How many values are read at most.
        labelling: How what it stores becomes labels.

    Raises:
        UnreadableFileError: If the file is missing, broken or too large, holds colours that
            nothing says the labels of, or fractions, or was compressed with loss, which changes labels.
        UnknownLabelsError: If it holds a value or a colour that stands for no class.
    """
    with open_mask(path, most, labelling) as mask:
        return mask.read()


def fits(path: Path, shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Return whether a mask has another shape, or an array has it but for one axis of length 1 before or after."""
    return shape == other or (suffix(path) == ".npy" and shape in ((1, *other), (*other, 1)))
