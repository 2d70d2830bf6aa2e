"""Finished runs on disk: one folder each, there in full or not at all."""

import io
import itertools
import json
import os
import shutil
import statistics
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lovasz.study.data.iou import iou_per_class, mean_iou
from lovasz.study.io.digests import SUMS, check_sums, sealed, sums, unsealed
from lovasz.study.io.disk import flush_folder, flushed, replaced
from lovasz.study.io.sheets import write_rows
from lovasz.study.train.decide import DECISIONS, FittedRule
from lovasz.study.train.predict import Decided, Tested
from lovasz.study.train.settings import Settings, from_record

# Files of a run: Lightning's whole state while it is unfinished, weights, and the curve.
STATE, BEST, LAST, CURVE = "state.ckpt", "best.pt", "last.pt", "curve.csv"
# What it is loaded from.
RECORD, TESTED = "run.json", "tested.npz"


class DamagedRunError(ValueError):
    """A run's folder is there but does not hold that run.

    Attributes:
        folder: The folder.
    """

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"{folder} is damaged ({reason})")
        self.folder = folder


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
        rules: Rules for the data set, by decision; None of a run that was finished before there were any.
        seconds: Seconds of each part of the run (`lovasz.study.train.clock`), over all commands that worked on it;
            None of a run that was finished before they were counted.
    """

    settings: Settings
    curve: list[Point]
    val_counts: list[list[int]]
    step_seconds: list[float]
    loss_seconds: list[float]
    loss_mib: float | None
    diverged: bool
    tested: Tested
    rules: dict[str, FittedRule] | None = None
    seconds: dict[str, float] | None = None

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


def finished(folder: Path, settings: Settings) -> Path:
    """Return where a finished run is kept."""
    return folder / "runs" / settings.key


def draft(folder: Path, settings: Settings) -> Path:
    """Return where an unfinished run keeps its state and its curve."""
    return folder / "runs" / f".{settings.key}"


def load(folder: Path, settings: Settings) -> Run | None:
    """Return the finished run of these settings, or None where there is none.

    Raises:
        DamagedRunError: If a file of the run is missing or not as it was written, or holds other settings.
    """
    place = finished(folder, settings)
    if not place.is_dir():
        return None
    try:
        check_sums(place, (RECORD, TESTED))
        record = json.loads((place / RECORD).read_text(encoding="utf-8"))
        found = from_record(record.pop("settings"))
        curve = [Point(*point) for point in record.pop("curve")]
        rules = record.pop("rules", None)
        if rules is not None:
            rules = {name: FittedRule(**rule) for name, rule in rules.items()}
        with np.load(place / TESTED, allow_pickle=False) as arrays:
            named = {name: arrays[name] for name in arrays.files}
        run = Run(settings=found, curve=curve, tested=_unpacked(named), rules=rules, **record)
    except (ValueError, TypeError, KeyError, AttributeError, FileNotFoundError, zipfile.BadZipFile) as error:
        raise DamagedRunError(place, str(error)) from error
    if found != settings:
        raise DamagedRunError(place, "it holds other settings than its name says")
    return run


def _packed(tested: Tested) -> dict[str, Any]:
    """Return what a network did on the test part as arrays by name."""
    arrays = {field.name: getattr(tested, field.name) for field in fields(tested)}
    arrays |= {f"prediction{index}": one for index, one in enumerate(arrays.pop("predictions"))}
    for name, decided in arrays.pop("decided").items():
        arrays |= {f"counts {name}": decided.counts, f"images {name}": decided.images}
    return arrays


def _unpacked(arrays: dict[str, Any]) -> Tested:
    """Rebuild it; runs that were finished before there were decisions hold none."""
    predictions = [arrays.pop(f"prediction{index}") for index in range(len(arrays["kept"]))]
    decided = {
        name: Decided(arrays.pop(f"counts {name}"), arrays.pop(f"images {name}"))
        for name in DECISIONS
        if f"counts {name}" in arrays
    }
    return Tested(**arrays, predictions=predictions, decided=decided)


def set_aside(damaged: Path) -> Path:
    """Rename the folder of a damaged run, so that the run is done again, and return its new name."""
    name = damaged.with_name(f"{damaged.name.lstrip('.')}.damaged")
    free = (name if not number else name.with_name(f"{name.name}{number}") for number in itertools.count())
    aside = next(path for path in free if not path.exists())
    os.rename(damaged, aside)
    flush_folder(aside.parent)
    return aside


def save(folder: Path, run: Run) -> None:
    """Write a finished run so that no interruption leaves half of it under its name.

    The files are written and flushed to disk in a hidden folder, which is then renamed. If the
    same run was finished by another process meanwhile, that one stays.
    """
    place, state = finished(folder, run.settings), draft(folder, run.settings)
    runs = place.parent
    runs.mkdir(parents=True, exist_ok=True)
    hidden = runs / f".{run.settings.key}.{os.getpid()}"
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir()
    record = {field.name: getattr(run, field.name) for field in fields(run) if field.name != "tested"}
    record["settings"] = asdict(run.settings)
    if run.rules is not None:
        record["rules"] = {name: asdict(rule) for name, rule in run.rules.items()}
    with flushed(hidden / TESTED, binary=True) as file:
        np.savez_compressed(file, **_packed(run.tested))
    with flushed(hidden / RECORD) as file:
        json.dump(record, file, indent=1)
    for name in (BEST, LAST, CURVE):
        if (state / name).exists():
            os.replace(state / name, hidden / name)
    digests = sums(hidden)
    with flushed(hidden / SUMS) as file:
        file.write(digests)
    flush_folder(hidden)
    try:
        os.replace(hidden, place)
    except OSError:
        if not place.is_dir():
            raise
    flush_folder(runs)
    # The state it grew from, drafts that a killed process left behind, and our own if another was first.
    for stale in (state, *runs.glob(f".{run.settings.key}.*")):
        shutil.rmtree(stale, ignore_errors=True)


def begin(folder: Path, settings: Settings) -> Path:
    """Create the folder of an unfinished run and return it."""
    place = draft(folder, settings)
    place.mkdir(parents=True, exist_ok=True)
    for parent in (place.parent, folder):
        flush_folder(parent)
    return place


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the state of an unfinished run in one step, with its digest."""
    content = io.BytesIO()
    torch.save(state, content)
    with replaced(path, binary=True) as file:
        file.write(sealed(content.getvalue()))


def read_state(path: Path) -> dict[str, Any]:
    """Read the state of an unfinished run, on the CPU.

    Raises:
        DamagedRunError: If it is not as it was written, or holds anything but tensors and plain values.
    """
    try:
        content = io.BytesIO(unsealed(path.read_bytes()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is no file of torch.save: the error says so
            state: dict[str, Any] = torch.load(content, map_location="cpu", weights_only=True)
    except (ValueError, RuntimeError, EOFError, KeyError, UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedRunError(path.parent, f"{path.name}: {reason}") from error
    return state


def check_state(folder: Path, settings: Settings) -> None:
    """Check the state of an unfinished run, where there is one.

    Raises:
        DamagedRunError: If it cannot be used.
    """
    state = draft(folder, settings) / STATE
    if state.exists():
        read_state(state)


def save_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write a state dict, to be read by ``torch.load(path, weights_only=True)``."""
    with replaced(path, binary=True) as file:
        torch.save(dict(weights), file)


def write_curve(path: Path, curve: Sequence[Point]) -> None:
    """Write a curve as CSV."""
    with replaced(path, newline="") as file:
        write_rows(file, [Point._fields, *curve])
