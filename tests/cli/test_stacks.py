"""Files that hold more than their first picture, and images that show nothing, as the commands meet them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from lovasz.cli.app import app
from tests.study.raw import raw_tiff
from tests.study.tiny_data import VOID, tiny_folder

TRUTH = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [0, 2, 2, 1], [0, 0, 0, 1]], np.uint8)
WRONG = (TRUTH + 1) % 3


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="lovasz")


def test_every_page_of_a_stack_is_scored(tmp_path: Path) -> None:
    """A page that is right and one that is wrong everywhere: 33.02, where the first page alone is 100."""
    predictions, targets = tmp_path / "predictions", tmp_path / "targets"
    for folder, second in ((predictions, WRONG), (targets, TRUTH)):
        folder.mkdir()
        raw_tiff(folder / "a.tif", [TRUTH[..., None], second[..., None]])
    pages = [TRUTH, TRUTH], [TRUTH, WRONG]
    flat, guess = (np.stack(both).ravel() for both in pages)
    iou = [((flat == c) & (guess == c)).sum() / ((flat == c) | (guess == c)).sum() for c in range(3)]
    result = invoke(
        "evaluate", str(predictions), str(targets), "--num-classes", "3", "--out", str(tmp_path / "out")
    )
    assert result.exit_code == 0, result.stdout
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["complete"]
    assert found["scores"]["miou"] == pytest.approx(np.mean(iou))
    assert round(100 * float(np.mean(iou)), 2) == 33.02
    # A page more or less is another shape; the pages of an array are the same values.
    np.save(predictions / "a.npy", np.stack([TRUTH, WRONG]))
    (predictions / "a.tif").unlink()
    again = invoke("evaluate", str(predictions), str(targets), "--num-classes", "3", "--out", str(tmp_path / "out"))
    assert again.exit_code == 0, again.stdout
    raw_tiff(targets / "a.tif", [TRUTH[..., None]])
    refused = invoke(
        "evaluate", str(predictions), str(targets), "--num-classes", "3", "--out", str(tmp_path / "out")
    )
    assert refused.exit_code == 1
    assert "has the shape (2, 4, 4)" in refused.stdout.replace("\n", " ")


@pytest.mark.usefixtures("memory_not_measured")
def test_what_shows_nothing_is_told_before_training(tmp_path: Path) -> None:
    root = tiny_folder(tmp_path / "mine")
    for path in root.glob("*/images/*.png"):
        Image.fromarray(np.asarray(Image.open(path)) * np.array([1, 0, 1], np.uint8)).save(path)
    Image.new("RGB", (24, 20)).save(root / "val" / "images" / "val0.png")
    options = ("--data", str(root), "--ignore", str(VOID), "--steps", "1", "--seeds", "1", "--accelerator", "cpu")
    result = invoke("compare", *options, "--loss", "ce", "--network", "conv", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    before = result.stdout.replace("\n", " ").partition("1 run of 1 step")[0]
    assert "1 of 11 images is constant, and shows nothing" in before
    assert "channel 2 of 3 is 0 in every training image" in before
