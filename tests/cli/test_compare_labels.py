"""``lovasz compare`` on binary and multilabel data: what is said, kept and resumed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from lovasz.cli.app import app
from tests.cli.commands import assert_refused
from tests.study.test_heads import folder, in_folders
from tests.study.tiny_data import tiny_folder

QUICK = (
    "--network",
    "tests.study.own:coarse",
    "--steps",
    "2",
    "--seeds",
    "1",
    "--accelerator",
    "cpu",
    "--batch",
    "2",
)


@pytest.fixture
def invoke() -> Callable[..., Result]:
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)), prog_name="lovasz")


def test_binary_end_to_end(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    data, out = tiny_folder(tmp_path / "data"), tmp_path / "out"
    given = ("compare", "--data", data, "--ignore", 9, "--foreground", "Disc", *QUICK, "--out", out)
    result = invoke(*given)
    assert result.exit_code == 0, result.output
    assert "data: binary task, 1 label, 6 training, 2 validation and 3 test images" in result.stdout
    for loss in ("bce", "sigmoid", "bce+sigmoid"):  # those of a binary task that names none
        assert f"of 3: {loss}, seed 0, lr 0.003: val IoU " in result.stdout
    assert "Test IoU in %, 1 seed" in result.stdout
    assert "threshold" in result.stdout
    assert "mIoU" not in result.stdout
    assert "argmax" not in result.stdout
    kept = yaml.safe_load((out / "config.yaml").read_text())
    assert (kept["task"], kept["losses"]) == ("binary", ["bce", "sigmoid", "bce+sigmoid"])
    again = invoke("compare", "--resume", out)
    assert again.exit_code == 0
    assert "3 finished before" in again.stdout
    runs = json.loads((out / "results.json").read_text())["runs"]
    assert {run["task"] for run in runs} == {"binary"}
    assert all(set(run["decided"]) == {"val_rule", "train_rule", "image_decision"} for run in runs)
    assert all(run["loss_mib"] is not None for run in runs)
    assert_refused(
        invoke(*given[:-1], tmp_path / "other", "--loss", "ce", "--loss", "bce"),
        "--loss ce is for one class a pixel, and the task is binary",
    )


def test_multilabel_end_to_end(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    data, out = folder(tmp_path / "data", in_folders), tmp_path / "out"
    result = invoke("compare", "--data", data, *QUICK, "--loss", "bce+hinge", "--loss", "bce>jml", "--out", out)
    assert result.exit_code == 0, result.output
    assert "Labels may overlap: a folder of masks for each. Masks hold 0 and 255: 255 is read as 1" in result.stdout
    assert "data: multilabel task, 2 labels, 2 training" in result.stdout
    assert "Test IoU of each label in %, mean over seeds" in " ".join(result.stdout.split())
    page = (out / "report.html").read_text()
    assert "The labels may overlap: each is a mask in a folder of its name." in page
    assert "Where labels overlap, the one of fewer test pixels is drawn." in page
    assert_refused(
        invoke("compare", "--data", data, *QUICK, "--task", "multiclass", "--out", tmp_path / "other"),
        "--task multiclass: there is a folder of masks for each of cell, nucleus; expected multilabel",
    )
