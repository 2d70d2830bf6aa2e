"""IoU per image and class, and the means of them, from integer counts of each image."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from ._counting_metric import CountingMetric, Score
from ._inputs.arguments import choice
from ._math.tally import class_tallies
from .scores import EMPTY, image_iou, lowest_means


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
        threshold: of scores of one channel, (N, 1, *) or (N, *), of two classes: class 1 is above it. 0 for logits,
            0.5 for probabilities.
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
    columns = 3  # of the counts of a class

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
        threshold: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.empty = choice("empty", empty, EMPTY)
        super().__init__(num_classes, ignore_index, upsample, align_corners, self._settings(), threshold, **kwargs)
        self.average = choice("average", average, ("image", "class", "none"))
        self.worst = [worst] if isinstance(worst, int) else list(worst)
        if not self.worst or not all(isinstance(q, int) and 1 <= q <= 100 for q in self.worst):
            raise ValueError(f"worst must be whole percentages from 1 to 100, got {worst!r}")
        self.add_state("counts", [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor, *, mask: Tensor | None = None) -> None:
        """Add a batch of images (N, *), * not empty.

        Args:
            preds: class indices (N, *), or floating scores (N, C, *), of which the largest is taken; with a
                `threshold` scores of one channel.
            target: labels (N, *), integer or bool.
            mask: bool (N, *); True counts.
        """
        if target.ndim < 2:
            hint = "for one point cloud pass preds[None] and target[None]"
            raise ValueError(f"target must be (N, *), * not empty, got {tuple(target.shape)}; {hint}")
        preds, labels = self._pixels(preds, target, mask)
        self.counts.append(self._image_counts(preds, labels))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Share the counts between processes; `compute` does so first, if only with itself."""
        if not len(self.counts):
            # torchmetrics would send a float vector, which does not fit the tables of the others.
            self.counts.append(
                torch.zeros((0, self.num_classes, self.columns), dtype=torch.int64, device=self.device)
            )
        super().sync(*args, **kwargs)

    def compute(self) -> Tensor:
        """Return the mean over everything seen: scalar or (C,)."""
        scores = self._scores(dim_zero_cat(self.counts))
        if self.average == "image":
            scores = scores.nanmean(1, keepdim=True)
        means = lowest_means(scores, self.worst)
        return self._result(means if self.average == "none" else means.nanmean())

    def _scores(self, counts: Tensor) -> Tensor:
        """Return the score of each class in each image, (N, C)."""
        return image_iou(counts, self.empty, self.ignore_index)

    def _settings(self) -> dict[str, Any]:
        """Return the arguments beside the common ones without which the counts are not the same."""
        return {"empty": self.empty}

    def _image_counts(self, preds: Tensor, labels: Tensor) -> Tensor:
        """Return the pixels in the intersection, the label and the prediction: (N, C, 3)."""
        valid = (labels >= 0).flatten(1)
        return class_tallies(preds.flatten(1), labels.flatten(1), valid, valid, self.num_classes)
