"""The commands: their output, errors, exit codes and interruption."""

import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from lovasz.cli import session
from lovasz.cli.app import app
from lovasz.study import processes
from lovasz.study.data import augment
from lovasz.study.summary.stats import NOT_CORRECTED
from lovasz.study.train import network, training
from lovasz.study.train.config import Config
from lovasz.study.train.config_file import make_config, write_config
from lovasz.study.train.known import OF_CLASSES, OF_LABELS
from lovasz.study.train.options import flag, help_text, option
from lovasz.study.train.runs import plan
from lovasz.study.train.settings import Settings
from tests.cli.commands import assert_refused
from tests.study.made_up import made_up
from tests.study.tiny_data import CLASSES, VOID, tiny_folder, tiny_scene

ROOT = Path(__file__).parents[2]

# Runs the command on the tiny scene; during the second run it waits for Ctrl-C.
INTERRUPTED = """
import sys, time
from pathlib import Path
from lovasz.cli import main, session
from lovasz.study.train import network, training
from lovasz.study.train.config import Config
from lovasz.study.train.config_file import make_config
from tests.study.tiny_data import tiny_scene
session.load_indian_pines = tiny_scene
train = training.train
def slow(settings, config, data, folder, on_step, keep):
    def wait(step):
        on_step(step)
        if settings.seed == 1 and step == 2:
            Path(sys.argv[-1], "waiting").touch()
            time.sleep(600)
    return train(settings, config, data, folder, wait, keep)
training.train = slow
main()
"""


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command in this process, on the tiny scene."""
    monkeypatch.setattr(session, "load_indian_pines", tiny_scene)
    return lambda *arguments: CliRunner().invoke(app, arguments, prog_name="lovasz")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Collects the settings of every training."""
    settings_seen: list[Settings] = []
    train = training.train

    def counted(settings, *others):  # type: ignore[no-untyped-def]
        settings_seen.append(settings)
        return train(settings, *others)

    monkeypatch.setattr(training, "train", counted)
    return settings_seen


def test_compare_end_to_end(tmp_path: Path, invoke: Callable[..., Result], trained: list[Settings]) -> None:
    out = tmp_path / "out"
    options = ["--loss", "ce", "--loss", "lovasz", "--steps", "3", "--out", str(out)]
    result = invoke("compare", *options, "--seeds", "2", "--accelerator", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert len(trained) == 4
    lines = result.stdout.splitlines()
    assert sum(" of 4: " in line for line in lines) == 4
    assert sum("lovasz against ce" in line or "test mIoU than" in line for line in lines) == 1
    assert "Made by its test." in result.stdout
    assert "Fourth" in result.stdout
    assert sum(bool(re.search(r"of 4: \w+, seed .* \(\d+ s\)$", line)) for line in lines) == 4
    assert sum(bool(re.match(r"4 runs took \d+ s: training steps \d+ %, validation ", line)) for line in lines) == 1
    assert NOT_CORRECTED not in result.stdout
    names = ["results.csv", "classes.csv", "results.json", "table.tex", "table.md", "report.html"]
    names.append("config.yaml")
    assert lines[-7:] == [str(out / name) for name in names]
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "runs"])

    # Piped output holds no control codes and no bars.
    assert "\x1b" not in result.stdout
    assert "\r" not in result.stdout
    assert "━" not in result.stdout

    # The same again repeats nothing; another seed and another loss add only what is missing.
    results = json.loads((out / "results.json").read_text())["runs"]
    trained.clear()
    again = invoke("compare", *options, "--seeds", "2", "--accelerator", "cpu")
    assert again.exit_code == 0
    assert trained == []
    assert "4 finished before" in again.stdout
    assert json.loads((out / "results.json").read_text())["runs"] == results
    more = invoke("compare", *options, "--loss", "dice", "--seeds", "3", "--accelerator", "cpu")
    assert more.exit_code == 0
    assert NOT_CORRECTED in more.stdout
    assert [(s.loss, s.seed) for s in trained] == [
        ("dice", 0),
        ("dice", 1),
        ("ce", 2),
        ("lovasz", 2),
        ("dice", 2),
    ]


