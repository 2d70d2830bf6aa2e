"""What the counts of scores show of each class: the best threshold, average precision and calibration."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lovasz import scores as divided
from lovasz.curves import ThresholdCurve
from lovasz.study.score.scored import Scored

# Thresholds of a class in the table.
POINTS = 256


@dataclass(frozen=True)
class ClassCurve:
    """What every threshold on the probability of a class is worth, from 0 to 1; NaN where there is nothing.

    Attributes:
        label: The class, against the rest.
        usual_iou: IoU by the usual decision.
        best_threshold: The threshold of highest IoU on these images.
        best_iou: The IoU there.
        average_precision: The area under the curve of precision and recall.
        calibration_error: The mean of |frequency - probability| over 15 bins, by their pixels.
    """

    label: int
    usual_iou: float
    best_threshold: float
    best_iou: float
    average_precision: float
    calibration_error: float


def by_class(scored: Scored) -> Iterator[tuple[int, ThresholdCurve]]:
    """Yield each class with its curve, of one channel class 1 alone; memory holds one at a time."""
    table = scored.counts.table[0]
    for channel in range(len(table)):
        yield channel + (len(table) == 1), ThresholdCurve(table[channel : channel + 1], scored.counts.form)


def thinned(curve: ThresholdCurve) -> slice:
    """Return which thresholds are shown, about `POINTS`."""
    return slice(None, None, max(1, len(curve.thresholds) // POINTS))


def class_curves(scored: Scored) -> list[ClassCurve]:
    """Return one for each class, of one channel for class 1 alone."""
    usual = divided.iou(torch.from_numpy(scored.usual), []).tolist()
    found = []
    for label, curve in by_class(scored):
        threshold, iou = curve.best()
        found.append(
            ClassCurve(
                label,
                usual[label],
                threshold.item(),
                iou.item(),
                curve.average_precision().item(),
                curve.calibration_error().item(),
            )
        )
    return found


def curve_rows(scored: Scored, names: Sequence[str]) -> Iterator[list[Any]]:
    """Yield a row for each class and threshold, of which there are about `POINTS`."""
    yield ["class", "threshold", "iou", "precision", "recall", "tp", "fp", "fn", "tn"]
    for label, curve in by_class(scored):
        rates = [curve.score(name)[0] for name in ("jaccard", "precision", "recall")]
        columns = (curve.thresholds, *rates, curve.tp[0], curve.fp[0], curve.fn[0], curve.tn[0])
        for row in zip(*(column[thinned(curve)].tolist() for column in columns), strict=True):
            yield [names[label], *("" if value != value else value for value in row)]


def calibration_rows(scored: Scored, names: Sequence[str]) -> Iterator[list[Any]]:
    """Yield a row for each class and bin of the probability: a reliability diagram."""
    yield ["class", "from", "to", "pixels", "probability", "frequency"]
    for label, curve in by_class(scored):
        found = curve.calibration()
        edges = found.edges.tolist()
        columns = (found.pixels[0], found.confidence[0], found.frequency[0])
        for low, high, *row in zip(edges, edges[1:], *(column.tolist() for column in columns), strict=False):
            yield [names[label], low, high, *("" if x != x else x for x in row)]


def decided(scored: Scored) -> str:
    """Return a sentence on how scores became labels; it says where the rule was chosen on the same images."""
    decision = scored.scoring.decision
    if decision.rule == "image":
        return "Labels: the rule of highest expected IoU of each image."
    if decision.channels == 1:
        side = "at least" if decision.reached else "above"
        said = f"Labels: class 1 where its probability is {side} {decision.threshold:.4g}"
    else:
        said = "Labels: the argmax" if decision.module is None else "Labels: the rule for the data set"
    if decision.fitted is None:
        return f"{said}."
    if not decision.fitted.where:
        return f"{said}, chosen on the same images: the score is optimistic."
    return f"{said}, chosen on {decision.fitted.images:,} images of {decision.fitted.where}."
