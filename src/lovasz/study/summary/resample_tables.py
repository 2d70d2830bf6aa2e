"""Intervals, comparisons and subgroups in words, and as tables for other programs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from lovasz.study.io.sheets import score_cell
from lovasz.study.summary.resampling import FEWEST, Units
from lovasz.study.summary.rivals import Contest, Rival
from lovasz.study.summary.score_intervals import Interval, ScoreIntervals
from lovasz.study.summary.stats import signed
from lovasz.study.summary.subgroups import Subgroup

# Fewer units than these are said to be few.
FEW = 20


def covers(units: Units, resamples: int) -> str:
    """Say what the intervals are of."""
    drawn = f"{units.number:,} {units.noun}{'' if units.number == 1 else 's'}"
    return (
        f"95 % intervals: {drawn} drawn {resamples:,} times with replacement. They cover what other "
        f"{units.noun}s of the same kind would change; the network stays the same"
    )


def few(units: Units) -> str:
    """Say that the units are few, or nothing."""
    if units.number < FEWEST:
        return f"Fewer than {FEWEST} {units.noun}s allow no interval."
    if units.number < FEW:
        return f"Of {units.number} {units.noun}s the intervals cover less often than they say."
    return ""


def verdict(contest: Contest) -> list[str]:
    """Say what a comparison shows, one sentence a rival, and no more."""
    found = [_verdict(contest, rival) for rival in contest.rivals]
    if len(contest.rivals) > 1 and contest.units.number >= FEWEST:
        best = max(range(len(contest.first)), key=lambda index: contest.first[index])
        names = [contest.baseline, *(rival.name for rival in contest.rivals)]
        found.append(
            f"{names[best]} has the highest mIoU in {_share(contest.first[best])} of the resamples. The p-values "
            "are corrected for their number (Holm), the intervals stand each alone."
        )
    return found


def _verdict(contest: Contest, rival: Rival) -> str:
    name, baseline, gap = rival.name, contest.baseline, 100 * rival.differences["miou"]
    if math.isnan(gap):
        return f"{name} against {baseline}: a mIoU is not a number, so nothing can be said."
    ends, p_value = rival.intervals["miou"], rival.p_values["miou"]
    points = f"{signed(gap)} points"
    if ends is None:
        return f"{name} against {baseline}: mIoU {points}. {few(contest.units) or 'There is no interval.'}"
    sure = f"{points} (95 % interval {signed(100 * ends.low)} to {signed(100 * ends.high)}, p {p_text(p_value)})"
    images = f"{contest.images:,} image{'' if contest.images == 1 else 's'}"
    if ends.decided:
        said = (
            f"{name} has a {'higher' if gap > 0 else 'lower'} mIoU than {baseline} on images of this kind: {sure}"
        )
        return f"{said}, {rival.wins:,} of {images} won and {rival.losses:,} lost."
    return (
        f"{name} against {baseline}: mIoU {sure}. The interval includes 0, so no difference is shown; the order is "
        f"the other one in {_share(rival.turned)} of the resamples."
    )


def p_text(value: float) -> str:
    """Write a p-value."""
    return (
        "–"
        if math.isnan(value)
        else "< 0.001"
        if value < 0.001
        else f"{value:.3f}"
        if value < 0.1
        else f"{value:.2f}"
    )


def percents(ends: Interval | None) -> str:
    """Write an interval in percent, as tables have it."""
    return "–" if ends is None else f"{100 * ends.low:.2f} to {100 * ends.high:.2f}"


def intervals_record(found: ScoreIntervals) -> dict[str, Any]:
    """Return the intervals of the means for results.json."""
    return {
        "what": covers(found.units, found.resamples),
        "confidence": 0.95,
        "unit": found.units.noun,
        "units": found.units.number,
        "resamples": found.resamples,
        "means": {name: ends and asdict(ends) for name, ends in found.means.items()},
    }


def contest_record(contest: Contest, names: tuple[str, ...]) -> dict[str, Any]:
    """Return a comparison for results.json; scores and differences are fractions of 1."""
    return {
        "what": covers(contest.units, contest.resamples),
        "verdict": verdict(contest),
        "images": contest.images,
        "baseline": {"name": contest.baseline, "scores": contest.scores, "highest": contest.first[0]},
        "others": [
            {
                "name": rival.name,
                "scores": rival.scores,
                "differences": {
                    name: _record(rival.differences[name], rival.intervals[name]) for name in rival.differences
                },
                "classes": [
                    {"name": label} | {name: _record(values[name], ends[name]) for name in values}
                    for label, values, ends in zip(
                        names, rival.class_differences, rival.class_intervals, strict=True
                    )
                ],
                "p_values": rival.p_values,
                "order_turned": rival.turned,
                "highest": first,
                "wins": rival.wins,
                "losses": rival.losses,
                "ties": rival.ties,
            }
            for rival, first in zip(contest.rivals, contest.first[1:], strict=True)
        ],
    }


def difference_rows(contest: Contest, names: tuple[str, ...]) -> Iterator[list[Any]]:
    """Yield a row for each difference of a score to the baseline."""
    yield ["predictions", "baseline", "score", "class", "difference", "low", "high", "p", "over"]
    over = contest.units.of_images(contest.images)
    for rival in contest.rivals:
        start = [rival.name, contest.baseline]
        for name in rival.differences:
            ends = _ends(rival.intervals[name])
            yield [
                *start,
                name,
                "",
                score_cell(rival.differences[name]),
                *ends,
                score_cell(rival.p_values.get(name)),
                over,
            ]
        for label, values, intervals in zip(names, rival.class_differences, rival.class_intervals, strict=True):
            for name in values:
                yield [*start, name, label, score_cell(values[name]), *_ends(intervals[name]), "", over]


def subgroup_rows(found: Sequence[Subgroup]) -> Iterator[list[Any]]:
    """Yield a row for each value of each column."""
    yield [
        "column",
        "value",
        "images",
        "units",
        *(part for name in found[0].scores for part in (name, f"{name}_low", f"{name}_high")),
    ]
    for one in found:
        scores = [
            part for name in one.scores for part in (score_cell(one.scores[name]), *_ends(one.intervals[name]))
        ]
        yield [one.column, one.value, one.images, one.units, *scores]


def _record(value: float, ends: Interval | None) -> dict[str, float | None]:
    return {
        "difference": value,
        "low": None if ends is None else ends.low,
        "high": None if ends is None else ends.high,
    }


def _ends(ends: Interval | None) -> list[str]:
    return ["", ""] if ends is None else [score_cell(ends.low), score_cell(ends.high)]


def _share(value: float) -> str:
    return f"{100 * value:.0f} %" if 0.005 <= value <= 0.995 else "< 1 %" if value < 0.5 else "> 99 %"