@pytest.mark.usefixtures("memory_not_measured")
def test_other_settings_are_trained_anew_and_not_mixed_in(
    tmp_path: Path, invoke: Callable[..., Result], trained: list[Settings]
) -> None:
    for steps in ("2", "3"):
        options = ("--loss", "ce", "--seeds", "1", "--out", str(tmp_path), "--steps", steps)
        assert invoke("compare", *options).exit_code == 0
        (run,) = json.loads((tmp_path / "results.json").read_text())["runs"]
        assert run["steps"] == int(steps)
    assert [settings.steps for settings in trained] == [2, 3]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--loss", "lovaz"], ["'lovaz'", *OF_CLASSES.names]),
        (["--loss", "ce", "--loss", ""], ["''"]),
        (["--seeds", "0"], ["--seeds", "got 0"]),
        (["--steps", "-1"], ["--steps", "got -1"]),
        (["--lr", "0"], ["--lr", "got 0"]),
        (["--lr", "nan"], ["--lr", "got nan"]),
        (["--threads", "-1"], ["--threads", "got -1"]),
        (["--devices", "0"], ["--devices", "got 0"]),
        (
            ["--devices", "9999", "--accelerator", "cpu"],
            [f"--devices must be from 1 to {os.cpu_count()}", "got 9999"],
        ),
        (["--threads", "9999"], ["--threads", f"at most {os.cpu_count()}", "got 9999"]),
        (["--loss", "ce,lovasz"], ["'ce,lovasz'", "repeat it", "--loss ce --loss lovasz"]),
        (["--accelerator", "tpu"], ["--accelerator", "'auto', 'cpu', 'cuda' or 'mps'", "got 'tpu'"]),
        (["--epochs", "0"], ["--epochs", "got 0"]),
        (["--epochs", "2", "--steps", "3"], ["one of --epochs and --steps", "got 2 and 3"]),
        (["--batch", "0"], ["--batch", "got 0"]),
        (["--lr", "0.1", "--lr", "0.1"], ["--lr", "different"]),
        (["--augment", "mirror"], ["--augment", "flip, turn, scale, light", "got 'mirror'"]),
        (["--optimizer", "adam"], ["--optimizer", "'adamw' or 'sgd'", "got 'adam'"]),
        (["--schedule", "step"], ["--schedule", "'cosine', 'poly' or 'constant'", "got 'step'"]),
        (["--precision", "16"], ["--precision", "'32' or 'bf16'", "got '16'"]),
        (["--weight-decay", "-1"], ["--weight-decay must be a number of at least 0, got -1.0"]),
        (["--weight-decay", "nan"], ["--weight-decay must be a number of at least 0, got nan"]),
        (["--validations", "0"], ["--validations must be at least 1, got 0"]),
        (["--validations", "21"], ["--validations must be at most 20, got 21"]),
        (["--logger", "wandb"], ["--logger", "'csv' or 'tensorboard'", "got 'wandb'"]),
        (["--network", "resnet"], ["--network", "unet-small", "MODULE:FUNCTION", "got 'resnet'"]),
        (["--network", "smp:Unet"], ["smp:MODEL/ENCODER"]),
        (["--network", "no.such:net"], ["--network no.such:net cannot be imported"]),
        (["--network", "math:pi"], ["--network math:pi", "not a function"]),
        (["--loss", "math:sqrt"], ["--loss math:sqrt failed on logits (2, 4, 8, 8) and target (2, 8, 8)"]),
        (["--loss", "tests.study.own:constant"], ["--loss tests.study.own:constant must return a scalar tensor"]),
        (["--size", "20"], ["--size must be HxW", "got '20'"]),
        (["--crop", "axb"], ["--crop must be HxW", "got 'axb'"]),
        (["--size", "20x20"], ["--size is for your own --data"]),
        (["--ignore", "255"], ["--ignore is for your own --data"]),
        (["--normalize", "data"], ["--normalize is for your own --data"]),
        (["--data", "x", "--classes", "y", "--num-classes", "3"], ["--classes already says how many"]),
        (["--resume", "nowhere", "--seeds", "2"], ["--resume DIR goes on with settings and results in DIR"]),
        (["--config", "no-such.yaml"], ["--config no-such.yaml cannot be read"]),
    ],
)
def test_wrong_option_is_refused_before_any_work(
    options: list[str],
    said: list[str],
    tmp_path: Path,
    invoke: Callable[..., Result],
    trained: list[Settings],
) -> None:
    out = tmp_path / "out"
    assert_refused(invoke("compare", *options, "--out", str(out)), *said)
    assert trained == []
    assert not out.exists()


