"""Scores from counts of pixels: IoU and Dice of classes, of classes in images, and means of the lowest.

The metrics and the commands divide here alone. Counts are integers (..., C, 3), the pixels of each class in
intersection, label and prediction; scores are float64 on the CPU, and NaN where there is none.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["EMPTY", "class_counts", "dice", "image_iou", "iou", "lowest_means"]

EMPTY = ("skip", "zero", "one")


def class_counts(confusion: Tensor) -> Tensor:
    """Return the pixels of each class in intersection, label and prediction, (C, 3).

    Args:
        confusion: pixels by (label, prediction), (C, C).

    Example:
        >>> class_counts(torch.tensor([[3, 1], [0, 2]])).tolist()
        [[3, 4, 3], [2, 2, 3]]
    """
    return torch.stack([confusion.diagonal(), confusion.sum(1), confusion.sum(0)], dim=-1)


def iou(counts: Tensor, ignore_index: Sequence[int] = ()) -> Tensor:
    """Return intersection over union, (..., C); NaN for an empty union and for the classes that are ignored.

    Args:
        counts: pixels in intersection, label and prediction, (..., C, 3).
        ignore_index: labels that do not count; those that are classes have no score.

    Example:
        >>> iou(torch.tensor([[3, 4, 3], [2, 2, 3]])).tolist()
        [0.75, 0.6666666666666666]
    """
    intersection, labelled, predicted = counts.cpu().double().unbind(-1)
    return _without(intersection / (labelled + predicted - intersection), ignore_index)


def dice(counts: Tensor, ignore_index: Sequence[int] = ()) -> Tensor:
    """Return twice the intersection over the sum of label and prediction, (..., C); NaN as in `iou`.

    Args:
        counts: pixels in intersection, label and prediction, (..., C, 3).
        ignore_index: labels that do not count; those that are classes have no score.

    Example:
        >>> dice(torch.tensor([[3, 4, 3], [2, 2, 3]])).tolist()
        [0.8571428571428571, 0.8]
    """
    intersection, labelled, predicted = counts.cpu().double().unbind(-1)
    return _without(2 * intersection / (labelled + predicted), ignore_index)


def image_iou(
    counts: Tensor, empty: str = "skip", ignore_index: Sequence[int] = (), pixels: Tensor | None = None
) -> Tensor:
    """Return the IoU of each class in each image, (N, C).

    Args:
        counts: pixels in intersection, label and prediction, (N, C, 3).
        empty: what a class scores in an image whose label does not hold it. "skip": nothing; "zero": 0 where it is
            predicted, else nothing; "one": 0 where it is predicted, else 1. An image in which no pixel counts has
            no score.
        ignore_index: labels that do not count; those that are classes have no score.
        pixels: numbers of pixels that count, (N, C) or (N, 1), where labels overlap, so that those of the classes
            do not add up to them; None adds these up.

    Example:
        >>> counts = torch.tensor([[[3, 4, 3], [0, 0, 1], [0, 0, 0]]])  # class 1 is a false alarm, class 2 absent
        >>> [image_iou(counts, empty)[0].tolist() for empty in EMPTY]
        [[0.75, nan, nan], [0.75, 0.0, nan], [0.75, 0.0, 1.0]]
    """
    scores, labelled = iou(counts, ignore_index), counts[..., 1].cpu()
    if empty == "skip":
        return scores.masked_fill(labelled == 0, torch.nan)
    if empty == "one":
        number = labelled.sum(-1, keepdim=True) if pixels is None else pixels.cpu()
        absent = (counts[..., 1:].cpu() == 0).all(-1) & (number > 0)
        scores = _without(scores.masked_fill(absent, 1), ignore_index)
    return scores


def lowest_means(scores: Tensor, worst: Sequence[int] = (100,)) -> Tensor:
    """Return, per column, the mean over q of the mean of its lowest q % of scores, (C,); NaN left out.

    Args:
        scores: (N, C).
        worst: percentages q, of which each takes at least one score.

    Example:
        >>> lowest_means(torch.tensor([[0.25], [0.75], [torch.nan], [0.5]]).double(), [34, 67]).tolist()
        [0.3125]
    """
    ranked = scores.sort(dim=0).values.nan_to_num()  # NaN last; sums that no order of the images changes
    sums = F.pad(ranked.cumsum(0), (0, 0, 1, 0))
    known = (~scores.isnan()).sum(0)
    lowest = (known * torch.tensor(list(worst), device=known.device)[:, None] // 100).clamp(min=1).minimum(known)
    return (sums.gather(0, lowest) / lowest).mean(0)


def _without(scores: Tensor, ignore_index: Sequence[int]) -> Tensor:
    """Return the scores (..., C) with NaN for the classes that are ignored."""
    ignored = [c for c in ignore_index if 0 <= c < scores.shape[-1]]
    if not ignored:
        return scores
    return scores.index_fill(-1, torch.tensor(ignored, dtype=torch.int64, device=scores.device), torch.nan)
