"""What pixels callers may pass: layouts, resolutions, masks, and every message about them.

Behind this module there is one view of the pixels: logits (N, C, *) with one to three spatial axes and whatever
strides they have, target and mask (N, *) for the softmax and (N, C, *) for the sigmoid and the hinge, as fine as
the logits or, with `upsample`, finer. Nothing is copied on the way; a kernel that wants one spatial axis asks
`flat` for it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .._math import interpolation
from .arguments import check_upsample, choice
from .hints import finer, squeezed, whole
from .labels import UNSIGNED

_INTEGERS = (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, *UNSIGNED,
)  # fmt: skip
FORMS = ("softmax", "sigmoid", "hinge")
#: Those whose errors say a probability.
PROBABILITIES = FORMS[:2]
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class View(NamedTuple):
    """The one view of the pixels that everything behind this module works on.

    Where `interpolation` is not None, the spatial axes of the logits are coarser than those of target and mask.
    """

    logits: Tensor
    target: Tensor
    mask: Tensor | None
    interpolation: str | None = None


def _check_tensors(logits: Tensor, target: Tensor, mask: Tensor | None, one_label: bool) -> None:
    for name, tensor in (("logits", logits), ("target", target)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if logits.dtype not in _FLOATS:
        raise TypeError(f"logits must be float64, float32, bfloat16 or float16, got {logits.dtype}")
    if target.dtype not in _INTEGERS:
        hint = whole(target, logits.shape[1] if one_label and logits.ndim > 1 else 0, logits.ndim)
        raise TypeError(
            f"target must hold integer labels (or bool), got {target.dtype}: {hint}; soft targets have no place in "
            "a loss that is defined on sets of pixels"
        )
    if target.device != logits.device:
        raise ValueError(f"target must be on the device of the logits, {logits.device}, got {target.device}")
    if mask is not None:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(f"mask must be a bool tensor, True where a pixel counts, got {got}")
        if mask.device != logits.device:
            raise ValueError(f"mask must be on the device of the logits, {logits.device}, got {mask.device}")


def as_labels(target: Tensor) -> Tensor:
    """Return a floating target whose every label is a whole number as integers, and any other as it is."""
    if not isinstance(target, Tensor) or not target.is_floating_point():
        return target
    if target.requires_grad:
        raise ValueError("target must not require a gradient: there is none in the labels, detach it")
    found: Tensor = torch.ops.lovasz.whole_labels(target)
    return found


def _view(logits: Tensor, target: Tensor, mask: Tensor | None, channels: bool, mode: str | None) -> View:
    """Return the one view of tensors whose shapes fit; a target with `channels` has an axis for them."""
    if logits.ndim == 2:  # a point cloud (P, C) is one image (1, C, P)
        one = (lambda t: t.t()[None]) if channels else (lambda t: t[None])
        return View(logits.t()[None], one(target), None if mask is None else one(mask))
    return View(logits, target, mask, mode) if logits.ndim <= 5 else View(*flat(logits, target, mask))


def flat(logits: Tensor, target: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the same with one spatial axis, a copy where need be; for labels as fine as the logits."""
    first = target.ndim - logits.ndim + 2
    return logits.flatten(2), target.flatten(first), None if mask is None else mask.flatten(first)


def upsampled(
    logits: Tensor, target: Tensor, upsample: str | None, align_corners: bool, axes: int, name: str = "logits"
) -> tuple[int, ...]:
    """Return the shape of the logits, upsampled to the target; `axes` of them are spatial."""
    check_upsample(upsample, align_corners)
    shape = tuple(logits.shape)
    if upsample is None:
        return shape
    wanted = interpolation.MODES[upsample]
    if not 1 <= axes <= 3 or wanted not in (None, axes):
        number = "one to three spatial axes" if wanted is None else f"{wanted} spatial axes, (N, C, *),"
        raise ValueError(f"upsample={upsample!r} needs {name} with {number} got {shape}")
    if target.ndim <= axes:
        return shape
    return *shape[: logits.ndim - axes], *tuple(target.shape)[-axes:]


