"""IoU, Dice and pixel accuracy from integer counts of hard predictions, as torchmetrics."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics.utilities.plot import plot_confusion_matrix

from ._boundary_metric import BoundaryJaccardIndex, ImageBoundaryJaccardIndex
from ._counting_metric import CountingMetric, Score
from ._curve_metric import JaccardCurve
from ._image_metric import ImageJaccardIndex
from ._inputs.arguments import choice
from ._math.tally import tally
from ._multilabel_metric import MultilabelDiceScore, MultilabelImageJaccardIndex, MultilabelJaccardIndex
from .scores import class_counts, dice, iou

__all__ = [
    "BoundaryJaccardIndex", "ConfusionMatrix", "DiceScore", "ImageBoundaryJaccardIndex", "ImageJaccardIndex",
    "JaccardCurve", "JaccardIndex", "MultilabelDiceScore", "MultilabelImageJaccardIndex", "MultilabelJaccardIndex",
    "PixelAccuracy",
]  # fmt: skip


class ConfusionMatrix(CountingMetric):
    """Count the pixels of every pair of label (row) and prediction (column).

    `M[a, b] = #{i : target_i = a and preds_i = b}` over the pixels that count. `JaccardIndex`,
    `DiceScore` and `PixelAccuracy` hold the same state: a `MetricCollection` of them counts once.

    Args:
        num_classes: C.
        ignore_index: one label or several whose pixels do not count.
        upsample: "nearest", "linear", "bilinear" or "trilinear" for scores of lower resolution than the
            target: the class is that of the largest score interpolated to it, a strip at a time.
        align_corners: that of `F.interpolate`.
        threshold: of scores of one channel, (N, 1, *) or (N, *), of two classes: class 1 is above it. 0 for logits,
            0.5 for probabilities.
        kwargs: passed to `torchmetrics.Metric`.

    Example:
        >>> metric = ConfusionMatrix(2, ignore_index=255)
        >>> metric(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 255]))
        tensor([[1, 1],
                [0, 1]])
    """

    confusion: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        ignore_index: int | Sequence[int] = -100,
        upsample: str | None = None,
        align_corners: bool = False,
        threshold: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, ignore_index, upsample, align_corners, threshold=threshold, **kwargs)
        zeros = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("confusion", zeros, dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor, *, mask: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            preds: class indices (N, *), integer or bool; or floating scores (N, C, *), logits or
                probabilities, of which the largest is taken; with a `threshold` scores of one channel.
            target: labels (N, *), integer or bool; (P,) is a point cloud.
            mask: bool (N, *); True counts.

        Raises:
            ValueError: shapes that do not match, or, at a pixel that counts, an invalid class.
            TypeError: a floating target.
        """
        preds, labels = self._pixels(preds, target, mask)
        counts = tally(labels * self.num_classes + preds, labels >= 0, self.num_classes**2)
        self.confusion = self.confusion + counts.view_as(self.confusion)

    def compute(self) -> Tensor:
        """Return the counts of everything seen: (C, C), int64."""
        return self.confusion

    def plot(
        self,
        val: Tensor | None = None,
        ax: Any = None,
        add_text: bool = True,
        labels: list[str] | None = None,
        cmap: Any = None,
    ) -> Any:
        """Draw the counts as a matrix.

        Args:
            val: a result of `compute` or `forward`; by default that of `compute`.
            ax: axes of matplotlib to draw on, in the place of a new figure.
            add_text: write each count into its cell.
            labels: the names of the classes.
            cmap: a colour map of matplotlib.

        Returns:
            The figure and the axes.
        """
        counts = self.compute() if val is None else val
        return plot_confusion_matrix(counts, ax=ax, add_text=add_text, labels=labels, cmap=cmap)

    def _class_counts(self) -> Tensor:
        """Return the pixels in the intersection, the label and the prediction: (C, 3)."""
        return class_counts(self.confusion)


class JaccardIndex(Score, ConfusionMatrix):  # type: ignore[misc]  # a score is drawn with fewer options
    """Compute the IoU of the whole data set, per class or as the mean over classes (mIoU).

    `IoU_c = TP_c / (TP_c + FP_c + FN_c)`, with the counts summed over all images first, as in PASCAL VOC and
    Cityscapes. A class neither labelled nor predicted, and one that is ignored, is NaN and left out of the mean; if
    no pixel counts, the mean is NaN. `update` is that of `ConfusionMatrix`.

    Args:
        num_classes: C.
        average: "mean" gives a scalar, "none" the (C,) values.
        ignore_index: one label or several whose pixels do not count; of the classes, one that has no score.
        upsample: "nearest", "linear", "bilinear" or "trilinear" for scores of lower resolution than the target.
        align_corners: that of `F.interpolate`.
        threshold: of scores of one channel, (N, 1, *) or (N, *), of two classes: class 1 is above it. 0 for logits,
            0.5 for probabilities.
        kwargs: passed to `torchmetrics.Metric`.

    Example:
        >>> iou = JaccardIndex(3, average="none", ignore_index=255)
        >>> iou(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 255]))
        tensor([0.5000, 0.5000,    nan])

    References:
        Everingham et al., The PASCAL Visual Object Classes challenge, IJCV 2010.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        average: Literal["mean", "none"] = "mean",
        ignore_index: int | Sequence[int] = -100,
        upsample: str | None = None,
        align_corners: bool = False,
        threshold: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes,
            ignore_index=ignore_index,
            upsample=upsample,
            align_corners=align_corners,
            threshold=threshold,
            **kwargs,
        )
        self.average = choice("average", average, ("mean", "none"))

    def compute(self) -> Tensor:
        """Return the score of everything seen: scalar or (C,)."""
        scores = self._scores(self._class_counts())
        return self._result(scores.nanmean() if self.average == "mean" else scores)

    def _scores(self, counts: Tensor) -> Tensor:
        return iou(counts, self.ignore_index)


class DiceScore(JaccardIndex):
    """Compute the Dice score (F1) of the whole data set, per class or as the mean over classes.

    `Dice_c = 2 TP_c / (2 TP_c + FP_c + FN_c)`; an absent class is NaN and left out of the
    mean. The arguments are those of `JaccardIndex`.

    Example:
        >>> dice = DiceScore(2, average="none")
        >>> dice(torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 1, 1, 1, 1]))
        tensor([0.5000, 0.6667])
    """

    def _scores(self, counts: Tensor) -> Tensor:
        return dice(counts, self.ignore_index)


class PixelAccuracy(Score, ConfusionMatrix):  # type: ignore[misc]  # a score is drawn with fewer options
    """Compute the fraction of the pixels that count whose prediction is their label.

    `accuracy = Σ_c M[c, c] / Σ M`; NaN if no pixel counts. The arguments are those of `ConfusionMatrix`.

    Example:
        >>> accuracy = PixelAccuracy(2)
        >>> accuracy(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 1]))
        tensor(0.7500)
    """

    def compute(self) -> Tensor:
        """Return the accuracy over everything seen: scalar."""
        correct, total, _ = self._class_counts().sum(0).cpu().double()
        return self._result(correct / total)
