"""Boundary IoU, of the whole data set or of each image, from integer counts of boundary regions."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ._counting_metric import CountingMetric, Score
from ._image_metric import ImageJaccardIndex
from ._inputs.arguments import check_width, choice
from .boundaries import boundary_counts
from .scores import iou


class BoundaryJaccardIndex(Score, CountingMetric):
    """Compute the boundary IoU of the whole data set, per class or as the mean over classes.

    `|G_c ∩ P_c| / |G_c ∪ P_c|`, with the pixels summed over all images first. G_c and P_c are the boundary
    regions of class c in label and prediction: its pixels within a distance d of a pixel of another class, or of
    the outside of the image, along rows, columns and diagonals alike; d = max(1, round(width * diagonal)). Where a
    pixel does not count, by its label or the mask, nobody knows what lies there: it is in no region and makes no
    boundary. A class without a region in either, and one that is ignored, is NaN and left out of the mean; if no
    pixel counts, the mean is NaN.

    Args:
        num_classes: C.
        width: of the region: a fraction of the diagonal of the images, a float above 0 and below 1; or the
            distance in pixels, an int.
        average: "mean" gives a scalar, "none" the (C,) values.
        ignore_index: one label or several whose pixels do not count; of the classes, one that has no score.
        upsample: "nearest", "linear", "bilinear" or "trilinear" for scores of lower resolution than the target.
        align_corners: that of `F.interpolate`.
        threshold: of scores of one channel, (N, 1, *) or (N, *), of two classes: class 1 is above it. 0 for logits,
            0.5 for probabilities.
        kwargs: passed to `torchmetrics.Metric`.

    Example:
        >>> square = torch.zeros(1, 7, 7, dtype=torch.long)
        >>> square[0, 1:6, 1:6] = 1  # a boundary of 16 pixels; the frame around it, of 24, is all boundary
        >>> metric = BoundaryJaccardIndex(2, width=1, average="none")
        >>> metric(square.roll(1, 2), square)  # 19 / (24 + 24 - 19) and 8 / (16 + 16 - 8)
        tensor([0.6552, 0.3333])

    References:
        Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation, CVPR 2021,
        arXiv:2103.16562.
    """

    counts: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 0.02,
        average: Literal["mean", "none"] = "mean",
        ignore_index: int | Sequence[int] = -100,
        upsample: str | None = None,
        align_corners: bool = False,
        threshold: float | None = None,
        **kwargs: Any,
    ) -> None:
        check_width(width)
        super().__init__(num_classes, ignore_index, upsample, align_corners, {"width": width}, threshold, **kwargs)
        self.width = width
        self.average = choice("average", average, ("mean", "none"))
        self.add_state("counts", torch.zeros(num_classes, 3, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor, *, mask: Tensor | None = None) -> None:
        """Add a batch of images or volumes, of which axes of length 1 are left out.

        Args:
            preds: class indices (N, H, W) or (N, D, H, W); or floating scores (N, C, *), of which the largest is
                taken; with a `threshold` scores of one channel.
            target: labels (N, H, W) or (N, D, H, W), integer or bool.
            mask: bool, of the same shape; True counts.

        Raises:
            ValueError: shapes that do not match, or, at a pixel that counts, an invalid class.
            TypeError: a floating target.
        """
        preds, labels = self._pixels(preds, target, mask)
        found = boundary_counts(preds, labels, self.num_classes, width=self.width, mask=labels >= 0)
        self.counts = self.counts + found.sum(0)

    def compute(self) -> Tensor:
        """Return the score of everything seen: scalar or (C,)."""
        scores = iou(self.counts, self.ignore_index)
        return self._result(scores.nanmean() if self.average == "mean" else scores)


class ImageBoundaryJaccardIndex(ImageJaccardIndex):
    """Compute the boundary IoU of each image and class first, the means after.

    The regions are those of `BoundaryJaccardIndex`; the means, the lowest of them (`worst`) and the images without
    a class (`empty`) are those of `ImageJaccardIndex`. An image is without a class if its label has no boundary of
    it.

    Args:
        num_classes: C.
        width: of the region: a fraction of the diagonal of the images, a float above 0 and below 1; or the
            distance in pixels, an int.
        average: "image" or "class" gives a scalar, "none" the (C,) values behind "class".
        worst: percent, 1 to 100, or several, whose results are averaged.
        empty: "skip", "zero" or "one": what a class scores in an image without it.
        ignore_index: one label or several whose pixels do not count; of the classes, one that has no score.
        upsample: "nearest", "linear", "bilinear" or "trilinear" for scores of lower resolution than the target.
        align_corners: that of `F.interpolate`.
        threshold: of scores of one channel, (N, 1, *) or (N, *), of two classes: class 1 is above it. 0 for logits,
            0.5 for probabilities.
        kwargs: passed to `torchmetrics.Metric`. The state grows by 24 bytes per image and class.

    Example:
        >>> square = torch.zeros(2, 7, 7, dtype=torch.long)
        >>> square[:, 1:6, 1:6] = 1
        >>> shifted = torch.stack([square[0], square[1].roll(1, 1)])  # of the second, 19/29 and 1/3
        >>> ImageBoundaryJaccardIndex(2, width=1)(shifted, square)
        tensor(0.7471)
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 0.02,
        average: Literal["image", "class", "none"] = "image",
        worst: int | Sequence[int] = 100,
        empty: Literal["skip", "zero", "one"] = "skip",
        ignore_index: int | Sequence[int] = -100,
        upsample: str | None = None,
        align_corners: bool = False,
        threshold: float | None = None,
        **kwargs: Any,
    ) -> None:
        check_width(width)
        self.width = width
        super().__init__(
            num_classes,
            average=average,
            worst=worst,
            empty=empty,
            ignore_index=ignore_index,
            upsample=upsample,
            align_corners=align_corners,
            threshold=threshold,
            **kwargs,
        )

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "width": self.width}

    def _image_counts(self, preds: Tensor, labels: Tensor) -> Tensor:
        return boundary_counts(preds, labels, self.num_classes, width=self.width, mask=labels >= 0)
