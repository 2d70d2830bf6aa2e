"""Finished runs are kept, never repeated, and never half there."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lovasz.study import predict, store
from lovasz.study.config import Config, make_config
from lovasz.study.runs import plan, run_missing
from lovasz.study.settings import Settings
from lovasz.study.store import Point, Run
from tests.tiny_data import tiny_scene

SETTINGS = Settings(
    "ce>lovasz",
    0,
    4,
    0.01,
    1,
    (8, 8),
    ("turn",),
    "adamw",
    "cosine",
    1e-4,
    "32",
    "tiny",
    "net",
    "cpu",
    1,
    1,
    "0",
    "0",
)
TESTED = predict.Tested(
    counts=np.array([[3, 1], [0, 4]]),
    images=np.arange(12).reshape(2, 3, 2),
    thresholds=np.array([0, 0.5, 1], dtype=np.float32),
    curves=np.array([[1, 0.5, 0], [np.nan, np.nan, np.nan]], dtype=np.float32),
    kept=np.array([0, 1]),
    predictions=[np.eye(3, dtype=np.uint16), np.ones((2, 4), dtype=np.uint16)],
)


def config_of(steps: int) -> Config:
    return make_config({"losses": "ce", "seeds": 3, "steps": steps, "accelerator": "cpu"}, None)


# Trains the runs of a comparison; during seed 1 the third checkpoint is waited for, then the kill.
CHILD = """
import sys, time
from pathlib import Path
from lovasz.study.runs import plan, run_missing
from tests.test_study_store import Quiet, config_of
from tests.tiny_data import tiny_scene

folder = Path(sys.argv[1])
class Waits(Quiet):
    def on_step(self, step):
        if self.begun[-1] == 1 and step == 13:
            (folder / "waiting").touch()
            time.sleep(120)
config, scene = config_of(40), tiny_scene()
run_missing(plan(config, scene, threads=1), config, scene, folder, Waits(), {})
"""


class Quiet:
    """Hears which seeds begin and the steps that are done."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.steps: list[int] = []

    def on_start(self, settings: Settings) -> None:
        self.begun.append(settings.seed)

    def on_step(self, step: int) -> None:
        self.steps.append(step)

    def on_finish(self, run: Run) -> None:
        pass


def made_up(settings: Settings = SETTINGS) -> Run:
    return Run(
        settings=settings,
        curve=[Point(2, 0.25, 1.5, 0.01), Point(4, float("nan"), 1.25, 0.005)],
        val_counts=[[1, 0], [1, 2]],
        step_seconds=[0.5, 0.25, 9.0],
        loss_seconds=[0.1, 0.2, 0.05],
        loss_mib=1.5,
        diverged=False,
        tested=TESTED,
    )


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    store.save(tmp_path, made_up())
    run = store.load(tmp_path, SETTINGS)
    assert run is not None
    np.testing.assert_equal(run.curve, made_up().curve)
    assert (run.settings, run.loss_mib, run.step_seconds) == (SETTINGS, 1.5, [0.5, 0.25, 9.0])
    for field in fields(predict.Tested):
        for found, wanted in zip(getattr(run.tested, field.name), getattr(TESTED, field.name), strict=True):
            np.testing.assert_array_equal(found, wanted)
            assert found.dtype == wanted.dtype
    assert run.test_counts.tolist() == [[3, 1], [0, 4]]


def test_medians_and_the_mean_over_some_classes() -> None:
    run = made_up()
    assert (run.seconds_per_step, run.loss_share) == (0.5, 0.2)
    assert run.test_miou_over([0]) == pytest.approx(75)
    assert run.test_miou_over([1]) == pytest.approx(80)
    assert run.test_miou_over([0, 1]) == run.test_miou
    assert math.isnan(run.test_miou_over([]))


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "ce"},
        {"seed": 1},
        {"steps": 5},
        {"lr": 0.02},
        {"batch": 2},
        {"crop": None},
        {"augment": ()},
        {"optimizer": "sgd"},
        {"schedule": "poly"},
        {"weight_decay": 0.0},
        {"precision": "bf16"},
        {"data": "other"},
        {"network": "other"},
        {"accelerator": "cuda"},
        {"threads": 2},
        {"devices": 2},
        {"lovasz": "1"},
        {"torch": "1"},
    ],
)
def test_other_settings_are_another_run(tmp_path: Path, change: dict[str, object]) -> None:
    store.save(tmp_path, made_up())
    other = replace(SETTINGS, **change)  # type: ignore[arg-type]
    assert store.load(tmp_path, other) is None
    store.save(tmp_path, made_up(other))
    for settings in (SETTINGS, other):
        run = store.load(tmp_path, settings)
        assert run is not None
        assert run.settings == settings


