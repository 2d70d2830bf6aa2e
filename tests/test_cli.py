"""The commands: their output, errors, exit codes and interruption."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lovasz.cli import session, workers
from lovasz.cli.app import app
from lovasz.cli.options import Options
from lovasz.study import training
from lovasz.study.losses import DESCRIPTIONS
from lovasz.study.settings import Settings
from lovasz.study.stats import NOT_CORRECTED
from tests.tiny_scene import tiny_scene

ROOT = Path(__file__).parents[1]

# Runs the command on the tiny scene; during the second run it waits for Ctrl-C.
INTERRUPTED = """
import sys, time
from pathlib import Path
from lovasz.cli import main, session
from lovasz.study import training
from tests.tiny_scene import tiny_scene
session.load_indian_pines = tiny_scene
train = training.train
def slow(settings, scene, on_step):
    def wait(step):
        on_step(step)
        if settings.seed == 1 and step == 2:
            Path(sys.argv[-1], "waiting").touch()
            time.sleep(120)
    return train(settings, scene, wait)
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

    def counted(settings, scene, on_step):  # type: ignore[no-untyped-def]
        settings_seen.append(settings)
        return train(settings, scene, on_step)

    monkeypatch.setattr(training, "train", counted)
    return settings_seen


def assert_refused(result: Result, *said: str) -> None:
    """One line on stderr that says these things, nothing on stdout, exit code 2."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("lovasz: ")
    assert result.stderr.count("\n") == 1
    for words in said:
        assert words in result.stderr


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
    assert NOT_CORRECTED not in result.stdout
    names = ["results.csv", "results.json", "report.html"]
    assert lines[-3:] == [str(out / name) for name in names]
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
        (["--loss", "lovaz"], ["'lovaz'", *DESCRIPTIONS]),
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
        (["--accelerator", "tpu"], ["--accelerator", "auto, cpu, cuda, mps", "got 'tpu'"]),
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
        stdout, stderr = child.communicate(timeout=100)
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


def test_damaged_run_is_one_clear_line(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    options = ("--loss", "ce", "--seeds", "1", "--steps", "1", "--out", str(tmp_path))
    done = invoke("compare", *options)
    assert done.exit_code == 0
    assert "\n1 run of 1 step on " in done.stdout
    (record,) = tmp_path.glob("runs/*/run.json")
    record.write_text("{")
    result = invoke("compare", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"lovasz: {record.parent} cannot be read")
    assert result.stderr.count("\n") == 1


WORKER = """#!/bin/sh
test "$1 $2 $3" = "-m lovasz compare" || exit 9
if [ $LOVASZ_WORKER$LOCAL_RANK = 11 ]; then echo "no memory in $MASTER_ADDR" >&2; exit 3; fi
exec sleep 60
"""


def test_a_worker_that_fails_ends_the_others_and_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "python"
    script.write_text(WORKER)
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(sys, "argv", ["lovasz", "compare"])
    begin = time.monotonic()
    assert workers.run_workers(2) == 3
    assert time.monotonic() - begin < 30
    assert capsys.readouterr().err == "no memory in 127.0.0.1\n"


def test_a_command_that_is_ended_ends_its_workers(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho $$ >> pids\nexec sleep 60\n")
    script.chmod(0o755)
    code = f"import sys; sys.executable = {str(script)!r}; from lovasz.cli.workers import run_workers; " \
           "sys.exit(run_workers(2))"  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as child:
        deadline = time.monotonic() + 60
        pids = tmp_path / "pids"
        while not pids.exists() or len(pids.read_text().split()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.terminate()
        _, said = child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGTERM
    assert said == "Interrupted. Finished runs are kept; the same command resumes.\n"
    for pid in pids.read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_a_shell_with_a_rank_is_not_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert workers.is_first()
    assert not workers.is_worker()


def test_interruption_keeps_finished_runs_and_says_how_to_resume(
    tmp_path: Path, invoke: Callable[..., Result], trained: list[Settings]
) -> None:
    out = tmp_path / "my results"
    out.mkdir()
    arguments = ["compare", "--loss", "ce", "--loss", "ce>lovasz", "--seeds", "2", "--steps", "3"]
    with python(INTERRUPTED, *arguments, "--out", str(out)) as child:
        deadline = time.monotonic() + 100
        while not (out / "waiting").exists():
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == 130
    assert stderr.count("\n") == 1
    assert "Traceback" not in stdout + stderr
    assert stderr.startswith("Interrupted. 2 of 4 runs are finished and kept; resume with: lovasz ")
    assert "--loss 'ce>lovasz'" in stderr
    assert f"'{out}'" in stderr

    result = invoke(*arguments, "--out", str(out))
    assert result.exit_code == 0
    assert [settings.seed for settings in trained] == [1, 1]


def test_resume_command_asks_for_the_same(invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Options] = []
    monkeypatch.setattr("lovasz.cli.app.run_compare", asked.append)
    options = Options(("ce>lovasz", "ce"), 5, 70, 0.00123, Path("a b"), "cpu", 2, 3)
    assert invoke(*shlex.split(options.command)[1:]).exit_code == 0
    assert asked == [options]


def test_defaults(invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Options] = []
    monkeypatch.setattr("lovasz.cli.app.run_compare", asked.append)
    assert invoke("compare").exit_code == 0
    assert (asked[0].losses, asked[0].seeds) == (("ce", "lovasz", "ce+lovasz"), 5)
    assert asked[0].out == Path("lovasz-compare")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["compare", "--help"], ["info", "-h"]])
def test_help(arguments: list[str], invoke: Callable[..., Result]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == (0 if arguments else 2)
    assert "Usage: lovasz" in result.output


def test_help_names_every_loss(invoke: Callable[..., Result]) -> None:
    words = invoke("compare", "--help").stdout.replace("│", " ").split()
    assert set(DESCRIPTIONS) <= {word.strip(",.'") for word in words}
