"""Several predictions of the same images against the first: differences, and what chance would make of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.scores import Scores, image_iou, image_miou
from lovasz.study.summary.image_table import ImageTable, side_by_side, table_of
from lovasz.study.summary.resampling import Draws, Sampled, Units, sample, swapped
from lovasz.study.summary.score_intervals import (
    Intervals,
    counted_images,
    drawn_together,
    intervals_of,
    spread_over,
)

# Scores of which a test is made.
TESTED = ("miou", "image_miou")
# Differences of a mIoU below this are ties: they are of rounding.
TIE = 1e-9


@dataclass(frozen=True)
class Rival:
    """One set of predictions against the baseline; differences are its score minus that of the baseline.

    Attributes:
        name: What it is called.
        evaluation: What was counted of it.
        scores: Its scores over the images that all have.
        differences: Of the means, by name, from -1 to 1.
        class_differences: Of each class.
        intervals: The intervals of the differences.
        class_intervals: Of each class.
        p_values: Of `TESTED`: how often a difference so large comes of swapping units between the two by chance,
            two-sided, corrected after Holm where there are several rivals.
        turned: Share of the resamples in which the order of the two by mIoU is the other one.
        wins: Images of which its mIoU is higher.
        losses: Images of which it is lower.
        ties: Images of which it is the same.
        image_differences: By how much it differs, of every name of the baseline, (N,); NaN where it is not known.
        places: Which of its own names each is, (N,); -1 for none.
    """

    name: str
    evaluation: Evaluation
    scores: dict[str, float]
    differences: dict[str, float]
    class_differences: list[dict[str, float]]
    intervals: Intervals
    class_intervals: list[Intervals]
    p_values: dict[str, float]
    turned: float
    wins: int
    losses: int
    ties: int
    image_differences: NDArray[np.float64]
    places: NDArray[np.int64]


@dataclass(frozen=True)
class Contest:
    """Several predictions over the images that all have.

    Attributes:
        baseline: What the first is called.
        scores: Its means over these images.
        units: What was drawn.
        resamples: How often.
        images: How many images all have.
        rivals: The others.
        first: Of each, the baseline first, the share of resamples in which its mIoU is the highest.
    """

    baseline: str
    scores: dict[str, float]
    units: Units
    resamples: int
    images: int
    rivals: list[Rival]
    first: list[float]


def contest(
    names: Sequence[str],
    evaluations: Sequence[Evaluation],
    scores: Scores,
    groups: Sequence[str] | None,
    draws: Draws,
) -> Contest | None:
    """Compare predictions, the first of which are the baseline, on the same resamples of the images that all have.

    Args:
        names: What each is called.
        evaluations: What was counted of each, against the same targets.
        scores: The scores of the baseline.
        groups: The group of each name of the baseline, or None.
        draws: How often units are drawn.

    Returns:
        The comparison; None if no image was counted of all.
    """
    places = _common(evaluations)
    if not len(places[0]):
        return None
    units = drawn_together(places[0], groups)
    tables = [
        table_of(one, scores, spread_over(one, where, units), units.number)
        for one, where in zip(evaluations, places, strict=True)
    ]
    sampled = [sample(table.scores, units.number, draws) for table in tables]
    mious = np.stack([one.resampled[:, tables[0].place("miou")].numpy() for one in sampled])
    p_values = _corrected(
        [
            _p_values(tables[0], table, (one - sampled[0]).point, units.number, draws)
            for table, one in zip(tables[1:], sampled[1:], strict=True)
        ]
    )
    per_image = [scores.images, *(_mious(one, scores) for one in evaluations[1:])]
    rivals = [
        _rival(
            names[index],
            evaluations[index],
            tables[index],
            sampled[0],
            sampled[index],
            p_values[index - 1],
            _differences(per_image[0], per_image[index], places[0], places[index]),
            _partners(len(per_image[0]), places[0], places[index]),
        )
        for index in range(1, len(names))
    ]
    highest = np.bincount(np.nan_to_num(mious, nan=-1).argmax(0), minlength=len(names)) / draws.resamples
    means = {name: float(sampled[0].point[tables[0].place(name)]) for name in tables[0].means}
    return Contest(names[0], means, units, draws.resamples, len(places[0]), rivals, highest.tolist())


def _common(evaluations: Sequence[Evaluation]) -> list[NDArray[np.int64]]:
    """Return, of each evaluation, the places of the images that were counted in all, in the order of the first."""
    found = []
    for one in evaluations:
        found.append({_target(one, place): place for place in counted_images(one).tolist()})
    common = [key for key in found[0] if all(key in other for other in found[1:])]
    return [np.array([one[key] for key in common], dtype=np.int64) for one in found]


def _target(evaluation: Evaluation, place: int) -> str:
    """Return what tells an image: in folders its target, in a list its name."""
    name, _, target = evaluation.pairs.files[place]
    return name if evaluation.pairs.by else target


def _mious(evaluation: Evaluation, scores: Scores) -> NDArray[np.float64]:
    """Return the mIoU of every name, (N,)."""
    found = np.full(len(evaluation.pairs.files), np.nan)
    for places, block in evaluation.rows.blocks():
        found[places] = image_miou(image_iou(block, scores.empty, evaluation.ignored))
    return found


def _differences(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    places: NDArray[np.int64],
    others: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return by how much the second differs, of every name of the first."""
    found = np.full(len(first), np.nan)
    found[places] = second[others] - first[places]
    return found


