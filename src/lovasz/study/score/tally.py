"""The confusion matrix of one image, by counting label pairs."""

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lovasz import scores

Labels = NDArray[np.integer[Any]]

# Labels within so many neighbouring numbers are counted as they are; wider ones, as 65535 for void, are checked
# and left out first.
RANGE = 1024


class LabelError(ValueError):
    """A mask holds labels that are no class.

    Attributes:
        in_target: Whether the target does; else the prediction.
    """

    def __init__(self, message: str, in_target: bool) -> None:
        super().__init__(message)
        self.in_target = in_target


def confusion(prediction: Labels, target: Labels, num_classes: int, ignored: Collection[int]) -> NDArray[np.int64]:
    """Count the pixels of every pair of label (row) and prediction (column).

    One pass over both masks fills a table of all pairs that occur, those of void and of wrong
    labels included; the rest is done on the table. What is predicted at ignored pixels does not
    matter.

    Args:
        prediction: Class indices, any shape.
        target: Labels of the same shape.
        num_classes: C.
        ignored: Labels whose pixels do not count.

    Returns:
        (C, C), as ``lovasz.metrics.ConfusionMatrix`` counts.

    Raises:
        LabelError: If a target holds a label that is neither a class nor ignored, or a prediction
            one that is no class at a pixel that counts; the message has the labels and their counts.
    """
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    labels, predicted = _range(target), _range(prediction)
    if any(found.stop - found.start > RANGE for found in (labels, predicted)):  # len() ends at 2^63
        prediction, target = _counted_pixels(prediction, target, num_classes, ignored)
        if not target.size:
            return matrix
        labels, predicted = _range(target), _range(prediction)
    table = _table(_offset(target, labels), _offset(prediction, predicted), len(labels), len(predicted))
    for label in ignored:
        if label in labels:
            table[label - labels.start] = 0
    rows, columns = _classes(labels, num_classes), _classes(predicted, num_classes)
    counted = table[_places(rows, labels), _places(columns, predicted)]
    if counted.sum() != table.sum():
        _counted_pixels(prediction, target, num_classes, ignored)  # raises
    matrix[rows.start : rows.stop, columns.start : columns.stop] = counted
    return matrix


def class_counts(matrix: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pixels in intersection, label and prediction of each class, (C, 3), of a confusion matrix."""
    counts: NDArray[np.int64] = scores.class_counts(torch.from_numpy(matrix)).numpy()
    return counts


def check_target(target: Labels, num_classes: int, ignored: Collection[int]) -> None:
    """Check that a target holds classes and ignored labels alone.

    Raises:
        LabelError: If it does not; the message has the labels and their counts.
    """
    _counted_pixels(np.zeros_like(target), target, num_classes, ignored)


def _table(rows: Labels, columns: Labels, height: int, width: int) -> NDArray[np.int64]:
    """Count the pixels of every pair of row and column."""
    size = height * width
    # It must hold the width as well, which of one row is the size; bincount knows no u2.
    kind = next(kind for kind in ("u1", "i2", "i4", "i8") if size <= np.iinfo(kind).max)
    cell = rows.astype(kind, copy=False) * np.asarray(width, kind) + columns.astype(kind, copy=False)
    counts: NDArray[np.int64] = torch.bincount(torch.from_numpy(cell.ravel(order="K")), minlength=size).numpy()
    return counts.reshape(height, width)


def _range(labels: Labels) -> range:
    """Return the labels that may occur."""
    return range(min(0, int(labels.min())), int(labels.max()) + 1)


def _offset(labels: Labels, among: range) -> Labels:
    """Return the place of each pixel's label in the range."""
    if among.start == 0:
        return labels
    # Subtracting goes round at the end of the type, and so does reading the difference without a sign.
    return (labels - labels.dtype.type(among.start)).view(f"u{labels.dtype.itemsize}")


def _classes(labels: range, num_classes: int) -> range:
    """Return those of the labels that are classes."""
    return range(min(num_classes, labels.stop)) if labels.stop > 0 else range(0)


def _places(part: range, whole: range) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)


def _counted_pixels(
    prediction: Labels, target: Labels, num_classes: int, ignored: Collection[int]
) -> tuple[Labels, Labels]:
    """Return both masks at the pixels that count, or raises if they hold other than classes there."""
    counts = ~np.isin(target, list(ignored))
    prediction, target = prediction[counts], target[counts]
    wrong = target[(target < 0) | (target >= num_classes)]
    if wrong.size:
        void = ", ".join(map(str, sorted(ignored))) or "none"
        expected = f"expected classes 0 to {num_classes - 1} or ignored labels ({void})"
        raise LabelError(f"holds {_listed(wrong)}; {expected}", in_target=True)
    wrong = prediction[(prediction < 0) | (prediction >= num_classes)]
    if wrong.size:
        expected = f"expected classes 0 to {num_classes - 1} where a pixel counts"
        raise LabelError(f"holds {_listed(wrong)}; {expected}", in_target=False)
    return prediction, target


def _listed(wrong: Labels) -> str:
    values, counts = np.unique(wrong, return_counts=True)
    pairs = zip(values[:5].tolist(), counts[:5].tolist(), strict=True)
    named = [f"the label {label} at {number} pixel{'s' if number > 1 else ''}" for label, number in pairs]
    return ", ".join(named) + (f" and {len(values) - 5} other labels" if len(values) > 5 else "")
