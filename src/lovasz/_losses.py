"""One loss of one form: by sorting or by counting, and the tail that both share."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._inputs import arguments, layouts
from ._inputs.labels import num_labels
from ._kernels import operators
from ._kernels.contract import CrossEntropy, Pixels
from ._math import interpolation, jaccard, sorting
from .counts import Counts
from .measures import FBeta, Tversky

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def lovasz(
    view: layouts.View,
    form: str,
    *,
    ignore_index: int | Sequence[int],
    classes: str | Sequence[int],
    weight: Tensor | None = None,
    per_image: bool = False,
    reduction: str = "mean",
    bins: int | str | None = "auto",
    group: "ProcessGroup | str | None" = None,
    average_gradients: bool = True,
    counts: Counts | None = None,
    ce: CrossEntropy | None = None,
    measure: str | Tversky | FBeta = "jaccard",
) -> tuple[Tensor, Tensor]:
    """Return the reduced loss, float64 for float64 logits, else float32.

    With a cross-entropy also this, reduced in the same way, else a zero.
    """
    processes = None
    if group is not None:
        processes = arguments.process_group(group)
        arguments.check_pooled(per_image, bins)
    ignored = arguments.parse_ignore_index(ignore_index)
    C, device = view.logits.shape[1], view.logits.device
    how = arguments.parse_reduction(reduction, classes, weight, per_image, C, device)
    index = arguments.parse_measure(measure)
    if counts is not None:
        bins = arguments.check_counts(counts, form, view.logits, per_image, bins, group is not None)
    number = arguments.parse_bins(bins, None if group is not None else _pooled(view, per_image), C, form)

    # No slice of the view: PyTorch 2.6 compiles none of a named tuple.
    pixels = Pixels(view.logits, view.target, view.mask, ignored, form, view.interpolation)
    if number is None:
        loss, ce_sum, weight_sum, part = _by_sorting(pixels, ce, index, how)
    else:
        smoothing = None if ce is None else ce.smoothing
        kind = [] if processes is None else arguments.kind(form, C, number, index, classes, reduction, smoothing)
        loss, ce_sum, weight_sum, part = _by_counting(pixels, number, ce, index, how, counts, processes, kind)
        if processes is not None and average_gradients:
            world_size = torch.distributed.get_world_size(processes)
            loss, ce_sum = _times(loss, world_size), _times(ce_sum, world_size)
    if reduction == "mean" and ce is not None:
        ce_sum = ce_sum / torch.where(weight_sum == 0, 1.0, weight_sum)
    return (loss if how.total else jaccard.per_class(loss, part, per_image)), ce_sum


def _pooled(view: layouts.View, per_image: bool) -> int:
    """Return the number of pixels that are sorted, or counted, together."""
    logits, target = view.logits, view.target
    return math.prod(target.shape[target.ndim - logits.ndim + 2 :]) * (1 if per_image else logits.shape[0])


def _by_sorting(
    pixels: Pixels, ce: CrossEntropy | None, measure: Tversky, how: arguments.Reduction
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the loss, sums of the cross-entropy and its weights, and which classes take part, by autograd."""
    x, target, mask, ignored, form, mode = pixels
    if mode is not None:
        x = x if x.dtype == torch.float64 else x.float()
        x = interpolation.interpolate(x, interpolation.axes(x, target, mode))
    x, target, mask = layouts.flat(x, target, mask)
    labels = torch.ops.lovasz.labels(target, mask, ignored, num_labels(form, x.shape[1]))
    losses, valid, foreground, bad = sorting.losses(x, labels, form, how.per_image, measure)
    part, coefficients = arguments.shares(how, (valid, foreground))
    # A product hands the NaN on to the gradient; a class that takes no part has neither.
    losses = losses * torch.ones_like(losses).masked_fill(bad & part, torch.nan)
    loss = jaccard.weighted(losses, coefficients)
    loss = (jaccard.block_sum(loss.flatten()) if how.total else loss).to(losses.dtype)
    ce_sum, weight_sum = losses.new_zeros(2) if ce is None else sorting.cross_entropy(x, labels, form, *ce)
    return loss, ce_sum, weight_sum, part


def _by_counting(
    pixels: Pixels,
    bins: int,
    ce: CrossEntropy | None,
    measure: Tversky,
    how: arguments.Reduction,
    counts: Counts | None,
    processes: "ProcessGroup | None",
    kind: Sequence[str],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the same from counts: of these pixels, of those of all processes, or given ones."""
    if counts is None:
        numbers: Tensor | tuple[Tensor, Tensor]
        table, numbers, ce_sums = operators.count(pixels, bins, how.per_image, ce)
        if processes is not None:
            table = torch.ops.lovasz.all_reduce(table, processes.group_name, kind)
            numbers = jaccard.pixels(table)
            if ce is not None:
                ce_sums = torch.ops.lovasz.all_reduce(ce_sums, processes.group_name, [])
    else:  # nobody has read these labels yet
        x, target, mask, ignored, form, _ = pixels
        labels = torch.ops.lovasz.labels(target, mask, ignored, num_labels(form, x.shape[1]))
        pixels = pixels._replace(target=labels, mask=None, ignored=[-1])
        table, numbers = counts.table.contiguous(), counts.pixels()
        ce_sums = torch.zeros(2, dtype=torch.float64, device=x.device)
    part, coefficients = arguments.shares(how, numbers)
    loss, ce_sum = operators.loss(
        pixels, table, ce_sums[0], coefficients, how.total, measure.alpha, measure.beta, ce
    )
    return loss, ce_sum, ce_sum if ce is None else ce_sums[1].to(ce_sum.dtype), part


def _times(value: Tensor, factor: int) -> Tensor:
    """Return the value, and its gradient times a factor."""
    return value.detach() + factor * (value - value.detach())