def _partners(names: int, places: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which name of another evaluation each name of the first is."""
    found = np.full(names, -1, dtype=np.int64)
    found[places] = others
    return found


def _rival(
    name: str,
    evaluation: Evaluation,
    table: ImageTable,
    baseline: Sampled,
    own: Sampled,
    p_values: dict[str, float],
    images: NDArray[np.float64],
    places: NDArray[np.int64],
) -> Rival:
    gap = own - baseline
    intervals, class_intervals = intervals_of(table, gap)
    point = gap.point.tolist()
    miou = table.place("miou")
    other = gap.resampled[:, miou] * (-1 if point[miou] > 0 else 1)
    known = images[~np.isnan(images)]
    return Rival(
        name=name,
        evaluation=evaluation,
        scores={mean: float(own.point[table.place(mean)]) for mean in table.means},
        differences={mean: point[table.place(mean)] for mean in table.means},
        class_differences=[
            {one: point[table.place(one, label)] for one in table.of_classes} for label in range(table.num_classes)
        ],
        intervals=intervals,
        class_intervals=class_intervals,
        p_values=p_values,
        turned=float((other > 0).double().mean()),
        wins=int((known > TIE).sum()),
        losses=int((known < -TIE).sum()),
        ties=int((abs(known) <= TIE).sum()),
        image_differences=images,
        places=places,
    )


def _p_values(first: ImageTable, second: ImageTable, gap: Tensor, units: int, draws: Draws) -> dict[str, float]:
    """Return the share of swaps, the one that was found among them, with a difference as large."""
    places = [first.place(name) for name in TESTED]
    found = gap[places].abs()
    chance = swapped(side_by_side(second, first), units, draws)[:, places].abs()
    larger = (chance >= found - TIE).sum(0)
    return {
        name: (1 + int(number)) / (1 + draws.resamples) if value == value else float("nan")
        for name, number, value in zip(TESTED, larger, found.tolist(), strict=True)
    }


def _corrected(p_values: list[dict[str, float]]) -> list[dict[str, float]]:
    """Correct the p-values of each score for the number of rivals (Holm, Scand. J. Statist. 1979)."""
    found = [dict(one) for one in p_values]
    for name in TESTED:
        highest = 0.0
        order = sorted(range(len(found)), key=lambda index: p_values[index][name])
        for rank, index in enumerate(order):
            highest = max(highest, min(1.0, (len(found) - rank) * p_values[index][name]))
            found[index][name] = highest
    return found
