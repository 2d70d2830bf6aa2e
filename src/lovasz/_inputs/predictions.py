"""What pixels the metrics may be given: predictions and labels, and every message about them."""

import math

import torch
from torch import Tensor

from .._math import interpolation
from .hints import finer, squeezed, whole
from .labels import canonical_target
from .layouts import resolution, upsampled

_THRESHOLD = "build the metric with threshold=0 for logits, threshold=0.5 for probabilities"


def predicted_masks(
    preds: Tensor,
    target: Tensor,
    num_labels: int,
    ignore_index: list[int],
    mask: Tensor | None,
    upsample: str | None,
    align_corners: bool,
    threshold: float | None,
) -> tuple[Tensor, Tensor]:
    """Check and return a mask for each label, bool, and labels 0 and 1 that are -1 where void: (N, C, *).

    Of one label both tensors, or either, may lack axis 1.
    """
    _check_real(preds, target)
    if target.is_floating_point():
        raise TypeError(
            f"target must hold 0 and 1 as integers (or bool), got {target.dtype}: {whole(target, 0, 0)}"
        )
    shape, got, scores = tuple(target.shape), tuple(preds.shape), preds.is_floating_point()
    if num_labels == 1:
        own = all(one.ndim > 1 and one.shape[1] == 1 for one in (preds, target))
        preds, target = (
            one.unsqueeze(1) if one.ndim < other.ndim or (one.ndim == other.ndim and not own) else one
            for one, other in ((preds, target), (target, preds))
        )
    if scores and threshold is None:
        raise ValueError(
            f"preds must be masks, integers 0 and 1 or bool, got {preds.dtype}; of scores {_THRESHOLD}"
        )
    fine = tuple(preds.shape)
    if upsample is not None:
        if not scores:
            raise TypeError(f"preds must be floating scores (N, C, *) to be upsampled, got {preds.dtype}")
        fine = upsampled(preds, target, upsample, align_corners, preds.ndim - 2, "preds")
    if fine != tuple(target.shape) or target.ndim < 2 or target.shape[1] != num_labels:
        what = "(N, C, *)" if num_labels > 1 else "(N, *) or (N, 1, *)"
        hint = finer(preds, target, upsample, preds.ndim - 2, "preds") if scores else ""
        raise ValueError(
            f"preds and target must be {what} of one shape, with C = {num_labels}, got {got} and {shape}{hint}"
        )
    if mask is not None:
        without = (*target.shape[:1], *target.shape[2:])
        if mask.dtype == torch.bool and tuple(mask.shape) == without:
            mask = mask.unsqueeze(1).expand(target.shape)
        _check_mask(mask, target, shape)
    preds, target = preds.as_subclass(Tensor), target.as_subclass(Tensor)
    if target.ndim == 2:  # points, each of which has the labels
        preds, target, mask = preds[..., None], target[..., None], None if mask is None else mask[..., None]
    labels = canonical_target(target, mask, ignore_index, 2)
    if scores:
        mode = resolution(preds, target, upsample, align_corners, "preds")
        assert threshold is not None
        return _masks(preds, labels, target, mode, threshold), labels
    wrong = (labels >= 0) & (preds != 0) & (preds != 1)
    if wrong.any():
        found = f"{preds[wrong][0].item()}, and {int(wrong.sum())} such pixels"
        raise ValueError(f"preds must hold 0 and 1 where a pixel counts, got {found}")
    return preds != 0, labels


def _masks(preds: Tensor, labels: Tensor, target: Tensor, mode: str | None, threshold: float) -> Tensor:
    """Return where scores (N, C, *), made as fine as the target, are above a threshold, bool."""
    axes = None if mode is None else interpolation.axes(preds, target, mode)
    found = torch.empty(labels.shape, dtype=torch.bool, device=labels.device)
    bad = labels.new_zeros(())
    for (images, part), strip in interpolation.strips(preds, axes):
        place = (images, slice(None), part)
        found[place] = strip > threshold
        bad += (strip.isnan() & (labels[place] >= 0)).sum()
    if bad:
        raise ValueError(f"preds must be numbers where a pixel counts, got NaN at {int(bad)} pixels")
    return found


def _above(
    preds: Tensor,
    target: Tensor,
    ignore_index: list[int],
    mask: Tensor | None,
    upsample: str | None,
    align_corners: bool,
    threshold: float,
) -> tuple[Tensor, Tensor]:
    """Return the same as `predicted_pixels` of one channel of scores, (N, 1, *) or (N, *), with two classes."""
    shape, got = tuple(target.shape), tuple(preds.shape)
    if upsample is None and got not in (shape, (*shape[:1], 1, *shape[1:])) and not target.is_floating_point():
        hint = finer(preds, target, upsample, preds.ndim - 2, "preds")
        raise ValueError(
            f"preds must be one channel of scores, (N, 1, *) or (N, *), as the metric has a threshold, for target "
            f"{shape}, got {got}{hint}"
        )
    found, labels = predicted_masks(preds, target, 1, ignore_index, mask, upsample, align_corners, threshold)
    return found.squeeze(1).long(), labels.squeeze(1)


