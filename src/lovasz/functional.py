"""The losses, as functions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._inputs import arguments, layouts
from ._kernels.contract import CrossEntropy
from ._losses import lovasz
from .counts import Counts
from .measures import FBeta, Tversky

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def _result(loss: Tensor, logits: Tensor) -> Tensor:
    """Return the loss in the dtype that `F.cross_entropy` would give it."""
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
    view = layouts.softmax_pixels(logits, target, mask, upsample, align_corners)
    loss, _ = lovasz(
        view, "softmax", ignore_index=ignore_index, classes=classes, weight=weight, per_image=per_image,
        reduction=reduction, bins=bins, group=group, average_gradients=average_gradients, counts=counts,
        measure=measure,
    )  # fmt: skip
    return _result(loss, logits)


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
    channels: bool | None = None,
) -> Tensor:
    r"""Compute the Lovász loss of the sigmoid probabilities: one Jaccard loss per channel (multilabel), or binary.

    ``error = 1 - σ(x)`` on foreground, ``σ(x)`` on background. With the default ``classes="all"`` a channel
    without foreground takes part with its largest error, so that its worst pixel is pushed down.

    Args:
        logits: (N, C, *), or (P, C) for a point cloud, with a target of the same shape; binary: (N, 1, *), or
            (N, *) and (P,) without a channel axis.
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
        channels: True for (N, C, *) and (P, C), False for (N, *) without a channel axis. None reads it from the
            shapes: (P,), (N, 1, *), or as many spatial axes as `upsample` names; where they leave it open, as of
            (2, 3, 8, 8), that is an error.

    Returns:
        A scalar; for "none" (C,), or (N, C) per image.

    Raises:
        TypeError, ValueError: for arguments that do not fit, before any work.

    Example:
        >>> logits = torch.tensor([9.0, 9.0, -9.0, -9.0])  # predicted foreground, foreground, ...
        >>> lovasz_sigmoid(logits, torch.tensor([1, 0, 0, 0]))  # IoU 1/2
        tensor(0.5000)
    """
    view = layouts.binary_pixels(logits, target, mask, upsample, align_corners, channels)
    loss, _ = lovasz(
        view, "sigmoid", ignore_index=ignore_index, classes=classes, weight=weight, per_image=per_image,
        reduction=reduction, bins=bins, group=group, average_gradients=average_gradients, counts=counts,
        measure=measure,
    )  # fmt: skip
    return _result(loss, logits)


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
    channels: bool | None = None,
) -> Tensor:
    r"""Compute the Lovász hinge: the binary Jaccard loss in margin form.

    ``error = max(0, 1 - s·x)``, s = 1 on foreground and -1 on background: not bounded by 1. It is zero only
    where every pixel is correct by a margin of 1.

    Args:
        logits: (N, 1, *), or (N, *) and (P,) without a channel axis; with (N, C, *) each channel has a loss of its
            own, in the layouts of `lovasz_sigmoid`.
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
        channels: whether axis 1 is that of channels; None where the shapes tell, as for `lovasz_sigmoid`.

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
    view = layouts.binary_pixels(logits, target, mask, upsample, align_corners, channels)
    loss, _ = lovasz(
        view, "hinge", ignore_index=ignore_index, classes=classes, weight=weight, per_image=per_image,
        reduction=reduction, bins=bins, group=group, average_gradients=average_gradients, counts=counts,
        measure=measure,
    )  # fmt: skip
    return _result(loss, logits)


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
    view = layouts.softmax_pixels(logits, target, mask, upsample, align_corners)
    extension, ce = lovasz(
        view, "softmax", ignore_index=ignore_index, classes=classes, weight=weight, per_image=per_image,
        reduction=reduction, bins=bins, group=group, average_gradients=average_gradients,
        ce=CrossEntropy(weight, float(label_smoothing)), measure=measure,
    )  # fmt: skip
    return _result(ce_weight * ce + lovasz_weight * extension, logits)


