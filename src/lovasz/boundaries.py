"""Boundary regions of classes, and the pixels of each class in those of label and prediction.

The boundary region of a class is its pixels within a distance d of a pixel that is not of it: along rows, columns
and diagonals alike (the chessboard distance), and outside the image there is no class. These are the pixels that d
erosions with a square of 3 x 3 take away. A pixel that does not count is of no class and of no other: it is left
out of every region, of label and prediction, and makes no boundary beside it, as nobody knows what lies there.

Counts of them are integers, add up over images and processes, and become scores by `lovasz.scores` as others do.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ._inputs.arguments import check_width, parse_num_classes
from ._inputs.labels import UNSIGNED
from ._math.boundary import boundary
from ._math.tally import class_tallies, narrowest

__all__ = ["boundary_counts", "boundary_distance"]


def boundary_distance(width: float, shape: Sequence[int]) -> int:
    """Return the distance in pixels that a boundary region reaches, `max(1, round(width * diagonal))`.

    Args:
        width: a fraction of the diagonal, a float above 0 and below 1; or the pixels themselves, an int from 1 on.
        shape: of the image, (H, W) or (D, H, W). Of a volume, axes of length 1 are left out.

    Raises:
        ValueError: another width, or fewer than two axes.
        TypeError: a width that is no number.

    Example:
        >>> boundary_distance(0.02, (480, 640)), boundary_distance(5, (480, 640))  # the diagonal is 800
        (16, 5)
    """
    check_width(width)
    return width if isinstance(width, int) else max(1, round(width * math.hypot(*_axes(shape))))


def boundary_counts(
    preds: Tensor, target: Tensor, num_classes: int, *, width: float = 0.02, mask: Tensor | None = None
) -> Tensor:
    """Count the pixels of each class in the boundary regions of each image.

    The boundary IoU of a class is `lovasz.scores.iou` of its counts, or of their sum over images.

    Args:
        preds: class indices (N, H, W) or (N, D, H, W); any integer where a pixel does not count.
        target: labels of the same shape, likewise. Of volumes, axes of length 1 are left out.
        num_classes: C.
        width: of the region: a fraction of the diagonal of the image, a float above 0 and below 1; or the
            distance in pixels, an int.
        mask: bool, of the same shape; True counts.

    Returns:
        Pixels in the intersection of both regions, in that of the label and in that of the prediction: (N, C, 3),
        int64.

    Raises:
        ValueError: shapes that do not match, another width, or an invalid class at a pixel that counts.
        TypeError: preds or target that are no integers.

    Example:
        >>> target = torch.tensor([[0, 0, 0, 0, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]])[None]
        >>> boundary_counts(target, target, 2, width=1).tolist()  # of 12 pixels the two in the middle lie inside
        [[[10, 10, 10], [3, 3, 3]]]

    References:
        Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation, CVPR 2021.
    """
    num_classes = parse_num_classes(num_classes)
    valid = torch.ones_like(target, dtype=torch.bool) if mask is None else mask
    _check_shapes(preds, target, valid)
    sides = [_small(name, labels, valid, num_classes) for name, labels in (("preds", preds), ("target", target))]
    axes = _axes(target.shape[1:])
    predicted, labels, valid = (x.reshape(len(x), *axes) for x in (*sides, valid))
    distance = boundary_distance(width, axes)
    both = boundary(torch.cat((labels, predicted)), torch.cat((valid, valid)), distance)
    of_label, of_preds = both.flatten(1).chunk(2)
    return class_tallies(predicted.flatten(1), labels.flatten(1), of_label, of_preds, num_classes)


def _axes(shape: Sequence[int]) -> list[int]:
    """Return the axes of an image: of a volume without those of length 1, as long as two are left."""
    axes = list(shape)
    if len(axes) < 2:
        raise ValueError(f"an image must have at least two axes to have a boundary, got the shape {tuple(shape)}")
    while len(axes) > 2 and 1 in axes:
        axes.remove(1)
    return axes


def _check_shapes(preds: Tensor, target: Tensor, valid: Tensor) -> None:
    shape = tuple(target.shape)
    if target.ndim < 3 or preds.shape != target.shape:
        got = f"preds {tuple(preds.shape)} and target {shape}"
        raise ValueError(f"preds and target must be (N, H, W) or (N, D, H, W), both the same, got {got}")
    if valid.dtype != torch.bool or valid.shape != target.shape:
        raise ValueError(f"mask must be bool, {shape} as target, got {valid.dtype} {tuple(valid.shape)}")


def _small(name: str, labels: Tensor, valid: Tensor, num_classes: int) -> Tensor:
    """Return the labels in the narrowest type that holds the classes and one more, 0 where they do not count."""
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(f"{name} must hold class indices, integer or bool, got {labels.dtype}")
    if labels.dtype in UNSIGNED:
        labels = labels.long()
    counted = (labels.byte() if labels.dtype == torch.bool else labels) * valid
    low, high = (int(x) for x in counted.aminmax()) if counted.numel() else (0, 0)
    if low < 0 or high >= num_classes:
        wrong = low if low < 0 else high
        raise ValueError(f"{name} must hold classes 0 to {num_classes - 1} where a pixel counts, got {wrong}")
    return counted.to(narrowest(num_classes + 1))
