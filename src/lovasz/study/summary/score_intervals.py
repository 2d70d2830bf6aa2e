"""What the scores of an evaluation would be with other images of the same kind: an interval for each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.scores import Scores
from lovasz.study.score.surfaces import MEASURED
from lovasz.study.summary.image_table import MEANS, MOST_CLASSES, ImageTable, table_of
from lovasz.study.summary.resampling import Draws, Sampled, Units, interval, sample, units_of
from lovasz.study.summary.surface_intervals import surface_means

# Resamples of the worst case, which ranks the images of each.
RANKED = 2_000


@dataclass(frozen=True)
class Interval:
    """The ends of a 95 % interval."""

    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether it leaves out 0."""
        return self.low > 0 or self.high < 0


# By name of a score; None where there is no interval.
Intervals = dict[str, Interval | None]


@dataclass(frozen=True)
class ScoreIntervals:
    """The intervals of an evaluation.

    Attributes:
        units: What was drawn.
        resamples: How often.
        means: Those of the means over classes or images, by name as in `Scores`, `BoundaryScores` with "boundary"
            and `SurfaceScores`.
        classes: Those of each class, by name as in `ClassScores` and the same.
    """

    units: Units
    resamples: int
    means: Intervals
    classes: list[Intervals]

    @property
    def known(self) -> bool:
        """Whether any score has one."""
        return any(self.means.values()) or any(any(one.values()) for one in self.classes)


def means_of(scores: Scores) -> dict[str, float]:
    """Return the means of an evaluation from 0 to 1 by the names that their intervals have."""
    found = {name: float(getattr(scores, name)) for name in MEANS}
    if scores.boundary is not None:
        found |= {"boundary_iou": scores.boundary.iou, "image_boundary_iou": scores.boundary.image_iou}
    if scores.surface is not None:
        found["nsd"] = scores.surface.nsd
    return found


def counted_images(evaluation: Evaluation) -> NDArray[np.int64]:
    """Return the places of the images that were counted, (N,)."""
    return np.concatenate([places for places, _ in evaluation.rows.blocks()] or [np.zeros(0, dtype=np.int64)])


def drawn_together(places: NDArray[np.int64], groups: Sequence[str] | None) -> Units:
    """Return the units of some of the images, by the group of each name where there are groups."""
    if groups is None:
        return units_of(len(places))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return units_of(len(places), np.array([numbers[groups[place]] for place in places.tolist()], dtype=np.int64))


def spread_over(evaluation: Evaluation, places: NDArray[np.int64], units: Units) -> NDArray[np.int64]:
    """Return the unit of every name, -1 for those that are not among the places."""
    unit = np.full(len(evaluation.pairs.files), -1, dtype=np.int64)
    unit[places] = units.of
    return unit


def score_intervals(
    evaluation: Evaluation, scores: Scores, groups: Sequence[str] | None, draws: Draws
) -> ScoreIntervals | None:
    """Resample the images, or groups of them.

    Args:
        evaluation: What was counted.
        scores: Its scores.
        groups: The group of each name, or None.
        draws: How often units are drawn.

    Returns:
        The intervals; None of more classes than can be resampled.
    """
    if evaluation.num_classes > MOST_CLASSES:
        return None
    places = counted_images(evaluation)
    units = drawn_together(places, groups)
    unit = spread_over(evaluation, places, units)
    table = table_of(evaluation, scores, unit, units.number)
    means, classes = intervals_of(table, sample(table.scores, units.number, draws))
    if table.ious is not None:
        fewer = replace(draws, resamples=min(draws.resamples, RANKED))
        whole, held = table.held()[0], table.held()[table.place("iou", 0) :][: table.num_classes]
        *worst, of_classes, of_images = _each(
            *interval(sample(table.worst, units.number, fewer), np.append(held, [whole, whole]))
        )
        means |= {"image_worst": of_images, "class_worst": of_classes}
        classes = [{**one, "worst": found} for one, found in zip(classes, worst, strict=True)]
    if evaluation.surfaces is not None:
        scored, held = surface_means(evaluation.surfaces, unit, units.number, scores.background)
        found = _each(*interval(sample(scored, units.number, draws), held))
        of_means, *measured = (
            dict(zip(MEASURED, found[first : first + len(MEASURED)], strict=True))
            for first in range(0, len(found), len(MEASURED))
        )
        means |= of_means
        classes = [one | more for one, more in zip(classes, measured, strict=True)]
    return ScoreIntervals(units, draws.resamples, means, classes)


def intervals_of(table: ImageTable, sampled: Sampled) -> tuple[Intervals, list[Intervals]]:
    """Return the intervals of the means, and of each class, of scores of the table or differences of two."""
    found = _each(*interval(sampled, table.held()))
    means = {name: found[table.place(name)] for name in table.means}
    classes = [
        {name: found[table.place(name, label)] for name in table.of_classes} for label in range(table.num_classes)
    ]
    return means, classes


def _each(low: NDArray[np.float64], high: NDArray[np.float64]) -> list[Interval | None]:
    return [
        None if np.isnan(ends).any() else Interval(float(ends[0]), float(ends[1]))
        for ends in np.stack([low, high], axis=1)
    ]