def lovasz_binary_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    form: str = "sigmoid",
    lovasz_weight: float = 1.0,
    bce_weight: float = 1.0,
    pos_weight: Tensor | None = None,
    ignore_index: int | Sequence[int] = -100,
    mask: Tensor | None = None,
    classes: str | Sequence[int] = "all",
    weight: Tensor | None = None,
    per_image: bool = False,
    reduction: str = "mean",
    bins: int | str | None = "auto",
    group: "ProcessGroup | str | None" = None,
    average_gradients: bool = True,
    upsample: str | None = None,
    align_corners: bool = False,
    measure: str | Tversky | FBeta = "jaccard",
    channels: bool | None = None,
) -> Tensor:
    """Compute binary cross-entropy plus a Lovász loss: the usual recipe of a binary or multilabel head.

    ``bce_weight · BCE + lovasz_weight · Lovász``: equal to ``F.binary_cross_entropy_with_logits(logits, target,
    pos_weight=...)`` over the pixels that count, and `lovasz_sigmoid` or `lovasz_hinge`, added.

    Args:
        logits: (N, C, *), or (P, C) for a point cloud, with a target of the same shape; binary: (N, 1, *), or
            (N, *) and (P,) without a channel axis.
        target: 0 and 1 of any type, also floating as BCE takes them, none between; for (N, 1, *) also (N, *).
        form: "sigmoid" or "hinge", the Lovász loss.
        lovasz_weight: its factor.
        bce_weight: factor of the binary cross-entropy.
        pos_weight: (C,), or (C, 1, ...) or a scalar tensor, weight of foreground in the binary cross-entropy.
        ignore_index: label or labels to leave out of both, channel by channel.
        mask: bool, shape of target, or (N, *) for all channels; True where a pixel counts, for both.
        classes: "all", "present" (channels with foreground), or channel indices, of the Lovász loss.
        weight: (C,), weight of each channel in both; their means are normalised by it.
        per_image: one Lovász loss per image, then the mean; the binary cross-entropy is that of all pixels.
        reduction: "mean" or "sum", of both; a loss per pixel and one per channel cannot be added.
        bins: "auto" sorts few pixels and counts many; an integer counts in this many bins; None sorts.
        group: processes, "world" for all; both losses are those of all their pixels. Counts.
        average_gradients: True where the gradients of processes are averaged afterwards, as by DDP, not added.
        upsample: "nearest", "linear", "bilinear" or "trilinear" for a target of higher resolution than the logits.
        align_corners: that of `F.interpolate`.
        measure: "jaccard", "dice", `Tversky` or `FBeta`, in the place of the Jaccard index.
        channels: True for (N, C, *) and (P, C), False for (N, *) without a channel axis. None reads it from the
            shapes: (P,), (N, 1, *), or as many spatial axes as `upsample` names; where they leave it open, as of
            (2, 3, 8, 8), that is an error.

    Returns:
        A scalar. Zero, with zero gradients, where no pixel is valid.

    Raises:
        TypeError, ValueError: for arguments that do not fit, before any work.

    Example:
        >>> logits = torch.tensor([0.0, 0.0])
        >>> lovasz_binary_cross_entropy(logits, torch.tensor([0.0, 1.0]))  # log 2 and 1/2
        tensor(1.1931)
    """
    arguments.choice("form", form, layouts.FORMS[1:])
    arguments.choice("reduction", reduction, ("mean", "sum"))
    target = layouts.as_labels(target)
    view = layouts.binary_pixels(logits, target, mask, upsample, align_corners, channels)
    sides = arguments.side_weights(weight, pos_weight, view.logits.shape[1], logits.device)
    extension, bce = lovasz(
        view, form, ignore_index=ignore_index, classes=classes, weight=weight, per_image=per_image,
        reduction=reduction, bins=bins, group=group, average_gradients=average_gradients,
        ce=CrossEntropy(sides, 0.0), measure=measure,
    )  # fmt: skip
    return _result(bce_weight * bce + lovasz_weight * extension, logits)
