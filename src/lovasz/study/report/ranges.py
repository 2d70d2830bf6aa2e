"""Scores and differences with their intervals, as rows with a stroke each: the forest plot of an evaluation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lovasz.study.summary.rivals import Contest, Rival
from lovasz.study.summary.score_intervals import Interval, ScoreIntervals
from lovasz.study.summary.subgroups import Subgroup

# Units of a stroke from the left end of the axis to the right.
WIDTH = 200
# What rows call each mean.
MEANS = {
    "miou": "mIoU",
    "foreground_miou": "mIoU, foreground",
    "image_miou": "image mIoU",
    "class_miou": "class mIoU",
    "dice": "Dice",
    "accuracy": "pixel accuracy",
    "boundary_iou": "boundary IoU",
    "image_boundary_iou": "image boundary IoU",
    "nsd": "NSD",
}


@dataclass(frozen=True)
class Range:
    """One row.

    Attributes:
        name: What it is of; empty for a class.
        label: The class, or -1.
        value: In percent or points.
        low: The lower end of its interval; None where there is none.
        high: The upper end.
        places: Where low, value and high lie on the axis.
        sure: Whether the interval leaves out 0.
    """

    name: str
    label: int
    value: float
    low: float | None
    high: float | None
    places: tuple[float, float, float]
    sure: bool


@dataclass(frozen=True)
class Axis:
    """The axis of some rows: its ends, and where 0 lies."""

    low: float
    high: float

    @property
    def zero(self) -> float:
        """Where 0 lies."""
        return self.at(0)

    def at(self, value: float) -> float:
        """Return where a value lies, to the nearest end if it lies outside."""
        return WIDTH * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)


# Of scores, in percent.
WHOLE = Axis(0, 100)


def score_ranges(means: Mapping[str, float], found: ScoreIntervals) -> list[Range]:
    """Return a row for each mean that has a value."""
    return [
        _range(MEANS[name], -1, means[name], found.means[name], WHOLE)
        for name in means
        if not math.isnan(means[name])
    ]


def class_ranges(ious: Sequence[float], found: ScoreIntervals) -> list[Range]:
    """Return a row for the IoU of each class that has one."""
    return [
        _range("", label, iou, found.classes[label]["iou"], WHOLE)
        for label, iou in enumerate(ious)
        if not math.isnan(iou)
    ]


def subgroup_ranges(found: Sequence[Subgroup]) -> list[Range]:
    """Return a row for the mIoU of each subgroup."""
    return [
        _range(f"{one.column}: {one.value}", -1, one.scores["miou"], one.intervals["miou"], WHOLE) for one in found
    ]


def difference_axis(contest: Contest) -> Axis:
    """Return an axis that holds every mean difference and its interval, and those of classes up to its ends."""
    ends = [1.0]
    for rival in contest.rivals:
        for name in rival.differences:
            interval = rival.intervals[name]
            ends += [100 * abs(rival.differences[name])]
            ends += [] if interval is None else [100 * abs(interval.low), 100 * abs(interval.high)]
        ends += [100 * abs(values["iou"]) for values in rival.class_differences]
    most = 1.1 * max(value for value in ends if value == value)
    return Axis(-most, most)


def rival_ranges(rival: Rival, axis: Axis) -> tuple[Range, list[Range]]:
    """Return the row of the mIoU, and a row for each difference that is a number: of the means, of classes' IoU."""
    means = {
        name: _range(MEANS[name], -1, value, rival.intervals[name], axis)
        for name, value in rival.differences.items()
    }
    classes = [
        _range("", label, values["iou"], ends["iou"], axis)
        for label, (values, ends) in enumerate(zip(rival.class_differences, rival.class_intervals, strict=True))
    ]
    return means["miou"], [row for row in (*means.values(), *classes) if not math.isnan(row.value)]


def _range(name: str, label: int, value: float, ends: Interval | None, axis: Axis) -> Range:
    low, high = (None, None) if ends is None else (100 * ends.low, 100 * ends.high)
    value = 100 * value
    places = tuple(axis.at(value if end is None else end) for end in (low, value, high))
    sure = ends is not None and ends.decided
    return Range(name, label, value, low, high, (places[0], places[1], places[2]), sure)
