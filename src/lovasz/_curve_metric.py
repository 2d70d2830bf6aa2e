"""The score of every threshold on the probability, as a torchmetrics metric."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.plot import plot_curve

from ._counting_metric import CountingMetric
from ._inputs.arguments import choice, parse_counted_bins, parse_measure, parse_num_classes
from ._inputs.layouts import PROBABILITIES, known_channels
from .counts import Counts, count
from .curves import ThresholdCurve
from .measures import FBeta, Tversky


class JaccardCurve(CountingMetric):
    """Compute the IoU, or another measure, of each class at every threshold on its probability.

    Exact but for the bin that holds the threshold, over any number of batches and processes, in constant memory:
    the state is the table of `lovasz.count`. A class of the softmax stands against all others, a channel of the
    sigmoid by itself. `threshold_curve` has the rest: the best threshold, bounds, average precision, calibration.

    Args:
        num_classes: C, or the number of channels.
        form: "softmax" or "sigmoid".
        measure: "jaccard", "dice", `Tversky`, `FBeta`, "precision" or "recall".
        ignore_index: one label or several whose pixels do not count.
        bins: number of bins from 16 to 65536; "auto" takes the default for the form and C.
        upsample: "nearest", "linear", "bilinear" or "trilinear" for logits of lower resolution than the target.
        align_corners: that of `F.interpolate`.
        kwargs: passed to `torchmetrics.Metric`.

    Example:
        >>> metric = JaccardCurve(1, form="sigmoid", bins=16)
        >>> metric.update(torch.tensor([2.0, 0.5, -0.5, -1.0, -3.0]), torch.tensor([1, 1, 1, 0, 0]))
        >>> thresholds, scores = metric.compute()
        >>> thresholds.shape, scores.shape, scores.max().item()
        (torch.Size([32]), torch.Size([1, 32]), 1.0)
    """

    table: Tensor
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(
        self,
        num_classes: int,
        *,
        form: str = "softmax",
        measure: str | Tversky | FBeta = "jaccard",
        ignore_index: int | Sequence[int] = -100,
        bins: int | str = "auto",
        upsample: str | None = None,
        align_corners: bool = False,
        **kwargs: Any,
    ) -> None:
        self.form = choice("form", form, PROBABILITIES)
        if measure not in ("precision", "recall"):
            parse_measure(measure)
        num_classes = parse_num_classes(num_classes)
        self.measure, self.bins = measure, parse_counted_bins(bins, num_classes, form, "the curve is counted")
        super().__init__(
            num_classes, ignore_index, upsample, align_corners, {"form": form, "bins": self.bins}, **kwargs
        )
        zeros = torch.zeros(num_classes, 2, self.bins + 1, dtype=torch.int64)
        self.add_state("table", zeros, dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor, *, mask: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            logits: (N, C, *) or (P, C), unnormalised, in the layouts of the loss of this form.
            target: (N, *), class indices; for the sigmoid 0 and 1 in the shape of logits.
            mask: bool, shape of target; True counts.

        Raises:
            TypeError, ValueError: for tensors that do not fit, and another number of classes.
        """
        counts = count(
            logits, target, form=self.form, ignore_index=self.ignore_index, mask=mask, bins=self.bins,
            upsample=self.upsample, align_corners=self.align_corners,
            channels=known_channels(logits, self.num_classes, self.form),
        )  # fmt: skip
        if counts.table.shape[1] != self.num_classes:
            what = f"{self.num_classes} {'classes' if self.form == 'softmax' else 'channels'}"
            raise ValueError(f"logits must have {what}, got {counts.table.shape[1]} in {tuple(logits.shape)}")
        self.table = self.table + counts.table[0]

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the thresholds (T,), float64, increasing from 0 to 1, and the score of each class there (C, T)."""
        curve = self._curve()
        return curve.thresholds, curve.score(self.measure)

    def threshold_curve(self) -> ThresholdCurve:
        """Return all that thresholds are worth; over processes it synchronises as `compute` does."""
        with self.sync_context(
            dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync, should_unsync=self._should_unsync
        ):
            return self._curve()

    def _curve(self) -> ThresholdCurve:
        return Counts(self.table[None], self.form).threshold_curve()

    def plot(
        self,
        curve: tuple[Tensor, Tensor] | None = None,
        ax: Any = None,
        labels: list[str] | None = None,
    ) -> Any:
        """Draw the score of each class over the threshold, with a point where it is highest.

        Args:
            curve: a result of `compute` or `forward`; by default that of `compute`.
            ax: axes of matplotlib to draw on, in the place of a new figure.
            labels: the names of the classes.

        Returns:
            The figure, None if `ax` was given, and the axes.
        """
        thresholds, scores = (one.cpu() for one in (self.compute() if curve is None else curve))
        one = len(scores) == 1
        lines = (thresholds if one else thresholds.expand_as(scores), scores[0] if one else scores, thresholds)
        measure = self.measure if isinstance(self.measure, str) else repr(self.measure)
        legend = None if labels is not None else "class" if self.form == "softmax" else "channel"
        named: Any = labels
        figure, axes = plot_curve(lines, None, ax, ("threshold", measure), legend, type(self).__name__, named)
        drawn: Any = axes
        for line, row in zip(list(drawn.lines), scores, strict=False):
            top = int(row.nan_to_num(nan=-1.0).argmax())
            drawn.plot(thresholds[top], row[top], "o", color=line.get_color())
        return figure, axes
