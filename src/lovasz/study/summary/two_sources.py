"""What other seeds and other test images, together, would make of test scores and of differences between losses."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lovasz.scores import iou
from lovasz.study.summary.resampling import (
    CONFIDENCE,
    FEWEST,
    Draws,
    Sampled,
    Scored,
    Units,
    freedom,
    interval,
    sample,
)
from lovasz.study.summary.score_intervals import Interval
from lovasz.study.summary.stats import Difference, listed, signed
from lovasz.study.train.store import Run

# Resamples of the test images.
RESAMPLES = 2_000
# What is not above it does not vary, to rounding.
NO_VARIANCE = 1e-24


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


@dataclass(frozen=True)
class LossIntervals:
    """The 95 % intervals of the mean test scores of a loss, in percent; None where there is none.

    Attributes:
        loss: The loss.
        miou: That of its test mIoU.
        classes: Those of the test IoU of each class.
        gains: Those of what each of these is more than the baseline's, in points; none of the baseline's own.
    """

    loss: str
    miou: Interval | None
    classes: list[Interval | None]
    gains: list[Interval | None]


def two_sources(
    runs: Mapping[tuple[str, int], Run], losses: Sequence[str], seeds: Sequence[int], units: Units, workers: int = 1
) -> tuple[list[TwoSources], list[LossIntervals]]:
    """Find the intervals of test scores, and of what they are more than those of the first loss.

    The variance is the sum of two: that of the mean over seeds, on these images, and that of the mean over these
    seeds when the images are drawn again. Degrees of freedom are Satterthwaite's; what seeds and images do together
    is in both, so the interval is rather too wide than too narrow; it is never narrower than that over seeds.
    Of one seed a score has the interval over images, as an evaluation has it, and a difference has none.

    Args:
        runs: By loss and seed.
        losses: Their names, the baseline first.
        seeds: The seeds of each.
        units: What is drawn of the test images.
        workers: Threads.

    Returns:
        A difference for each loss but the first, and the intervals of each.
    """
    mine = {loss: [runs[loss, seed] for seed in seeds] for loss in losses}
    values = {loss: np.stack([_scores(run) for run in mine[loss]]) for loss in losses}
    sampled = {
        loss: sample(_mean_scores(mine[loss], units), units.number, Draws(RESAMPLES, workers))
        for loss in losses
        if units.number >= FEWEST
    }
    held = _held(mine[losses[0]][0], units)
    differences, found = [], []
    for loss in losses:
        own = _ends(values[loss], sampled.get(loss), held)
        miou, *classes = _intervals(np.clip(own[:2], 0, 100))
        gains: list[Interval | None] = []
        if loss != losses[0]:
            away = values[loss] - values[losses[0]]
            gap = sampled[loss] - sampled[losses[0]] if len(seeds) > 1 and sampled else None
            ends = _ends(away, gap, held)
            whole, *gains = _intervals(ends[:2])
            low, high = (None, None) if whole is None else (whole.low, whole.high)
            differences.append(TwoSources(loss, float(away[:, 0].mean()), low, high, float(ends[2, 0])))
        found.append(LossIntervals(loss, miou, classes, gains))
    return differences, found


def said_of_images(found: Sequence[TwoSources], units: Units, images: int) -> list[str]:
    """Say, in a sentence, of which losses a difference remains over other test images too."""
    known = [one for one in found if one.low is not None]
    if not known:
        return []
    sure = [one.loss for one in known if one.decided]
    start = f"Over other test images as well as other seeds ({units.of_images(images)} drawn again)"
    if not sure:
        return [f"{start}, no difference is shown."]
    open_ones = [one.loss for one in known if not one.decided]
    rest = f"; of {listed(open_ones)} none is shown" if open_ones else ""
    remain = "difference of {} remains" if len(sure) == 1 else "differences of {} remain"
    return [f"{start}, the {remain.format(listed(sure))}{rest}."]


def _ends(values: NDArray[np.float64], sampled: Sampled | None, held: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the ends of the interval of the mean of each column, and the images' part of its variance, (3, K).

    Args:
        values: Of each seed, (S, K).
        sampled: Their means over resamples; None for no interval.
        held: How many units bear on each column, (K,).
    """
    from scipy import stats

    seeds, number = values.shape
    if sampled is None:
        return np.full((3, number), math.nan)
    if seeds == 1:
        return np.stack([*interval(sampled, held), np.ones(number)])
    drawn = sampled.resampled.numpy()
    known = np.maximum((~np.isnan(drawn)).sum(0), 2)
    away = np.nan_to_num(drawn - np.nansum(drawn, 0) / known)
    of_images, of_seeds = (away**2).sum(0) / (known - 1), values.var(0, ddof=1) / seeds
    both = of_seeds + of_images
    allowed = (both > NO_VARIANCE) & (held >= FEWEST)
    both[~allowed] = math.nan
    degrees = both**2 / (of_seeds**2 / (seeds - 1) + of_images**2 / freedom(sampled.left_out.numpy()))
    half = np.fmax(
        stats.t.ppf(0.5 + CONFIDENCE / 2, degrees) * np.sqrt(both),
        stats.t.ppf(0.5 + CONFIDENCE / 2, seeds - 1) * np.sqrt(of_seeds),
    )
    half[~allowed] = math.nan
    mean = values.mean(0)
    return np.stack([mean - half, mean + half, of_images / both])


def _intervals(ends: NDArray[np.float64]) -> list[Interval | None]:
    return [None if np.isnan(pair).any() else Interval(float(pair[0]), float(pair[1])) for pair in ends.T]


def _scores(run: Run) -> NDArray[np.float64]:
    """Return test mIoU, then the test IoU of each class, in percent, (1 + C,)."""
    return _with_mean(torch.from_numpy(run.tested.class_counts).sum(0).double()).numpy()


def _mean_scores(runs: Sequence[Run], units: Units) -> Scored:
    """Return the mean of these over runs, (R, 1 + C), of units that count so often."""
    tables = [_by_unit(torch.from_numpy(run.tested.class_counts).double(), units) for run in runs]

    def scored(weights: torch.Tensor) -> torch.Tensor:
        sums = ((weights @ table.flatten(1)).unflatten(1, table.shape[1:]) for table in tables)
        return torch.stack([_with_mean(one) for one in sums], 1).mean(1)

    return scored


def _with_mean(counts: torch.Tensor) -> torch.Tensor:
    found = 100 * iou(counts)
    return torch.cat([found.nanmean(-1, keepdim=True), found], -1)


def _by_unit(values: torch.Tensor, units: Units) -> torch.Tensor:
    """Return the sums over the images of each unit, (G, *), of values of each image, (N, *)."""
    return values.new_zeros(units.number, *values.shape[1:]).index_add_(0, torch.from_numpy(units.of), values)


def _held(run: Run, units: Units) -> NDArray[np.int64]:
    """Return how many units have labelled pixels, and pixels of each class, (1 + C,)."""
    labelled = _by_unit(torch.from_numpy(run.tested.class_counts)[..., 1].double(), units) > 0
    return np.array([int(labelled.any(1).sum()), *labelled.sum(0).tolist()])


def interval_text(row: Difference | TwoSources) -> str:
    """Write an interval in points, as tables have it."""
    return "–" if row.low is None or row.high is None else f"{signed(row.low)} to {signed(row.high)}"


def ends_text(ends: Interval | None) -> str:
    """Write the interval of a score in percent, as tables have it."""
    return "–" if ends is None else f"{ends.low:.1f} to {ends.high:.1f}"