def test_misspelt_loss_is_refused_before_lightning_is_loaded() -> None:
    code = "import sys\nfrom lovasz.cli import main\ntry:\n    main()\nfinally:\n    print(*sys.modules, sep='\\n')"
    with python(code, "compare", "--loss", "lovaz") as child:
        stdout, stderr = child.communicate(timeout=300)
    assert (child.returncode, stderr.startswith("lovasz: unknown loss 'lovaz'")) == (2, True), stderr
    assert not {"lightning", "monai", "matplotlib", "tensorly", "scipy"} & set(stdout.split())


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_folder_that_cannot_be_written(
    name: str, tmp_path: Path, invoke: Callable[..., Result], trained: list[Settings]
) -> None:
    (tmp_path / "file").write_text("kept")
    assert_refused(invoke("compare", "--out", str(tmp_path / name)), "cannot write results to")
    assert (tmp_path / "file").read_text() == "kept"
    assert trained == []


@pytest.mark.usefixtures("memory_not_measured")
def test_damaged_run_is_one_clear_line_and_done_again(
    tmp_path: Path, invoke: Callable[..., Result], trained: list[Settings]
) -> None:
    options = ("--loss", "ce", "--seeds", "1", "--steps", "1", "--out", str(tmp_path))
    done = invoke("compare", *options)
    assert done.exit_code == 0
    assert "\n1 run of 1 step on " in done.stdout
    (record,) = tmp_path.glob("runs/*/run.json")
    record.write_text("{")
    again = invoke("compare", *options)
    assert again.exit_code == 0, again.output
    name = record.parent
    assert (
        f"\n{name} is damaged (run.json is not as it was written); it is kept as {name.name}.damaged, "
        "and the run is done again\n"
    ) in again.stdout

    assert "finished before" not in again.stdout
    assert len(trained) == 2


@pytest.mark.parametrize("content", ["", "seeds: 2\n", None], ids=["empty", "another file", "cut off"])
def test_settings_that_are_not_whole_are_not_resumed(
    content: str | None, tmp_path: Path, invoke: Callable[..., Result], trained: list[Settings]
) -> None:
    file = tmp_path / "config.yaml"
    if content is None:
        whole = write_config(make_config({}, None))
        said = ["cannot be read", "does not hold", "is empty", "must hold names", "there is no setting", "got "]
        for length in range(len(whole) - 1):
            file.write_text(whole[:length])
            with pytest.raises(ValueError, match="|".join(said)):
                make_config({}, file, whole=True)
    else:
        file.write_text(content)
        what = "does not hold data, classes, num_classes, " if content else "is empty: it is not as it was written"
        assert_refused(invoke("compare", "--resume", str(tmp_path)), f"{file} {what}", f"--out {tmp_path}\n")
        assert file.read_text() == content
    assert trained == []


@pytest.mark.usefixtures("memory_not_measured")
def test_settings_of_before_there_were_validations_are_resumed(
    tmp_path: Path, invoke: Callable[..., Result], trained: list[Settings]
) -> None:
    """And a finished run serves whatever their number, as its result does not depend on it."""
    options = ("--loss", "ce", "--seeds", "1", "--steps", "4", "--out", str(tmp_path))
    assert invoke("compare", *options).exit_code == 0
    file = tmp_path / "config.yaml"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if "validations" not in line))
    for more, points in ((("--seeds", "2"), [4, 4]), (("--seeds", "3", "--validations", "2"), [4, 4, 2])):
        again = invoke("compare", "--resume", str(tmp_path), *more)
        assert again.exit_code == 0, again.output
        runs = json.loads((tmp_path / "results.json").read_text())["runs"]
        assert [len(run["curve"]) for run in runs] == points
    assert [settings.seed for settings in trained] == [0, 1, 2]


