"""The tables of an evaluation as files: results.json, images.csv, confusion.csv, and two to paste."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lovasz.study.environment import versions
from lovasz.study.io.disk import naming, replaced, write_text
from lovasz.study.io.labels import listed
from lovasz.study.io.records import json_text
from lovasz.study.io.sheets import write_rows
from lovasz.study.io.text import printable
from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.pairing import Problem
from lovasz.study.score.scores import Scores
from lovasz.study.score.surfaces import Tolerance
from lovasz.study.summary.class_table import class_table
from lovasz.study.summary.image_rows import image_rows
from lovasz.study.summary.paste import FORMATS
from lovasz.study.summary.resample_tables import (
    contest_record,
    difference_rows,
    intervals_record,
    subgroup_rows,
)
from lovasz.study.summary.rivals import Contest
from lovasz.study.summary.score_curves import ClassCurve, calibration_rows, class_curves, curve_rows, decided
from lovasz.study.summary.score_intervals import ScoreIntervals
from lovasz.study.summary.subgroups import Subgroup
from lovasz.study.summary.surprises import surprises

TABLES = ("images", "confusion")


@dataclass(frozen=True)
class Outcome:
    """An evaluation with its scores: None if no image could be counted, and on processes that write nothing.

    Attributes:
        allow_missing: Whether names may be left out of a complete result.
        command: The command line that asked for it, `printable`.
        intervals: Those of the scores; None if the images were not resampled.
        contest: The other predictions against these; None if there are none, no image was counted of
            all, or the images were not resampled.
        subgroups: The scores of parts of the images.
        others: What was counted of the other predictions.
        missing: What was asked for beside the scores and is missing, as the command was interrupted.
    """

    evaluation: Evaluation
    scores: Scores | None
    allow_missing: bool
    command: str
    intervals: ScoreIntervals | None = None
    contest: Contest | None = None
    subgroups: Sequence[Subgroup] = ()
    others: Sequence[Evaluation] = ()
    missing: Sequence[str] = ()

    @property
    def warnings(self) -> list[str]:
        """What would surprise a reader of the scores, in sentences."""
        if self.scores is None:
            return []
        found, scored = surprises(self.evaluation, self.scores), self.evaluation.scored
        if (surfaces := self.evaluation.surfaces) is not None and surfaces.tolerance.remark:
            found.append(surfaces.tolerance.remark)
        if self.others and self.intervals is not None and self.contest is None:
            found.append("Not compared: no image was counted of all predictions.")
        if scored is not None:
            fitted = scored.scoring.decision.fitted
            if fitted is not None and not fitted.where:
                found.append(decided(scored))
            if scored.scoring.kind == "logits" and scored.low >= 0 and scored.high <= 1:
                found.append("All logits lie from 0 to 1: if they are probabilities, --scores probabilities.")
        return found

    @property
    def interruption(self) -> str:
        """What is missing beside the scores, a sentence; empty for nothing, or if images are missing as well."""
        if not self.missing or self.evaluation.stopped:
            return ""
        return f"Interrupted after the images were counted. Asked for and missing: {', '.join(self.missing)}."

    @property
    def masks(self) -> Path | None:
        """The folder of the masks that were decided; None if there are none."""
        scored = self.evaluation.scored
        if scored is None or scored.scoring.masks is None or not self.evaluation.counted:
            return None
        return scored.scoring.masks.place(self.complete)

    @cached_property
    def curves(self) -> list[ClassCurve]:
        """What the scores of each class show; none for masks."""
        return [] if self.evaluation.scored is None else class_curves(self.evaluation.scored)

    @property
    def complete(self) -> bool:
        """Whether images were counted, and none left out but those that may be, of all predictions."""
        return all(
            one.counted > 0
            and not one.stopped
            and all(self.allow_missing and problem.kind != "labels" for problem in one.problems)
            for one in (self.evaluation, *self.others)
        )


def write_tables(outcome: Outcome, folder: Path) -> list[Path]:
    """Write the five files, of scores seven; of a result that is not complete the tables are ``*.partial.*``.

    Tables of the other kind, from an earlier evaluation, are deleted.

    Returns:
        What was written: without scores no tables.

    Raises:
        OSError: If one cannot be written; the message names it.
    """
    paths = [folder / "results.json"]
    with naming(paths[0]), replaced(paths[0], newline="") as file:
        file.write(json_text(_record(outcome)))
    for table in TABLES:
        for name in (f"{table}.csv", f"{table}.partial.csv"):
            (folder / name).unlink(missing_ok=True)
    if outcome.scores is not None:
        names = [f"{table}.csv" if outcome.complete else f"{table}.partial.csv" for table in TABLES]
        paths += [folder / name for name in names]
        for rows, path in zip((image_rows, _confusion), paths[1:], strict=True):
            with naming(path), replaced(path, newline="") as file:
                write_rows(file, rows(outcome.evaluation, outcome.scores))
    scored = None if outcome.scores is None else outcome.evaluation.scored
    for name, lines in (("curves", curve_rows), ("calibration", calibration_rows)):
        path = folder / f"{name}.csv"
        path.unlink(missing_ok=True)
        if scored is not None:
            with naming(path), replaced(path, newline="") as file:
                write_rows(file, lines(scored, outcome.evaluation.names))
            paths.append(path)
    paths += _write_resampled(outcome, folder)
    return paths + _paste(outcome, folder)


def _paste(outcome: Outcome, folder: Path) -> list[Path]:
    """Write the classes as tables to paste; those of an earlier evaluation are deleted."""
    paths = []
    for name, text in FORMATS.items():
        partial = name.replace(".", ".partial.")
        for one in (name, partial):
            (folder / one).unlink(missing_ok=True)
        if outcome.scores is not None:
            path = folder / (name if outcome.complete else partial)
            with naming(path):
                write_text(path, text(class_table(outcome.evaluation, outcome.scores, outcome.intervals)))
            paths.append(path)
    return paths


def _write_resampled(outcome: Outcome, folder: Path) -> list[Path]:
    """Write differences and subgroups where there are any; those of an earlier evaluation are deleted."""
    names, found = outcome.evaluation.names, []
    for table, rows in (
        ("differences", difference_rows(outcome.contest, names) if outcome.contest else None),
        ("subgroups", subgroup_rows(outcome.subgroups) if outcome.subgroups else None),
    ):
        path = folder / f"{table}.csv"
        path.unlink(missing_ok=True)
        if rows is not None:
            with naming(path), replaced(path, newline="") as file:
                write_rows(file, rows)
            found.append(path)
    return found


def _record(outcome: Outcome) -> dict[str, object]:
    evaluation, scores = outcome.evaluation, outcome.scores
    left_out: dict[str, list[Problem]] = {}
    for problem in evaluation.problems:
        left_out.setdefault(problem.kind, []).append(problem)
    record: dict[str, Any] = {
        "complete": outcome.complete,
        "interrupted": bool(outcome.missing) or any(one.stopped for one in (evaluation, *outcome.others)),
        "counted": evaluation.counted,
        "images": evaluation.images,
        "left_out": {
            kind.replace(" ", "_"): [{"name": problem.name, "message": problem.message} for problem in problems]
            for kind, problems in left_out.items()
        },
        "paired": evaluation.pairs.rule,
        "passed_over": {
            kind: passed.record()
            for kind, passed in zip(("predictions", "targets"), evaluation.pairs.passed, strict=True)
        },
        "predictions": printable(evaluation.pairs.by or evaluation.pairs.predictions),
        "targets": printable(evaluation.pairs.by or evaluation.pairs.targets),
        "ignored": sorted(evaluation.ignored),
        "boundary": None if evaluation.boundaries is None else evaluation.boundaries.width,
        "surface": None if evaluation.surfaces is None else _tolerance(evaluation.surfaces.tolerance),
        "maps": _maps(evaluation),
        "warnings": outcome.warnings,
        "scores": None,
        "classes": [{"name": name} for name in evaluation.names],
        "command": outcome.command,
        "versions": versions(),
    }
    if evaluation.scored is not None:
        record["decided"] = decided(evaluation.scored)
        record["masks"] = outcome.masks and outcome.masks.name
        record["thresholds"] = [asdict(one) for one in outcome.curves]
    if scores is not None:
        single: dict[str, object] = {
            name: value for name, value in vars(scores).items() if isinstance(value, (int, float, str))
        }
        single["background"] = None if scores.background < 0 else scores.background
        classes = [
            {"name": name, **asdict(one)} for name, one in zip(evaluation.names, scores.classes, strict=True)
        ]
        if (boundary := scores.boundary) is not None:
            single |= {"boundary_iou": boundary.iou, "image_boundary_iou": boundary.image_iou}
            classes = [one | {"boundary_iou": iou} for one, iou in zip(classes, boundary.classes, strict=True)]
        if (surface := scores.surface) is not None:
            single |= {"nsd": surface.nsd, "hd95": surface.hd95}
            classes = [
                one | {"nsd": nsd, "hd95": hd95} for one, (nsd, hd95) in zip(classes, surface.classes, strict=True)
            ]
        record |= {"scores": single, "classes": classes}
    _add_resampled(record, outcome)
    return record


def _add_resampled(record: dict[str, Any], outcome: Outcome) -> None:
    """Add intervals, comparison and subgroups; null and empty where there are none."""
    intervals, contest, names = outcome.intervals, outcome.contest, outcome.evaluation.names
    record["intervals"] = intervals and intervals_record(intervals)
    for one, ends in zip(record["classes"], intervals.classes if intervals else (), strict=False):
        one["intervals"] = {name: interval and asdict(interval) for name, interval in ends.items()}
    record["against"] = contest and contest_record(contest, names)
    record["subgroups"] = [asdict(one) for one in outcome.subgroups]


def never_held(evaluation: Evaluation) -> list[str]:
    """Return a sentence for each map of which masks lack values."""
    if not evaluation.counted:
        return []
    return [
        f"{labelling.label_map.name}: no {what} holds {listed(never)}"
        for what, labelling, never in zip(
            ("prediction", "target"), evaluation.labellings, evaluation.never, strict=True
        )
        if labelling.label_map is not None and never
    ]


def _tolerance(tolerance: Tolerance) -> dict[str, object]:
    return {"tolerance": tolerance.distance, "unit": tolerance.unit}


def _maps(evaluation: Evaluation) -> dict[str, object]:
    """Return how the labels of predictions and of targets were mapped, and what did not occur."""
    return {
        what: labelling.label_map
        and {
            "map": labelling.label_map.name,
            "labels": {str(value): label for value, label in labelling.label_map.pairs},
            "never": never,
        }
        for what, labelling, never in zip(
            ("predictions", "targets"), evaluation.labellings, evaluation.never, strict=True
        )
    }


def _confusion(evaluation: Evaluation, _: Scores) -> Iterator[list[Any]]:
    """Yield the pixels of every label (row) and prediction (column)."""
    yield ["label \\ prediction", *evaluation.names]
    for name, row in zip(evaluation.names, evaluation.confusion, strict=True):
        yield [name, *row.tolist()]
