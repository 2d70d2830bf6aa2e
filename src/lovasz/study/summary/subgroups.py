"""Scores of parts of the images: of one site, one scanner, one time of day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lovasz.study.io.text import printable
from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.scores import Scores
from lovasz.study.summary.image_table import table_of
from lovasz.study.summary.resampling import Draws, sample
from lovasz.study.summary.score_intervals import (
    Intervals,
    counted_images,
    drawn_together,
    intervals_of,
    spread_over,
)

# More values of a column are not groups but names.
MOST_VALUES = 50


@dataclass(frozen=True)
class Subgroup:
    """The images of one value of one column.

    Attributes:
        column: The column.
        value: The value.
        images: How many were counted.
        units: How many units were drawn.
        scores: Their means, by name as in `Scores`.
        intervals: The intervals of these.
    """

    column: str
    value: str
    images: int
    units: int
    scores: dict[str, float]
    intervals: Intervals


def check_columns(columns: Mapping[str, Sequence[str]]) -> None:
    """Check that no column names every image for itself.

    Raises:
        ValueError: If a column has too many values.
    """
    for column, values in columns.items():
        number = len(set(values))
        if number > MOST_VALUES:
            raise ValueError(
                f"--subgroups: a column must have at most {MOST_VALUES} values, got {number} of {printable(column)}"
            )


def subgroups(
    evaluation: Evaluation,
    scores: Scores,
    columns: Mapping[str, Sequence[str]],
    groups: Sequence[str] | None,
    draws: Draws,
) -> list[Subgroup]:
    """Score the images of each value of each column.

    Args:
        evaluation: What was counted.
        scores: Its scores.
        columns: Values of each name by column.
        groups: The group of each name, or None.
        draws: How often units are drawn.
    """
    counted, found = counted_images(evaluation), []
    for column, values in columns.items():
        of_counted = np.array([values[place] for place in counted.tolist()])
        for value in sorted(set(values)):
            places = counted[of_counted == value]
            if not len(places):
                continue
            units = drawn_together(places, groups)
            table = table_of(evaluation, scores, spread_over(evaluation, places, units), units.number)
            sampled = sample(table.scores, units.number, draws)
            means, _ = intervals_of(table, sampled)
            point = {name: float(sampled.point[table.place(name)]) for name in table.means}
            found.append(Subgroup(column, value, len(places), units.number, point, means))
    return found
