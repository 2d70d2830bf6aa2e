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
        num_classes: C, which the types of preds and labels must hold.

    Returns:
        Those in the intersection, of the label and of the prediction, (N, C, 3), int64.
    """
    images = len(labels)
    pairs = ((labels, labelled & predicted & (preds == labels)), (labels, labelled), (preds, predicted))
    # The cells of an image begin after those before it, and cell 0 has what is not chosen: a product is several
    # times as fast as a choice. Of one image they fit into the type of the classes.
    first: int | Tensor = 1
    if images != 1:
        first = torch.arange(images, device=labels.device)[:, None] * num_classes + 1
    size = images * num_classes + 1
    found = [torch.bincount(((c + first) * chosen).flatten(), minlength=size)[1:] for c, chosen in pairs]
    return torch.stack(found, dim=-1).view(images, num_classes, 3)
