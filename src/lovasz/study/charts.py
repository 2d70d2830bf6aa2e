"""The report's charts: numbers placed on a plane, for the template to draw as SVG."""

import math
from dataclasses import dataclass

from lovasz.study.compare import Comparison

# Okabe and Ito's colours, told apart with any colour vision; black and yellow are replaced, as
# they vanish on a dark or a light page. Dashes and markers say the same without colour.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2 1 2 1 2", "1 4")
WIDTH = 720


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
    """The validation curves with their axes."""

    width: int
    height: int
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    left: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Forest:
    """Paired differences with their intervals on one axis through zero."""

    width: int
    height: int
    zero: float
    ticks: list[tuple[float, str]]
    rows: list[dict[str, object]]


def styles(comparison: Comparison) -> dict[str, Style]:
    """Gives every loss its colour and its dashes."""
    return {
        loss: Style(COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)])
        for index, loss in enumerate(comparison.losses)
    }


def curves(comparison: Comparison) -> Curves:
    """Places the validation curves: each seed as a thin line, the mean of a loss as a thick one."""
    height, left, right, top, bottom = 340, 44, 16, 12, 34
    steps = comparison.settings.steps
    values = [miou for run in comparison.runs.values() for _, miou in run.curve if miou == miou]
    low = 10 * math.floor(10 * min(values, default=0))
    high = 10 * math.ceil(10 * max(values, default=1)) or 10
    low, high = (low, high) if high > low else (low, low + 10)

    def x(step: float) -> float:
        return left + (WIDTH - left - right) * step / steps

    def y(percent: float) -> float:
        return top + (height - top - bottom) * (high - percent) / (high - low)

    lines = []
    for loss in comparison.losses:
        seeds = [comparison.runs[loss, seed].curve for seed in comparison.seeds]
        mean = [
            (points[0][0], sum(miou for _, miou in points) / len(points)) for points in zip(*seeds, strict=True)
        ]
        for curve, is_mean in [*((seed, False) for seed in seeds), (mean, True)]:
            places = [(x(step), y(100 * miou)) for step, miou in curve if miou == miou]
            path = "M" + " L".join(f"{a:.1f} {b:.1f}" for a, b in places) if places else ""
            lines.append(Line(loss, path, is_mean))
    return Curves(
        width=WIDTH,
        height=height,
        lines=lines,
        x_ticks=[(x(value), f"{value:g}") for value in _ticks(0, steps)],
        y_ticks=[(y(value), f"{value:g}") for value in _ticks(low, high)],
        left=left,
        right=WIDTH - right,
        bottom=height - bottom,
    )


def forest(comparison: Comparison) -> Forest:
    """Places each difference: a dot for the mean, a bar for the interval, a tick a seed."""
    left, right, row_height = 130, 24, 46
    ends = [0.0]
    for difference in comparison.differences:
        ends += [value for value in difference.values if math.isfinite(value)]
        ends += [end for end in (difference.low, difference.high) if end is not None]
    margin = 0.05 * (max(ends) - min(ends)) or 1.0
    low, high = min(ends) - margin, max(ends) + margin

    def x(value: float) -> float:
        return left + (WIDTH - left - right) * (value - low) / (high - low)

    rows: list[dict[str, object]] = []
    for index, difference in enumerate(comparison.differences):
        bounds = (difference.low, difference.high)
        rows.append(
            {
                "loss": difference.loss,
                "y": 24 + index * row_height,
                "mean": x(difference.mean) if math.isfinite(difference.mean) else None,
                "interval": None if None in bounds else [x(end) for end in bounds if end is not None],
                "seeds": [x(value) for value in difference.values if math.isfinite(value)],
            }
        )
    return Forest(
        width=WIDTH,
        height=24 + len(rows) * row_height + 24,
        zero=x(0),
        ticks=[(x(value), f"{value:+g}" if value else "0") for value in _ticks(low, high)],
        rows=rows,
    )


def _ticks(low: float, high: float) -> list[float]:
    """Returns four to eight round numbers from low to high."""
    rough = (high - low) / 8
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]
