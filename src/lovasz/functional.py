"""The losses: check -> operator -> reduce."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ._inputs import arguments, layouts
from ._kernels import operators as operators  # defines torch.ops.lovasz
from ._math import interpolation, jaccard, sorting
from .counts import Counts
from .measures import FBeta, Tversky

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def lovasz(
    pixels: layouts.Pixels,
    form: str,
    ignore_index: int | Sequence[int],
    classes: str | Sequence[int],
    weight: Tensor | None,
    per_image: bool,
    reduction: str,
    bins: int | str | None,
    group: "ProcessGroup | str | None" = None,
    average_gradients: bool = True,
    counts: Counts | None = None,
    label_smoothing: float | None = None,
    measure: str | Tversky | FBeta = "jaccard",
) -> tuple[Tensor, Tensor]:
    """The reduced loss of one form, float64 for float64 logits, else float32; not public.

    With `label_smoothing` also the cross-entropy, reduced in the same way, else a zero.
    """
    arguments.choice("reduction", reduction, arguments.REDUCTIONS)
    processes = arguments.process_group(group)
    if group is not None:
        arguments.check_pooled(per_image, bins)
    ignore = arguments.parse_ignore_index(ignore_index)
    x, target, mask, upsample = pixels
    N, C = x.shape[:2]
    P = math.prod(target.shape[target.ndim - x.ndim + 2 :])
    selection = arguments.class_selection(classes, C, x.device)
    arguments.check_weight(weight, C, x.device)
    index = arguments.parse_measure(measure)
    if counts is not None:
        bins = arguments.check_counts(counts, form, x, per_image, bins, group is not None)
    pooled = None if group is not None else P if per_image else N * P
    number = arguments.parse_bins(bins, pooled, C, form)
    if number is None:
        if upsample is not None:
            axes = interpolation.axes(x, target, upsample)
            x = interpolation.interpolate(x if x.dtype == torch.float64 else x.float(), axes)
        x, target, mask, _ = layouts.flat(layouts.Pixels(x, target, mask))
        labels = torch.ops.lovasz.labels(target, mask, ignore, layouts.num_labels(form, C))
        losses, valid, foreground, bad = sorting.losses(x, labels, form, per_image, index)
        part = arguments.takes_part(valid, foreground, selection)
        coefficients = jaccard.coefficients(part, weight, per_image, reduction)
        # A product hands the NaN on to the gradient; a class that takes no part has neither.
        losses = losses * torch.ones_like(losses).masked_fill(bad & part, torch.nan)
        loss = jaccard.weighted(losses, coefficients)
        loss = (loss if reduction == "none" else jaccard.block_sum(loss.flatten())).to(losses.dtype)
        ce, pixels_weight = losses.new_zeros(2)
        if label_smoothing is not None:
            ce, pixels_weight = sorting.cross_entropy(x, labels, weight, label_smoothing)
    else:
        args: tuple[Any, ...] = (x, target, mask, ignore, form)
        fused = (None if label_smoothing is None else weight, label_smoothing)
        if counts is None:
            settings = (number, per_image, *fused, upsample)
            table, numbers, sums = torch.ops.lovasz.count(x.detach(), *args[1:], *settings)
            if processes is not None:
                kind = arguments.kind(form, C, number, index, classes, reduction, label_smoothing)
                table = torch.ops.lovasz.all_reduce(table, processes.group_name, kind)
                numbers = torch.stack(jaccard.pixels(table))
                if label_smoothing is not None:
                    sums = torch.ops.lovasz.all_reduce(sums, processes.group_name, [])
        else:  # nobody has read these labels yet
            labels = torch.ops.lovasz.labels(target, mask, ignore, layouts.num_labels(form, C))
            args = (x, labels, None, [-1], form)
            table, numbers = counts.table.contiguous(), torch.stack(counts.pixels())
            sums = torch.zeros(2, dtype=torch.float64, device=x.device)
        valid, foreground = numbers
        part = arguments.takes_part(valid, foreground, selection)
        coefficients = jaccard.coefficients(part, weight, per_image, reduction)
        reduced = (table, sums, coefficients, reduction != "none", index.alpha, index.beta)
        loss, ce, _ = torch.ops.lovasz.loss(*args, *reduced, *fused, upsample)
        pixels_weight = sums[1].to(ce.dtype)
        if processes is not None and average_gradients:
            world_size = torch.distributed.get_world_size(processes)
            loss, ce = _times(loss, world_size), _times(ce, world_size)
    if reduction == "mean" and label_smoothing is not None:
        ce = ce / torch.where(pixels_weight == 0, 1.0, pixels_weight)
    return (jaccard.per_class(loss, part, per_image) if reduction == "none" else loss), ce


def _times(value: Tensor, factor: int) -> Tensor:
    """The value, and its gradient times a factor."""
    return value.detach() + factor * (value - value.detach())


def _result(loss: Tensor, logits: Tensor) -> Tensor:
    """The loss in the dtype that `F.cross_entropy` would give it."""
    try:
        autocast = torch.is_autocast_enabled(logits.device.type)
    except RuntimeError:  # a device without autocast; torch.compile of PyTorch 2.6 cannot trace the question before
        autocast = False
    return loss if autocast else loss.to(logits.dtype)


def lovasz_softmax(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int | Sequence[int] = -100,
    mask: Tensor | None = None,
    classes: str | Sequence[int] = "present",
    weight: Tensor | None = None,
    per_image: bool = False,
    reduction: str = "mean",
    bins: int | str | None = "auto",
    group: "ProcessGroup | str | None" = None,
    average_gradients: bool = True,
    counts: Counts | None = None,
    upsample: str | None = None,
    align_corners: bool = False,
    measure: str | Tversky | FBeta = "jaccard",
) -> Tensor:
    r"""Compute the Lovász-Softmax loss: the convex extension of 1 - IoU in the probabilities, by class.

    ``loss_c = ∫ (k(t) + j(t)) / (G + j(t)) dt``, k and j the foreground and background pixels of class c whose
    error exceeds t, G its foreground pixels. At one-hot predictions it is 1 - IoU.

    Args:
        logits: (N, C, *), or (P, C) for a point cloud; unnormalised scores.
        target: (N, *), class indices 0 .. C - 1, any integer type or bool.
        ignore_index: label or labels to leave out.
        mask: bool, shape of target, True where a pixel counts.
        classes: "present" (classes with a pixel in target), "all", or class indices.
        weight: (C,), weight of each class; the mean is normalised over the classes that take part.
        per_image: one loss per image, then the mean; a point cloud is one image.
        reduction: "mean", "sum" or "none".
        bins: "auto" sorts few pixels and counts many; an integer counts in this many bins; None sorts.
        group: processes, "world" for all; the loss is that of all their pixels, bitwise identical on each. Counts.
        average_gradients: whether the gradients of the processes of `group` are averaged afterwards, as DDP and
            FSDP do, or added. True multiplies the gradient by their number.
        counts: of a batch that these pixels are a part of, by `count` with the same `ignore_index` and `mask`: the
            loss is that of the batch, its gradient the part of these pixels.
        upsample: "nearest", "linear", "bilinear" or "trilinear" for a target of higher resolution than the
            logits: the loss is that of the logits interpolated to it, of which counting makes a strip at a time.
        align_corners: that of `F.interpolate`.
        measure: "jaccard", "dice", `Tversky` or `FBeta`: at one-hot predictions the loss is 1 - measure.

    Returns:
        A scalar; for "none" (C,), or (N, C) per image, NaN for a class that takes no part. Zero, with zero
        gradients, where no pixel is valid.

    Raises:
        TypeError, ValueError: for arguments that do not fit, before any work.

    Example:
        >>> logits = torch.tensor([[9.0, -9.0], [9.0, -9.0], [-9.0, 9.0]])  # 3 points: predicted 0, 0, 1
        >>> lovasz_softmax(logits, torch.tensor([0, 1, 1]))  # IoU is 1/2 for either class
        tensor(0.5000)
    """
    # References: Berman et al. (CVPR 2018), https://arxiv.org/abs/1705.08790
    pixels = layouts.softmax_pixels(logits, target, mask, upsample, align_corners)
    args = (ignore_index, classes, weight, per_image, reduction, bins, group, average_gradients, counts)
    return _result(lovasz(pixels, "softmax", *args, measure=measure)[0], logits)


def lovasz_sigmoid(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int | Sequence[int] = -100,
    mask: Tensor | None = None,
    classes: str | Sequence[int] = "all",
    weight: Tensor | None = None,
    per_image: bool = False,
    reduction: str = "mean",
    bins: int | str | None = "auto",
    group: "ProcessGroup | str | None" = None,
    average_gradients: bool = True,
    counts: Counts | None = None,
    upsample: str | None = None,
    align_corners: bool = False,
    measure: str | Tversky | FBeta = "jaccard",
) -> Tensor:
    r"""Compute the Lovász loss of the sigmoid probabilities: one Jaccard loss per channel (multilabel), or binary.

    ``error = 1 - σ(x)`` on foreground, ``σ(x)`` on background. With the default ``classes="all"`` a channel
    without foreground takes part with its largest error, so that its worst pixel is pushed down.

    Args:
        logits: (N, C, *) with a target of the same shape; binary: (N, 1, *), or (N, H, W) and (P,) without
            a channel axis. For (N, C, L) and for (N, D, H, W) without channels, see Note.
        target: 0 and 1, any integer type or bool; for (N, 1, *) also (N, *).
        ignore_index: label or labels to leave out, channel by channel.
        mask: bool, shape of target, or (N, *) for all channels; True where a pixel counts.
        classes: "all", "present" (channels with foreground), or channel indices.
        weight: (C,), weight of each channel; the mean is normalised over the channels that take part.
        per_image: one loss per image, then the mean.
        reduction: "mean", "sum" or "none".
        bins: "auto" sorts few pixels and counts many; an integer counts in this many bins; None sorts.
        group: processes, "world" for all; the loss is that of all their pixels, bitwise identical on each. Counts.
        average_gradients: True where the gradients of processes are averaged afterwards, as by DDP, not added.
        counts: of the batch that these pixels are a part of, by `count` with the same `ignore_index` and `mask`.
        upsample: "nearest", "linear", "bilinear" or "trilinear" for a target of higher resolution than the logits.
        align_corners: that of `F.interpolate`.
        measure: "jaccard", "dice", `Tversky` or `FBeta`: at one-hot predictions the loss is 1 - measure.

    Returns:
        A scalar; for "none" (C,), or (N, C) per image.

    Raises:
        TypeError, ValueError: for arguments that do not fit, before any work.

    Note:
        Axis 1 is the channel axis of 2-D, 4-D and 5-D logits, and 1-D and 3-D logits have none. Elsewhere
        say which you mean: ``unsqueeze(-1)`` keeps channels, ``unsqueeze(1)`` adds one.

    Example:
        >>> logits = torch.tensor([9.0, 9.0, -9.0, -9.0])  # predicted foreground, foreground, ...
        >>> lovasz_sigmoid(logits, torch.tensor([1, 0, 0, 0]))  # IoU 1/2
        tensor(0.5000)
    """
    pixels = layouts.binary_pixels(logits, target, mask, upsample, align_corners)
    args = (ignore_index, classes, weight, per_image, reduction, bins, group, average_gradients, counts)
    return _result(lovasz(pixels, "sigmoid", *args, measure=measure)[0], logits)


def lovasz_hinge(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int | Sequence[int] = -100,
    mask: Tensor | None = None,
    classes: str | Sequence[int] = "all",
    weight: Tensor | None = None,
    per_image: bool = False,
    reduction: str = "mean",
    bins: int | str | None = "auto",
    group: "ProcessGroup | str | None" = None,
    average_gradients: bool = True,
    counts: Counts | None = None,
    upsample: str | None = None,
    align_corners: bool = False,
    measure: str | Tversky | FBeta = "jaccard",
) -> Tensor:
    r"""Compute the Lovász hinge: the binary Jaccard loss in margin form.

    ``error = max(0, 1 - s·x)``, s = 1 on foreground and -1 on background: not bounded by 1. It is zero only
    where every pixel is correct by a margin of 1.

    Args:
        logits: (N, 1, *), or (N, H, W) and (P,) without a channel axis; with (N, C, *) each channel has a
            loss of its own, in the layouts of `lovasz_sigmoid`.
        target: 0 and 1, any integer type or bool, shape of logits, or (N, *) for (N, 1, *).
        ignore_index: label or labels to leave out.
        mask: bool, shape of target, True where a pixel counts.
        classes: "all", "present" (channels with foreground), or channel indices.
        weight: (C,), weight of each channel; the mean is normalised over the channels that take part.
        per_image: one loss per image, then the mean.
        reduction: "mean", "sum" or "none".
        bins: "auto" sorts few pixels and counts many; an integer counts in this many bins; None sorts.
        group: processes, "world" for all; the loss is that of all their pixels, bitwise identical on each. Counts.
        average_gradients: True where the gradients of processes are averaged afterwards, as by DDP, not added.
        counts: of the batch that these pixels are a part of, by `count` with the same `ignore_index` and `mask`.
        upsample: "nearest", "linear", "bilinear" or "trilinear" for a target of higher resolution than the logits.
        align_corners: that of `F.interpolate`.
        measure: "jaccard", "dice", `Tversky` or `FBeta`: at one-hot predictions the loss is 1 - measure.

    Returns:
        A scalar; for "none" (C,), or (N, C) per image. Counting clips errors at 4 * bins (2.6e5).

    Raises:
        TypeError, ValueError: for arguments that do not fit, before any work.

    Example:
        >>> logits = torch.tensor([1.0, 1.0, -1.0, -1.0])
        >>> lovasz_hinge(logits, torch.tensor([1, 0, 0, 0]))  # error 2 at one pixel: 2 (1 - IoU)
        tensor(1.)

    References:
        Yu, Blaschko (2015), https://arxiv.org/abs/1512.07797
    """
    pixels = layouts.binary_pixels(logits, target, mask, upsample, align_corners)
    args = (ignore_index, classes, weight, per_image, reduction, bins, group, average_gradients, counts)
    return _result(lovasz(pixels, "hinge", *args, measure=measure)[0], logits)


def lovasz_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    lovasz_weight: float = 1.0,
    ce_weight: float = 1.0,
    label_smoothing: float = 0.0,
    ignore_index: int | Sequence[int] = -100,
    mask: Tensor | None = None,
    classes: str | Sequence[int] = "present",
    weight: Tensor | None = None,
    per_image: bool = False,
    reduction: str = "mean",
    bins: int | str | None = "auto",
    group: "ProcessGroup | str | None" = None,
    average_gradients: bool = True,
    upsample: str | None = None,
    align_corners: bool = False,
    measure: str | Tversky | FBeta = "jaccard",
) -> Tensor:
    """Compute cross-entropy plus Lovász-Softmax: ``ce_weight · CE + lovasz_weight · Lovász``, the usual recipe.

    Equal to ``F.cross_entropy(logits, target, weight, label_smoothing=...)`` and `lovasz_softmax` added.

    Args:
        logits: (N, C, *), or (P, C) for a point cloud; unnormalised scores.
        target: (N, *), class indices, any integer type or bool.
        lovasz_weight: factor of the Lovász-Softmax loss.
        ce_weight: factor of the cross-entropy.
        label_smoothing: of the cross-entropy, 0 to 1.
        ignore_index: label or labels to leave out of both.
        mask: bool, shape of target, True where a pixel counts, for both.
        classes: "present" (classes with a pixel in target), "all", or class indices, of the Lovász-Softmax loss.
        weight: (C,), class weights of both.
        per_image: one Lovász-Softmax loss per image, then the mean; the cross-entropy is that of all pixels.
        reduction: "mean" or "sum", of both; a loss per pixel and one per class cannot be added.
        bins: "auto" sorts few pixels and counts many; an integer counts in this many bins; None sorts.
        group: processes, "world" for all; both losses are those of all their pixels. Counts.
        average_gradients: True where the gradients of processes are averaged afterwards, as by DDP, not added.
        upsample: "nearest", "linear", "bilinear" or "trilinear" for a target of higher resolution than the logits.
        align_corners: that of `F.interpolate`.
        measure: "jaccard", "dice", `Tversky` or `FBeta`, in the place of the Jaccard index.

    Returns:
        A scalar. Zero, with zero gradients, where no pixel is valid.

    Raises:
        TypeError, ValueError: for arguments that do not fit, before any work.

    Example:
        >>> logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
        >>> lovasz_cross_entropy(logits, torch.tensor([0, 1]))  # log 2 and 1/2
        tensor(1.1931)
    """
    arguments.choice("reduction", reduction, ("mean", "sum"))
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be from 0 to 1, got {label_smoothing}")
    pixels = layouts.softmax_pixels(logits, target, mask, upsample, align_corners)
    args = (ignore_index, classes, weight, per_image, reduction, bins, group, average_gradients)
    extension, ce = lovasz(pixels, "softmax", *args, label_smoothing=float(label_smoothing), measure=measure)
    return _result(ce_weight * ce + lovasz_weight * extension, logits)
