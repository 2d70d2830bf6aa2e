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
    images, pixels = labels.shape
    width = num_classes + 1
    if width**2 <= pixels:
        # One pass for all three: a cell for each pair of classes, of which 0 is none. A product with chosen is
        # several times as fast as a choice.
        kind = _narrowest(width**2) if images == 1 else torch.int64
        cells = (labels.to(kind) + 1) * labelled * width + (preds.to(kind) + 1) * predicted
        table = torch.bincount(_of_images(cells, width**2).flatten(), minlength=images * width**2)
        table = table.view(images, width, width)
        found = [table.diagonal(dim1=1, dim2=2), table.sum(2), table.sum(1)]
    else:
        same = labelled & predicted & (preds == labels)
        sides = ((labels, same), (labels, labelled), (preds, predicted))
        kind = _narrowest(width) if images == 1 else torch.int64
        cells_of = (_of_images((side.to(kind) + 1) * chosen, width) for side, chosen in sides)
        found = [
            torch.bincount(cells.flatten(), minlength=images * width).view(images, width) for cells in cells_of
        ]
    return torch.stack(found, dim=-1)[:, 1:]


def _narrowest(size: int) -> torch.dtype:
    """Return the narrowest type that bincount takes, of cells 0 .. size - 1."""
    kinds = (torch.uint8, torch.int16, torch.int32, torch.int64)
    return next(kind for kind in kinds if size - 1 <= torch.iinfo(kind).max)


def _of_images(cells: Tensor, size: int) -> Tensor:
    """Return cells that begin, of each image, after those of the images before it."""
    images = len(cells)
    return cells if images == 1 else cells + size * torch.arange(images, device=cells.device)[:, None]
