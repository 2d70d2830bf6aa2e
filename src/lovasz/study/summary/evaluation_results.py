"""The tables of an evaluation as files: results.json, images.csv, confusion.csv."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lovasz.study.environment import versions
from lovasz.study.io.disk import replaced
from lovasz.study.io.records import json_text
from lovasz.study.io.sheets import write_rows
from lovasz.study.io.text import printable
from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.pairing import Problem
from lovasz.study.score.scores import Scores, image_iou, image_miou

TABLES = ("images", "confusion")


@dataclass(frozen=True)
class Outcome:
    """An evaluation with its scores: None if no image could be counted, and on processes that write nothing.

    Attributes:
        allow_missing: Whether names may be left out of a complete result.
        command: The command line that asked for it, `printable`.
    """

    evaluation: Evaluation
    scores: Scores | None
    allow_missing: bool
    command: str

    @property
    def complete(self) -> bool:
        """Whether images were counted, and none left out but those that may be."""
        evaluation = self.evaluation
        allowed = all(self.allow_missing and problem.kind != "labels" for problem in evaluation.problems)
        return evaluation.counted > 0 and allowed and not evaluation.stopped


def write_tables(outcome: Outcome, folder: Path) -> list[Path]:
    """Writes the three files; of a result that is not complete the tables are ``*.partial.csv``.

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
        for rows, path in zip((_images, _confusion), paths[1:], strict=True):
            with naming(path), replaced(path, newline="") as file:
                write_rows(file, rows(outcome.evaluation))
    return paths


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Says which file could not be written when the disk is full."""
    try:
        yield
    except OSError as error:
        raise OSError(f"cannot write {printable(path)}: {error.strerror or error}") from error


def _record(outcome: Outcome) -> dict[str, object]:
    evaluation, scores = outcome.evaluation, outcome.scores
    left_out: dict[str, list[Problem]] = {}
    for problem in evaluation.problems:
        left_out.setdefault(problem.kind, []).append(problem)
    record: dict[str, object] = {
        "complete": outcome.complete,
        "interrupted": evaluation.stopped,
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
        "scores": None,
        "classes": [{"name": name} for name in evaluation.names],
        "command": outcome.command,
        "versions": versions(),
    }
    if scores is not None:
        numbers = {name: value for name, value in vars(scores).items() if isinstance(value, (int, float))}
        record["scores"] = numbers
        record["classes"] = [
            {"name": name, **asdict(one)} for name, one in zip(evaluation.names, scores.classes, strict=True)
        ]
    return record


def _images(evaluation: Evaluation) -> Iterator[list[Any]]:
    """Yields a row for each image counted: name, pixels, accuracy, mIoU, IoU of the classes in its label."""
    yield ["name", "pixels", "accuracy", "miou", *(f"iou_{name}" for name in evaluation.names)]
    for places, counts in evaluation.rows.blocks():
        iou = image_iou(counts)
        miou = image_miou(iou)
        pixels, right = counts[..., 1].sum(1), counts[..., 0].sum(1)
        for index, place in enumerate(places.tolist()):
            accuracy = right[index] / pixels[index] if pixels[index] else math.nan
            values = [accuracy, miou[index], *iou[index].tolist()]
            yield [evaluation.pairs.files[place][0], pixels[index], *map(_cell, values)]


def _confusion(evaluation: Evaluation) -> Iterator[list[Any]]:
    """Yields the pixels of every label (row) and prediction (column)."""
    yield ["label \\ prediction", *evaluation.names]
    for name, row in zip(evaluation.names, evaluation.confusion, strict=True):
        yield [name, *row.tolist()]


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"
