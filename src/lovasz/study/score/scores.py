"""IoU, Dice and accuracy from the counts of an evaluation, by ``lovasz.scores`` as in ``lovasz.metrics``."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lovasz import scores as divided
from lovasz.study.io.class_colours import background_of
from lovasz.study.score.boundaries import Boundaries
from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.surface_scores import SurfaceScores, surface_scores

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
        absent: Images with pixels that count whose label does not hold it.
        false_alarms: How many of these have it predicted.
        false_alarm_pixels: At how many pixels, in all of them.
        iou: Intersection over union, both summed over all images.
        dice: Twice the intersection over the sum of labelled and predicted pixels.
        precision: Intersection over predicted pixels.
        recall: Intersection over labelled pixels.
        image_iou: Mean IoU over the images where it has one, as ``empty`` says.
        worst: The same in the worst case.
    """

    pixels: int
    images: int
    absent: int
    false_alarms: int
    false_alarm_pixels: int
    iou: float
    dice: float
    precision: float
    recall: float
    image_iou: float
    worst: float


@dataclass(frozen=True)
class BoundaryScores:
    """The boundary IoU of an evaluation, from 0 to 1; NaN where there is none.

    Attributes:
        iou: Mean of the classes' boundary IoU over the whole data set.
        image_iou: Mean over images of the mean over the classes with a score there, as ``empty`` says.
        classes: That of each class over the whole data set, C of them.
        images: The mean of each image, (N,).
    """

    iou: float
    image_iou: float
    classes: list[float]
    images: NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """The scores of an evaluation, from 0 to 1.

    Attributes:
        pixels: Pixels that count.
        accuracy: Share of them that are right.
        miou: Mean of the classes' IoU over the whole data set.
        averaged: How many classes have an IoU over the whole data set.
        background: The class named "background", else the one with more than half of the pixels; -1: none, or
            no other class has an IoU.
        foreground_miou: The mean over the other classes; NaN without a background.
        dice: Mean of the classes' Dice over the whole data set.
        empty: What a class scores in an image whose label does not hold it, as in ``lovasz.scores.image_iou``.
        image_miou: Mean over images of the mean IoU over the classes with a score, those in their label.
        image_worst: The same in the worst case.
        class_miou: Mean over classes of their mean IoU over images.
        class_worst: The same in the worst case.
        classes: The scores of each class.
        images: mIoU of each image, (N,); NaN where it was not counted or has nothing that counts.
        lowest: For each class the image where its IoU is lowest; -1 if it has none.
        boundary: The boundary IoU; None if it was not asked for.
        surface: NSD and HD95; None if they were not asked for.
    """

    pixels: int
    accuracy: float
    miou: float
    averaged: int
    background: int
    foreground_miou: float
    dice: float
    empty: str
    image_miou: float
    image_worst: float
    class_miou: float
    class_worst: float
    classes: list[ClassScores]
    images: NDArray[np.float64]
    lowest: list[int]
    boundary: BoundaryScores | None = None
    surface: SurfaceScores | None = None


def score(evaluation: Evaluation, empty: str = "skip") -> Scores:
    """Compute every score; besides (C, C) integers, memory grows by one number an image.

    Args:
        evaluation: What was counted.
        empty: What a class scores in an image whose label does not hold it.
    """
    matrix, ignored = torch.from_numpy(evaluation.confusion), sorted(evaluation.ignored)
    counts = divided.class_counts(matrix)
    right, labelled, predicted = counts.numpy().T
    iou, dice = divided.iou(counts, ignored).numpy(), divided.dice(counts, ignored).numpy()
    precision, recall = (np.where(np.isnan(iou), np.nan, _ratio(right, whole)) for whole in (predicted, labelled))
    images = np.full(evaluation.rows.images, np.nan)
    held = np.zeros((4, evaluation.num_classes), dtype=np.int64)
    for places, block in evaluation.rows.blocks():
        images[places] = image_miou(image_iou(block, empty, ignored))
        held += _held(block)
    held[1:, [label for label in ignored if 0 <= label < evaluation.num_classes]] = 0
    classes, lowest = [], []
    for label, column in enumerate(_columns(evaluation, empty, ignored)):
        lowest.append(int(np.nanargmin(column)) if not np.isnan(column).all() else -1)
        number, absent, alarms, alarm_pixels = held[:, label].tolist()
        classes.append(
            ClassScores(
                pixels=int(labelled[label]),
                images=number,
                absent=absent,
                false_alarms=alarms,
                false_alarm_pixels=alarm_pixels,
                iou=float(iou[label]),
                dice=float(dice[label]),
                precision=float(precision[label]),
                recall=float(recall[label]),
                image_iou=_lowest_mean(column, (100,)),
                worst=_lowest_mean(column, WORST),
            )
        )
    background = _background(evaluation, labelled, iou)
    return Scores(
        pixels=int(labelled.sum()),
        accuracy=float(_ratio(right.sum(), labelled.sum())),
        miou=_mean(iou),
        averaged=int((~np.isnan(iou)).sum()),
        background=background,
        foreground_miou=float("nan") if background < 0 else _mean(np.delete(iou, background)),
        dice=_mean(dice),
        empty=empty,
        image_miou=_lowest_mean(images, (100,)),
        image_worst=_lowest_mean(images, WORST),
        class_miou=_mean(np.array([one.image_iou for one in classes])),
        class_worst=_mean(np.array([one.worst for one in classes])),
        classes=classes,
        images=images,
        lowest=lowest,
        boundary=None if evaluation.boundaries is None else _boundary(evaluation.boundaries, empty, ignored),
        surface=None if evaluation.surfaces is None else surface_scores(evaluation.surfaces, background),
    )


