"""Finished runs on disk: one folder each, there in full or not at all."""

import json
import math
import os
import pickle
import shutil
import statistics
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import torch
from torch import Tensor, nn

from lovasz.study.iou import iou_per_class, mean_iou
from lovasz.study.predict import Tested
from lovasz.study.settings import Settings, from_record

# Files of a run: Lightning's whole state while it is unfinished, weights, and the curve.
STATE, BEST, LAST, CURVE = "state.ckpt", "best.pt", "last.pt", "curve.csv"


class DamagedRunError(ValueError):
    """A run's folder is there but does not hold that run."""


class Point(NamedTuple):
    """One point of a run's curve: after so many steps.

    Attributes:
        step: Steps done.
        miou: Validation mIoU, a fraction of 1.
        loss: Mean training loss since the point before.
        lr: Learning rate of the next step.
    """

    step: int
    miou: float
    loss: float
    lr: float


@dataclass(frozen=True)
class Run:
    """What one finished training leaves behind.

    Attributes:
        settings: What determined it.
        curve: Along the training.
        val_counts: Validation pixels by (target, prediction), (C, C).
        step_seconds: Time of every step but the first.
        loss_seconds: The part of each spent in the loss, forward and back to the logits.
        loss_mib: Peak memory of the loss beyond logits, target and gradient; None if not measured.
        diverged: Whether the last loss was not a finite number.
        tested: What it did on the test part.
    """

    settings: Settings
    curve: list[Point]
    val_counts: list[list[int]]
    step_seconds: list[float]
    loss_seconds: list[float]
    loss_mib: float | None
    diverged: bool
    tested: Tested

    @property
    def test_counts(self) -> Tensor:
        """Test pixels by (target, prediction), (C, C)."""
        return torch.from_numpy(self.tested.counts)

    @property
    def test_miou(self) -> float:
        """Test mIoU in percent."""
        return 100 * mean_iou(self.test_counts)

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
        return 100 * float(iou_per_class(self.test_counts)[list(classes)].nanmean())


def draft(folder: Path, settings: Settings) -> Path:
    """Returns where an unfinished run keeps its state, the weights of its best round and its curve."""
    return folder / "runs" / f".{settings.key}"


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
        found = from_record(record.pop("settings"))
        curve = [Point(*point) for point in record.pop("curve")]
        with np.load(place / "tested.npz", allow_pickle=False) as arrays:
            named = {name: arrays[name] for name in arrays.files}
        predictions = [named.pop(f"prediction{index}") for index in range(len(named["kept"]))]
        run = Run(settings=found, curve=curve, tested=Tested(**named, predictions=predictions), **record)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise DamagedRunError(f"{place} cannot be read ({error}); delete it and the run is done again") from error
    if found != settings:
        raise DamagedRunError(f"{place} holds other settings than its name says; delete or move it")
    return run


def save(folder: Path, run: Run) -> None:
    """Writes a finished run so that no interruption leaves half of it under its name.

    The files are written and flushed to disk in a hidden folder, which is then renamed. If the
    same run was finished by another process meanwhile, that one stays.
    """
    runs, state = folder / "runs", draft(folder, run.settings)
    runs.mkdir(parents=True, exist_ok=True)
    place = runs / run.settings.key
    hidden = runs / f".{run.settings.key}.{os.getpid()}"
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir()
    record = {field.name: getattr(run, field.name) for field in fields(run) if field.name != "tested"}
    record["settings"] = asdict(run.settings)
    arrays = {field.name: getattr(run.tested, field.name) for field in fields(run.tested)}
    arrays |= {f"prediction{index}": one for index, one in enumerate(arrays.pop("predictions"))}
    with open(hidden / "tested.npz", "wb") as binary:
        np.savez_compressed(binary, **arrays)
        binary.flush()
        os.fsync(binary.fileno())
    for name in (BEST, LAST, CURVE):
        if (state / name).exists():
            shutil.copyfile(state / name, hidden / name)
    with open(hidden / "run.json", "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.replace(hidden, place)
    except OSError:
        if not place.is_dir():
            raise
    # The state it grew from, drafts that a killed process left behind, and our own if another was first.
    for stale in (state, *runs.glob(f".{run.settings.key}.*")):
        shutil.rmtree(stale, ignore_errors=True)


def save_weights(network: nn.Module, path: Path) -> None:
    """Writes the state dict, to be read by ``torch.load(path, weights_only=True)``."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save({name: value.cpu() for name, value in network.state_dict().items()}, hidden)
    os.replace(hidden, path)


def curve_csv(curve: Sequence[Point]) -> str:
    """Returns a curve as CSV."""
    lines = [",".join(Point._fields), *(",".join(map(str, point)) for point in curve)]
    return "\n".join(lines) + "\n"


@contextmanager
def told(state: Path) -> Iterator[None]:
    """Says which file is damaged when the state of an unfinished run cannot be read."""
    try:
        yield
    except (zipfile.BadZipFile, EOFError, KeyError, pickle.UnpicklingError) as error:
        if not state.exists():
            raise
        raise DamagedRunError(f"{state} cannot be read ({error}); delete it and the run begins again") from error


@contextmanager
def replaced(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """Opens a draft of a text file that takes its name once it is whole: a reader sees the old or the new."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    with open(hidden, "w", encoding="utf-8", newline=newline) as file:
        yield file
    os.replace(hidden, path)


def write_text(path: Path, text: str) -> None:
    """Replaces a file's content in one step."""
    with replaced(path) as file:
        file.write(text)


def finite(value: Any) -> Any:
    """Returns a record with None, which JSON has a word for, in the place of what is no finite number."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
