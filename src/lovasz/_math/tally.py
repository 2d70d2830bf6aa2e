"""Counting by cell, of which some pixels have none."""

import torch
from torch import Tensor


def tally(cell: Tensor, chosen: Tensor, size: int) -> Tensor:
    """Count the chosen pixels of each cell 0 .. size - 1; the others go to one more, cut off."""
    return torch.bincount(torch.where(chosen, cell, size).flatten(), minlength=size + 1)[:size]
