"""The rows of images.csv: the scores of each image, and the integers that they are made of."""

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.sheets import score_cell
from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.scores import Scores, image_iou, image_miou
from lovasz.study.score.surfaces import MEASURED


def image_rows(evaluation: Evaluation, scores: Scores) -> Iterator[list[Any]]:
    """Yield a row for each image counted: name, pixels, accuracy, IoU, counts; boundaries and surfaces if asked."""
    parts = [("", evaluation.rows)]
    if evaluation.boundaries is not None:
        parts.append(("boundary_", evaluation.boundaries.rows))
    columns = (name for prefix, _ in parts for name in _columns(prefix, evaluation.names))
    surfaces = evaluation.surfaces
    measured = [] if surfaces is None else [f"{what}_{name}" for name in evaluation.names for what in MEASURED]
    yield ["name", "pixels", "accuracy", *columns, *measured]
    for blocks in zip(*(rows.blocks() for _, rows in parts), strict=True):  # of all the same images
        places, counts = blocks[0]
        cells = [_cells(counted, scores.empty, evaluation.ignored) for _, counted in blocks]
        pixels, right = counts[..., 1].sum(1).tolist(), counts[..., 0].sum(1).tolist()
        for place, whole, part, *found in zip(places.tolist(), pixels, right, *cells, strict=True):
            accuracy = score_cell(part / whole if whole else math.nan)
            values = [] if surfaces is None else map(score_cell, surfaces[place].ravel().tolist())
            yield [evaluation.pairs.files[place][0], whole, accuracy, *itertools.chain(*found), *values]


def _columns(prefix: str, names: Sequence[str]) -> Iterator[str]:
    """Yield the names of what `_cells` yields of an image."""
    yield f"{prefix}miou"
    yield from (f"{prefix}iou_{name}" for name in names)
    yield from (f"{prefix}{what}_{name}" for name in names for what in ("tp", "fp", "fn"))


def _cells(counts: NDArray[np.int64], empty: str, ignored: Collection[int]) -> Iterator[list[Any]]:
    """Yield of each image mIoU, the IoU of the classes with a score there, and of each class TP, FP and FN."""
    iou = image_iou(counts, empty, ignored)
    for values, (both, labelled, predicted), mean in zip(
        iou.tolist(), np.moveaxis(counts, 2, 1), image_miou(iou).tolist(), strict=True
    ):
        errors = np.stack([both, predicted - both, labelled - both], axis=1)
        yield [*map(score_cell, (mean, *values)), *errors.ravel().tolist()]
