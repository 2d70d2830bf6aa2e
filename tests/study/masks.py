"""Two small folders of masks to evaluate, and what every metric says about them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

VOID = 255


def draw(images: int, classes: int, seed: int = 0) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Predictions and targets of different sizes; class 1 is rare, the last in no target, some pixels void."""
    rng = np.random.default_rng(seed)
    pairs = []
    for image in range(images):
        shape = rng.integers(6, 24, 2)
        target = rng.integers(0, classes - 1, shape, dtype=np.uint8)
        if image % 3:
            target[target == 1] = 0
        target[rng.random(shape) < 0.1] = VOID
        prediction = np.where(
            rng.random(shape) < 0.2 + 0.6 * image / images, rng.integers(0, classes, shape), target
        )
        prediction[target == VOID] = rng.choice([0, VOID, 77])
        pairs.append((prediction.astype(np.uint8), target))
    return pairs


def write(folder: Path, pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> tuple[Path, Path]:
    """The folders of predictions and targets, of files 00.png, 01.png ..."""
    folders = folder / "predictions", folder / "targets"
    for place in folders:
        place.mkdir(parents=True)
    for index, pair in enumerate(pairs):
        for place, mask in zip(folders, pair, strict=True):
            Image.fromarray(mask).save(place / f"{index:02}.png")
    return folders


def spoil(predictions: Path, targets: Path) -> None:
    """One file broken, one of another shape."""
    (predictions / "03.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(targets / "07.png")
