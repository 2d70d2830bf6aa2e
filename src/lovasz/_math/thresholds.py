"""What a threshold on the probability decides, from a table of counts: how many pixels of each side are above it.

The error m of a background pixel is its probability p, that of a foreground pixel 1 - p. So a table of counts by
error is two histograms of p, and says of every threshold t how many pixels it takes for foreground, p >= t, but for
those in the bin that holds t. Each pixel is taken to lie at the grid point of its bin; `possible` says
how far the truth may be from that, the rounding of probabilities in float32 included.
"""

import torch
from torch import Tensor

from . import binning
from .jaccard import EDGE_ROUNDING, block_sum, rounding
from .lasting import lasting

#: Probabilities closer to 1 are 1 in float32.
SMALLEST = 2.0**-24


@lasting(16)
def thresholds(bins: int, form: str, device: torch.device | None = None) -> Tensor:
    """Return the probabilities between the bins of either side, float64 (T,), increasing from 0 to 1."""
    edges = binning.edges(bins, form, device)
    return torch.cat((edges, 1 - edges)).unique()


@lasting(16)
def _places(bins: int, form: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return how many bins of the foreground, and of the background, each of `thresholds` takes and leaves."""
    points, at = binning.grid(bins, form, device), thresholds(bins, form, device)
    return torch.searchsorted(points, 1 - at, right=True), torch.searchsorted(points, at)


def taken_at_each(table: Tensor, form: str) -> tuple[Tensor, Tensor]:
    """Return TP and FP at each of `thresholds`, as `taken` does."""
    return _sums(table, *_places(table.shape[-1] - 1, form, table.device))


def taken(table: Tensor, at: Tensor, form: str) -> tuple[Tensor, Tensor]:
    """Return how many foreground (TP) and background pixels (FP) have p >= t, each int64 (..., T).

    Args:
        table: (..., 2, K + 1); the last column, errors that are not a number, is never taken.
        at: (T,), the thresholds, float64.
        form: "softmax" or "sigmoid".
    """
    points = binning.grid(table.shape[-1] - 1, form, table.device)
    return _sums(table, torch.searchsorted(points, 1 - at, right=True), torch.searchsorted(points, at))


def above(t: float, bins: int, form: str) -> float:
    """Return a threshold at which `taken` has the pixels of p > t: it leaves those of the bins that hold t."""
    edges = binning.edges(bins, form, torch.device("cpu"))
    place = int(torch.searchsorted(edges, t, right=True))
    return max(edges[place].item(), 1 - edges[place - 1].item())


def possible(table: Tensor, at: Tensor, form: str) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return TP and FP as `taken` does, at the least and at the most that the pixels may be."""
    lowest, highest = reach(table, form)
    lowest, highest = lowest.clamp(min=0), highest.clamp(max=1)  # the threshold 0 takes all
    rest = 1 - at
    # Foreground is taken if m <= 1 - t, background if m >= t: large errors lose the one and add the other.
    tp_least, fp_most = _sums(table, torch.searchsorted(highest, rest, right=True), torch.searchsorted(highest, at))
    tp_most, fp_least = _sums(table, torch.searchsorted(lowest, rest, right=True), torch.searchsorted(lowest, at))
    return (tp_least, tp_most), (fp_least, fp_most)


def reach(table: Tensor, form: str) -> tuple[Tensor, Tensor]:
    """Return the least and the largest error that a pixel may have in each bin of a table (C, ...), each (K,)."""
    edges = binning.edges(table.shape[-1] - 1, form, table.device)
    margin = EDGE_ROUNDING * edges.diff() + rounding(form, len(table))
    return edges[:-1] - margin, edges[1:] + margin


def _sums(table: Tensor, foreground: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """Return the foreground in the first so many bins, and the background but for the first so many."""
    n = torch.nn.functional.pad(table[..., :-1].cumsum(-1), (1, 0))
    below = n[..., 0, :]
    return n[..., 1, :].index_select(-1, foreground), below[..., -1:] - below.index_select(-1, background)


def average_precision(table: Tensor, form: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the average precision of each class, and its least and largest possible value, float64 (...).

    It is the mean over the foreground pixels of the precision at their own probability. Of n of them in one bin,
    with A others and F background pixels above, it is the mean over r = 1 .. n of (A + r) / (A + r + F), which a
    difference of the digamma function sums. For F the bins of the background are taken to be evenly filled.
    """
    n, bins = table[..., 1, :-1], table.shape[-1] - 1
    above = (n.cumsum(-1) - n).double()
    negatives = torch.nn.functional.pad(table[..., 0, :-1].cumsum(-1), (1, 0)).double()
    lowest, highest = reach(table, form)
    edges = binning.edges(bins, form, table.device)

    def mean(sums: Tensor) -> Tensor:
        return block_sum(torch.where(n > 0, sums, 0.0)) / n.sum(-1)

    def beyond(first: Tensor) -> Tensor:
        """Background pixels but for those in the first so many bins, a fraction of a bin included."""
        whole = first.long().clamp(max=bins - 1)
        below = negatives.index_select(-1, whole)
        return negatives[..., -1:] - below - (first - whole) * (negatives.index_select(-1, whole + 1) - below)

    def precision(f: Tensor) -> Tensor:
        return n - f * (torch.digamma(above + f + n + 1) - torch.digamma(above + f + 1))

    rest = binning.grid(bins, form, table.device)  # 1 - p
    place = (torch.searchsorted(edges, 1 - rest, right=True) - 1).clamp(0, bins - 1)
    evenly = (1 - rest - edges[place]) / edges.diff()[place]
    saturated = 1 - (rest.clamp(min=SMALLEST) / SMALLEST).log() / ((1 - edges[-2]) / SMALLEST).log()
    likely = beyond(place + torch.where(place == bins - 1, saturated, evenly))
    most = beyond(torch.searchsorted(highest, 1 - highest).double())
    least = beyond(torch.searchsorted(lowest, 1 - lowest).double())
    tied = above + n  # all at once, as pixels of one probability are
    return mean(precision(likely)), mean(precision(most)), mean(n * tied / (tied + least).clamp(min=1))
