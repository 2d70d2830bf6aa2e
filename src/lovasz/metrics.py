"""IoU, Dice and pixel accuracy from integer counts of hard predictions, as torchmetrics."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat
from torchmetrics.utilities.plot import plot_confusion_matrix

from ._counting_metric import CountingMetric, Score
from ._curve_metric import JaccardCurve
from ._inputs.arguments import choice
from ._math.tally import tally
from .scores import EMPTY, class_counts, dice, image_iou, iou, lowest_means

__all__ = ["ConfusionMatrix", "DiceScore", "ImageJaccardIndex", "JaccardCurve", "JaccardIndex", "PixelAccuracy"]


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
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, ignore_index, upsample, align_corners, **kwargs)
        zeros = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("confusion", zeros, dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor, *, mask: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            preds: class indices (N, *), integer or bool; or floating scores (N, C, *), logits or
                probabilities, of which the largest is taken. One logit per pixel: pass `logits > 0`.
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
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes, ignore_index=ignore_index, upsample=upsample, align_corners=align_corners, **kwargs
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


class ImageJaccardIndex(Score, CountingMetric):
    """Compute the fine-grained IoU: a score per image and class first, the means after.

    Image n has `IoU[n, c]` for each class c in its label; for the others it has what `empty` says. "image" averages
    over the classes of each image, then over images (mIoU^I); "class" over the images of each class, then over
    classes (mIoU^C). What has no score is left out; all out is NaN.

    `worst=q` averages only the lowest `max(1, floor(n q / 100))` of n scores: for "image" the n images' means;
    for "class" and "none", in each class apart, the IoU of the n images where it has one. The paper's
    worst case, the mean over q, is `worst=range(10, 101, 10)`.

    Args:
        num_classes: C.
        average: "image" or "class" gives a scalar, "none" the (C,) values behind "class".
        worst: percent, 1 to 100, or several, whose results are averaged.
        empty: what a class scores in an image whose label does not hold it. "skip", as in the paper: nothing;
            "zero": 0 where it is predicted (a false alarm), else nothing; "one": 0 where it is predicted, else 1.
        ignore_index: one label or several whose pixels do not count; of the classes, one that has no score.
        upsample: "nearest", "linear", "bilinear" or "trilinear" for scores of lower resolution than the target.
        align_corners: that of `F.interpolate`.
        kwargs: passed to `torchmetrics.Metric`. The state grows by 24 bytes per image and class.

    Example:
        >>> metric = ImageJaccardIndex(2)  # image 0 holds class 0 only: 1/2; image 1: 1 and 1
        >>> metric(torch.tensor([[0, 1], [0, 1]]), torch.tensor([[0, 0], [0, 1]]))
        tensor(0.7500)
        >>> metric = ImageJaccardIndex(2, empty="zero")  # image 0: 1/2 and 0, as class 1 is a false alarm
        >>> metric(torch.tensor([[0, 1], [0, 1]]), torch.tensor([[0, 0], [0, 1]]))
        tensor(0.6250)

    References:
        Wang et al., Revisiting Evaluation Metrics for Semantic Segmentation, arXiv:2310.19252.
    """

    counts: list[Tensor]

    def __init__(
        self,
        num_classes: int,
        *,
        average: Literal["image", "class", "none"] = "image",
        worst: int | Sequence[int] = 100,
        empty: Literal["skip", "zero", "one"] = "skip",
        ignore_index: int | Sequence[int] = -100,
        upsample: str | None = None,
        align_corners: bool = False,
        **kwargs: Any,
    ) -> None:
        self.empty = choice("empty", empty, EMPTY)
        super().__init__(num_classes, ignore_index, upsample, align_corners, {"empty": empty}, **kwargs)
        self.average = choice("average", average, ("image", "class", "none"))
        self.worst = [worst] if isinstance(worst, int) else list(worst)
        if not self.worst or not all(isinstance(q, int) and 1 <= q <= 100 for q in self.worst):
            raise ValueError(f"worst must be whole percentages from 1 to 100, got {worst!r}")
        self.add_state("counts", [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor, *, mask: Tensor | None = None) -> None:
        """Add a batch of images (N, *), * not empty.

        Args:
            preds: class indices (N, *), or floating scores (N, C, *), of which the largest is taken.
            target: labels (N, *), integer or bool.
            mask: bool (N, *); True counts.
        """
        if target.ndim < 2:
            hint = "for one point cloud pass preds[None] and target[None]"
            raise ValueError(f"target must be (N, *), * not empty, got {tuple(target.shape)}; {hint}")
        preds, labels = self._pixels(preds, target, mask)
        self.counts.append(_image_counts(preds, labels, self.num_classes))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Share the counts between processes; `compute` does so first, if only with itself."""
        if not len(self.counts):
            # torchmetrics would send a float vector, which does not fit the tables of the others.
            self.counts.append(torch.zeros((0, self.num_classes, 3), dtype=torch.int64, device=self.device))
        super().sync(*args, **kwargs)

    def compute(self) -> Tensor:
        """Return the mean over everything seen: scalar or (C,)."""
        scores = image_iou(dim_zero_cat(self.counts), self.empty, self.ignore_index)
        if self.average == "image":
            scores = scores.nanmean(1, keepdim=True)
        means = lowest_means(scores, self.worst)
        return self._result(means if self.average == "none" else means.nanmean())


def _image_counts(preds: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the pixels in the intersection, the label and the prediction: (N, C, 3)."""
    preds, labels = preds.flatten(1), labels.flatten(1)
    images, valid = len(labels), labels >= 0
    first = torch.arange(images, device=labels.device)[:, None] * num_classes
    pairs = ((labels, valid & (preds == labels)), (labels, valid), (preds, valid))
    tallies = [tally(first + c, chosen, images * num_classes) for c, chosen in pairs]
    return torch.stack(tallies, dim=-1).view(images, num_classes, 3)
