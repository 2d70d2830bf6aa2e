"""IoU of each class from pixels counted over a whole part of the data."""

from torch import Tensor

from lovasz.scores import class_counts, iou
from lovasz.study.data.parts import IGNORE_INDEX


def confusion(preds: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Count pixels by (target, prediction), (C, C) int64; targets of ``IGNORE_INDEX`` are left out."""
    from lovasz.metrics import ConfusionMatrix  # torchmetrics loads much, which a refused command need not

    # Each process counts what it has; who wants the sum of all says so.
    metric = ConfusionMatrix(num_classes, ignore_index=IGNORE_INDEX, sync_on_compute=False)
    metric.update(preds.cpu(), target.cpu())
    counts: Tensor = metric.compute()
    return counts


def iou_per_class(counts: Tensor) -> Tensor:
    """Divides intersection by union for each class.

    Args:
        counts: Pixels by (target, prediction), (C, C).

    Returns:
        (C,) float64; NaN for a class with neither a labelled nor a predicted pixel, so that
        ``nanmean`` skips it.
    """
    return iou(class_counts(counts))


def mean_iou(counts: Tensor) -> float:
    """Averages the IoU over the classes that occur."""
    return float(iou_per_class(counts).nanmean())
