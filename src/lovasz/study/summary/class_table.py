"""The classes of an evaluation as a table to paste."""

import math
from collections.abc import Sequence

from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.scores import ClassScores, Scores
from lovasz.study.summary.paste import PasteTable
from lovasz.study.summary.resample_tables import covers, percents
from lovasz.study.summary.score_intervals import ScoreIntervals

HEADER = ("Class", "pixels", "IoU", "Dice", "precision", "recall", "image IoU", "worst case")
EMPTY = {
    "skip": "",
    "zero": ", and 0 where it is only predicted",
    "one": ", and of the others: 0 where it is predicted, else 1",
}


def class_table(evaluation: Evaluation, scores: Scores, intervals: ScoreIntervals | None = None) -> PasteTable:
    """Return the scores of every class, then the means; that of IoU with its interval, if there are any."""
    header = list(HEADER)
    rows = [
        [name, *map(_percent, _scores(one, scores))]
        for name, one in zip(evaluation.names, scores.classes, strict=True)
    ]
    shares = [scores.miou, scores.dice, math.nan, math.nan, scores.class_miou, scores.class_worst]
    means = ["Mean", "", *map(_percent, shares)]
    caption = _caption(evaluation, scores)
    if scores.boundary is not None:
        _add(
            [header, *rows, means],
            ["boundary IoU", *map(_percent, (*scores.boundary.classes, scores.boundary.iou))],
        )
    if intervals is not None:
        ends = [*(one["iou"] for one in intervals.classes), intervals.means["miou"]]
        place = header.index("IoU") + 1
        _add([header, *rows, means], ["95 % interval", *map(percents, ends)], place)
        caption.append(f"{covers(intervals.units, intervals.resamples)}.")
    return PasteTable("evaluate", caption, header, rows, means)


def _add(lines: Sequence[list[str]], cells: Sequence[str], place: int | None = None) -> None:
    """Add a column, of the header, the rows and the mean."""
    for line, cell in zip(lines, cells, strict=True):
        line.insert(len(line) if place is None else place, cell)


def _scores(one: ClassScores, scores: Scores) -> list[float]:
    share = one.pixels / scores.pixels if scores.pixels else math.nan
    return [share, one.iou, one.dice, one.precision, one.recall, one.image_iou, one.worst]


def _caption(evaluation: Evaluation, scores: Scores) -> list[str]:
    said = [
        f"In %. IoU, Dice, precision and recall over all pixels of {_images(evaluation.counted)}; image IoU: the "
        f"mean over the images that hold the class{EMPTY[scores.empty]}; worst case: the mean, over q = 10, 20 .. "
        "100, of the mean over its lowest q % (Wang et al., 2023). A dash is left out of the means."
    ]
    if evaluation.stopped:
        said.append(f"Partial: interrupted after {evaluation.counted:,} of {evaluation.images:,} images.")
    if evaluation.problems:
        said.append(f"Names left out: {len(evaluation.problems):,}.")
    return said


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number:,} images"


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.2f}"
