"""Small charts of what scores are worth at every threshold: IoU, precision by recall, and reliability."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lovasz.curves import ThresholdCurve
from lovasz.study.score.scored import Scored
from lovasz.study.summary.score_curves import POINTS, ClassCurve, class_curves

# Units of the side of a chart.
SQUARE = 100
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


def threshold_charts(scored: Scored) -> list[Charts]:
    """Return the charts of each class, of at most `DRAWN`."""
    table, form = scored.counts.table[0], scored.counts.form
    found = []
    for channel, numbers in enumerate(class_curves(scored)[:DRAWN]):
        curve = ThresholdCurve(table[channel : channel + 1], form)
        step = max(1, len(curve.thresholds) // POINTS)
        iou, precision, recall = (curve.score(name)[0, ::step] for name in ("jaccard", "precision", "recall"))
        calibration = curve.calibration()
        points = _places(calibration.confidence[0], calibration.frequency[0])
        best = _places(torch.tensor([numbers.best_threshold]), torch.tensor([numbers.best_iou]))
        usual = numbers.usual_iou
        found.append(
            Charts(
                numbers,
                _path(_places(curve.thresholds[::step], iou)),
                SQUARE * (1 - (usual if usual == usual else 0.0)),
                best[0] if best else None,
                _path(_places(recall, precision)),
                _path(points),
                points,
            )
        )
    return found


def _places(x: Tensor, y: Tensor) -> list[tuple[float, float]]:
    """Return where shares from 0 to 1 lie in the square, but for those that are NaN."""
    known = x.isfinite() & y.isfinite()
    return list(zip((SQUARE * x[known]).tolist(), (SQUARE * (1 - y[known])).tolist(), strict=True))


def _path(places: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places) if places else ""
