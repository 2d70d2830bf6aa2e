"""Finished runs are kept, never repeated, and never half there."""

import errno
import itertools
import math
import os
import shutil
import stat
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lovasz.study.io import digests, disk
from lovasz.study.train import memory, predict, store
from lovasz.study.train.config import Config
from lovasz.study.train.config_file import make_config
from lovasz.study.train.runs import plan, run_missing
from lovasz.study.train.settings import Settings
from lovasz.study.train.store import Point, Run
from tests.core.processes import process
from tests.study.tiny_data import tiny_scene

SETTINGS = Settings(
    "ce>lovasz",
    "",
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
    "multiclass",
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


class Quiet:
    """Hears which seeds begin, the steps that are done, and which runs are damaged."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.steps: list[int] = []
        self.damaged: list[str] = []

    def on_damaged(self, said: str) -> None:
        self.damaged.append(said)

    def on_wait(self, number: int) -> None:
        raise AssertionError("there is no other command")

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


def test_run_under_the_name_of_another_is_named_and_not_used(tmp_path: Path) -> None:
    other = replace(SETTINGS, seed=7)
    store.save(tmp_path, made_up(other))
    store.finished(tmp_path, other).rename(store.finished(tmp_path, SETTINGS))
    with pytest.raises(store.DamagedRunError, match="other settings"):
        store.load(tmp_path, SETTINGS)


FILES = ("best.pt", "curve.csv", "last.pt", "run.json", "tested.npz", "SHA256SUMS")


def test_every_file_of_a_run_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    draft = store.begin(tmp_path, SETTINGS)
    for name in ("best.pt", "last.pt"):
        store.save_weights({"weight": torch.arange(5.0)}, draft / name)
    store.write_curve(draft / "curve.csv", made_up().curve)
    store.save(tmp_path, made_up())
    place = store.finished(tmp_path, SETTINGS)
    assert sorted(file.name for file in place.iterdir()) == sorted(FILES)
    (place / ".DS_Store").touch()  # a file manager was there
    for name in FILES:
        whole = (place / name).read_bytes()
        flipped = bytes(byte ^ 1 if index == len(whole) // 2 else byte for index, byte in enumerate(whole))
        for damaged in (b"", whole[:-2], whole[: len(whole) // 2], flipped, None):
            (place / name).unlink()
            if damaged is not None:
                (place / name).write_bytes(damaged)
            with pytest.raises(store.DamagedRunError, match=r".") as raised:
                store.load(tmp_path, SETTINGS)
            assert str(raised.value).startswith(f"{place} is damaged (")
            if name != "SHA256SUMS":
                state = "missing" if damaged is None else "not as it was written"
                assert str(raised.value) == f"{place} is damaged ({name} is {state})"
        (place / name).write_bytes(whole)
        assert store.load(tmp_path, SETTINGS) is not None


def test_run_without_digests_is_not_used(tmp_path: Path) -> None:
    """Those of the version that wrote none have another name, as its code has another hash."""
    store.save(tmp_path, made_up())
    (store.finished(tmp_path, SETTINGS) / "SHA256SUMS").unlink()
    with pytest.raises(store.DamagedRunError, match="SHA256SUMS is missing"):
        store.load(tmp_path, SETTINGS)


def test_a_draft_that_could_not_be_written_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def written_to_a_full_disk() -> None:
        with disk.replaced(tmp_path / "a.txt") as file:
            file.write("new")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        written_to_a_full_disk()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_files_are_on_disk_before_they_have_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: set[int] = set()
    renamed: list[Path] = []
    fsync, rename = os.fsync, os.replace

    def noted(descriptor: int) -> None:
        flushed.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def checked(old: Path, new: Path) -> None:
        # What was renamed last has its name on disk, unless its folder gets another name itself.
        for last in renamed[-1:]:
            assert last.parent.stat().st_ino in flushed or last.parent.name.endswith(f".{os.getpid()}"), last
        for path in [old, *old.glob("*")]:
            assert path.stat().st_ino in flushed, path
        rename(old, new)
        flushed.discard(new.parent.stat().st_ino)
        renamed.append(new)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", checked)
    one_run(tmp_path)
    assert {path.name for path in renamed} >= {"state.ckpt", "best.pt", "last.pt", "curve.csv"}
    (place,) = (tmp_path / "runs").iterdir()
    assert renamed[-1] == place
    assert place.parent.stat().st_ino in flushed  # its name as well


def test_file_systems_that_cannot_flush_a_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number, fsync = errno.EINVAL, os.fsync

    def refused(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, "of a folder")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refused)
    store.save(tmp_path, made_up())
    assert store.load(tmp_path, SETTINGS) is not None
    number = errno.EIO
    with pytest.raises(OSError, match="of a folder"):
        store.save(tmp_path, made_up(replace(SETTINGS, seed=1)))


def one_run(folder: Path, stop: int = 0) -> tuple[Run, Quiet]:
    """Trains one run of two steps, or goes on with it; it fails before it has kept the step ``stop``."""
    config, scene, heard = config_of(2).model_copy(update={"seeds": 1}), tiny_scene(), Quiet()

    def on_step(step: int) -> None:
        if step == stop:
            raise RuntimeError("stopped")

    heard.on_step = on_step  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "loss_mib", lambda *_: None)  # takes a process
        ((run,), _) = run_missing(plan(config, scene, threads=1), config, scene, folder, heard, {})
    return run, heard


def assert_same(folder: Path, other: Path) -> None:
    """Compares all that the files of the one run in two folders hold, but for times."""
    (run,), (another,) = (
        [path for path in (one / "runs").iterdir() if "damaged" not in path.name] for one in (folder, other)
    )
    assert run.name == another.name
    assert (run / "curve.csv").read_bytes() == (another / "curve.csv").read_bytes()
    for name in ("best.pt", "last.pt"):
        weights, expected = (torch.load(one / name, weights_only=True) for one in (run, another))
        torch.testing.assert_close(weights, expected, rtol=0, atol=0)
    for name, array in np.load(run / "tested.npz", allow_pickle=False).items():
        np.testing.assert_array_equal(array, np.load(another / "tested.npz", allow_pickle=False)[name])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the one run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    one_run(folder)
    return folder


def flip(path: Path, first: int) -> None:
    """Inverts 64 bytes of a file."""
    content = bytearray(path.read_bytes())
    content[first : first + 64] = bytes(byte ^ 255 for byte in content[first : first + 64])
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["tested.npz", "run.json", "last.pt"])
def test_damaged_run_is_set_aside_and_done_again(name: str, tmp_path: Path, undisturbed: Path) -> None:
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    (place,) = (tmp_path / "runs").iterdir()
    for number, suffix in enumerate((".damaged", ".damaged1")):
        flip(place / name, (place / name).stat().st_size // 2)
        damaged = (place / name).read_bytes()
        _, heard = one_run(tmp_path)
        assert heard.damaged == [
            f"{place} is damaged ({name} is not as it was written); it is kept as {place.name}{suffix}, "
            "and the run is done again"
        ]
        assert heard.begun == [0]
        assert (place.with_name(place.name + suffix) / name).read_bytes() == damaged
        assert_same(tmp_path, undisturbed)
        assert len(list((tmp_path / "runs").iterdir())) == 2 + number


def torn(state: Path) -> None:
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])


def unsealed(state: Path) -> None:
    """As the version that wrote no digests left it."""
    state.write_bytes(digests.unsealed(state.read_bytes()))


@pytest.mark.parametrize(
    "damage",
    [torn, unsealed, lambda state: flip(state, state.stat().st_size // 2), lambda state: state.write_bytes(b""),
     lambda state: flip(state, 3)],
    ids=["torn", "without digest", "flipped", "empty", "flipped digest"],
)  # fmt: skip
def test_damaged_state_is_set_aside_and_the_run_begins_again(
    damage: Callable[[Path], None], tmp_path: Path, undisturbed: Path
) -> None:
    with pytest.raises(RuntimeError, match="stopped"):
        one_run(tmp_path, stop=2)
    (state,) = tmp_path.glob("runs/.*/state.ckpt")
    damage(state)
    damaged = state.read_bytes()
    _, heard = one_run(tmp_path)
    name = state.parent.name.removeprefix(".")
    assert heard.damaged == [
        f"{state.parent} is damaged (state.ckpt: it is not as it was written); it is kept as {name}.damaged, "
        "and the run is done again"
    ]
    assert (tmp_path / "runs" / f"{name}.damaged" / "state.ckpt").read_bytes() == damaged
    assert_same(tmp_path, undisturbed)


def test_a_kill_between_any_two_writes_changes_nothing(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, number = os.replace, 0

    class Killed(BaseException):
        pass

    for kill in itertools.count(1):
        number, folder = 0, tmp_path / str(kill)

        def counted(old: Path, new: Path, kill: int = kill) -> None:
            nonlocal number
            number += 1
            if number == kill:
                raise Killed
            rename(old, new)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", counted)
            try:
                one_run(folder)
            except Killed:
                pass
            else:
                break
        _, heard = one_run(folder)
        assert heard.damaged == []
        assert_same(folder, undisturbed)
        assert len(list((folder / "runs").iterdir())) == 1
    assert kill > 10


def test_writable(tmp_path: Path) -> None:
    disk.check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="cannot write results to"):
            disk.check_writable(folder)


def test_text_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("old", "new"):
        disk.write_text(tmp_path / "results.csv", text)
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]
    assert (tmp_path / "results.csv").read_text() == "new"


def test_files_of_a_user_own_loss_have_a_name_for_every_system() -> None:
    key = replace(SETTINGS, loss="my.package:loss", loss_code="1f2e3d4c").key
    assert key.startswith("my.package_loss-seed0-")
    assert key != replace(SETTINGS, loss="my.package:loss", loss_code="00000000").key


def train_until_killed(folder: Path) -> None:
    """Trains the runs of a comparison; during seed 1 it keeps the third checkpoint, and waits to be killed."""
    config, scene, heard = config_of(40), tiny_scene(), Quiet()

    def on_step(step: int) -> None:
        if heard.begun[-1] == 1 and step == 13:
            (folder / "waiting").touch()
            time.sleep(600)

    heard.on_step = on_step  # type: ignore[method-assign]
    memory.loss_mib = lambda *_: None  # takes a process
    run_missing(plan(config, scene, threads=1), config, scene, folder, heard, {})


@pytest.mark.usefixtures("memory_not_measured")
def test_killed_comparison_goes_on_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed outright in the midst of the second of three runs, between two checkpoints."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    child = process(train_until_killed, killed)
    child.start()
    deadline = time.monotonic() + 300
    while not (killed / "waiting").exists():
        assert child.exitcode is None, "the comparison ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.kill()
    child.join()
    config, scene = config_of(40), tiny_scene()
    planned = plan(config, scene, threads=1)
    state = store.draft(killed, planned.runs[1])
    assert sorted(file.name for file in state.iterdir()) == ["curve.csv", "state.ckpt"]

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
        assert one.seconds is not None
        assert one.seconds["steps"] >= sum(one.step_seconds)  # those of before the kill, too
        assert (one.seconds["memory"] > 0) == (one.settings.seed == 0)
        assert len(one.step_seconds) == len(other.step_seconds) == 39
        for name in ("best.pt", "last.pt"):
            weights, expected = (
                torch.load(folder / "runs" / one.settings.key / name, weights_only=True)
                for folder in (killed, whole)
            )
            torch.testing.assert_close(weights, expected, rtol=0, atol=0)
    assert not state.exists()
