"""Scores with targets in folders, and ``lovasz evaluate --scores`` called on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from lovasz.cli.app import app

SHAPE = (12, 10)


def softmax(x: Any) -> Any:
    return np.exp(x) / np.exp(x).sum(0)


def make(folder: Path, classes: int, images: int = 6, seed: int = 0) -> list[tuple[Any, Any]]:
    """Logits (C, H, W) and targets, with the targets written."""
    rng = np.random.default_rng(seed)
    for place in ("s", "t"):
        (folder / place).mkdir(parents=True)
    found = []
    for image in range(images):
        target = rng.integers(0, classes, SHAPE).astype(np.uint8)
        logits = rng.normal(size=(classes, *SHAPE)) + 1.2 * (np.arange(classes)[:, None, None] == target)
        target[0, :3] = 255
        Image.fromarray(target).save(folder / "t" / f"{image}.png")
        found.append((logits.astype(np.float32), target))
    return found


def make_files(folder: Path, classes: int, images: int = 6) -> list[tuple[Any, Any]]:
    """The same, with the logits written as arrays."""
    found = make(folder, classes, images)
    for image, (logits, _) in enumerate(found):
        np.save(folder / "s" / f"{image}.npy", logits)
    return found


def evaluate(folder: Path, *more: Any, classes: int = 3, out: str = "out", scores: str = "s", code: int = 0) -> Any:
    """Call the command: of the exit code 0 return results.json, else what was printed."""
    return _called((folder / scores, folder / "t"), folder / out, classes, code, more)


def evaluate_list(folder: Path, *more: Any, code: int = 0) -> Any:
    """The same for the pairs that list.csv names."""
    return _called((folder / "list.csv",), folder / "out", 3, code, more)


def _called(paths: tuple[Path, ...], out: Path, classes: int, code: int, more: tuple[Any, ...]) -> Any:
    arguments = (*paths, "--num-classes", classes, "--ignore", 255, "--worst", 2, "--out", out, *more)
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return json.loads((out / "results.json").read_text()) if code == 0 else done
