"""Finished runs on disk: one folder each, there in full or not at all."""

import json
import os
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lovasz.study.iou import iou_per_class, mean_iou
from lovasz.study.settings import Settings


class DamagedRunError(ValueError):
    """A run's folder is there but does not hold that run."""


@dataclass(frozen=True)
class Run:
    """What one finished training leaves behind.

    Attributes:
        settings: What determined it.
        curve: (step, validation mIoU) along the training.
        val_counts: Validation pixels by (target, prediction), (C, C).
        test_counts: Test pixels by (target, prediction), (C, C).
        step_seconds: Time of every step but the first.
        loss_seconds: The part of each spent in the loss, forward and back to the logits.
        diverged: Whether the last loss was not a finite number.
        prediction: Predicted class of every pixel of the scene, (H, W), uint8.
    """

    settings: Settings
    curve: list[tuple[int, float]]
    val_counts: list[list[int]]
    test_counts: list[list[int]]
    step_seconds: list[float]
    loss_seconds: list[float]
    diverged: bool
    prediction: NDArray[np.uint8]

    @property
    def test_miou(self) -> float:
        """Test mIoU in percent."""
        return 100 * mean_iou(torch.tensor(self.test_counts))

    @property
    def val_miou(self) -> float:
        """Validation mIoU in percent."""
        return 100 * mean_iou(torch.tensor(self.val_counts))

    @property
    def seconds_per_step(self) -> float:
        """Median time of a step."""
        return statistics.median(self.step_seconds)

    @property
    def loss_share(self) -> float:
        """Median time in the loss over the median time of a step."""
        return statistics.median(self.loss_seconds) / self.seconds_per_step

    def test_miou_over(self, classes: Sequence[int]) -> float:
        """Returns the test mIoU over some classes in percent; NaN if none of them occurs."""
        return 100 * float(iou_per_class(torch.tensor(self.test_counts))[list(classes)].nanmean())


def load(folder: Path, settings: Settings) -> Run | None:
    """Returns the finished run of these settings, or None where there is none.

    Raises:
        DamagedRunError: If the run's folder cannot be read or holds other settings.
    """
    place = folder / "runs" / settings.key
    if not place.is_dir():
        return None
    try:
        record = json.loads((place / "run.json").read_text(encoding="utf-8"))
        found = Settings(**record.pop("settings"))
        curve = [(int(step), float(miou)) for step, miou in record.pop("curve")]
        prediction = np.load(place / "prediction.npy", allow_pickle=False)
        run = Run(settings=found, curve=curve, prediction=prediction, **record)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DamagedRunError(f"{place} cannot be read ({error}); delete it and the run is done again") from error
    if found != settings:
        raise DamagedRunError(f"{place} holds other settings than its name says; delete or move it")
    return run


def save(folder: Path, run: Run) -> None:
    """Writes a finished run so that no interruption leaves half of it under its name.

    The files are written and flushed to disk in a hidden folder, which is then renamed. If the
    same run was finished by another process meanwhile, that one stays.
    """
    runs = folder / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    place = runs / run.settings.key
    draft = runs / f".{run.settings.key}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    record = asdict(run)
    prediction = record.pop("prediction")
    with open(draft / "prediction.npy", "wb") as file:
        np.save(file, prediction, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    with open(draft / "run.json", "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.replace(draft, place)
    except OSError:
        if not place.is_dir():
            raise
    # Drafts that a killed process left behind, and our own if another was first.
    for stale in runs.glob(f".{run.settings.key}.*"):
        shutil.rmtree(stale, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Replaces a file's content in one step: a reader sees the old text or the new."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


def check_writable(folder: Path) -> None:
    """Creates the folder if needed and checks that files can be written there.

    Raises:
        OSError: If they cannot; the message says where and why.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"cannot write results to {folder}: it is not a folder")
    probe = folder / f".writable.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"cannot write results to {folder}: {reason}") from error