def resolution(
    logits: Tensor, target: Tensor, upsample: str | None, align_corners: bool, name: str = "logits"
) -> str | None:
    """Return how `interpolation` goes from logits (N, C, *) to the target; None where they are equally fine."""
    sizes = tuple(logits.shape)[2:]
    wanted = tuple(target.shape)[target.ndim - len(sizes) :]
    if upsample is None or sizes == wanted:
        return None
    if any(size > fine for size, fine in zip(sizes, wanted, strict=True)):
        raise ValueError(
            f"target must be as fine as {name} or finer along each axis, got {wanted} for {name} {sizes}: "
            "upsample does not reduce them; F.interpolate does"
        )
    if 0 in sizes and 0 not in wanted:
        raise ValueError(f"{name} must not be empty, got {tuple(logits.shape)} for a target of {wanted}")
    return "nearest" if upsample == "nearest" else "corners" if align_corners else "linear"


def softmax_pixels(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    upsample: str | None = None,
    align_corners: bool = False,
) -> View:
    """Check logits (N, C, *) or (P, C) with a target (N, *) of class indices; with `upsample` a finer one."""
    _check_tensors(logits, target, mask, True)
    if logits.ndim < 2 or logits.shape[1] == 0:
        raise ValueError(f"logits must be (N, C, *) with C >= 1, got {tuple(logits.shape)}")
    as_fine = upsample is None and align_corners is False
    shape = tuple(logits.shape) if as_fine else upsampled(logits, target, upsample, align_corners, logits.ndim - 2)
    expected = (shape[0], *shape[2:])
    if tuple(target.shape) != expected:
        hint = squeezed(target, expected, "target") or finer(logits, target, upsample, logits.ndim - 2)
        raise ValueError(
            f"target must be (N, *) matching logits {tuple(logits.shape)}: {expected}, got "
            f"{tuple(target.shape)}{hint}"
        )
    if mask is not None and tuple(mask.shape) != expected:
        raise ValueError(f"mask must have the shape of the labels, {expected}, got {tuple(mask.shape)}")
    mode = None if as_fine else resolution(logits, target, upsample, align_corners)
    return _view(logits, target, mask, False, mode)


def _has_channels(logits: Tensor, target: Tensor, upsample: str | None, channels: bool | None) -> bool:
    """Return whether axis 1 of the logits is that of channels: as `channels` says, or as the shapes tell."""
    shape, ndim = tuple(logits.shape), logits.ndim
    if not (channels is None or isinstance(channels, bool)):
        raise TypeError(f"channels must be True, False or None, got {channels!r}")
    if ndim == 1:
        if channels:
            raise ValueError(f"logits must be (N, C, *) or (P, C) with channels=True, got {shape}")
        return False
    if channels is not None:
        return channels
    spatial = None if upsample is None else interpolation.MODES.get(upsample)
    if spatial is not None:
        return spatial != ndim - 1
    # Of one channel both readings are the same; more than three spatial axes there are none.
    if shape[1] == 1 or target.ndim == ndim - 1 or ndim > 4:
        return True
    if upsample is None and tuple(target.shape) != shape:
        return ndim != 3  # the target fits neither, which is told, with what would be the likelier
    several = "(P, C)" if ndim == 2 else "(N, C, *)"
    raise ValueError(
        f"channels must say what axis 1 of logits {shape} is, which their shape does not: pass channels=True for "
        f"{several}, one mask per channel, or channels=False for (N, *), one mask in all"
    )


