"""A comparison as tables for other programs: results.csv and results.json."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lovasz.study.data.iou import iou_per_class
from lovasz.study.data.parts import TEST, TRAIN, VAL
from lovasz.study.io.disk import replaced, write_text
from lovasz.study.io.records import json_text
from lovasz.study.io.sheets import write_rows
from lovasz.study.summary.compare import LARGE_CLASS, Comparison
from lovasz.study.train.store import Run


def write_csv(comparison: Comparison, path: Path) -> None:
    """Write one line a run: settings, mIoU, times, then the test IoU of each class.

    IoUs are fractions of 1; a class that never occurs is empty. ``test_miou_large`` is the mean
    over the classes with at least ``LARGE_CLASS`` test pixels, empty if there are none.
    """
    columns = ["loss", "seed", "steps", "lr", "test_miou", "test_miou_large", "val_miou"]
    columns += ["seconds_per_step", "loss_share", "loss_mib", "diverged"]
    columns += [f"iou {name}" for name in comparison.data.class_names]
    rows: list[list[Any]] = [columns]
    for run in comparison.runs.values():
        settings = run.settings
        row: list[Any] = [settings.label, settings.seed, settings.steps, settings.lr]
        row += [run.test_miou / 100, _large(comparison, run), run.val_miou / 100]
        row += [run.seconds_per_step, run.loss_share, run.loss_mib, run.diverged]
        rows.append(row + _ious(run))
    with replaced(path, newline="") as file:
        write_rows(file, rows)


def write_json(comparison: Comparison, path: Path) -> None:
    """Write everything: verdict, summaries, differences, every run with its curve, versions.

    IoUs are fractions of 1 in ``runs`` and percentages elsewhere, as in the report; what is not a
    number is null.
    """
    data = comparison.data
    record = {
        "verdict": comparison.verdict,
        "summaries": [asdict(summary) for summary in comparison.summaries],
        "differences": [asdict(difference) for difference in comparison.differences],
        "large_differences": [asdict(difference) for difference in comparison.large_differences],
        "runs": [
            {
                **asdict(run.settings),
                "loss": run.settings.label,
                "test_miou": run.test_miou / 100,
                "test_miou_large": _large(comparison, run),
                "val_miou": run.val_miou / 100,
                "test_iou": _ious(run),
                "test_counts": run.test_counts.tolist(),
                "curve": [point._asdict() for point in run.curve],
                "seconds_per_step": run.seconds_per_step,
                "loss_share": run.loss_share,
                "loss_mib": run.loss_mib,
                "diverged": run.diverged,
            }
            for run in comparison.runs.values()
        ],
        "learning_rates_tried": comparison.tried,
        "config": comparison.config.model_dump(mode="json"),
        "data": {
            "name": data.name,
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
    value = run.test_miou_over(comparison.large) / 100
    return value if math.isfinite(value) else None


def _ious(run: Run) -> list[float | None]:
    values = iou_per_class(run.test_counts).tolist()
    return [value if math.isfinite(value) else None for value in values]
