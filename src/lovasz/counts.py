"""Counts: what the losses are made of. They add, over chunks, micro-batches, processes and steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ._inputs import arguments, layouts
from ._kernels import operators
from ._kernels.contract import Pixels
from ._math import binning, jaccard
from .curves import ThresholdCurve
from .measures import FBeta, Tversky


@dataclass(frozen=True, eq=False)
class Counts:
    r"""How many pixels of each class lie in each bin of the error: all that a Lovász loss depends on.

    Made by `count`. Counts of disjoint sets of pixels add to the counts of their union, in any order and
    bitwise identical, so a loss over any number of chunks, batches or processes is exact:

        count(a) + count(b) == count(a and b together)

    Counts per image add by putting the images of the second behind those of the first.

    Attributes:
        table: int64 (1, C, 2, K + 1), or (N, C, 2, K + 1) per image: background and foreground pixels of
            each of K bins, and last those whose error is NaN.
        form: "softmax", "sigmoid" or "hinge".
        per_image: whether the first axis of the table is the images.
        reduced: whether they are those of all processes of a group, made by `all_reduce`.

    Example:
        >>> logits = torch.tensor([[9.0, -9.0], [9.0, -9.0], [-9.0, 9.0]])  # (P, C): classes 0, 0, 1
        >>> first, rest = (count(logits[p], torch.tensor([0, 1, 1])[p]) for p in (slice(1), slice(1, 3)))
        >>> (first + rest).loss(reduction="none")  # 1 - IoU: 1 - 1/2 and 1 - 1/2
        tensor([0.5000, 0.5000])
    """

    table: Tensor
    form: str
    per_image: bool = False
    reduced: bool = False

    @property
    def bins(self) -> int:
        """Return the number of bins K."""
        return self.table.shape[-1] - 1

    def __add__(self, other: "Counts") -> "Counts":
        if not isinstance(other, Counts):
            return NotImplemented
        kinds = [
            (c.form, "per image" if c.per_image else "of all processes" if c.reduced else "pooled",
             *c.table.shape[1:], str(c.table.device)) for c in (self, other)
        ]  # fmt: skip
        if kinds[0] != kinds[1]:
            raise ValueError(f"counts must be of one kind to be added, got {kinds[0]} and {kinds[1]}")
        if self.per_image:
            return replace(self, table=torch.cat((self.table, other.table)))
        return replace(self, table=self.table + other.table)

    def __radd__(self, other: object) -> "Counts":
        return self if other == 0 else NotImplemented  # the start of `sum`

    def all_reduce(self, group: "torch.distributed.ProcessGroup | str | None" = "world") -> "Counts":
        """Return the sum over all processes of `group` (default: all), identical on each; not per image."""
        if self.reduced:
            raise ValueError("these counts are those of all processes already")
        if self.per_image:
            raise ValueError("counts per image belong to the images of one process: count with per_image=False")
        processes = arguments.process_group("world" if group is None else group)
        if processes is None:  # this one alone
            return replace(self, reduced=True)
        kind = arguments.kind(self.form, self.table.shape[1], self.bins)
        table = torch.ops.lovasz.all_reduce(self.table, processes.group_name, kind)
        return replace(self, table=table, reduced=True)

    def pixels(self) -> tuple[Tensor, Tensor]:
        """Return the number of valid pixels and of foreground pixels, each int64 (N or 1, C)."""
        return jaccard.pixels(self.table)

    def loss(
        self,
        *,
        classes: str | Sequence[int] | None = None,
        weight: Tensor | None = None,
        reduction: str = "mean",
        measure: str | Tversky | FBeta = "jaccard",
    ) -> Tensor:
        """Return the loss, float32, reduced as by the loss functions; a value without a gradient.

        Args:
            classes: "present", "all", or class indices; None is "present" for the softmax, "all" for the others.
            weight: (C,), weight of each class; the mean is normalised over the classes that take part.
            reduction: "mean", "sum" or "none".
            measure: "jaccard", "dice", `Tversky` or `FBeta`; the counts are the same for all.
        """
        return self._reduced(self._by_class(jaccard.losses, measure), classes, weight, reduction)

    def bound(
        self,
        *,
        classes: str | Sequence[int] | None = None,
        weight: Tensor | None = None,
        reduction: str = "mean",
        measure: str | Tversky | FBeta = "jaccard",
    ) -> Tensor:
        """Return a certified bound on |loss - exact loss|, float32, for the same arguments as `loss`."""
        bounds = partial(jaccard.bounds, num_classes=self.table.shape[1])
        return self._reduced(self._by_class(bounds, measure), classes, weight, reduction)

    def _by_class(self, function: Callable[..., Tensor], measure: str | Tversky | FBeta) -> Tensor:
        return jaccard.by_rows(function, self.table, self.form, arguments.parse_measure(measure))

    def _reduced(
        self,
        losses: Tensor,
        classes: str | Sequence[int] | None,
        weight: Tensor | None,
        reduction: str,
    ) -> Tensor:
        if classes is None:
            classes = "present" if self.form == "softmax" else "all"
        num_classes, device = self.table.shape[1], self.table.device
        how = arguments.parse_reduction(reduction, classes, weight, self.per_image, num_classes, device)
        part, coefficients = arguments.shares(how, self.pixels())
        values = jaccard.weighted(losses, coefficients)
        if how.total:
            return jaccard.block_sum(values.flatten()).float()
        return jaccard.per_class(values, part, self.per_image).float()

    def weights(self, measure: str | Tversky | FBeta = "jaccard") -> Tensor:
        """Return ∂loss / ∂error of a background and a foreground pixel in each bin, float64 (N or 1, C, 2, K)."""
        return self._by_class(jaccard.weights, measure)[..., :-1]

    def curve(self, measure: str | Tversky | FBeta = "jaccard") -> tuple[Tensor, Tensor]:
        """Return the Jaccard curves, or those of another measure, whose areas are the losses.

        Returns:
            Thresholds (K,), float64, and (N or 1, C, K): 1 - measure where exactly the pixels whose error is at
            least the threshold are wrong.
        """
        thresholds = binning.edges(self.bins, self.form, self.table.device)[:-1]
        return thresholds, self._by_class(jaccard.curve, measure)

    def threshold_curve(self) -> ThresholdCurve:
        """Return what every threshold on the probability is worth: each channel, or each class against the rest.

        Raises:
            ValueError: for the hinge, whose errors beyond the margin say no score, and for counts per image.
        """
        if self.form == "hinge":
            raise ValueError(
                "the hinge counts no score below its margin, so nothing can be said of thresholds: "
                'count with form="sigmoid"'
            )
        if self.per_image:
            raise ValueError("a threshold is for all pixels: count with per_image=False")
        return ThresholdCurve(self.table[0], self.form)


def count(
    logits: Tensor,
    target: Tensor,
    *,
    form: str = "softmax",
    ignore_index: int | Sequence[int] = -100,
    mask: Tensor | None = None,
    per_image: bool = False,
    bins: int | str = "auto",
    upsample: str | None = None,
    align_corners: bool = False,
    channels: bool | None = None,
) -> Counts:
    """Count the pixels of each class by their error, without a graph.

    Args:
        logits: (N, C, *), unnormalised scores, in the layouts of the loss of that form.
        target: class indices (N, *) for the softmax, else 0 and 1 in the shape of logits; any integer type or bool.
        form: "softmax", "sigmoid" or "hinge".
        ignore_index: label or labels to leave out.
        mask: bool, shape of target, True where a pixel counts.
        per_image: one table per image instead of one for all.
        bins: number of bins from 16 to 65536; "auto" takes the default for the form and C.
        upsample: "nearest", "linear", "bilinear" or "trilinear" for a target of higher resolution than the logits.
        align_corners: that of `F.interpolate`.
        channels: of the sigmoid and the hinge, whether axis 1 of the logits is that of channels; None where the
            shapes tell.

    Returns:
        The `Counts`.

    Raises:
        TypeError, ValueError: for arguments that do not fit, before any work.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])  # two points, two classes
        >>> counts = count(logits, torch.tensor([0, 1]))
        >>> valid, foreground = counts.pixels()
        >>> valid.tolist(), foreground.tolist()
        ([[2, 2]], [[1, 1]])
    """
    view = layouts.view(logits, target, mask, form, upsample, align_corners, channels)
    number = arguments.parse_counted_bins(bins, view.logits.shape[1], form, "counts always count")
    ignored = arguments.parse_ignore_index(ignore_index)
    pixels = Pixels(view.logits, view.target, view.mask, ignored, form, view.interpolation)
    return Counts(operators.count(pixels, number, per_image).table, form, per_image)