def test_half_written_run_is_not_there(tmp_path: Path) -> None:
    draft = tmp_path / "runs" / f".{SETTINGS.key}.1"
    draft.mkdir(parents=True)
    (draft / "run.json").write_text('{"settings"')
    assert store.load(tmp_path, SETTINGS) is None
    store.save(tmp_path, made_up())
    assert store.load(tmp_path, SETTINGS) is not None
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [SETTINGS.key]


def test_interrupted_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.save(tmp_path, made_up())
    assert store.load(tmp_path, SETTINGS) is None
    store.save(tmp_path, made_up())
    assert store.load(tmp_path, SETTINGS) is not None


def test_first_of_two_processes_stays(tmp_path: Path) -> None:
    store.save(tmp_path, made_up())
    store.save(tmp_path, replace(made_up(), step_seconds=[9.0]))
    run = store.load(tmp_path, SETTINGS)
    assert run is not None
    assert run.seconds_per_step == 0.5
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_damaged_run_is_named_and_not_used(tmp_path: Path) -> None:
    store.save(tmp_path, made_up())
    record = tmp_path / "runs" / SETTINGS.key / "run.json"
    content = json.loads(record.read_text())
    content["settings"]["seed"] = 7
    record.write_text(json.dumps(content))
    with pytest.raises(store.DamagedRunError, match="other settings"):
        store.load(tmp_path, SETTINGS)
    record.write_text("{")
    with pytest.raises(store.DamagedRunError, match=r"cannot be read .* delete it"):
        store.load(tmp_path, SETTINGS)


def test_writable(tmp_path: Path) -> None:
    store.check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="cannot write results to"):
            store.check_writable(folder)


def test_text_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("old", "new"):
        store.write_text(tmp_path / "results.csv", text)
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]
    assert (tmp_path / "results.csv").read_text() == "new"


def test_files_of_a_user_own_loss_have_a_name_for_every_system() -> None:
    key = replace(SETTINGS, loss="my.package:loss (1f2e3d4c)").key
    assert key.startswith("my.package_loss_1f2e3d4c-seed0-")


def test_killed_comparison_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    """Killed outright in the midst of the second of three runs, between two checkpoints."""
    root = Path(__file__).parents[1]
    path = os.pathsep.join([str(root / "src"), str(root)])
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(killed)], env={**os.environ, "PYTHONPATH": path}
    ) as child:
        deadline = time.monotonic() + 100
        while not (killed / "waiting").exists():
            assert child.poll() is None, "the comparison ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
    config, scene = config_of(40), tiny_scene()
    planned = plan(config, scene, threads=1)
    state = store.draft(killed, planned.runs[1])
    assert sorted(file.name for file in state.iterdir()) == ["best.pt", "curve.csv", "state.ckpt"]

    found = {}
    for folder, begun, first in ((killed, [1, 2], 13), (whole, [0, 1, 2], 1), (killed, [], None)):
        heard = Quiet()
        found[folder], _ = run_missing(planned, config, scene, folder, heard, {})
        assert heard.begun == begun
        assert next(iter(heard.steps), None) == first  # twelve steps were done and kept
        assert [run.settings.seed for run in found[folder]] == [0, 1, 2]
    for one, other in zip(found[killed], found[whole], strict=True):
        assert one.curve == other.curve
        assert one.val_counts == other.val_counts
        assert len(one.step_seconds) == len(other.step_seconds) == 39
        for name in ("best.pt", "last.pt"):
            weights, expected = (
                torch.load(folder / "runs" / one.settings.key / name, weights_only=True)
                for folder in (killed, whole)
            )
            torch.testing.assert_close(weights, expected, rtol=0, atol=0)
    assert not state.exists()


def test_damaged_state_is_named(tmp_path: Path) -> None:
    config, scene = config_of(4), tiny_scene()
    planned = plan(config, scene, threads=1)
    state = store.draft(tmp_path, planned.runs[0])
    state.mkdir(parents=True)
    (state / store.STATE).write_bytes(b"torn")
    with pytest.raises(store.DamagedRunError, match=r"state.ckpt cannot be read .* delete it"):
        run_missing(planned, config, scene, tmp_path, Quiet(), {})