WORKER = """#!/bin/sh
test "$1 $2 $3" = "-m lovasz compare" || exit 9
if [ $RANK$LOCAL_RANK = 11 ]; then echo "no memory in $MASTER_ADDR" >&2; exit 3; fi
exec sleep 600
"""


LAUNCH = "import sys; sys.executable = {!r}; from lovasz.study.processes import launch; sys.exit(launch(2))"


def test_a_worker_that_fails_ends_the_others_and_is_heard(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text(WORKER)
    script.chmod(0o755)
    begin = time.monotonic()
    code = LAUNCH.format(str(script))
    done = subprocess.run([sys.executable, "-c", code, "compare"], capture_output=True, text=True)
    assert done.returncode == 3
    assert time.monotonic() - begin < 300
    assert done.stderr == "no memory in 127.0.0.1\n"


def test_a_command_that_is_ended_ends_its_workers(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho $$ >> pids\nexec sleep 600\n")
    script.chmod(0o755)
    code = LAUNCH.format(str(script))
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as child:
        deadline = time.monotonic() + 300
        pids = tmp_path / "pids"
        while not pids.exists() or len(pids.read_text().split()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.terminate()
        _, said = child.communicate(timeout=300)
    assert child.returncode == 128 + signal.SIGTERM
    assert said == "Interrupted. Finished runs are kept; the same command resumes.\n"
    deadline = time.monotonic() + 300  # they sleep for 600
    while any(map(_runs, pids.read_text().split())):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _runs(pid: str) -> bool:
    """Whether a process has not ended; one that has may still wait to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_shell_with_a_rank_is_not_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert processes.launched() == (0, 1)


def test_torchrun_says_how_many_processes_there_are(
    tmp_path: Path, invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(processes.os, "cpu_count", lambda: 4)
    refused = invoke("compare", "--devices", "3", "--accelerator", "cpu", "--out", str(tmp_path / "out"))
    assert_refused(refused, "--devices must be 2, the processes of torchrun, got 3")


def test_interruption_keeps_finished_runs_and_says_how_to_resume(
    tmp_path: Path, invoke: Callable[..., Result], trained: list[Settings]
) -> None:
    out = tmp_path / "my results"
    out.mkdir()
    arguments = ["compare", "--loss", "ce", "--loss", "ce>lovasz", "--seeds", "2", "--steps", "3"]
    with python(INTERRUPTED, *arguments, "--out", str(out)) as child:
        deadline = time.monotonic() + 300
        while not (out / "waiting").exists():
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        stdout, stderr = child.communicate(timeout=300)
    assert child.returncode == 130
    assert stderr.count("\n") == 1
    assert "Traceback" not in stdout + stderr
    assert stderr.startswith("Interrupted. 2 of 4 runs are finished and kept; resume with: lovasz ")
    assert stderr.endswith(f"lovasz compare --resume '{out}'\n")

    result = invoke("compare", "--resume", str(out))
    assert result.exit_code == 0
    assert [settings.seed for settings in trained] == [1, 1]


def test_defaults(invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("lovasz.cli.app.run_compare", lambda *all: asked.append(all))
    assert invoke("compare").exit_code == 0
    given, *files = asked[0]
    assert set(given.values()) == {None}
    assert files == [None, None, None]
    scene, own = make_config({}, None), make_config({"data": Path("x")}, None)
    assert (scene.losses, scene.seeds) == (("ce", "lovasz", "ce+lovasz"), 5)
    assert (scene.network, scene.steps, scene.epochs, scene.lr) == ("conv", 150, None, (0.01,))
    assert (own.network, own.steps, own.epochs, own.lr) == ("unet", None, 24, (0.003,))


def test_every_option_reaches_its_setting(invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("lovasz.cli.app.run_compare", lambda given, *_: asked.append(make_config(given, None)))
    words = (
        "--data d --task binary --foreground f --classes c --map 3:1 --ignore 7 --ignore 8 --size 6x4 "
        "--normalize none --group g --loss dice --loss ce --seeds 2 --network unet-large --weights w "
        "--epochs 3 --batch 5 --crop 2x2 --augment light "
        "--optimizer sgd --lr 0.1 --lr 0.2 --schedule poly --weight-decay 0.5 --freeze 2 --encoder-lr 0.1 "
        "--precision bf16 --validations 7 "
        "--accelerator cpu --devices 2 --threads 1 --workers 3 --logger tensorboard"
    )
    assert invoke("compare", *words.split()).exit_code == 0
    wanted = Config(
        data=Path("d"), task="binary", foreground="f",
        classes=Path("c"), map="3:1", ignore=(7, 8), size=(6, 4), normalize="none", group="g",
        losses=("dice", "ce"), seeds=2, network="unet-large", weights="w", epochs=3, batch=5, crop=(2, 2),
        augment=("light",), optimizer="sgd", lr=(0.1, 0.2), schedule="poly", weight_decay=0.5, freeze=2,
        encoder_lr=0.1, precision="bf16", validations=7, accelerator="cpu", devices=2, threads=1, workers=3,
        logger="tensorboard",
    )  # fmt: skip
    assert asked == [wanted]
    assert {"num_classes", "steps"} == {name for name in Config.model_fields if getattr(wanted, name) is None}


@pytest.mark.usefixtures("memory_not_measured")
def test_your_own_data(tmp_path: Path, invoke: Callable[..., Result], trained: list[Settings]) -> None:
    data, out = tiny_folder(tmp_path / "mine"), tmp_path / "out"
    options = ["--data", str(data), "--network", "unet-small", "--steps", "2", "--batch", "2", "--out", str(out)]
    some = ["--loss", "ce", "--loss", "tests.study.own:loss", "--seeds", "1"]
    refused = invoke("compare", *options, *some)
    assert_refused(refused, "train0.png", f"holds the label {VOID} (4x)", "classes 0 to 2", f"--ignore {VOID}")
    assert trained == []
    done = invoke("compare", *options, *some, "--ignore", str(VOID))
    assert done.exit_code == 0, done.output
    assert (
        "mine: 3 classes, 6 training, 2 validation and 3 test images\nImages of 3 channels, 20 x 24" in done.stdout
    )
    for name in CLASSES:
        assert name in done.stdout
    assert [settings.loss for settings in trained] == ["ce", "tests.study.own:loss"]
    assert sorted(path.name for path in (out / "runs").glob("*/*")) == sorted(
        2 * ["SHA256SUMS", "best.pt", "curve.csv", "last.pt", "run.json", "tested.npz"]
    )

    # What was written is read back, with whole paths; an option comes first.
    trained.clear()
    again = invoke("compare", "--resume", str(out), "--seeds", "2")
    assert again.exit_code == 0, again.output
    assert "2 finished before" in again.stdout
    assert [settings.seed for settings in trained] == [1, 1]


@pytest.mark.usefixtures("memory_not_measured")
def test_each_loss_takes_its_best_learning_rate(
    tmp_path: Path, invoke: Callable[..., Result], trained: list[Settings]
) -> None:
    options = ["--loss", "ce", "--loss", "lovasz", "--steps", "8", "--seeds", "2", "--out", str(tmp_path)]
    done = invoke("compare", *options, "--lr", "0.00001", "--lr", "0.02")
    assert done.exit_code == 0, done.output
    assert [(run.loss, run.seed, run.lr) for run in trained] == [
        ("ce", 0, 0.00001), ("lovasz", 0, 0.00001), ("ce", 0, 0.02), ("lovasz", 0, 0.02),
        ("ce", 1, 0.02), ("lovasz", 1, 0.02),
    ]  # fmt: skip
    record = json.loads((tmp_path / "results.json").read_text())
    assert [run["lr"] for run in record["runs"]] == 4 * [0.02]
    for loss in ("ce", "lovasz"):
        tried = record["learning_rates_tried"][loss]
        assert tried["0.02"] > tried["1e-05"]
        assert (
            f"{loss}: val mIoU by learning rate, 1e-05: {tried['1e-05']:.1f}, 0.02: {tried['0.02']:.1f}"
            in done.stdout
        )
    again = invoke("compare", *options, "--lr", "0.00001", "--lr", "0.02")
    assert "6 finished before" in again.stdout
    assert len(trained) == 6


@pytest.mark.usefixtures("memory_not_measured")
def test_groups_of_test_images_are_drawn_together(
    tmp_path: Path, invoke: Callable[..., Result], trained: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out, table = tiny_folder(tmp_path / "mine"), tmp_path / "out", tmp_path / "groups.csv"
    for kind, number in itertools.product(("images", "masks"), range(3, 12)):
        shutil.copy(data / "test" / kind / "test0.png", data / "test" / kind / f"test{number}.png")
    options = ["--data", str(data), "--network", "conv", "--steps", "1", "--seeds", "2", "--ignore", str(VOID)]
    options += ["--loss", "ce", "--loss", "lovasz", "--accelerator", "cpu", "--out", str(out)]
    refused = invoke("compare", *options, "--group", "train")
    assert refused.exit_code == 2
    assert "--group train finds no group in the name test0" in refused.stderr
    assert trained == []
    assert_refused(invoke("compare", "--group", "x"), "--group is for your own --data")

    done = invoke("compare", *options, "--group", r"test(\d)")
    assert done.exit_code == 0, done.output
    assert "seeds and test images (10 groups of 12 images)" in done.stdout
    found = json.loads((out / "results.json").read_text())["intervals"]
    assert (found["unit"], found["units"]) == ("group", 10)
    assert found["losses"][1]["miou"]["low"] < found["losses"][1]["miou"]["high"]

    # The groups are no part of the runs: another choice, here a file, does none again, and is kept with its path.
    trained.clear()
    lines = [f"test{number},{'site' if number < 8 else number}" for number in range(12)]
    table.write_text("\n".join(["image,group", *lines]))
    done = invoke("compare", *options, "--group", str(table))
    assert done.exit_code == 0, done.output
    assert f"group: {table}" in (out / "config.yaml").read_text()
    again = invoke("compare", "--resume", str(out))
    assert again.exit_code == 0, again.output
    assert "(5 groups of 12 images)" in again.stdout
    assert trained == []

    # They are those of before the runs, whatever becomes of the file meanwhile.
    train = training.train
    monkeypatch.setattr(training, "train", lambda *given: (table.unlink(missing_ok=True), train(*given))[1])
    more = invoke("compare", *options, "--seeds", "3", "--group", str(table))
    assert more.exit_code == 0, more.output
    assert "(5 groups of 12 images)" in more.stdout
    assert not table.exists()


def test_folder_without_classes_says_what_is_needed(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    data = tiny_folder(tmp_path / "mine")
    (data / "classes.txt").unlink()
    options = ["compare", "--data", str(data), "--out", str(tmp_path / "out")]
    assert_refused(invoke(*options), "--classes FILE or --num-classes N is needed", "train0.png holds 0, 1, 2, 9")


def test_there_must_be_something_to_resume(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    assert_refused(invoke("compare", "--resume", str(tmp_path)), f"--resume {tmp_path}: there is no comparison")


def test_a_folder_whose_name_is_not_utf8_is_named(tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"o\xff")
    out.mkdir()
    shown = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    session.Session(Console(file=shown, width=80))._print_results(made_up(("ce", "lovasz"), 2), out)
    shown.seek(0)
    assert shown.read().splitlines()[-1] == f"{tmp_path}/o\\udcff/config.yaml"


def test_names_are_printed_as_they_are() -> None:
    """Rich would take what is in brackets for markup, and a word between colons for a picture."""
    data = tiny_scene()
    names = ("car [left]", "x[/b]", ":car:", "d")
    absent = replace(data.parts["val"], pixels=(0, 0, 0, 1))
    data = replace(data, name="mine [v2]", class_names=names, parts=data.parts | {"val": absent})
    data = replace(data, warnings=("labels.json [/b]: no mask holds 7",))
    config, shown = make_config({"steps": 2, "seeds": 1}, None), io.StringIO()
    one = session.Session(Console(file=shown, width=200, highlight=False, emoji=False))
    one.start = ""
    one._print_start(data, plan(config, data, 1))
    lines = shown.getvalue().splitlines()
    assert lines[0].startswith("mine [v2]: 4 classes, ")
    assert "labels.json [/b]: no mask holds 7" in lines
    assert any(line.startswith("no val mask holds car [left], x[/b], :car:: where") for line in lines)


def test_the_terminal_of_a_comparison_draws_no_pictures(
    invoke: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def speaks(console: Console) -> None:
        console.print(":car:", markup=False)
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "Session", speaks)
    assert ":car:\n" in invoke("compare", "--out", str(tmp_path / "out")).stdout


@pytest.mark.usefixtures("memory_not_measured")
def test_a_loss_that_diverges_is_said_to(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    options = [
        "--loss",
        "ce",
        "--loss",
        "tests.study.own:diverging",
        "--steps",
        "2",
        "--seeds",
        "1",
        "--out",
        str(tmp_path),
    ]
    done = invoke("compare", *options)
    assert done.exit_code == 0, done.output
    assert "diverged: its last loss is not a finite number" in done.stdout
    assert (
        "own:diverging diverged with seed 0: its last loss is not a finite number, and its score says nothing"
        in done.stdout
    )
    assert done.stdout.count("diverged:") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seds: 3", ["there is no setting seds", "seeds"]),
        ("seeds: many", ["--seeds", "got 'many'"]),
        ("- seeds", ["must hold names and values"]),
        ("seeds: [", ["cannot be read"]),
        ("seeds: 0", ["--seeds must be at least 1"]),
    ],
)
def test_wrong_configuration_is_refused(
    text: str, said: list[str], tmp_path: Path, invoke: Callable[..., Result]
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    result = invoke("compare", "--config", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    for words in said:
        assert words in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["--help"], ["compare", "--help"], ["info", "-h"]])
def test_help(arguments: list[str], invoke: Callable[..., Result]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == (0 if arguments else 2)
    assert "Usage: lovasz" in result.output


def test_an_option_is_what_its_setting_declares(invoke: Callable[..., Result]) -> None:
    """On the command line and in the table of docs/compare.md."""
    said = " ".join(invoke("compare", "--help").stdout.replace("│", " ").split())
    page = (ROOT / "docs" / "compare.md").read_text().split("## Options")[1]
    table = dict(re.findall(r"^\| (\w+) \| (.*) \|$", page, re.M))
    options: dict[str, set[str]] = {"files": {"--out", "--config", "--resume"}}
    for name, field in Config.model_fields.items():
        extra = option(Config, name)
        options.setdefault(extra.group, set()).add(flag(Config, name))
        assert f"{flag(Config, name)} " in said
        assert f"{extra.metavar} " in said
        assert help_text(Config, name) in said
        for choice in get_args(field.annotation) if get_origin(field.annotation) is Literal else ():
            assert f"`{choice}`" in table[extra.group]
            assert choice in str(field.description)
    assert {group: set(re.findall(r"--[a-z-]+", row)) for group, row in table.items()} == options
    for names, group in (
        (OF_CLASSES.names, "losses"),
        (OF_LABELS.names, "losses"),
        (network.DESCRIPTIONS, "network"),
        (augment.DESCRIPTIONS, "training"),
    ):
        assert {f"`{name}`" for name in names} <= set(re.findall("`[^`]+`", table[group]))


def test_help_names_every_loss(invoke: Callable[..., Result]) -> None:
    words = invoke("compare", "--help").stdout.replace("│", " ").split()
    assert {*OF_CLASSES.names, *OF_LABELS.names} <= {word.strip(",.'") for word in words}