def binary_pixels(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    upsample: str | None = None,
    align_corners: bool = False,
    channels: bool | None = None,
) -> View:
    """Check logits with one foreground per channel and a target of 0 and 1.

    With a target of the same shape, logits are (N, C, *) or (P, C), or without channels (N, *) or (P,): where their
    shape leaves it open `channels` must say. With a target that lacks axis 1, logits are (N, 1, *). A mask has the
    shape of the target, or the same for all channels. With `upsample` the target may be finer, and "linear",
    "bilinear" and "trilinear" say how many spatial axes there are.
    """
    _check_tensors(logits, target, mask, False)
    if logits.ndim == 0:
        raise ValueError("logits must have at least one axis, got a scalar")
    no_channels = not _has_channels(logits, target, upsample, channels)
    axes = logits.ndim - (1 if no_channels else 2)
    as_fine = upsample is None and align_corners is False
    shape = tuple(logits.shape) if as_fine else upsampled(logits, target, upsample, align_corners, axes)
    if tuple(target.shape) == shape:
        if no_channels:
            logits, target = logits.unsqueeze(1), target.unsqueeze(1)
    elif logits.ndim >= 2 and shape[1] == 1 and tuple(target.shape) == (shape[0], *shape[2:]):
        target = target.unsqueeze(1)
    elif logits.ndim >= 2 and tuple(target.shape) == (shape[0], *shape[2:]):
        raise ValueError(
            f"target must have the shape of logits {shape}, one mask of 0 and 1 per channel, got "
            f"{tuple(target.shape)}; for one label per pixel use lovasz_softmax"
        )
    else:
        hint = squeezed(target, shape, "target") or finer(logits, target, upsample, axes)
        if hint and channels is None and logits.ndim == 3 and target.shape[1] == logits.shape[1] > 1:
            signals, images = 'channels=True, upsample="linear"', 'channels=False, upsample="bilinear"'
            hint = f"; for (N, C, L) pass {signals}, for (N, H, W) {images}"
        raise ValueError(f"target must match logits {shape}, with or without a channel axis of size 1, "
                         f"got {tuple(target.shape)}{hint}")  # fmt: skip
    if logits.shape[1] == 0:
        raise ValueError(f"logits must have at least one channel, got {shape}")
    if mask is not None:
        without = (target.shape[0], *target.shape[2:])
        if tuple(mask.shape) == without:
            mask = mask.unsqueeze(1).expand(tuple(target.shape))
        elif tuple(mask.shape) != tuple(target.shape):
            raise ValueError(
                f"mask must be {tuple(target.shape)}, or {without} for all channels, got {tuple(mask.shape)}"
            )
    mode = None if as_fine else resolution(logits, target, upsample, align_corners)
    return _view(logits, target, mask, True, mode)


def known_channels(logits: Tensor, num_classes: int, form: str) -> bool | None:
    """Return what `channels` is where the number of channels is known; None for the softmax."""
    if form == "softmax" or not isinstance(logits, Tensor):
        return None
    return num_classes > 1 or not (logits.ndim == 1 or (logits.ndim == 3 and logits.shape[1] != 1))


def view(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    form: str,
    upsample: str | None = None,
    align_corners: bool = False,
    channels: bool | None = None,
) -> View:
    """Check the pixels for a form of the loss, and return the one view of them."""
    choice("form", form, FORMS)
    if form != "softmax":
        return binary_pixels(logits, target, mask, upsample, align_corners, channels)
    if channels is not None:
        raise ValueError(f"channels is for the sigmoid and the hinge, got {channels!r} for the softmax")
    return softmax_pixels(logits, target, mask, upsample, align_corners)


def unlabelled(
    logits: Tensor,
    mask: Tensor | None,
    form: str,
    size: Sequence[int] | None,
    upsample: str | None,
    align_corners: bool,
    channels: bool | None,
) -> tuple[View, tuple[int, ...]]:
    """Return the one view of logits, with a target of zeros in the shape of the labels; and that shape."""
    if not isinstance(logits, Tensor):
        raise TypeError(f"logits must be a torch.Tensor, got {type(logits).__name__}")
    if (size is None) != (upsample is None):
        raise ValueError(f"size and upsample belong together, got size={size!r} and upsample={upsample!r}")
    shape = tuple(logits.shape)
    if form == "softmax":
        shape = (*shape[:1], *shape[2:])
    if size is not None:
        axes = _spatial_axes(logits, form, upsample, channels)
        if not isinstance(size, Sequence) or not all(isinstance(n, int) and n > 0 for n in size):
            raise TypeError(f"size must hold positive integers, the spatial size of the labels, got {size!r}")
        coarse = shape[len(shape) - len(size) :]
        if len(size) not in axes or any(n < side for n, side in zip(size, coarse, strict=True)):
            few = " or ".join(map(str, axes))
            raise ValueError(
                f"size must have {few} entries, the spatial axes of logits {tuple(logits.shape)}, each as large or "
                f"larger, got {tuple(size)}"
            )
        shape = (*shape[: len(shape) - len(size)], *size)
    zeros = torch.zeros((), dtype=torch.uint8, device=logits.device).expand(shape)
    return view(logits, zeros, mask, form, upsample, align_corners, channels), shape


def _spatial_axes(logits: Tensor, form: str, upsample: str | None, channels: bool | None) -> list[int]:
    """Return how many of the axes of logits may be spatial."""
    if form == "softmax" or channels:
        return [logits.ndim - 2]
    if channels is False:
        return [logits.ndim - 1]
    wanted = interpolation.MODES.get(str(upsample))
    return [logits.ndim - 2, logits.ndim - 1] if wanted is None else [wanted]
