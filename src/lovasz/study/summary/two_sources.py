"""What other seeds and other test images, together, would make of a difference between two losses."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lovasz.scores import iou
from lovasz.study.summary.resampling import CONFIDENCE, FEWEST, Draws, Sampled, Scored, freedom, sample
from lovasz.study.summary.stats import Difference, listed, signed, spread
from lovasz.study.train.store import Run

# Resamples of the test images.
RESAMPLES = 2_000


@dataclass(frozen=True)
class TwoSources:
    """The difference of a loss to the baseline, in points of test mIoU, over seeds and test images.

    Attributes:
        loss: The loss compared.
        mean: The mean over seeds.
        low: Lower end of the 95 % interval; None where there is none.
        high: Upper end.
        of_images: The part of the variance that the images make, from 0 to 1; NaN where there is no interval.
    """

    loss: str
    mean: float
    low: float | None
    high: float | None
    of_images: float

    @property
    def decided(self) -> bool:
        """Whether the interval exists and leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def two_sources(
    runs: Mapping[tuple[str, int], Run], losses: Sequence[str], seeds: Sequence[int], workers: int = 1
) -> list[TwoSources]:
    """Compare each loss with the first, over seeds and over test images.

    The variance is the sum of two: that of the mean over seeds, on these images, and that of the mean over these
    seeds when the images are drawn again. Degrees of freedom are Satterthwaite's; what seeds and images do together
    is in both, so the interval is rather too wide than too narrow; it is never narrower than that over seeds.

    Args:
        runs: By loss and seed.
        losses: Their names, the baseline first.
        seeds: The seeds of each.
        workers: Threads.

    Returns:
        One for each but the first; without interval for one seed, or fewer than `FEWEST` test images.
    """
    images = len(next(iter(runs.values())).tested.images)
    draws = Draws(RESAMPLES, workers)
    sampled = {
        loss: sample(_mean_miou([runs[loss, seed] for seed in seeds]), images, draws)
        for loss in losses
        if images >= FEWEST and len(seeds) > 1
    }
    found = []
    for loss in losses[1:]:
        values = [runs[loss, seed].test_miou - runs[losses[0], seed].test_miou for seed in seeds]
        gap = sampled[loss] - sampled[losses[0]] if sampled else None
        found.append(_both(loss, values, gap))
    return found


def said_of_images(found: Sequence[TwoSources], images: int) -> list[str]:
    """Say, in a sentence, of which losses a difference remains over other test images too."""
    known = [one for one in found if one.low is not None]
    if not known:
        return []
    sure = [one.loss for one in known if one.decided]
    start = f"Over other test images as well as other seeds ({images:,} images drawn again)"
    if not sure:
        return [f"{start}, no difference is shown."]
    open_ones = [one.loss for one in known if not one.decided]
    rest = f"; of {listed(open_ones)} none is shown" if open_ones else ""
    remain = "difference of {} remains" if len(sure) == 1 else "differences of {} remain"
    return [f"{start}, the {remain.format(listed(sure))}{rest}."]


def _both(loss: str, values: Sequence[float], gap: Sampled | None) -> TwoSources:
    from scipy import stats

    mean, deviation = sum(values) / len(values), spread(values)
    if gap is None or deviation is None:
        return TwoSources(loss, mean, None, None, math.nan)
    of_seeds = deviation**2 / len(values)
    of_images = float(gap.resampled.var())
    if not of_seeds + of_images > 1e-24:
        return TwoSources(loss, mean, None, None, math.nan)
    degrees = float(freedom(gap.left_out.numpy())[0])
    whole = (of_seeds + of_images) ** 2 / (of_seeds**2 / (len(values) - 1) + of_images**2 / degrees)
    ends = stats.t.ppf(0.5 + CONFIDENCE / 2, [whole, len(values) - 1]) * np.sqrt([of_seeds + of_images, of_seeds])
    half = float(ends.max())
    return TwoSources(loss, mean, mean - half, mean + half, of_images / (of_seeds + of_images))


def _mean_miou(runs: Sequence[Run]) -> Scored:
    """Return the mean over runs of the test mIoU in percent, (R, 1), of images that count so often."""
    tables = [torch.from_numpy(run.tested.class_counts).double() for run in runs]

    def scored(weights: torch.Tensor) -> torch.Tensor:
        sums = ((weights @ table.flatten(1)).unflatten(1, table.shape[1:]) for table in tables)
        return 100 * torch.stack([iou(one).nanmean(1) for one in sums], 1).mean(1, keepdim=True)

    return scored


def interval_text(row: Difference | TwoSources) -> str:
    """Write an interval in points, as tables have it."""
    return "–" if row.low is None or row.high is None else f"{signed(row.low)} to {signed(row.high)}"
