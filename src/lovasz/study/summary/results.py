"""A comparison as tables for other programs: results.csv, classes.csv and results.json."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lovasz.study.data.iou import iou_per_class
from lovasz.study.data.parts import TEST, TRAIN, VAL
from lovasz.study.io.disk import replaced, write_text
from lovasz.study.io.records import json_text
from lovasz.study.io.sheets import score_cell, write_rows
from lovasz.study.summary.compare import LARGE_CLASS, Comparison
from lovasz.study.summary.decisions import decided_by, mean_of_images, pooled_miou
from lovasz.study.summary.durations import total, whole
from lovasz.study.summary.score_intervals import Interval
from lovasz.study.summary.words import ARGMAX
from lovasz.study.train.decide import DECISIONS, IMAGE
from lovasz.study.train.predict import Decided
from lovasz.study.train.store import Run

# What the usual decision is called where labels may overlap: p > 1/2.
HALF = "half"
# Columns of classes.csv.
CLASSES = (
    "loss",
    "score",
    "class",
    "mean",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
    "over",
)


def write_csv(comparison: Comparison, path: Path) -> None:
    """Write one line a run: settings, mIoU, times, then the test IoU of each class.

    IoUs are fractions of 1; a class that never occurs is empty. ``test_miou_large`` is the mean
    over the classes with at least ``LARGE_CLASS`` test pixels, empty if there are none. What a run does not
    have of a decision is empty; so are its seconds if they were not counted.
    """
    columns = ["loss", "seed", "steps", "lr", "test_miou", "test_miou_large", "val_miou"]
    columns += ["seconds", "seconds_per_step", "loss_share", "loss_mib", "diverged"]
    columns += [f"test_miou_{decision}" for decision in DECISIONS]
    columns += ["image_miou", f"image_miou_{IMAGE}"]
    columns += [f"iou {name}" for name in comparison.data.class_names]
    rows: list[list[Any]] = [columns]
    for run in comparison.runs.values():
        settings = run.settings
        row: list[Any] = [settings.loss, settings.seed, settings.steps, settings.lr]
        row += [run.test_miou / 100, _large(comparison, run), run.val_miou / 100]
        row += [whole(run), run.seconds_per_step, run.loss_share, run.loss_mib, run.diverged]
        row += [_known(pooled_miou(decided_by(run, decision))) for decision in DECISIONS]
        row += [_known(mean_of_images(decided_by(run, decision))) for decision in (ARGMAX, IMAGE)]
        rows.append(row + _ious(run.tested))
    with replaced(path, newline="") as file:
        write_rows(file, rows)


def write_classes(comparison: Comparison, path: Path) -> None:
    """Write the mean test scores of each loss with their intervals: a line for the mIoU, then one a class.

    Scores and differences from the baseline are fractions of 1; what does not exist is empty.
    """
    rows: list[list[Any]] = []
    what = [comparison.intervals_of]
    differences = [None, *comparison.both]
    for summary, found, both in zip(comparison.summaries, comparison.intervals, differences, strict=True):
        gap = [] if both is None else [both.mean, both.low, both.high]
        rows.append([summary.loss, "miou", "", *map(_cell, [summary.mean, *_pair(found.miou), *gap])])
        for name, value, ends, away, over in zip(
            comparison.data.class_names,
            summary.classes,
            found.classes,
            comparison.summaries[0].classes,
            found.gains or [None] * comparison.data.num_classes,
            strict=True,
        ):
            gap = [] if both is None else [value - away, *_pair(over)]
            rows.append([summary.loss, "iou", name, *map(_cell, [value, *_pair(ends), *gap])])
    with replaced(path, newline="") as file:
        write_rows(file, [CLASSES, *(row + [""] * (len(CLASSES) - 1 - len(row)) + what for row in rows)])


def write_json(comparison: Comparison, path: Path) -> None:
    """Write everything: verdict, summaries, differences, every run with its curve, versions.

    IoUs are fractions of 1 in ``runs`` and percentages elsewhere, as in the report; what is not a
    number is null.
    """
    data = comparison.data

    def key(decision: str) -> str:
        return HALF if data.overlap and decision == ARGMAX else decision

    record = {
        "verdict": comparison.verdict,
        "summaries": [asdict(summary) for summary in comparison.summaries],
        "differences": [asdict(difference) for difference in comparison.differences],
        "differences_over_seeds_and_images": [asdict(one) for one in comparison.both],
        "intervals": {
            "what": f"95 %, over {comparison.intervals_of}" if comparison.intervals_of else "none",
            "unit": comparison.units.noun,
            "units": comparison.units.number,
            "losses": [asdict(one) for one in comparison.intervals],
        },
        "large_differences": [asdict(difference) for difference in comparison.large_differences],
        "decisions": [{**asdict(row), "decision": key(row.decision)} for row in comparison.decisions],
        "decision_notes": comparison.decision_notes,
        "runs": [
            {
                **asdict(run.settings),
                "loss": run.settings.loss,
                "test_miou": run.test_miou / 100,
                "test_miou_large": _large(comparison, run),
                "val_miou": run.val_miou / 100,
                "image_miou": mean_of_images(run.tested),
                "test_iou": _ious(run.tested),
                "test_counts": run.test_counts.tolist(),
                "decided": {
                    decision: {
                        "test_miou": pooled_miou(decided),
                        "image_miou": mean_of_images(decided),
                        "test_iou": _ious(decided),
                    }
                    for decision, decided in run.tested.decided.items()
                },
                "rules": {decision: asdict(rule) for decision, rule in (run.rules or {}).items()},
                "curve": [point._asdict() for point in run.curve],
                "seconds": run.seconds,
                "seconds_per_step": run.seconds_per_step,
                "loss_share": run.loss_share,
                "loss_mib": run.loss_mib,
                "diverged": run.diverged,
            }
            for run in comparison.runs.values()
        ],
        "seconds": total(comparison.runs.values()),
        "learning_rates_tried": comparison.tried,
        "config": comparison.config.model_dump(mode="json"),
        "start": comparison.start,
        "data": {
            "name": data.name,
            "task": data.task,
            "classes": data.class_names,
            "train_pixels": data.parts[TRAIN].pixels,
            "val_pixels": data.parts[VAL].pixels,
            "test_pixels": data.parts[TEST].pixels,
            "large_class_test_pixels": LARGE_CLASS,
            "large_classes": [data.class_names[index] for index in comparison.large],
            "credit": data.credit,
            "licence": data.licence,
            "licence_url": data.licence_url,
        },
        "versions": comparison.versions,
        "machine": comparison.machine,
        "finished": comparison.finished,
    }
    write_text(path, json_text(record))


def _large(comparison: Comparison, run: Run) -> float | None:
    return _known(run.test_miou_over(comparison.large) / 100)


def _ious(decided: Decided) -> list[float | None]:
    return [_known(value) for value in iou_per_class(torch.from_numpy(decided.counts)).tolist()]


def _pair(ends: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if ends is None else (ends.low, ends.high)


def _cell(percent: float | None) -> str:
    return score_cell(None if percent is None else percent / 100)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
