"""The pixels of each class in the boundary regions of an image, as `lovasz.boundaries` counts them."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lovasz import boundaries
from lovasz.study.io.labels import Labels
from lovasz.study.score.rows import Rows


@dataclass(frozen=True)
class Boundaries:
    """What was counted of boundary regions.

    Attributes:
        width: Of the regions: a fraction of the diagonal of each image, or pixels.
        rows: The counts of each image, in the order of names.
    """

    width: float
    rows: Rows

    @property
    def reach(self) -> str:
        """The width as it is told."""
        if isinstance(self.width, int):
            return f"{self.width:,} pixel{'' if self.width == 1 else 's'}"
        return f"{100 * self.width:g} % of the diagonal"


def boundary_counts(
    prediction: Labels, target: Labels, num_classes: int, ignored: Collection[int], width: float
) -> NDArray[np.int64]:
    """Count the pixels of each class in the boundary regions of one image.

    Args:
        prediction: Class indices, two axes or more; anything where the target is ignored.
        target: Classes or ignored labels, of the same shape.
        num_classes: C.
        ignored: Labels whose pixels do not count.
        width: A fraction of the diagonal, or pixels.

    Returns:
        Pixels in intersection, label and prediction, (C, 3).
    """
    counted = np.ones(target.shape, dtype=np.bool_)
    for label in ignored:
        counted &= target != label
    kind = np.min_scalar_type(num_classes - 1)
    kind = kind if kind == np.uint8 else np.dtype(np.int64)
    # A product with 0 and 1 leaves classes alone; of every type, it is an array of its own.
    preds, labels = (
        torch.from_numpy((side * counted).astype(kind, copy=False))[None] for side in (prediction, target)
    )
    found = boundaries.boundary_counts(
        preds, labels, num_classes, width=width, mask=torch.from_numpy(counted)[None]
    )
    counts: NDArray[np.int64] = found[0].numpy()
    return counts
