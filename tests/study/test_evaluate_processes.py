"""``lovasz evaluate`` as a program: Ctrl-C, and several processes under torchrun."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from lovasz.cli.app import app
from tests.cli.scored import make
from tests.study.masks import VOID, draw, spoil, write

ROOT = Path(__file__).parents[2]
OPTIONS = ("--num-classes", "5", "--ignore", str(VOID))

# The command on masks that, after the first few, wait for Ctrl-C; its last argument is a file that says so.
WAITING = """
import sys, time
from pathlib import Path
from lovasz.cli import main
from lovasz.study.score import evaluation, images
marker, opened, seen = Path(sys.argv.pop()), images.open_mask, []
evaluation.CHUNK = 1
def slow(path, *more):
    seen.append(path)
    if len(seen) > 24:
        marker.touch()
        time.sleep(1)
    return opened(path, *more)
images.open_mask = slow
main()
"""


def start(command: list[str], *arguments: object) -> subprocess.Popen[str]:
    """Starts a program that Ctrl-C reaches."""
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )


def test_ctrl_c_leaves_a_partial_result(tmp_path: Path) -> None:
    predictions, targets = write(tmp_path, draw(40, 5))
    (predictions / "00.png").write_bytes(b"")
    out, marker = tmp_path / "out", tmp_path / "waits"
    command = [sys.executable, "-c", WAITING, "evaluate"]
    process = start(command, predictions, targets, *OPTIONS, "--out", out, "--workers", 2, "--worst", 2, marker)
    deadline = time.monotonic() + 60
    while not marker.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr == ""
    record = json.loads((out / "results.json").read_text())
    counted = record["counted"]
    assert 5 <= counted < 39
    assert (record["complete"], record["interrupted"], record["images"]) == (False, True, 40)
    assert f"Interrupted: {counted} of 40 images counted. The result is partial." in stdout
    assert len((out / "images.partial.csv").read_text().splitlines()) == counted + 1
    tables = {"images.partial.csv", "confusion.partial.csv", "table.partial.tex", "table.partial.md"}
    names = {"results.json", "report.html", *tables}
    assert {path.name for path in out.iterdir()} == names
    assert f"Partial: interrupted after {counted} of 40 images." in (out / "report.html").read_text()


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_torchrun_gives_the_same_bytes(tmp_path: Path) -> None:
    predictions, targets = write(tmp_path, draw(25, 5))
    spoil(predictions, targets)
    other = tmp_path / "other"
    shutil.copytree(predictions, other)
    sorted(other.iterdir())[5].unlink()
    arguments = (predictions, targets, *OPTIONS, "--allow-missing", "--boundary", "2px", "--against", other)
    arguments += ("--surface", "2px")
    arguments += ("--group", r"\d$", "--out")
    alone = CliRunner().invoke(app, ["evaluate", *map(str, arguments), str(tmp_path / "one")], prog_name="lovasz")
    assert (alone.exit_code, alone.stderr) == (0, "")
    process = start([*TORCHRUN, "-m", "lovasz", "evaluate"], *arguments, tmp_path / "two")
    stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    assert stdout.count("2 names left out:") == 1
    assert stdout.count("3 names left out:") == 1
    for name in ("images.csv", "confusion.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    one, two = (json.loads((tmp_path / which / "results.json").read_text()) for which in ("one", "two"))
    assert one.pop("command") != two.pop("command")
    assert one == two
    assert 0 < one["scores"]["boundary_iou"] < 1
    assert 0 < one["scores"]["nsd"] < 1 < one["scores"]["hd95"]
    assert one["intervals"]["unit"] == "group"
    assert one["against"]["others"][0]["differences"]["boundary_iou"]["difference"] is not None


def test_torchrun_decides_scores_as_one_process(tmp_path: Path) -> None:
    """The rule is fitted by one process for all, counts add up, and of an earlier rule no mask is left."""
    for image, (logits, _) in enumerate(make(tmp_path, 3, images=7)):
        np.save(tmp_path / "s" / f"{image}.npy", logits)
    (tmp_path / "s" / "3.npy").write_bytes(b"")
    (tmp_path / "two" / "masks").mkdir(parents=True)
    for image in (2, 3):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "two" / "masks" / f"{image}.png")
    options = ("--num-classes", 3, "--ignore", VOID, "--scores", "logits", "--decide", "dataset", "--allow-missing")
    arguments = (tmp_path / "s", tmp_path / "t", *options, "--out")
    alone = CliRunner().invoke(app, ["evaluate", *map(str, arguments), str(tmp_path / "one")], prog_name="lovasz")
    assert (alone.exit_code, alone.stderr) == (0, "")
    process = start([*TORCHRUN, "-m", "lovasz", "evaluate"], *arguments, tmp_path / "two")
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    one, two = (contents(tmp_path / which) for which in ("one", "two"))
    assert {"curves.csv", "calibration.csv", "images.csv", "confusion.csv", "results.json"} < set(one)
    for found in (one, two):
        assert found.pop("report.html")  # which says with which command it was made
    first, second = (json.loads(found.pop("results.json")) for found in (one, two))
    assert first.pop("command") != second.pop("command")
    assert first == second
    assert one == two
    assert "optimistic" in first["decided"]
    masks = contents(tmp_path / "two" / "masks")
    assert set(masks) == {f"{image}.png" for image in (0, 1, 2, 4, 5, 6)}
    assert masks == contents(tmp_path / "one" / "masks")
