"""The bin map: which of the K grid points stands for an error, and where the points lie.

Every kernel quantises with `index` (or cites it); `grid` and `edges` say what that did. Two maps, both
increasing, both with 0 and 1 on the grid so that one-hot predictions lose nothing:

- softmax and sigmoid, errors in [0, 1]:    u = √m,           points at u = i / (K - 1)
- hinge, errors in [0, ∞):                  u = m / (m + 4),  points at u = i / S, S = K - K mod 15

Equal steps in √m resolve the small errors of a trained network. A hinge error is exactly zero there
instead, so its map is linear at 0, resolves about the margin and still tells 10^5 from 10^4; S makes 1 and 2
(a wrong prediction at the margin) grid points as well.
"""

import functools
import math

import torch
from torch import Tensor

MIN_BINS, MAX_BINS = 16, 65536
#: The 4 in the map of the hinge, where u is 1/2.
HINGE_SCALE = 4.0


def default_bins(num_classes: int, form: str) -> int:
    """Return the number of bins that `bins="auto"` takes: measured, so that counting keeps its accuracy.

    The error of quantisation falls as 1 / K, and averages out over the classes; the hinge spreads its bins
    over an open range and gets four times as many. `python -m benchmarks accuracy` prints what is kept.
    """
    bins = 16384 if num_classes <= 4 else 8192
    if form == "hinge":
        return 4 * bins
    # The compiler warns of a cache.
    through = _bins_through.__wrapped__ if torch.compiler.is_compiling() else _bins_through
    return through(0.5 if form == "sigmoid" else 1 - 1 / num_classes, bins)


@functools.lru_cache(maxsize=64)
def _bins_through(error: float, bins: int) -> int:
    """Return the first number of bins from `bins` on, at most an eighth more, with a grid point at an error.

    The error is that of the foreground where all logits are equal, and is the loss there: a network that has
    learned nothing starts with it exactly. Beyond 577 classes there may be no such number.
    """
    u = math.sqrt(error)
    for candidate in range(bins, bins + bins // 8):
        position = u * (candidate - 1)
        if abs(position - round(position)) < 2**-6:
            return candidate
    return bins


def steps(bins: int, form: str) -> int:
    """Return the number of grid steps in which u goes from 0 to 1: position = u * steps."""
    return bins - bins % 15 if form == "hinge" else bins - 1


def index(errors: Tensor, bins: int, form: str) -> Tensor:
    """Return the nearest grid point (in u) of each error, int32 in 0 .. K - 1; K for NaN."""
    if form == "hinge":
        last = steps(bins, form) - 1
        position = (errors / (errors + HINGE_SCALE)).mul_(last + 1).clamp_(max=last)
    else:
        position = errors.sqrt().mul_(steps(bins, form))
    return position.nan_to_num_(nan=float(bins)).add_(0.5).to(torch.int32)


def _error_at(position: Tensor, bins: int, form: str) -> Tensor:
    if form == "hinge":
        u = position / steps(bins, form)
        return HINGE_SCALE * u / (1 - u)
    return (position / steps(bins, form)).square()


def grid(bins: int, form: str, device: torch.device | None = None) -> Tensor:
    """Return the K errors that the bins stand for, float64, increasing from 0."""
    i = torch.arange(bins, dtype=torch.float64, device=device)
    if form == "hinge":
        i = i.clamp(max=steps(bins, form) - 1)
    return _error_at(i, bins, form)


def edges(bins: int, form: str, device: torch.device | None = None) -> Tensor:
    """Return the K + 1 errors between which each bin lies, float64: bin i holds edges[i] <= m < edges[i + 1]."""
    i = torch.arange(bins + 1, dtype=torch.float64, device=device) - 0.5
    if form == "hinge":
        # Whatever is beyond the last point belongs to it: its bin has no upper end.
        last = steps(bins, form) - 1
        e = _error_at(i.clamp(0, last - 0.5), bins, form)
        return torch.where(i > last, torch.inf, e)
    return _error_at(i.clamp(0, bins - 1), bins, form)
