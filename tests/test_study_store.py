"""Finished runs are kept, never repeated, and never half there."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lovasz.study import store
from lovasz.study.compare import plan, run_missing
from lovasz.study.settings import Settings
from lovasz.study.store import Run
from tests.tiny_scene import tiny_scene

SETTINGS = Settings("ce>lovasz", 0, 4, 0.01, "tiny", "net", "cpu", 1, "0", "0")

# Trains the runs of `main` below until seed 1 has done two steps; then it waits to be stopped.
CHILD = """
import sys, time
from pathlib import Path
from lovasz.study.compare import plan, run_missing
from tests.tiny_scene import tiny_scene

folder, seed = Path(sys.argv[1]), []
def on_step(step):
    if seed[-1] == 1 and step == 2:
        (folder / "waiting").touch()
        time.sleep(120)
scene = tiny_scene()
planned = plan(scene, ["ce"], seeds=3, steps=4, lr=0.01, accelerator="cpu", threads=1)
run_missing(planned, scene, folder, lambda s: seed.append(s.seed), on_step, lambda run: None)
"""


def made_up(settings: Settings = SETTINGS) -> Run:
    return Run(
        settings=settings,
        curve=[(2, 0.25), (4, float("nan"))],
        val_counts=[[1, 0], [1, 2]],
        test_counts=[[3, 1], [0, 4]],
        step_seconds=[0.5, 0.25, 9.0],
        loss_seconds=[0.1, 0.2, 0.05],
        diverged=False,
        prediction=np.eye(3, dtype=np.uint8),
    )


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    store.save(tmp_path, made_up())
    run = store.load(tmp_path, SETTINGS)
    assert run is not None
    np.testing.assert_equal(run.curve, made_up().curve)
    np.testing.assert_array_equal(run.prediction, made_up().prediction)
    assert replace(run, curve=[], prediction=made_up().prediction).settings == SETTINGS
    assert (run.test_counts, run.step_seconds) == ([[3, 1], [0, 4]], [0.5, 0.25, 9.0])


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


def test_killed_comparison_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    path = os.pathsep.join([str(root / "src"), str(root)])
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], env={**os.environ, "PYTHONPATH": path}
    ) as child:
        deadline = time.monotonic() + 100
        while not (tmp_path / "waiting").exists():
            assert child.poll() is None, "the comparison ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
    assert len(list((tmp_path / "runs").iterdir())) == 1

    scene, trained = tiny_scene(), []
    planned = plan(scene, ["ce"], seeds=3, steps=4, lr=0.01, accelerator="cpu", threads=1)
    for expected in ([1, 2], []):
        trained.clear()
        runs = run_missing(
            planned,
            scene,
            tmp_path,
            lambda settings: trained.append(settings.seed),
            lambda step: None,
            lambda run: None,
        )
        assert trained == expected
        assert [run.settings.seed for run in runs] == [0, 1, 2]