def image_iou(counts: NDArray[np.int64], empty: str = "skip", ignored: Collection[int] = ()) -> NDArray[np.float64]:
    """Return the IoU of each class in each image.

    Args:
        counts: Pixels in intersection, label and prediction, (N, C, 3).
        empty: What a class scores in an image whose label does not hold it.
        ignored: Labels that do not count.

    Returns:
        (N, C); NaN where a class has no score.
    """
    found: NDArray[np.float64] = divided.image_iou(torch.from_numpy(counts.copy()), empty, list(ignored)).numpy()
    return found


def image_miou(iou: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the classes of each image, (N,), from their IoU, (N, C)."""
    means: NDArray[np.float64] = torch.from_numpy(iou).nanmean(1).numpy()
    return means


def _boundary(counted: Boundaries, empty: str, ignored: Collection[int]) -> BoundaryScores:
    """Return the boundary IoU from the counts of each image."""
    rows = counted.rows
    images, total = np.full(rows.images, np.nan), np.zeros((rows.num_classes, 3), dtype=np.int64)
    for places, block in rows.blocks():
        images[places] = image_miou(image_iou(block, empty, ignored))
        total += block.sum(0)
    classes = divided.iou(torch.from_numpy(total), list(ignored)).numpy()
    return BoundaryScores(_mean(classes), _mean(images), classes.tolist(), images)


def _held(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, by class, the images that hold it, those without it, the false alarms of these, and their pixels."""
    labelled, predicted = counts[..., 1] > 0, counts[..., 2]
    absent = ~labelled & labelled.any(1, keepdims=True)
    return np.stack(
        [labelled.sum(0), absent.sum(0), (absent & (predicted > 0)).sum(0), (absent * predicted).sum(0)]
    )


def _background(evaluation: Evaluation, labelled: NDArray[np.int64], iou: NDArray[np.float64]) -> int:
    """Return the class that the mean over the others leaves out, as `Scores` says, or -1."""
    known = np.flatnonzero(~np.isnan(iou)).tolist()
    found = background_of([evaluation.names[label] for label in known], labelled[known].tolist())
    return known[found] if found >= 0 and len(known) > 1 else -1


def _columns(evaluation: Evaluation, empty: str, ignored: Collection[int]) -> Iterator[NDArray[np.float64]]:
    """Yield the IoU of each class in every image, (N,), reading the rows once for as many as memory allows."""
    rows = evaluation.rows
    together = max(1, RANKED // (8 * max(1, rows.images)))
    for first in range(0, rows.num_classes, together):
        group = slice(first, min(first + together, rows.num_classes))
        scores = np.full((group.stop - first, rows.images), np.nan)
        for places, counts in rows.blocks():
            # One more column, of all classes together, says whether anything counts in the image.
            some = np.concatenate([counts[:, group], counts.sum(1, keepdims=True)], axis=1)
            scores[:, places] = image_iou(some, empty, [label - first for label in ignored])[:, :-1].T
        yield from scores


def _lowest_mean(scores: NDArray[np.float64], percents: tuple[int, ...]) -> float:
    """Return the mean over q of the mean of the lowest q percent of the scores, at least one; NaN left out."""
    return float(divided.lowest_means(torch.from_numpy(scores)[:, None], percents))


def _mean(values: NDArray[np.float64]) -> float:
    return _lowest_mean(values, (100,))


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)
