"""An evaluation of a few masks, and its page."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lovasz.study.io.classes import Classes
from lovasz.study.io.names import files_in
from lovasz.study.processes import Ranks
from lovasz.study.report.evaluation_report import write_report
from lovasz.study.score.evaluation import Evaluation, evaluate
from lovasz.study.score.pairing import pair
from lovasz.study.score.scores import score
from lovasz.study.summary.evaluation_results import Outcome
from tests.study.masks import VOID, write

NAMES = ("sky", "road", "car <&> van", "man", "tree", "absent")


def blobs(images: int, classes: int, side: int = 60) -> list[tuple[np.ndarray, np.ndarray]]:
    """Masks with regions, each prediction with a wrong square."""
    rng = np.random.default_rng(0)
    pairs = []
    for image in range(images):
        cells = rng.integers(0, classes, (4, 5), dtype=np.uint8)
        if image % 4:
            cells[cells == 3] = 2  # few images hold class 3
        target = np.kron(cells, np.ones((side // 4, side // 4), np.uint8))
        target[:5, :9] = VOID
        prediction = np.roll(target, 1, 1)
        prediction[10 : 10 + 4 * image % 40, 10:40] = 1
        prediction[target == VOID] = VOID
        prediction[(prediction == VOID) & (target != VOID)] = 0
        pairs.append((prediction, target))
    return pairs


def count(predictions: Path, targets: Path, names: tuple[str, ...]) -> Evaluation:
    """What two folders hold."""
    pairs, stop = pair(predictions, targets), threading.Event()
    return evaluate(pairs, names, frozenset({VOID}), 2, stop, lambda done, left_out: None, Ranks())


def report(folder: Path, masks: list[Any], names: tuple[str, ...], worst: int = 6, photos: bool = False) -> Path:
    """The page of these masks."""
    found = count(*write(folder, masks), names)
    outcome = Outcome(found, score(found), False, "lovasz evaluate a b")
    if photos:
        (folder / "photos").mkdir()
        for index, (_, target) in enumerate(masks):
            shade = np.stack([target, 255 - target, target], -1)
            Image.fromarray(shade).save(folder / "photos" / f"{index:02}.jpg")
        (folder / "photos" / "08.jpg").write_bytes(b"")
    shown = files_in(folder / "photos") if photos else {}
    return write_report(outcome, Classes(names, None), shown, worst, folder / "report.html")
