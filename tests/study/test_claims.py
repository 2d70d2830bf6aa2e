"""Several commands on one folder share its runs; what one leaves behind is taken over."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from lovasz.cli import session
from lovasz.cli.app import app
from lovasz.study.train import claims, memory, store, training, work
from lovasz.study.train.claims import Team, claim
from lovasz.study.train.runs import plan, run_missing
from lovasz.study.train.settings import Settings
from lovasz.study.train.store import Run
from tests.core.processes import command
from tests.study.test_store import SETTINGS, Quiet, config_of, made_up
from tests.study.tiny_data import tiny_scene


def wait_in_the_first_run(out: Path, name: str) -> None:
    """Lets a command train on the tiny scene; in its first run it waits for the two others, or for its end."""
    session.load_indian_pines, memory.loss_mib = tiny_scene, lambda *_: None  # type: ignore[assignment]
    train = training.train

    def waits(settings: Settings, config: Any, data: Any, folder: Any, on_step: Any, keep: bool) -> Run:
        with open(out / f"{name}.trained", "a") as file:
            file.write(f"{settings.key}\n")

        def step_done(step: int) -> None:
            on_step(step)
            while step == 2 and (name == "killed" or len(list(out.glob("*.trained"))) < 3):
                time.sleep(0.05)

        return train(settings, config, data, folder, step_done, keep)

    training.train = waits


OPTIONS = (
    "--loss",
    "ce",
    "--loss",
    "lovasz",
    "--seeds",
    "2",
    "--steps",
    "3",
    "--accelerator",
    "cpu",
    "--threads",
    "1",
)


def results(out: Path) -> Any:
    """The runs of a comparison without their times."""
    runs = json.loads((out / "results.json").read_text())["runs"]
    for run in runs:
        for name in ("seconds", "seconds_per_step", "loss_share", "loss_mib"):
            del run[name]
    return runs


@pytest.mark.usefixtures("memory_not_measured")
def test_commands_on_one_folder_share_the_runs_and_take_over_those_of_a_killed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    names = ("killed", "one", "other")
    shared.mkdir()
    arguments = ["compare", *OPTIONS, "--out", str(shared)]
    commands = {name: command(shared / name, arguments, wait_in_the_first_run, shared, name) for name in names}
    for one in commands.values():
        one.start()
    try:
        deadline = time.monotonic() + 300
        stdouts = [shared / f"{name}.stdout" for name in names[1:]]
        while not all(file.exists() and "Waiting for 1 run" in file.read_text() for file in stdouts):
            assert time.monotonic() < deadline
            for name, one in commands.items():
                assert one.exitcode is None, (shared / f"{name}.stderr").read_text()
            time.sleep(0.1)
        commands["killed"].kill()
        for name in names[1:]:
            commands[name].join(300)
            assert commands[name].exitcode == 0, (shared / f"{name}.stderr").read_text()
    finally:
        for one in commands.values():
            one.kill()
            one.join()
    monkeypatch.setattr(session, "load_indian_pines", tiny_scene)
    assert CliRunner().invoke(app, ["compare", *OPTIONS, "--out", str(alone)]).exit_code == 0

    trained = {name: (shared / f"{name}.trained").read_text().split() for name in names}
    (taken_over,) = trained["killed"]
    done = [*trained["one"], *trained["other"]]
    assert taken_over in done
    assert (len(done), len(set(done))) == (4, 4)
    assert all(trained.values())
    assert results(shared) == results(alone)
    tables = []
    for name in names[1:]:
        assert (shared / f"{name}.stderr").read_text() == ""
        said = (shared / f"{name}.stdout").read_text()
        for number in range(1, 5):
            assert f"\n{number} of 4: " in said
        assert f"{shared / 'report.html'}\n" in said
        tables.append(said[said.index("Test mIoU in %") :])
    assert tables[0] == tables[1]
    assert len(list((shared / "runs").iterdir())) == 4


def test_a_claim_is_held_by_one(tmp_path: Path) -> None:
    with claim(tmp_path, SETTINGS) as first, claim(tmp_path, SETTINGS) as second:
        assert (first, second) == (True, False)
    with pytest.raises(KeyboardInterrupt), claim(tmp_path, SETTINGS):
        raise KeyboardInterrupt
    with claim(tmp_path, SETTINGS) as again:
        assert again
        store.save(tmp_path, made_up())
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [SETTINGS.key]


@pytest.mark.usefixtures("memory_not_measured")
def test_those_that_train_together_do_what_the_first_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of the runs another command has claimed or finished, the first alone finds out."""
    config, scene = config_of(2), tiny_scene()
    planned = plan(config, scene, threads=1)
    trained: dict[bool, list[int]] = {True: [], False: []}

    def train(settings: Settings, config: Any, data: Any, folder: Any, on_step: Any, keep: bool) -> Run:
        trained[keep].append(settings.seed)
        return made_up(settings)

    class Waits(Quiet):
        def on_wait(self, number: int) -> None:
            assert number == 1
            store.save(tmp_path, made_up(planned.runs[1]))
            held.release()

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(work, "PAUSE", 0.01)
    held = claims.FileLock(tmp_path / "runs" / f".{planned.runs[1].key}.lock")
    (tmp_path / "runs").mkdir()
    held.acquire()
    store.save(tmp_path, made_up(planned.runs[2]))
    found: dict[bool, list[Run]] = {}

    def take_part(first: bool) -> None:
        team = Team(first, torch.distributed.FileStore(str(tmp_path / "decisions"), 2))
        found[first], _ = run_missing(planned, config, scene, tmp_path, Waits(), {}, team)

    follower = threading.Thread(target=take_part, args=(False,), daemon=True)
    follower.start()
    take_part(True)
    follower.join(300)
    assert trained == {True: [0], False: [0]}
    for runs in found.values():
        assert [run.settings for run in runs] == planned.runs
    assert set(found) == {True, False}
