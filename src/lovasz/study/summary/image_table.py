"""The counts of every image as a table, and every score of an evaluation as a function of how often each counts."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lovasz import scores
from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.rows import Rows
from lovasz.study.score.scores import WORST, Scores, image_iou, image_miou
from lovasz.study.summary.resampling import MOST_UNITS, Scored

MEANS = ("miou", "foreground_miou", "image_miou", "class_miou", "dice", "accuracy")
OF_CLASSES = ("iou", "dice", "precision", "recall", "image_iou")
# The same of boundaries, where they were counted.
BOUNDARY_MEANS, BOUNDARY_OF_CLASSES = ("boundary_iou", "image_boundary_iou"), ("boundary_iou",)
# More classes than these are not resampled: their scores of 10,000 resamples alone would take a gigabyte.
MOST_CLASSES = 2_000
# Columns of a class: intersection, label, prediction, sum of the IoU of images, images that have one.
COLUMNS = 5


@dataclass(frozen=True)
class ImageTable:
    """What is summed over images.

    Attributes:
        counts: Of each unit and class the columns, (G, C, 5); sums of them are exact.
        images: Of each unit the sum of the mIoU of its images, and how many have one, (G, 2).
        scale: What IoUs of images are multiples of 1 / scale of.
        ignored: Classes without a score.
        background: The class that the mean over the foreground leaves out, or -1.
        ious: IoU of each class in each image, and its mIoU, (N, C + 1); None of so many that they are not ranked.
        unit: The unit of each of these images, (N,).
        boundary: The same of boundary regions; None if they were not counted.
    """

    counts: Tensor
    images: Tensor
    scale: float
    ignored: list[int]
    background: int
    ious: Tensor | None
    unit: Tensor
    boundary: "ImageTable | None" = None

    @property
    def num_classes(self) -> int:
        """C."""
        return self.counts.shape[1]

    @property
    def means(self) -> tuple[str, ...]:
        """The names of the means, M of them."""
        return MEANS if self.boundary is None else MEANS + BOUNDARY_MEANS

    @property
    def of_classes(self) -> tuple[str, ...]:
        """The names of the scores of each class, K of them."""
        return OF_CLASSES if self.boundary is None else OF_CLASSES + BOUNDARY_OF_CLASSES

    def scores(self, weights: Tensor) -> Tensor:
        """Return the means, then each score of all classes, (R, M + K C), of units that count so often, (R, G)."""
        means, of_classes = self._scores(weights)
        if self.boundary is not None:
            of_boundaries, of_their_classes = self.boundary._scores(weights)
            means += [of_boundaries[MEANS.index(name)] for name in ("miou", "image_miou")]
            of_classes.append(of_their_classes[OF_CLASSES.index("iou")])
        return torch.cat([torch.stack(means, 1), *of_classes], 1)

    def _scores(self, weights: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the means, each (R,), and the scores of classes, each (R, C)."""
        sums = (weights @ self.counts.flatten(1)).unflatten(1, self.counts.shape[1:])
        right, labelled, predicted, summed, number = sums.unbind(-1)
        iou, dice = (divided(sums[..., :3], self.ignored) for divided in (scores.iou, scores.dice))
        image = summed / number / self.scale
        known = ~iou.isnan()
        precision, recall = ((right / whole).where(known, torch.nan) for whole in (predicted, labelled))
        of_classes = [iou, dice, precision, recall, image]
        whole, images = (weights @ self.images).unbind(-1)
        foreground = iou.clone()
        foreground[:, self.background if self.background >= 0 else slice(None)] = torch.nan
        means = [
            iou.nanmean(1),
            foreground.nanmean(1),
            whole / images / self.scale,
            image.nanmean(1),
            dice.nanmean(1),
            right.sum(1) / labelled.sum(1),
        ]
        return means, of_classes

    def worst(self, weights: Tensor) -> Tensor:
        """Return the worst case of each class, their mean, and that of images, (R, C + 2), of units as above."""
        assert self.ious is not None
        *classes, images = (_lowest(weights, self.unit, column) for column in self.ious.T)
        of_classes = torch.stack(classes, 1)
        return torch.cat([of_classes, of_classes.nanmean(1, keepdim=True), images[:, None]], 1)

    def held(self) -> NDArray[np.int64]:
        """Return how many units bear on each of the scores, (M + K C,): those that hold the class, or any."""
        labelled = self.counts[..., 1] > 0
        whole = int(labelled.any(1).sum())
        return np.concatenate([[whole] * len(self.means), *[labelled.sum(0).numpy()] * len(self.of_classes)])

    def place(self, name: str, label: int | None = None) -> int:
        """Return which of the scores is a mean, or that of a class."""
        if label is None:
            return self.means.index(name)
        return len(self.means) + self.of_classes.index(name) * self.num_classes + label


