"""Pixels counted over a whole part of the data, and the IoU of each class or label from them.

Of classes, one a pixel, counts are (C, C), by (target, prediction); of labels that may overlap (L, 2, 2), for each
label by whether it is there and whether it is predicted.
"""

import torch
from torch import Tensor

from lovasz import scores
from lovasz.study.data.parts import IGNORE_INDEX


def usual_decision(logits: Tensor, overlap: bool) -> Tensor:
    """Return the class of highest logit (N, *); where labels may overlap those above 0, bool (N, L, *)."""
    return logits > 0 if overlap else logits.max(1).indices


def no_counts(number: int, overlap: bool) -> Tensor:
    """Return the counts of no pixel, for so many classes or labels."""
    return torch.zeros((number, 2, 2) if overlap else (number, number), dtype=torch.int64)


def confusion(preds: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Count pixels by (target, prediction), (C, C) int64; targets of ``IGNORE_INDEX`` are left out."""
    from lovasz.metrics import ConfusionMatrix  # torchmetrics loads much, which a refused command need not

    # Each process counts what it has; who wants the sum of all says so.
    metric = ConfusionMatrix(num_classes, ignore_index=IGNORE_INDEX, sync_on_compute=False)
    metric.update(preds.cpu(), target.cpu())
    counts: Tensor = metric.compute()
    return counts


def label_confusion(preds: Tensor, target: Tensor) -> Tensor:
    """Count the pixels of each label by (target, prediction), (L, 2, 2) int64.

    Args:
        preds: bool, (N, L, *).
        target: 0 and 1, (N, L, *); ``IGNORE_INDEX`` where it is left out.
    """
    preds, target = preds.cpu(), target.cpu()
    axes = [axis for axis in range(target.ndim) if axis != 1]
    cells = [
        ((target == label) & (preds == predicted)).sum(axes) for label in (0, 1) for predicted in (False, True)
    ]
    return torch.stack(cells, dim=-1).view(-1, 2, 2)


def counted(preds: Tensor, target: Tensor, number: int, overlap: bool) -> Tensor:
    """Count the pixels of decisions, (N, *) or (N, L, *), as the head asks for."""
    return label_confusion(preds, target) if overlap else confusion(preds, target, number)


def class_counts(counts: Tensor) -> Tensor:
    """Return the pixels of each class or label in intersection, label and prediction, (C, 3)."""
    if counts.ndim == 2:
        return scores.class_counts(counts)
    return torch.stack([counts[:, 1, 1], counts[:, 1].sum(-1), counts[..., 1].sum(-1)], dim=-1)


def iou_per_class(counts: Tensor) -> Tensor:
    """Divides intersection by union for each class or label.

    Args:
        counts: Pixels by (target, prediction), (C, C) or (L, 2, 2).

    Returns:
        (C,) float64; NaN for a class with neither a labelled nor a predicted pixel, so that
        ``nanmean`` skips it.
    """
    return scores.iou(class_counts(counts))


def mean_iou(counts: Tensor) -> float:
    """Averages the IoU over the classes or labels that occur."""
    return float(iou_per_class(counts).nanmean())
