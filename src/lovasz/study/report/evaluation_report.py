"""The report of an evaluation: one HTML page that needs no network and stays small for any number of files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lovasz.study.environment import versions
from lovasz.study.io.class_colours import class_colours
from lovasz.study.io.classes import Classes, numbered
from lovasz.study.io.disk import naming, write_text
from lovasz.study.io.text import printable
from lovasz.study.report.confusions import SHADES, WRITTEN, cells, confused
from lovasz.study.report.duels import duels
from lovasz.study.report.errors import COLOURS, STRIPE
from lovasz.study.report.gallery import gallery
from lovasz.study.report.maps import LINES
from lovasz.study.report.page import render
from lovasz.study.report.ranges import (
    class_ranges,
    difference_axis,
    rival_ranges,
    score_ranges,
    subgroup_ranges,
)
from lovasz.study.report.threshold_charts import threshold_charts
from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.scores import Scores
from lovasz.study.summary.evaluation_results import Outcome, never_held
from lovasz.study.summary.resample_tables import covers, few, p_text, verdict
from lovasz.study.summary.resampling import FEWEST
from lovasz.study.summary.score_curves import decided
from lovasz.study.summary.score_intervals import means_of
from lovasz.study.summary.stats import signed
from lovasz.study.summary.surprises import foreground

# Classes of which every pair is shown; more would not be legible, nor small.
MATRIX = 150
# Problems that the page lists; results.json has all.
PROBLEMS = 200
BINS = 20
EMPTY = {
    "skip": "no score",
    "zero": "0 where it is predicted, else no score",
    "one": "0 where it is predicted, else 1",
}


@dataclass(frozen=True)
class Bar:
    """How many images have a mIoU from low to high percent, and the height of the bar in percent of the highest."""

    low: int
    high: int
    images: int
    height: float


def write_report(outcome: Outcome, classes: Classes, photos: dict[str, Path], worst: int, path: Path) -> Path:
    """Write ``report.html``.

    Args:
        outcome: What to report; it has scores.
        classes: Names and colours.
        photos: Photos by name, to show beside the worst masks.
        worst: How many of the worst images to show.
        path: The file to write; it loads nothing from anywhere else.

    Returns:
        The file.

    Raises:
        OSError: If it cannot be written; the message names it.
    """
    evaluation, scores = outcome.evaluation, outcome.scores
    if scores is None:
        raise ValueError("outcome must have scores, got none")
    colours = classes.colours or class_colours(evaluation.num_classes, scores.background)
    shown = _shown(evaluation)
    page = render(
        "evaluation.html.j2",
        outcome=outcome,
        evaluation=evaluation,
        scores=scores,
        foreground="" if scores.background < 0 else foreground(evaluation, scores),
        empty=EMPTY[scores.empty],
        predictions=printable(evaluation.pairs.by or evaluation.pairs.predictions),
        targets=printable(evaluation.pairs.by or evaluation.pairs.targets),
        told=evaluation.pairs.told(),
        names=evaluation.names,
        numbered=evaluation.names == numbered(evaluation.num_classes).names,
        colours=colours,
        problems=evaluation.problems[:PROBLEMS],
        matrix=cells(evaluation.confusion, shown),
        shown=shown,
        written=len(shown) <= WRITTEN,
        shades=SHADES,
        confused=confused(evaluation.confusion),
        bars=_bars(scores),
        items=gallery(evaluation, scores, colours, photos, worst),
        maps=_maps(evaluation),
        never=never_held(evaluation),
        charts=[] if evaluation.scored is None else threshold_charts(evaluation.scored, outcome.curves),
        decided="" if evaluation.scored is None else decided(evaluation.scored),
        **_resampled(outcome, colours, photos, worst),
        keys={"errors": COLOURS, "stripe": STRIPE, "void": LINES},
        single=_single(evaluation, scores),
        versions=versions(),
    )
    with naming(path):
        write_text(path, page)
    return path


def _resampled(outcome: Outcome, colours: Sequence[str], photos: dict[str, Path], worst: int) -> dict[str, Any]:
    """Return what the page says of intervals, of subgroups and of other predictions."""
    found: dict[str, Any] = {"intervals": outcome.intervals, "contest": outcome.contest}
    scores, drawn = outcome.scores, outcome.contest or outcome.intervals
    if scores is None or drawn is None:
        return found
    found |= {
        "covers": covers(drawn.units, drawn.resamples),
        "few": few(drawn.units),
        "fewest": FEWEST,
        "units": drawn.units,
        "signed": signed,
        "p_text": p_text,
    }
    if outcome.intervals is not None:
        found |= {
            "mean_ranges": score_ranges(means_of(scores), outcome.intervals),
            "class_rows": class_ranges([one.iou for one in scores.classes], outcome.intervals),
            "subgroup_rows": subgroup_ranges(outcome.subgroups),
        }
    if outcome.contest is not None:
        axis, background = difference_axis(outcome.contest), scores.background
        differ = duels(outcome.evaluation, outcome.contest, colours, photos, background) if worst else []
        found |= {
            "axis": axis,
            "against": [(rival, *rival_ranges(rival, axis)) for rival in outcome.contest.rivals],
            "against_said": verdict(outcome.contest),
            "against_items": differ,
        }
    return found


def _single(evaluation: Evaluation, scores: Scores) -> bool:
    """Return whether the maps of errors are all of one class, beside the background."""
    return scores.background >= 0 and evaluation.num_classes == 2


def _maps(evaluation: Evaluation) -> list[str]:
    """Return the names of the maps by which labels were read, that of the targets last."""
    names = [labelling.label_map.name for labelling in evaluation.labellings if labelling.label_map is not None]
    return list(dict.fromkeys(names))


def _shown(evaluation: Evaluation) -> list[int]:
    """Return the classes of the matrix: all, or those with most labelled and predicted pixels."""
    pixels = evaluation.confusion.sum(0) + evaluation.confusion.sum(1)
    most = np.argsort(-pixels, kind="stable")[:MATRIX]
    return sorted(int(label) for label in most)


def _bars(scores: Scores) -> list[Bar]:
    known = scores.images[~np.isnan(scores.images)]
    numbers = np.bincount(np.minimum((known * BINS).astype(np.int64), BINS - 1), minlength=BINS)
    width = 100 // BINS
    return [
        Bar(width * index, width * (index + 1), number, 100 * number / max(1, int(numbers.max())))
        for index, number in enumerate(numbers.tolist())
    ]
