"""IoU of each class from pixels counted over a whole part of the scene."""

import torch
from torch import Tensor


def confusion(preds: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Counts pixels by (target, prediction), (C, C) int64; targets below 0 are left out."""
    labelled = target >= 0
    cells = target[labelled] * num_classes + preds[labelled]
    return torch.bincount(cells, minlength=num_classes**2).view(num_classes, num_classes)


def iou_per_class(counts: Tensor) -> Tensor:
    """Divides intersection by union for each class.

    Args:
        counts: Pixels by (target, prediction), (C, C).

    Returns:
        (C,) float64; NaN for a class with neither a labelled nor a predicted pixel, so that
        ``nanmean`` skips it.
    """
    intersection = counts.diag()
    union = counts.sum(0) + counts.sum(1) - intersection
    return intersection.double() / union.double()


def mean_iou(counts: Tensor) -> float:
    """Averages the IoU over the classes that occur."""
    return float(iou_per_class(counts).nanmean())
