"""Small charts of what scores are worth at every threshold: IoU, precision by recall, and reliability."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lovasz.study.report.squares import SQUARE, path, places
from lovasz.study.score.scored import Scored
from lovasz.study.summary.score_curves import ClassCurve, by_class, thinned

# Classes that are drawn; the tables have all.
DRAWN = 60


@dataclass(frozen=True)
class Charts:
    """The charts of a class, each a path in a square of `SQUARE` units, from the top left.

    Attributes:
        numbers: What the table says of the class.
        iou: IoU over the threshold.
        usual: The height of the IoU by the usual decision.
        best: Where the IoU is highest, across and down; None where there is no foreground.
        precision: Precision over recall.
        reliability: The share of the class over its probability, by bins that hold a pixel.
        points: The same as points.
    """

    numbers: ClassCurve
    iou: str
    usual: float
    best: tuple[float, float] | None
    precision: str
    reliability: str
    points: list[tuple[float, float]]


def threshold_charts(scored: Scored, curves: Sequence[ClassCurve]) -> list[Charts]:
    """Return the charts of each class, of at most `DRAWN`; `curves` is what its table says of each."""
    found = []
    for numbers, (_, curve) in itertools.islice(zip(curves, by_class(scored), strict=True), DRAWN):
        rates = (curve.score(name)[0] for name in ("jaccard", "precision", "recall"))
        threshold, iou, precision, recall = (one[thinned(curve)].numpy() for one in (curve.thresholds, *rates))
        calibration = curve.calibration()
        reliability = calibration.confidence[0].numpy(), calibration.frequency[0].numpy()
        best = places(np.array([numbers.best_threshold]), np.array([numbers.best_iou]))
        usual = numbers.usual_iou
        found.append(
            Charts(
                numbers,
                path(threshold, iou),
                SQUARE * (1 - (usual if usual == usual else 0.0)),
                best[0] if best else None,
                path(recall, precision),
                path(*reliability),
                places(*reliability),
            )
        )
    return found
