"""Counting by cell, of which some pixels have none."""

import torch
from torch import Tensor


def tally(cell: Tensor, chosen: Tensor, size: int) -> Tensor:
    """Count the chosen pixels of each cell 0 .. size - 1; the others go to one more, cut off."""
    return torch.bincount(torch.where(chosen, cell, size).flatten(), minlength=size + 1)[:size]


def class_tallies(preds: Tensor, labels: Tensor, labelled: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """Count the pixels of each class in each image.

    Args:
        preds: (N, P), class indices where `predicted`.
        labels: (N, P), class indices where `labelled`.
        labelled: (N, P), bool: the pixels that the label's class has.
        predicted: (N, P), bool: those that the prediction's class has.
        num_classes: C.

    Returns:
        Those in the intersection, of the label and of the prediction, (N, C, 3), int64.
    """
    width = num_classes + 1
    if width**2 <= labels.shape[1]:
        # One pass for all three: a cell for each pair of classes, of which 0 is none. A product with chosen is
        # several times as fast as a choice.
        kind = narrowest(width**2)
        cells = (labels.to(kind) + 1) * labelled * width + (preds.to(kind) + 1) * predicted
        table = _counted(cells, width**2).view(len(cells), width, width)
        found = [table.diagonal(dim1=1, dim2=2), table.sum(2), table.sum(1)]
    else:
        kind = narrowest(width)
        same = labelled & predicted & (preds == labels)
        sides = ((labels, same), (labels, labelled), (preds, predicted))
        found = [_counted((side.to(kind) + 1) * chosen, width) for side, chosen in sides]
    return torch.stack(found, dim=-1)[:, 1:]


def narrowest(size: int) -> torch.dtype:
    """Return the narrowest type that bincount takes, of cells 0 .. size - 1."""
    kinds = (torch.uint8, torch.int16, torch.int32, torch.int64)
    return next(kind for kind in kinds if size - 1 <= torch.iinfo(kind).max)


def _counted(cells: Tensor, size: int) -> Tensor:
    """Count the cells 0 .. size - 1 of each image, (N, P), to (N, size)."""
    images = len(cells)
    if images != 1:  # those of an image begin after those of the images before it, which makes them int64
        cells = cells + size * torch.arange(images, device=cells.device)[:, None]
    return torch.bincount(cells.flatten(), minlength=images * size).view(images, size)
