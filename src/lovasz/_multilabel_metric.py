"""IoU and Dice of labels that overlap, one mask for each: of the data set, and image by image."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ._counting_metric import CountingMetric, Score
from ._image_metric import ImageJaccardIndex
from ._inputs.arguments import choice
from ._inputs.predictions import predicted_masks
from .scores import dice, image_iou, iou


class _Masks(CountingMetric):
    """Counts the pixels of each label's masks."""

    overlapping = True

    def _counts(self, preds: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        """Return the pixels in intersection, label and prediction, and all that count: (N, C, 4)."""
        found, labels = predicted_masks(
            preds,
            target,
            self.num_classes,
            self.ignore_index,
            mask,
            self.upsample,
            self.align_corners,
            self.threshold,
        )
        labelled, valid = labels == 1, labels >= 0
        sides = (found & labelled, labelled, found & valid, valid)
        return torch.stack([side.flatten(2).sum(2) for side in sides], -1)


class MultilabelJaccardIndex(Score, _Masks):
    """Compute the IoU of each label's mask over the whole data set, or the mean over labels.

    Labels overlap: each has a channel of 0 and 1, with foreground and void pixels of its own. Of one label, a
    binary task, it is the IoU of the foreground. A label neither in the target nor predicted is NaN and left out of
    the mean.

    Args:
        num_labels: C, the number of channels.
        threshold: of floating scores, above which a label is predicted: 0 for logits, 0.5 for probabilities. None
            takes masks alone.
        average: "mean" gives a scalar, "none" the (C,) values.
        ignore_index: one value or several whose pixels do not count for that label.
        upsample: "nearest", "linear", "bilinear" or "trilinear" for scores of lower resolution than the target.
        align_corners: that of `F.interpolate`.
        kwargs: passed to `torchmetrics.Metric`.

    Example:
        >>> metric = MultilabelJaccardIndex(2, threshold=0, average="none")
        >>> logits = torch.tensor([[[3.0, 1.0, -2.0], [-1.0, 2.0, 4.0]]])  # (N, C, *)
        >>> metric(logits, torch.tensor([[[1, 0, 0], [0, 1, 1]]]))
        tensor([0.5000, 1.0000])
    """

    counts: Tensor

    def __init__(
        self,
        num_labels: int,
        *,
        threshold: float | None = None,
        average: Literal["mean", "none"] = "mean",
        ignore_index: int | Sequence[int] = -100,
        upsample: str | None = None,
        align_corners: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_labels, ignore_index, upsample, align_corners, threshold=threshold, **kwargs)
        self.average = choice("average", average, ("mean", "none"))
        self.add_state("counts", torch.zeros(num_labels, 4, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor, *, mask: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            preds: masks (N, C, *), integer or bool; or, with a `threshold`, floating scores. (P, C) are points. Of
                one label axis 1 may be missing.
            target: 0 and 1 of each label, (N, C, *), integer or bool.
            mask: bool, shape of target, or (N, *) for all labels; True counts.

        Raises:
            ValueError: shapes that do not match, scores without a threshold, or, at a pixel that counts, a label
                that is neither 0 nor 1.
            TypeError: a floating target.
        """
        self.counts = self.counts + self._counts(preds, target, mask).sum(0)

    def compute(self) -> Tensor:
        """Return the score of everything seen: scalar or (C,)."""
        scores = self._scores(self.counts[..., :3])
        return self._result(scores.nanmean() if self.average == "mean" else scores)

    def _scores(self, counts: Tensor) -> Tensor:
        return iou(counts)


class MultilabelDiceScore(MultilabelJaccardIndex):
    """Compute the Dice score (F1) of each label's mask over the whole data set, or the mean over labels.

    The arguments are those of `MultilabelJaccardIndex`.

    Example:
        >>> metric = MultilabelDiceScore(1)
        >>> metric(torch.tensor([[1, 1, 0, 0]]), torch.tensor([[1, 0, 0, 0]]))
        tensor(0.6667)
    """

    def _scores(self, counts: Tensor) -> Tensor:
        return dice(counts)


class MultilabelImageJaccardIndex(_Masks, ImageJaccardIndex):
    """Compute the IoU of each label in each image first, the means after.

    The means, the lowest of them (`worst`) and the images without a label (`empty`) are those of
    `ImageJaccardIndex`; labels overlap as in `MultilabelJaccardIndex`. Of one label, a binary task, "image" is the
    mean IoU of the foreground over images.

    Args:
        num_labels: C, the number of channels.
        threshold: of floating scores, above which a label is predicted: 0 for logits, 0.5 for probabilities. None
            takes masks alone.
        average: "image" or "class" gives a scalar, "none" the (C,) values behind "class".
        worst: percent, 1 to 100, or several, whose results are averaged.
        empty: what a label scores in an image without it. "skip": nothing; "zero": 0 where it is predicted, else
            nothing; "one": 0 where it is predicted, else 1.
        ignore_index: one value or several whose pixels do not count for that label.
        upsample: "nearest", "linear", "bilinear" or "trilinear" for scores of lower resolution than the target.
        align_corners: that of `F.interpolate`.
        kwargs: passed to `torchmetrics.Metric`. The state grows by 32 bytes per image and label.

    Example:
        >>> preds, target = torch.tensor([[1, 1], [0, 0]]), torch.tensor([[1, 0], [0, 0]])  # the second is empty
        >>> [MultilabelImageJaccardIndex(1, empty=empty)(preds, target).item() for empty in ("skip", "one")]
        [0.5, 0.75]
    """

    columns = 4

    def __init__(
        self,
        num_labels: int,
        *,
        threshold: float | None = None,
        average: Literal["image", "class", "none"] = "image",
        worst: int | Sequence[int] = 100,
        empty: Literal["skip", "zero", "one"] = "skip",
        ignore_index: int | Sequence[int] = -100,
        upsample: str | None = None,
        align_corners: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_labels,
            average=average,
            worst=worst,
            empty=empty,
            ignore_index=ignore_index,
            upsample=upsample,
            align_corners=align_corners,
            threshold=threshold,
            **kwargs,
        )

    def update(self, preds: Tensor, target: Tensor, *, mask: Tensor | None = None) -> None:
        """Add a batch of images.

        Args:
            preds: masks (N, C, *), integer or bool; or, with a `threshold`, floating scores. Of one label axis 1
                may be missing.
            target: 0 and 1 of each label, (N, C, *), integer or bool.
            mask: bool, shape of target, or (N, *) for all labels; True counts.
        """
        least, what, one = (3, "(N, C, *)", ".t()") if self.num_classes > 1 else (2, "(N, *) or (N, 1, *)", "")
        if target.ndim < least:
            hint = f"for one point cloud pass preds{one}[None] and target{one}[None]"
            raise ValueError(f"target must be {what}, * not empty, got {tuple(target.shape)}; {hint}")
        self.counts.append(self._counts(preds, target, mask))

    def _scores(self, counts: Tensor) -> Tensor:
        return image_iou(counts[..., :3], self.empty, pixels=counts[..., 3])
