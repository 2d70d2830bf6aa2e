"""Labels among numbers: whole, in the range of labels, and one for each pixel."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.kinds import VOLUMES, UnreadableFileError, suffix
from lovasz.study.io.labels import Labels
from lovasz.study.io.numbers import below, not_finite

# Beyond 2^53 not every whole number is a float64, and none is a label.
MOST_EXACT = 2.0**53
# How far from a whole number a label may be that a scale factor makes, beside half a step of it.
MOST_OFF = 0.05
# Arrays of two labels with fewer slices than this, at their begin or end, may be labels side by side.
FEW = 16


def whole(path: Path, values: NDArray[Any]) -> Labels:
    """Return values as whole numbers.

    Of a volume with a scale factor each value is taken for the whole number whose nearest stored integer
    it is: 0.99998 for 1.

    Raises:
        UnreadableFileError: If a value is no whole number, or lies beyond int64.
    """
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype == np.uint64:
        if int(values.max()) > np.iinfo(np.int64).max:
            raise UnreadableFileError(path, f"holds the uint64 value {values.max()}; expected labels below 2^63")
        return values.astype(np.int64)
    if np.issubdtype(values.dtype, np.integer):
        return values
    if not below(values, MOST_EXACT):
        problem = not_finite(values)
        kind = f"{values.dtype} values that are not whole numbers{': ' if problem else ''}{problem}"
        raise UnreadableFileError(path, f"holds {kind}")
    labels = np.rint(values)
    off = np.abs(values - labels)
    if off.any() and not (off <= _tolerance(path, values)).all():
        number = float(values.flat[int(off.argmax())])
        remedy = ""
        if float(values.min()) >= 0 and float(values.max()) <= 1:
            remedy = "; of probabilities save the labels, such as (p > 0.5) as uint8"
        raise UnreadableFileError(
            path, f"holds {values.dtype} values that are not whole numbers, such as {number:.6g}{remedy}"
        )
    return labels.astype(np.int64)


def _tolerance(path: Path, values: NDArray[Any]) -> Any:
    """Return how far each value of a volume may be from a whole number for its scale factor; 0 without one."""
    if suffix(path) not in VOLUMES:
        return 0
    import nibabel

    volume: Any = nibabel.load(path)
    slope = abs(float(volume.dataobj.slope))
    if not np.issubdtype(volume.get_data_dtype(), np.integer):
        return 0
    rounding = 4 * np.finfo(np.float32).eps * (np.abs(values) + abs(float(volume.dataobj.inter)))
    return min(slope / 2, MOST_OFF) + rounding


def check_one_label(path: Path, values: NDArray[Any], num_classes: int, ignored: Collection[int] = ()) -> None:
    """Check that an array does not hold several labels of each pixel, of which a mask has one.

    An array of three axes or more holds several where its values are true and false; where they are 0 and
    1 alone, but for ignored labels, and its first or last axis has one place for each of the classes, two at
    least; and of two classes where that axis has fewer than ``FEW`` and is the shortest.

    Raises:
        UnreadableFileError: If it does.
    """
    ends = values.shape[:1] + values.shape[-1:]
    if suffix(path) != ".npy" or values.ndim < 3 or (values.ndim == 3 and 1 in ends):
        return
    alike = num_classes > 1 and num_classes in ends
    alike |= num_classes == 2 and any(number < FEW and number == min(values.shape) for number in ends)
    if values.dtype != bool and not (alike and {0, 1, *ignored}.issuperset(np.unique(values).tolist())):
        return
    raise UnreadableFileError(
        path,
        f"holds zeros and ones in the shape {values.shape}, which may be several labels of each pixel; expected "
        "one class index each. Evaluate each label alone, in arrays (H, W) with 2 classes; a volume of one label "
        "a voxel save as NIfTI",
    )
