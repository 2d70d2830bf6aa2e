"""The report's charts: numbers placed on a plane, for the template to draw as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lovasz.study.data.iou import iou_per_class
from lovasz.study.report.squares import path
from lovasz.study.summary.compare import Comparison, LossSummary
from lovasz.study.summary.stats import Difference
from lovasz.study.summary.two_sources import TwoSources
from lovasz.study.train.store import Point

# Okabe and Ito's colours, told apart with any colour vision; black and yellow are replaced, as
# they vanish on a dark or a light page. Dashes and markers say the same without colour.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2 1 2 1 2", "3 2")
# Drawn once for wide and once for narrow pages, so that strokes and text keep their size.
WIDTHS = {"wide": 720, "narrow": 360}
# Points; an interval that goes further than this and every seed is clipped.
CLIP = 25.0


@dataclass(frozen=True)
class Style:
    """How one loss is drawn everywhere."""

    colour: str
    dash: str


@dataclass(frozen=True)
class Line:
    """One curve, its points as an SVG path."""

    loss: str
    path: str
    mean: bool


@dataclass(frozen=True)
class Curves:
    """The validation curves with their axes; ``switch`` is where ce>lovasz changes its loss."""

    width: int
    height: int
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    left: int
    right: int
    top: int
    bottom: int
    switch: float | None


@dataclass(frozen=True)
class Forest:
    """Paired differences with their intervals, over seeds and over both sources, on one axis through zero."""

    width: int
    height: int
    zero: float
    ticks: list[tuple[float, str]]
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Gain:
    """What one class gains by the best loss over the baseline.

    Attributes:
        label: The class.
        gain: Points of test IoU, the mean over seeds; NaN where it has none, or there is one loss.
        bar: Left end and width of its bar, in percent of the chart.
        ticks: Where the gain of each seed lies.
    """

    label: int
    gain: float
    bar: tuple[float, float]
    ticks: list[float]


@dataclass(frozen=True)
class Multiple:
    """The Jaccard curves of one class.

    Attributes:
        label: The class.
        paths: One a loss, in the square of `lovasz.study.report.squares`.
        areas: The area under each: the Lovász loss.
    """

    label: int
    paths: list[str]
    areas: list[float]


def styles(comparison: Comparison) -> dict[str, Style]:
    """Give every loss its colour and its dashes; past seven losses, other dashes of the same colours."""
    return {
        loss: Style(COLOURS[index % len(COLOURS)], DASHES[(index + index // len(COLOURS)) % len(DASHES)])
        for index, loss in enumerate(comparison.losses)
    }


def curves(comparison: Comparison, width: int) -> Curves:
    """Places the validation curves: each seed as a thin line, the mean of a loss as a thick one."""
    height, left, right, top, bottom = 360, 34, 16, 32, 46
    steps = comparison.settings.steps
    values = [point.miou for run in comparison.runs.values() for point in run.curve if math.isfinite(point.miou)]
    low = 10 * math.floor(10 * min(values, default=0))
    high = 10 * math.ceil(10 * max(values, default=1)) or 10
    low, high = (low, high) if high > low else (low, low + 10)

    def x(step: float) -> float:
        return left + (width - left - right) * step / steps

    def y(percent: float) -> float:
        return top + (height - top - bottom) * (high - percent) / (high - low)

    lines = []
    for loss in comparison.losses:
        seeds = [comparison.runs[loss, seed].curve for seed in comparison.seeds]
        drawn = [([(point.step, point.miou) for point in seed], False) for seed in seeds]
        drawn.append((_mean_curve(seeds), True))
        for curve, is_mean in drawn:
            places = [(x(step), y(100 * miou)) for step, miou in curve if math.isfinite(miou)]
            lines.append(Line(loss, _line(places), is_mean))
    return Curves(
        width=width,
        height=height,
        lines=lines,
        x_ticks=[(x(value), f"{value:g}") for value in _ticks(0, steps, 8 if width > 500 else 4)],
        y_ticks=[(y(value), f"{value:g}") for value in _ticks(low, high)],
        left=left,
        right=width - right,
        top=top,
        bottom=height - bottom,
        switch=x(steps / 2) if "ce>lovasz" in comparison.losses else None,
    )


def _mean_curve(seeds: Sequence[Sequence[Point]]) -> list[tuple[int, float]]:
    """Return the mean over seeds after each step that all of them were validated after."""
    found = [{point.step: point.miou for point in seed} for seed in seeds]
    steps = [step for step in found[0] if all(step in one for one in found)]
    return [(step, sum(one[step] for one in found) / len(found)) for step in steps]


def _line(places: Sequence[tuple[float, float]]) -> str:
    """Return the SVG path of a curve; a curve of one point is a short bar."""
    if len(places) == 1:
        ((x, y),) = places
        return f"M{x - 5:.1f} {y:.1f} h10"
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in places) if places else ""


def forest(comparison: Comparison, width: int) -> Forest:
    """Places each difference: a dot for the mean, a bar and a thin line for its intervals, a tick a seed.

    A name stands left of its row, a long one and on a narrow chart above it. An interval wider than 25 points to
    either side, as two seeds may give, is clipped there unless a seed lies further out.
    """
    beside = width > 500 and max(map(len, comparison.losses)) < 18
    left, row_height, lift = (130, 46, -5) if beside else (14, 62, 16)
    points = [value for row in comparison.differences for value in row.values if math.isfinite(value)]
    limits = min([-CLIP, *points]), max([CLIP, *points])
    intervals: list[Difference | TwoSources] = [*comparison.differences, *comparison.both]
    bounds = [end for row in intervals for end in (row.low, row.high) if end is not None]
    ends = [0.0, *points, *(min(max(end, limits[0]), limits[1]) for end in bounds)]
    margin = 0.05 * (max(ends) - min(ends)) or 1.0
    low, high = min(ends) - margin, max(ends) + margin

    def x(value: float) -> float:
        return left + (width - left - 24) * (value - low) / (high - low)

    def drawn(low: float | None, high: float | None) -> list[float] | None:
        return None if low is None or high is None else [x(max(low, limits[0])), x(min(high, limits[1]))]

    rows: list[dict[str, Any]] = []
    for index, (difference, both) in enumerate(zip(comparison.differences, comparison.both, strict=True)):
        y = row_height - 22 + index * row_height
        rows.append(
            {
                "loss": difference.loss,
                "y": y,
                "name_y": y - lift,
                "mean": x(difference.mean) if math.isfinite(difference.mean) else None,
                "interval": drawn(difference.low, difference.high),
                "both": drawn(both.low, both.high),
                "clipped": (
                    any(one.low is not None and one.low < limits[0] for one in (difference, both)),
                    any(one.high is not None and one.high > limits[1] for one in (difference, both)),
                ),
                "seeds": [x(value) for value in difference.values if math.isfinite(value)],
            }
        )
    return Forest(
        width=width,
        height=len(rows) * row_height + 48,
        zero=x(0),
        ticks=[(x(value), f"{value:+g}".replace("-", "−") if value else "0") for value in _ticks(low, high)],
        rows=rows,
    )


def gains(comparison: Comparison, best: LossSummary | None) -> tuple[float, list[Gain]]:
    """Places a bar for each class, the largest gain first, on one axis through zero.

    Args:
        comparison: What to chart.
        best: The loss compared with the baseline; None leaves the classes in the order of their
            test pixels.

    Returns:
        Where zero lies, in percent of the chart, and the classes.
    """
    pixels = comparison.data.parts["test"].pixels
    number = comparison.data.num_classes
    if best is None:
        order = sorted(range(number), key=lambda label: -pixels[label])
        return 0.0, [Gain(label, math.nan, (0.0, 0.0), []) for label in order]
    loss, baseline = best.loss, comparison.losses[0]
    points = np.stack(
        [
            100 * (iou_per_class(one.test_counts) - iou_per_class(other.test_counts)).numpy()
            for one, other in (
                (comparison.runs[loss, seed], comparison.runs[baseline, seed]) for seed in comparison.seeds
            )
        ]
    )
    means = [one - other for one, other in zip(best.classes, comparison.summaries[0].classes, strict=True)]
    ends = [0.0, *(value for value in (*means, *points.ravel().tolist()) if math.isfinite(value))]
    low, high = min(ends), max(ends)
    scale = 100 / ((high - low) or 1.0)

    def x(value: float) -> float:
        return (value - low) * scale

    rows = []
    for label in sorted(range(number), key=lambda label: (math.isnan(means[label]), -means[label], label)):
        gain = means[label]
        bar = (x(min(gain, 0)), abs(gain) * scale) if math.isfinite(gain) else (0.0, 0.0)
        ticks = [x(value) for value in points[:, label].tolist() if math.isfinite(value)]
        rows.append(Gain(label, gain, bar, ticks if len(comparison.seeds) > 1 else []))
    return x(0), rows


def multiples(comparison: Comparison, losses: list[str]) -> list[Multiple]:
    """Draws the Jaccard curves of each class that has test pixels, the mean over seeds.

    Args:
        comparison: What to chart.
        losses: One or two losses.

    Returns:
        The classes, of two losses those first whose area shrinks most from the first to the second.
    """
    runs = [[comparison.runs[loss, seed].tested for seed in comparison.seeds] for loss in losses]
    thresholds = runs[0][0].thresholds.astype(np.float64)
    curves = [np.stack([tested.curves for tested in of_loss]).mean(axis=0, dtype=np.float64) for of_loss in runs]
    found = []
    for label, pixels in enumerate(comparison.data.parts["test"].pixels):
        if pixels:
            of_class = [curve[label] for curve in curves]
            areas = [float(((one[1:] + one[:-1]) / 2 * np.diff(thresholds)).sum()) for one in of_class]
            found.append(Multiple(label, [path(thresholds, one) for one in of_class], areas))

    def shrinks(one: Multiple) -> tuple[bool, float]:
        change = one.areas[-1] - one.areas[0]
        return math.isnan(change), change

    return sorted(found, key=shrinks)


def _ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Return round numbers from low to high, about half of ``most`` to ``most``."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]
