"""IoU, Dice and accuracy from the counts of an evaluation, with the definitions of ``lovasz.metrics``."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.rows import Rows

# The worst case is the mean, over these q, of the mean over the lowest q percent.
WORST = tuple(range(10, 101, 10))
# Bytes of scores of images that are ranked at a time.
RANKED = 2**26


@dataclass(frozen=True)
class ClassScores:
    """The scores of one class, from 0 to 1; NaN where there is nothing to divide by.

    Attributes:
        pixels: Pixels labelled so that count.
        images: Images whose label holds the class.
        iou: Intersection over union, both summed over all images.
        dice: Twice the intersection over the sum of labelled and predicted pixels.
        precision: Intersection over predicted pixels.
        recall: Intersection over labelled pixels.
        image_iou: Mean IoU over the images whose label holds it.
        worst: The same in the worst case.
    """

    pixels: int
    images: int
    iou: float
    dice: float
    precision: float
    recall: float
    image_iou: float
    worst: float


@dataclass(frozen=True)
class Scores:
    """The scores of an evaluation, from 0 to 1.

    Attributes:
        pixels: Pixels that count.
        accuracy: Share of them that are right.
        miou: Mean of the classes' IoU over the whole dataset.
        dice: Mean of the classes' Dice over the whole dataset.
        image_miou: Mean over images of the mean IoU over the classes in their label.
        image_worst: The same in the worst case.
        class_miou: Mean over classes of their mean IoU over images.
        class_worst: The same in the worst case.
        classes: The scores of each class.
        images: mIoU of each image, (N,); NaN where it was not counted or has nothing that counts.
        lowest: For each class the image where its IoU is lowest; -1 if no label holds it.
    """

    pixels: int
    accuracy: float
    miou: float
    dice: float
    image_miou: float
    image_worst: float
    class_miou: float
    class_worst: float
    classes: list[ClassScores]
    images: NDArray[np.float64]
    lowest: list[int]


def score(evaluation: Evaluation) -> Scores:
    """Computes every score; besides (C, C) integers, memory grows by one number an image."""
    matrix = evaluation.confusion
    right, labelled, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    iou = _iou(right, labelled, predicted)
    dice = _ratio(2 * right, labelled + predicted)
    precision, recall = _ratio(right, predicted), _ratio(right, labelled)
    images = np.full(evaluation.rows.images, np.nan)
    for places, counts in evaluation.rows.blocks():
        images[places] = image_miou(image_iou(counts))
    classes, lowest = [], []
    for label, column in enumerate(_columns(evaluation.rows)):
        number = int(np.count_nonzero(~np.isnan(column)))
        lowest.append(int(np.nanargmin(column)) if number else -1)
        classes.append(
            ClassScores(
                pixels=int(labelled[label]),
                images=number,
                iou=float(iou[label]),
                dice=float(dice[label]),
                precision=float(precision[label]),
                recall=float(recall[label]),
                image_iou=_lowest_mean(column, (100,)),
                worst=_lowest_mean(column, WORST),
            )
        )
    return Scores(
        pixels=int(matrix.sum()),
        accuracy=float(_ratio(right.sum(), matrix.sum())),
        miou=_mean(iou),
        dice=_mean(dice),
        image_miou=_lowest_mean(images, (100,)),
        image_worst=_lowest_mean(images, WORST),
        class_miou=_mean(np.array([one.image_iou for one in classes])),
        class_worst=_mean(np.array([one.worst for one in classes])),
        classes=classes,
        images=images,
        lowest=lowest,
    )


def image_iou(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the IoU of each class in each image.

    Args:
        counts: Pixels in intersection, label and prediction, (N, C, 3).

    Returns:
        (N, C); NaN where the label of the image does not hold the class.
    """
    intersection, labelled, predicted = np.moveaxis(counts, -1, 0)
    return np.where(labelled > 0, _iou(intersection, labelled, predicted), np.nan)


def image_miou(iou: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the mean over the classes of each image, (N,), from their IoU, (N, C)."""
    return _ratio(np.nansum(iou, axis=1), (~np.isnan(iou)).sum(1))


def _columns(rows: Rows) -> Iterator[NDArray[np.float64]]:
    """Yields the IoU of each class in every image, (N,), reading the rows once for as many as memory allows."""
    together = max(1, RANKED // (8 * max(1, rows.images)))
    for first in range(0, rows.num_classes, together):
        group = slice(first, min(first + together, rows.num_classes))
        scores = np.full((group.stop - first, rows.images), np.nan)
        for places, counts in rows.blocks():
            scores[:, places] = image_iou(counts[:, group]).T
        yield from scores


def _lowest_mean(scores: NDArray[np.float64], percents: tuple[int, ...]) -> float:
    """Returns the mean over q of the mean of the lowest q percent of the scores, at least one; NaN left out."""
    known = np.sort(scores[~np.isnan(scores)])
    if not len(known):
        return float("nan")
    sums = known.cumsum()
    lowest = [max(1, len(known) * q // 100) for q in percents]
    return float(np.mean([sums[n - 1] / n for n in lowest]))


def _mean(values: NDArray[np.float64]) -> float:
    return _lowest_mean(values, (100,))


def _iou(
    intersection: NDArray[np.int64], labelled: NDArray[np.int64], predicted: NDArray[np.int64]
) -> NDArray[np.float64]:
    return _ratio(intersection, labelled + predicted - intersection)


def _ratio(part: NDArray[np.int64 | np.float64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)