def table_of(evaluation: Evaluation, scored: Scores, unit: NDArray[np.int64], units: int) -> ImageTable:
    """Sum the counts of images, and those of their boundaries if there are any, by unit.

    Args:
        evaluation: What was counted.
        scored: Its scores.
        unit: The unit of every name, (N,); -1 for those that are left out.
        units: How many units there are.
    """
    found = _summed(evaluation, evaluation.rows, scored, unit, units)
    if evaluation.boundaries is None:
        return found
    return replace(found, boundary=_summed(evaluation, evaluation.boundaries.rows, scored, unit, units))


def _summed(evaluation: Evaluation, rows: Rows, scored: Scores, unit: NDArray[np.int64], units: int) -> ImageTable:
    num_classes, images = evaluation.num_classes, int((unit >= 0).sum())
    # So fine that sums of them over twice as many images are still exact in float64.
    scale = 2.0 ** (50 - max(1, images).bit_length())
    counts = torch.zeros(units, num_classes, COLUMNS, dtype=torch.float64)
    means = torch.zeros(units, 2, dtype=torch.float64)
    ranked = images <= MOST_UNITS
    ious, of = [], []
    for places, block in rows.blocks():
        kept = unit[places] >= 0
        block, where = block[kept], torch.from_numpy(unit[places[kept]])
        iou = image_iou(block, scored.empty, evaluation.ignored)
        iou = np.concatenate([iou, image_miou(iou)[:, None]], 1)
        known = torch.from_numpy(~np.isnan(iou)).double()
        summed = torch.from_numpy(np.nan_to_num(np.rint(iou * scale)))
        parts = [torch.from_numpy(block).double(), summed[:, :-1, None], known[:, :-1, None]]
        counts.index_add_(0, where, torch.cat(parts, 2))
        means.index_add_(0, where, torch.stack([summed[:, -1], known[:, -1]], 1))
        if ranked:
            ious.append(torch.from_numpy(iou))
            of.append(where)
    ignored = [label for label in sorted(evaluation.ignored) if 0 <= label < num_classes]
    return ImageTable(
        counts,
        means,
        scale,
        ignored,
        scored.background,
        torch.cat(ious) if ious else None,
        torch.cat(of) if of else torch.zeros(0, dtype=torch.int64),
    )


def side_by_side(first: ImageTable, second: ImageTable) -> Scored:
    """Return the scores of units of the first and of the second, (R, 2 G), as if they were of one evaluation,
    without those of boundaries.
    """
    counts = torch.cat([first.counts, second.counts])
    images = torch.cat([first.images, second.images])
    both = replace(first, counts=counts, images=images, ious=None, boundary=None)
    return both.scores


def _lowest(weights: Tensor, unit: Tensor, scores: Tensor) -> Tensor:
    """Return the mean over q of the mean of the lowest q % of scores, each of a unit that counts so often, (R,)."""
    order = scores.argsort()[: int((~scores.isnan()).sum())]
    if not len(order):
        return torch.full((len(weights),), torch.nan, dtype=torch.float64)
    # gather is several times as fast as indexing columns.
    ranked, times = scores[order], weights.gather(1, unit[order].expand(len(weights), -1))
    number, sums = times.cumsum(1), (times * ranked).cumsum(1)
    whole = number[:, -1:]
    wanted = (whole * torch.tensor(WORST, dtype=torch.float64)).div(100, rounding_mode="floor").clamp(min=1)
    last = torch.searchsorted(number, wanted).clamp(max=len(order) - 1)
    lowest = sums.gather(1, last) - (number.gather(1, last) - wanted) * ranked[last]
    return (lowest / wanted).mean(1).where(whole[:, 0] > 0, torch.nan)