def predicted_pixels(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    ignore_index: list[int],
    mask: Tensor | None,
    upsample: str | None = None,
    align_corners: bool = False,
    threshold: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Check and return class indices, and labels that are -1 where void: (N, *), int64.

    With a threshold scores have one channel, and class 1 is above it.
    """
    _check_real(preds, target)
    if threshold is not None and preds.is_floating_point():
        return _above(preds, target, ignore_index, mask, upsample, align_corners, threshold)
    shape, got, scores = tuple(target.shape), tuple(preds.shape), preds.is_floating_point()
    if target.is_floating_point():
        hint = whole(target, num_classes, preds.ndim + (0 if scores else 1))
        raise TypeError(f"target must hold integer labels (or bool), got {target.dtype}: {hint}")
    fine = got
    if upsample is not None:
        if not scores:
            raise TypeError(f"preds must be floating scores (N, C, *) to be upsampled, got {preds.dtype}")
        fine = upsampled(preds, target, upsample, align_corners, preds.ndim - 2, "preds")
    expected = (*shape[:1], num_classes, *shape[1:]) if scores else shape
    if fine != expected or not shape:
        what = "floating scores (N, C, *)" if scores else "class indices (N, *)"
        if scores:
            one = num_classes == 2 and got in (shape, (*shape[:1], 1, *shape[1:]))
            hint = finer(preds, target, upsample, preds.ndim - 2, "preds")
            hint = f"; of one channel {_THRESHOLD}" if one else hint
        else:
            hint = squeezed(preds, shape, "preds")
        raise ValueError(f"preds must be {what} matching target {shape}: {expected}, got {got}{hint}")
    mode = resolution(preds, target, upsample, align_corners, "preds") if scores else None
    if mask is not None:
        _check_mask(mask, target, shape)
    # Subclasses carry rules of their own: MONAI's refuse to be sliced without their metadata.
    preds, target = preds.as_subclass(Tensor), target.as_subclass(Tensor)
    labels = canonical_target(target, mask, ignore_index, num_classes)
    if mode is not None:
        _check_finite(preds.amax(1), None)
        indices = interpolation.argmax(preds, interpolation.axes(preds, target, mode))
    elif scores:
        largest, indices = preds.max(1)  # several times as fast as argmax
        _check_finite(largest, labels)
    else:
        indices = preds.long()
    wrong = (labels >= 0) & ((indices < 0) | (indices >= num_classes))
    if wrong.any():
        value = preds.flatten()[wrong.flatten().nonzero()[0, 0]]
        found = f"{value.item()} at {int((wrong & (indices == value.long())).sum())} pixels"
        raise ValueError(f"preds must hold classes 0 to {num_classes - 1} where a pixel counts, got {found}")
    if not scores:
        _check_one_label(preds, target, labels, indices, num_classes)
    return indices, labels


def _check_real(preds: Tensor, target: Tensor) -> None:
    """Reject complex numbers, whose imaginary part would be dropped."""
    for name, tensor in (("preds", preds), ("target", target)):
        if tensor.is_complex():
            raise TypeError(f"{name} must hold real numbers, got {tensor.dtype}")


def _check_mask(mask: Tensor, target: Tensor, given: tuple[int, ...]) -> None:
    """Reject a mask that is not bool or does not fit the target, whose shape was given so."""
    if mask.dtype != torch.bool or mask.shape != target.shape:
        got = f"{mask.dtype} {tuple(mask.shape)}"
        raise ValueError(f"mask must be bool (True counts) and shaped like target {given}, got {got}")


def _check_one_label(preds: Tensor, target: Tensor, labels: Tensor, indices: Tensor, num_classes: int) -> None:
    """Reject several labels per pixel, (N, C, *), which would be counted as one label of 0 or 1 each.

    Bool cannot hold the classes from 2 on. Of (N, C, H, W) and (N, C, D, H, W) axis 1 is that of the classes if it
    is C long and nothing but 0 and 1 occurs. A volume of C slices may look the same; flattened it does not, and
    counts the same.
    """
    channels = preds.ndim > 3 and preds.shape[1] == num_classes > 1
    if torch.bool in (preds.dtype, target.dtype):
        several = channels or num_classes > 2
    else:
        found = (labels | indices).masked_fill(labels < 0, 0) if channels else labels[:0]
        several = found.numel() > 0 and [int(x) for x in found.aminmax()] == [0, 1]
    if several:
        raise ValueError(
            f"preds and target must hold one class per pixel, 0 to {num_classes - 1}, got 0 and 1 alone, "
            f"{preds.dtype} and {target.dtype} of {tuple(preds.shape)}: of several labels per pixel (multilabel) "
            "use MultilabelJaccardIndex; of one-hot labels pass int().argmax(1); if no axis is "
            "that of the classes, pass flatten(1).long()"
        )


def _check_finite(largest: Tensor, labels: Tensor | None) -> None:
    """Reject pixels without a largest score, where they count; of scores coarser than the labels (None), any."""
    bad = ~largest.isfinite()
    if labels is not None:
        bad &= labels >= 0
    if bad.any():
        value = largest[bad][0].item()
        found = "-inf in every class" if value == -math.inf else "NaN" if math.isnan(value) else "inf"
        where = "" if labels is None else " where a pixel counts"
        raise ValueError(
            f"preds must have a finite largest score{where}, got {found}; {int(bad.sum())} pixels have none"
        )
