"""What callers may pass: layouts, ignored labels, masks, classes, and every message about them.

Behind this module there is one view of the pixels: logits (N, C, *) with one to three spatial axes and whatever
strides they have, target and mask (N, *) for the softmax and (N, C, *) for the sigmoid and the hinge, as fine as
the logits or, with `upsample`, finer. Nothing is copied on the way; a kernel that wants one spatial axis asks
`flat` for it.
"""

import os
from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import _bins, _upsample
from .measures import NAMED, FBeta, Tversky

_INTEGERS = (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint16, torch.uint32, torch.uint64,
)  # fmt: skip
FORMS = ("softmax", "sigmoid", "hinge")
REDUCTIONS = ("mean", "sum", "none")
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class Pixels(NamedTuple):
    """The one view of the pixels that everything behind this module works on.

    Where `upsample` is not None, the spatial axes of the logits are coarser than those of target and mask.
    """

    logits: Tensor
    target: Tensor
    mask: Tensor | None
    upsample: str | None = None


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """One of a few allowed strings."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def _integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def parse_ignore_index(ignore_index: int | Sequence[int]) -> list[int]:
    """The ignored labels as a list, from one integer or several."""
    values = [ignore_index] if isinstance(ignore_index, Integral) else ignore_index
    if not isinstance(values, (list, tuple, set, frozenset, range)) or not all(_integer(v) for v in values):
        raise TypeError(f"ignore_index must be an int or a sequence of ints, got {ignore_index!r}")
    if not all(-(2**63) <= int(v) < 2**63 for v in values):
        raise ValueError(f"ignore_index must fit into 64 bits, got {ignore_index!r}")
    return [int(v) for v in values]


def parse_bins(bins: int | str | None, pixels: int | None, num_classes: int, form: str) -> int | None:
    """The number of bins, or None to sort.

    "auto" sorts fewer pixels than a quarter of its bins, unless `pixels` is None: from there on counting is as
    accurate as for any number of pixels, and sorting many times slower.
    """
    if bins is None:
        return None
    if isinstance(bins, str) and bins == "auto":
        number = _bins.default_bins(num_classes, form)
        return None if pixels is not None and 4 * pixels < number else number
    if not (_integer(bins) and _bins.MIN_BINS <= int(bins) <= _bins.MAX_BINS):
        raise ValueError(
            f'bins must be "auto", None (sort) or an integer from {_bins.MIN_BINS} to '
            f"{_bins.MAX_BINS}, got {bins!r}"
        )
    if 2 * num_classes * (int(bins) + 1) >= 2**31:
        raise ValueError(f"bins must be fewer for {num_classes} classes: a table beyond 2^31, got {bins}")
    return int(bins)


def parse_measure(measure: str | Tversky | FBeta) -> Tversky:
    """The measure that the loss extends, by its weights."""
    if isinstance(measure, str):
        return NAMED[choice("measure", measure, tuple(NAMED))]
    if isinstance(measure, FBeta):
        return measure.tversky
    if not isinstance(measure, Tversky):
        raise TypeError(f"measure must be a name, lovasz.Tversky or lovasz.FBeta, got {measure!r}")
    return measure


def process_group(group: Any) -> Any:
    """The group of processes, or None for this one alone; "world" is all there are when it is asked for."""
    if group is None:
        return None
    if isinstance(group, str) and group == "world":
        if torch.distributed.is_initialized():
            return torch.distributed.group.WORLD
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # as torchrun says
            raise ValueError('group="world" needs processes: call torch.distributed.init_process_group first')
        return None
    if group is torch.distributed.GroupMember.NON_GROUP_MEMBER:
        raise ValueError("group must contain this process, got a group of others")
    if not isinstance(group, torch.distributed.ProcessGroup):
        hint = "; of a mesh take get_group()" if type(group).__name__ == "DeviceMesh" else ""
        raise TypeError(
            f'group must be "world", a torch.distributed.ProcessGroup or None, got {type(group).__name__}{hint}'
        )
    return group


def check_pooled(per_image: bool, bins: int | str | None) -> None:
    """What the pixels of several processes can be asked for."""
    if per_image:
        raise ValueError("group pools the pixels of all processes, per_image=True those of one image: choose one")
    if bins is None:
        raise ValueError('bins must be an integer or "auto" with a group: sorting needs all pixels in one process')


def check_counts(
    counts: Any, form: str, logits: Tensor, per_image: bool, bins: int | str | None, grouped: bool
) -> int:
    """Counts of this form and these classes, pooled; returns their number of bins."""
    if not hasattr(counts, "table"):
        raise TypeError(f"counts must be lovasz.Counts or None, got {type(counts).__name__}")
    table, num_classes = counts.table, logits.shape[1]
    if table.dtype != torch.int64 or table.ndim != 4:
        raise TypeError(f"counts.table must be int64 (1, C, 2, K + 1), got {table.dtype} {_shape(table)}")
    if table.device != logits.device:
        raise ValueError(f"counts must be on the device of the logits, {logits.device}, got {table.device}")
    if (counts.form, table.shape[1]) != (form, num_classes):
        raise ValueError(
            f"counts must be of form {form!r} and {num_classes} classes, as the logits, got {counts.form!r} and "
            f"{table.shape[1]}"
        )
    if per_image or counts.per_image:
        raise ValueError("counts must be pooled, and per_image False: an image has a loss of its own already")
    if bins != "auto" and bins != counts.bins:
        raise ValueError(f'bins must be "auto" or that of counts, {counts.bins}, got {bins!r}')
    if grouped and not counts.reduced:
        raise ValueError("counts must be those of all processes of the group: pass counts.all_reduce(group)")
    return counts.bins


def num_labels(form: str, num_classes: int) -> int:
    """How many labels a target may hold: the classes, or background and foreground of each channel."""
    return num_classes if form == "softmax" else 2


def class_selection(
    classes: str | Sequence[int], num_classes: int, device: torch.device
) -> tuple[bool, Tensor | None]:
    """Whether a class must be present to take part, and which classes may: a bool (C,), None for all."""
    if isinstance(classes, str):
        return choice("classes", classes, ("present", "all")) == "present", None
    if (
        not isinstance(classes, (list, tuple, set, frozenset, range))
        or not all(_integer(c) and 0 <= c < num_classes for c in classes)
        or len(set(classes)) != len(classes)
        or not len(classes)
    ):
        raise ValueError(
            f'classes must be "present", "all" or a list of different class indices from 0 to '
            f"{num_classes - 1}, got {classes!r}"
        )
    selected = torch.zeros(num_classes, dtype=torch.bool, device=device)
    for c in classes:  # one by one: a tensor made from the list would wait for the device
        selected[c] = True
    return False, selected


def takes_part(valid: Tensor, foreground: Tensor, selection: tuple[bool, Tensor | None]) -> Tensor:
    """Which classes take part: bool (N or 1, C), from their numbers of valid and of foreground pixels."""
    only_present, selected = selection
    part = (foreground if only_present else valid) > 0
    return part if selected is None else part & selected


def check_weight(weight: Tensor | None, num_classes: int, device: torch.device) -> None:
    """A floating (C,) tensor on the device of the logits, or None."""
    if weight is None:
        return
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        got = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
        raise TypeError(f"weight must be a floating-point tensor of shape ({num_classes},), got {got}")
    if _shape(weight) != (num_classes,):
        raise ValueError(f"weight must have shape ({num_classes},), got {_shape(weight)}")
    if weight.device != device:
        raise ValueError(f"weight must be on the device of the logits, {device}, got {weight.device}")
    if weight.requires_grad:
        raise ValueError("weight must not require a gradient: there is none in the weights, detach it")


def _check_tensors(logits: Tensor, target: Tensor, mask: Tensor | None) -> None:
    for name, tensor in (("logits", logits), ("target", target)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if logits.dtype not in _FLOATS:
        raise TypeError(f"logits must be float64, float32, bfloat16 or float16, got {logits.dtype}")
    if target.dtype not in _INTEGERS:
        raise TypeError(
            f"target must hold integer labels (or bool), got {target.dtype}: from masks of 0.0 and 1.0 use "
            "target.long(), from one-hot target.argmax(1); soft targets have no place in a loss that is "
            "defined on sets of pixels"
        )
    if target.device != logits.device:
        raise ValueError(f"target must be on the device of the logits, {logits.device}, got {target.device}")
    if mask is not None:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(f"mask must be a bool tensor, True where a pixel counts, got {got}")
        if mask.device != logits.device:
            raise ValueError(f"mask must be on the device of the logits, {logits.device}, got {mask.device}")


def _view(logits: Tensor, target: Tensor, mask: Tensor | None, channels: bool, upsample: str | None) -> Pixels:
    """The one view of tensors whose shapes fit; a target with `channels` has an axis for them."""
    if logits.ndim == 2:  # a point cloud (P, C) is one image (1, C, P)
        one = (lambda t: t.t()[None]) if channels else (lambda t: t[None])
        return Pixels(logits.t()[None], one(target), None if mask is None else one(mask))
    pixels = Pixels(logits, target, mask, upsample)
    return pixels if logits.ndim <= 5 else flat(pixels)


def flat(pixels: Pixels) -> Pixels:
    """The same with one spatial axis, a copy where need be; for labels as fine as the logits."""
    logits, target, mask, _ = pixels
    first = target.ndim - logits.ndim + 2
    return Pixels(logits.flatten(2), target.flatten(first), None if mask is None else mask.flatten(first))


def _fine(
    logits: Tensor, target: Tensor, upsample: str | None, align_corners: bool, axes: int, name: str = "logits"
) -> tuple[int, ...]:
    """The shape of the logits, upsampled to the target; `axes` of them are spatial."""
    shape = _shape(logits)
    if not isinstance(align_corners, bool):
        raise TypeError(f"align_corners must be a bool, got {align_corners!r}")
    if upsample is None:
        if align_corners:
            raise ValueError("align_corners=True is a way to interpolate: it needs upsample")
        return shape
    choice("upsample", upsample, tuple(_upsample.MODES))
    if align_corners and upsample == "nearest":
        raise ValueError('align_corners=True needs upsample "linear", "bilinear" or "trilinear", got "nearest"')
    wanted = _upsample.MODES[upsample]
    if not 1 <= axes <= 3 or wanted not in (None, axes):
        number = "one to three spatial axes" if wanted is None else f"{wanted} spatial axes, (N, C, *),"
        raise ValueError(f"upsample={upsample!r} needs {name} with {number} got {shape}")
    if target.ndim <= axes:
        return shape
    return *shape[: logits.ndim - axes], *_shape(target)[-axes:]


def _resolution(
    logits: Tensor, target: Tensor, upsample: str | None, align_corners: bool, name: str = "logits"
) -> str | None:
    """How `_upsample` goes from these logits (N, C, *) to this target; None where they are equally fine."""
    sizes = _shape(logits)[2:]
    wanted = _shape(target)[target.ndim - len(sizes) :]
    if upsample is None or sizes == wanted:
        return None
    if any(size > fine for size, fine in zip(sizes, wanted, strict=True)):
        raise ValueError(
            f"target must be as fine as {name} or finer along each axis, got {wanted} for {name} {sizes}: "
            "upsample does not reduce them; F.interpolate does"
        )
    if 0 in sizes and 0 not in wanted:
        raise ValueError(f"{name} must not be empty, got {_shape(logits)} for a target of {wanted}")
    return "nearest" if upsample == "nearest" else "corners" if align_corners else "linear"


def _finer(logits: Tensor, target: Tensor, upsample: str | None, axes: int) -> str:
    """A hint, where the target fits but for a finer resolution of the last `axes`."""
    if upsample is not None or not 1 <= axes <= 3 or target.ndim <= axes or target.shape[0] != logits.shape[0]:
        return ""
    sizes, wanted = _shape(logits)[-axes:], _shape(target)[-axes:]
    if sizes == wanted or any(size > fine for size, fine in zip(sizes, wanted, strict=True)):
        return ""
    return f'; for logits coarser than the labels: upsample="{("linear", "bilinear", "trilinear")[len(sizes) - 1]}"'


def softmax_pixels(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    upsample: str | None = None,
    align_corners: bool = False,
) -> Pixels:
    """Logits (N, C, *) or (P, C) with a target (N, *) of class indices; with `upsample` a finer one."""
    _check_tensors(logits, target, mask)
    if logits.ndim < 2 or logits.shape[1] == 0:
        raise ValueError(f"logits must be (N, C, *) with C >= 1, got {_shape(logits)}")
    shape = _fine(logits, target, upsample, align_corners, logits.ndim - 2)
    expected = (shape[0], *shape[2:])
    if _shape(target) != expected:
        one_more = _shape(target) == (expected[0], 1, *expected[1:])
        hint = "; use target.squeeze(1)" if one_more else _finer(logits, target, upsample, logits.ndim - 2)
        raise ValueError(
            f"target must be (N, *) matching logits {_shape(logits)}: {expected}, got {_shape(target)}{hint}"
        )
    if mask is not None and _shape(mask) != expected:
        raise ValueError(f"mask must have the shape of target {expected}, got {_shape(mask)}")
    return _view(logits, target, mask, False, _resolution(logits, target, upsample, align_corners))


def binary_pixels(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    upsample: str | None = None,
    align_corners: bool = False,
) -> Pixels:
    """Logits with one foreground per channel, target of 0 and 1.

    With a target of the same shape, axis 1 is the channel axis of 2-D (P, C), 4-D (N, C, H, W) and 5-D
    (N, C, D, H, W) logits, while 1-D (P,) and 3-D (N, H, W) logits have none. With a target that lacks
    axis 1, logits are (N, 1, *). A mask has the shape of the target, or the same for all channels. With `upsample`
    the target may be finer; "bilinear" says of 3-D logits that they have no channel axis, "linear" that they have.
    """
    _check_tensors(logits, target, mask)
    if logits.ndim == 0:
        raise ValueError("logits must have at least one axis, got a scalar")
    planar = upsample == "bilinear" or (upsample != "linear" and logits.shape[-2:-1] != (1,))
    no_channels = logits.ndim == 1 or (logits.ndim == 3 and planar)
    axes = logits.ndim - (1 if no_channels else 2)
    shape = _fine(logits, target, upsample, align_corners, axes)
    if _shape(target) == shape:
        if no_channels:
            logits, target = logits.unsqueeze(1), target.unsqueeze(1)
    elif logits.ndim >= 2 and shape[1] == 1 and _shape(target) == (shape[0], *shape[2:]):
        target = target.unsqueeze(1)
    elif logits.ndim >= 2 and _shape(target) == (shape[0], *shape[2:]):
        raise ValueError(
            f"target must have the shape of logits {shape}, one mask of 0 and 1 per channel, got "
            f"{_shape(target)}; for one label per pixel use lovasz_softmax"
        )
    else:
        hint = _finer(logits, target, upsample, axes)
        raise ValueError(f"target must match logits {shape}, with or without a channel axis of size 1, "
                         f"got {_shape(target)}{hint}")  # fmt: skip
    if logits.shape[1] == 0:
        raise ValueError(f"logits must have at least one channel, got {shape}")
    if mask is not None:
        without = (target.shape[0], *target.shape[2:])
        if _shape(mask) == without:
            mask = mask.unsqueeze(1).expand(_shape(target))
        elif _shape(mask) != _shape(target):
            raise ValueError(f"mask must be {_shape(target)}, or {without} for all channels, got {_shape(mask)}")
    return _view(logits, target, mask, True, _resolution(logits, target, upsample, align_corners))


def view(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    form: str,
    upsample: str | None = None,
    align_corners: bool = False,
) -> Pixels:
    """The one view of the pixels, for a form of the loss."""
    choice("form", form, FORMS)
    pixels = softmax_pixels if form == "softmax" else binary_pixels
    return pixels(logits, target, mask, upsample, align_corners)


def canonical_target(target: Tensor, mask: Tensor | None, ignore_index: Sequence[int], num_classes: int) -> Tensor:
    """Labels as int64 with -1 where void; any other label that is no class is an error.

    The comparison is made in int64: in a narrow type -100 would equal the label 156. On CUDA the error is
    a device-side assertion, which does not wait; elsewhere it names the labels and how many there are.
    """
    labels = target.long()
    beyond = None
    if target.dtype == torch.uint64:  # beyond int64: no class, and no ignored label either
        beyond = labels < 0
        labels = labels.masked_fill(beyond, torch.iinfo(torch.int64).max)
    void = torch.zeros_like(labels, dtype=torch.bool) if mask is None else ~mask
    for label in ignore_index:
        ignored = labels == label
        void = void | (ignored if beyond is None else ignored & ~beyond)
    bad = ((labels < 0) | (labels >= num_classes)) & ~void
    if labels.device.type == "cuda":
        assert_on_device(~bad.any(), num_classes)
    elif bad.any():
        raise ValueError(_bad_labels(labels[bad], ignore_index, num_classes))
    return labels.masked_fill_(void, -1) if labels is not target else labels.masked_fill(void, -1)


def assert_on_device(good: Tensor, num_classes: int) -> None:
    """A device-side assertion about the labels, for which nothing waits."""
    torch._assert_async(good, f"target holds a label that is neither one of the {num_classes} classes nor ignored")


def _bad_labels(found: Tensor, ignore_index: Sequence[int], num_classes: int) -> str:
    values, numbers = found.unique(return_counts=True)
    named = ", ".join(f"{v} ({n}x)" for v, n in zip(values[:5].tolist(), numbers[:5].tolist(), strict=True))
    more = ", ..." if len(values) > 5 else ""
    ignored = ", ".join(map(str, ignore_index)) or "none"
    hint = "; for a binary head with one channel use lovasz_sigmoid" if num_classes == 1 else ""
    return (
        f"target must hold classes 0 to {num_classes - 1} or ignored labels (ignore_index: {ignored}), "
        f"got {found.numel()} other: {named}{more}{hint}"
    )


def check_upsample(upsample: str | None, align_corners: bool) -> None:
    """What can be said of them before there are logits."""
    if upsample is not None:
        choice("upsample", upsample, tuple(_upsample.MODES))
    axes = 2 if upsample is None else _upsample.MODES[upsample] or 2
    some = torch.empty(1, 1, *(1,) * axes)
    _fine(some, some[0], upsample, align_corners, axes)


def predicted_pixels(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    ignore_index: list[int],
    mask: Tensor | None,
    upsample: str | None = None,
    align_corners: bool = False,
) -> tuple[Tensor, Tensor]:
    """Check and return class indices, and labels that are -1 where void: (N, *), int64."""
    shape, got, scores = tuple(target.shape), tuple(preds.shape), preds.is_floating_point()
    fine = got
    if upsample is not None:
        if not scores:
            raise TypeError(f"preds must be floating scores (N, C, *) to be upsampled, got {preds.dtype}")
        fine = _fine(preds, target, upsample, align_corners, preds.ndim - 2, "preds")
    expected = (*shape[:1], num_classes, *shape[1:]) if scores else shape
    if fine != expected or not shape:
        what = "floating scores (N, C, *)" if scores else "class indices (N, *)"
        hint = _finer(preds, target, upsample, preds.ndim - 2) if scores else ""
        raise ValueError(f"preds must be {what} matching target {shape}: {expected}, got {got}{hint}")
    mode = _resolution(preds, target, upsample, align_corners, "preds") if scores else None
    if target.is_floating_point():
        hint = "the metrics count pixels, so from one-hot or soft labels pass target.argmax(1)"
        raise TypeError(f"target must hold integer labels (or bool), got {target.dtype}: {hint}")
    if mask is not None and (mask.dtype != torch.bool or mask.shape != target.shape):
        got_mask = f"{mask.dtype} {tuple(mask.shape)}"
        raise ValueError(f"mask must be bool (True counts) and shaped like target {shape}, got {got_mask}")
    # Subclasses carry rules of their own: MONAI's refuse to be sliced without their metadata.
    preds, target = preds.as_subclass(Tensor), target.as_subclass(Tensor)
    labels = canonical_target(target, mask, ignore_index, num_classes)
    if mode is not None:
        indices = _upsample.argmax(preds, _upsample.axes(preds, target, mode))
    else:
        indices = preds.argmax(1) if scores else preds.long()
    wrong = (labels >= 0) & ((indices < 0) | (indices >= num_classes))
    if wrong.any():
        value = preds.flatten()[wrong.flatten().nonzero()[0, 0]]
        found = f"{value.item()} at {int((wrong & (indices == value.long())).sum())} pixels"
        raise ValueError(f"preds must hold classes 0 to {num_classes - 1} where a pixel counts, got {found}")
    return indices, labels
