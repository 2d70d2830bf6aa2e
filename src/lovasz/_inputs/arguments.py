"""What callers may choose: ignored labels, classes, bins, measures, processes, and every message about them."""

import math
import os
from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._math import binning, interpolation, jaccard
from ..measures import NAMED, FBeta, Tversky

REDUCTIONS = ("mean", "sum", "none")
#: Counters of a class that a kernel has beside those of the bins, at most.
COUNTERS_BESIDE = 16


def choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """Check that a string is one of a few, and return it."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def _integer(value: object) -> bool:
    return type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))


def parse_ignore_index(ignore_index: int | Sequence[int]) -> list[int]:
    """Return the ignored labels as a list, from one integer or several."""
    if type(ignore_index) is int and -(2**63) <= ignore_index < 2**63:
        return [ignore_index]
    values = [ignore_index] if isinstance(ignore_index, Integral) else ignore_index
    if not isinstance(values, (list, tuple, set, frozenset, range)) or not all(_integer(v) for v in values):
        raise TypeError(f"ignore_index must be an int or a sequence of ints, got {ignore_index!r}")
    if not all(-(2**63) <= int(v) < 2**63 for v in values):
        raise ValueError(f"ignore_index must fit into 64 bits, got {ignore_index!r}")
    return [int(v) for v in values]


def parse_bins(bins: int | str | None, pixels: int | None, num_classes: int, form: str) -> int | None:
    """Return the number of bins, or None to sort.

    "auto" sorts fewer pixels than a quarter of its bins, unless `pixels` is None: from there on counting is as
    accurate as for any number of pixels, and sorting many times slower.
    """
    if bins is None:
        return None
    if isinstance(bins, str) and bins == "auto":
        number = binning.default_bins(num_classes, form)
        if pixels is not None and 4 * pixels < number:
            return None
    elif _integer(bins) and binning.MIN_BINS <= int(bins) <= binning.MAX_BINS:
        number = int(bins)
    else:
        raise ValueError(
            f'bins must be "auto", None (sort) or an integer from {binning.MIN_BINS} to '
            f"{binning.MAX_BINS}, got {bins!r}"
        )
    if 2 * num_classes * (number + COUNTERS_BESIDE) >= 2**31:
        most = (2**31 - 1) // (2 * num_classes) - COUNTERS_BESIDE
        fits = f"at most {most} bins fit" if most >= binning.MIN_BINS else "no number of bins fits; bins=None sorts"
        raise ValueError(f"bins must be fewer for {num_classes} classes: {fits} a table below 2^31, got {number}")
    return number


def parse_counted_bins(bins: int | str | None, num_classes: int, form: str, what: str) -> int:
    """Return the number of bins of `what`, as in "the decision", which counts."""
    number = parse_bins(bins, None, num_classes, form)
    if number is None:
        raise ValueError(f"bins must be an integer here: {what}")
    return number


def parse_num_classes(num_classes: Any, least: int = 1, hint: str = "") -> int:
    """Return a number of classes, which may be an integer of NumPy, as an int."""
    if not _integer(num_classes) or num_classes < least:
        raise ValueError(f"num_classes must be an integer of at least {least}, got {num_classes!r}{hint}")
    return int(num_classes)


def check_width(width: Any) -> None:
    """Check the width of a boundary region: a fraction of the diagonal, or pixels."""
    if not isinstance(width, (int, float)) or isinstance(width, bool):
        raise TypeError(f"width must be a float (fraction of the diagonal) or an int (pixels), got {width!r}")
    if not (width >= 1 if isinstance(width, int) else 0 < width < 1):
        allowed = "a float above 0 and below 1 (fraction of the diagonal) or an int of at least 1 (pixels)"
        raise ValueError(f"width must be {allowed}, got {width!r}")


def parse_measure(measure: str | Tversky | FBeta) -> Tversky:
    """Return the measure that the loss extends, by its weights."""
    if isinstance(measure, str):
        return NAMED[choice("measure", measure, tuple(NAMED))]
    if isinstance(measure, FBeta):
        return measure.tversky
    if not isinstance(measure, Tversky):
        raise TypeError(f"measure must be a name, lovasz.Tversky or lovasz.FBeta, got {measure!r}")
    return measure


def check_upsample(upsample: str | None, align_corners: bool) -> None:
    """Check what can be said of them before there are logits."""
    if not isinstance(align_corners, bool):
        raise TypeError(f"align_corners must be a bool, got {align_corners!r}")
    if upsample is not None:
        choice("upsample", upsample, tuple(interpolation.MODES))
    elif align_corners:
        raise ValueError("align_corners=True is a way to interpolate: it needs upsample")
    if align_corners and upsample == "nearest":
        raise ValueError('align_corners=True needs upsample "linear", "bilinear" or "trilinear", got "nearest"')


def process_group(group: Any) -> Any:
    """Return the group of processes, or None for this one alone; "world" is all there are when it is asked for."""
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
    """Check what the pixels of several processes can be asked for."""
    if per_image:
        raise ValueError("group pools the pixels of all processes, per_image=True those of one image: choose one")
    if bins is None:
        raise ValueError('bins must be an integer or "auto" with a group: sorting needs all pixels in one process')


def kind(
    form: str,
    num_classes: int,
    bins: int,
    measure: Tversky | None = None,
    classes: str | Sequence[int] = "",
    reduction: str = "",
    label_smoothing: float | None = None,
) -> list[str]:
    """Return what the processes of a group must agree on, so that the sum of their tables is of one loss."""
    tversky = "none" if measure is None else f"Tversky({measure.alpha}, {measure.beta})"
    if not isinstance(classes, str):
        classes = ", ".join(str(int(c)) for c in sorted(classes))
    return [
        f"form={form}", f"{num_classes} classes", f"bins={bins}", f"measure={tversky}", f"classes={classes}",
        f"reduction={reduction}", f"label_smoothing={label_smoothing}",
    ]  # fmt: skip


def check_counts(
    counts: Any, form: str, logits: Tensor, per_image: bool, bins: int | str | None, grouped: bool
) -> int:
    """Check that counts are of this form and these classes, and pooled; return their number of bins."""
    if not hasattr(counts, "table"):
        raise TypeError(f"counts must be lovasz.Counts or None, got {type(counts).__name__}")
    table, num_classes = counts.table, logits.shape[1]
    if table.dtype != torch.int64 or table.ndim != 4:
        raise TypeError(f"counts.table must be int64 (1, C, 2, K + 1), got {table.dtype} {tuple(table.shape)}")
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


def class_selection(
    classes: str | Sequence[int], num_classes: int, device: torch.device
) -> tuple[bool, Tensor | None]:
    """Return whether a class must be present to take part, and which classes may: a bool (C,), None for all."""
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


def check_weight(weight: Tensor, num_classes: int, device: torch.device, name: str = "weight") -> None:
    """Check that the weight is a floating (C,) tensor on the device of the logits."""
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        got = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
        raise TypeError(f"{name} must be a floating-point tensor of shape ({num_classes},), got {got}")
    if tuple(weight.shape) != (num_classes,):
        raise ValueError(f"{name} must have shape ({num_classes},), got {tuple(weight.shape)}")
    if weight.device != device:
        raise ValueError(f"{name} must be on the device of the logits, {device}, got {weight.device}")
    if weight.requires_grad:
        raise ValueError(f"{name} must not require a gradient: there is none in the weights, detach it")


def check_threshold(threshold: float | None, num_classes: int = 2) -> None:
    """Check the threshold of a metric, which divides one channel of scores into two classes."""
    if threshold is None:
        return
    if not isinstance(threshold, (int, float)) or isinstance(threshold, bool) or not math.isfinite(threshold):
        raise ValueError(f"threshold must be a finite number or None, got {threshold!r}")
    if num_classes != 2:
        raise ValueError(
            f"threshold makes two classes of one channel: num_classes must be 2, got {num_classes}; where labels "
            "overlap use MultilabelJaccardIndex"
        )


def side_weights(
    weight: Tensor | None, pos_weight: Tensor | None, num_classes: int, device: torch.device
) -> Tensor | None:
    """Return the weights (C, 2) of background and foreground in the binary cross-entropy; None for ones.

    As `F.binary_cross_entropy_with_logits` does, it takes a `pos_weight` with axes of size 1, or with none at all.
    """
    if weight is None and pos_weight is None:
        return None
    if weight is None:
        weight = torch.ones(num_classes, device=device)
    check_weight(weight, num_classes, device)
    if pos_weight is None:
        pos_weight = torch.ones_like(weight)
    if isinstance(pos_weight, Tensor):
        shape = tuple(pos_weight.shape)
        if shape in ((), (num_classes, *(1 for _ in shape[1:]))):
            pos_weight = pos_weight.reshape(-1).expand(num_classes)
    check_weight(pos_weight, num_classes, device, "pos_weight")
    return torch.stack((weight, weight * pos_weight), 1)


class Reduction(NamedTuple):
    """How the losses of the classes become the result; made by `parse_reduction`."""

    selection: tuple[bool, Tensor | None]
    weight: Tensor | None
    per_image: bool
    name: str

    @property
    def total(self) -> bool:
        """Return whether the result is one number."""
        return self.name != "none"


def parse_reduction(
    reduction: str,
    classes: str | Sequence[int],
    weight: Tensor | None,
    per_image: bool,
    num_classes: int,
    device: torch.device,
) -> Reduction:
    """Check the reduction, with its classes and weights, and return it."""
    choice("reduction", reduction, REDUCTIONS)
    selection = class_selection(classes, num_classes, device)
    if weight is not None:
        check_weight(weight, num_classes, device)
    return Reduction(selection, weight, per_image, reduction)


def shares(how: Reduction, pixels: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return which classes take part, bool, and what each counts for, float64; both (N or 1, C).

    `pixels` are the numbers of valid and of foreground pixels.
    """
    only_present, selected = how.selection
    part = pixels[1 if only_present else 0] > 0
    if selected is not None:
        part = part & selected
    return part, jaccard.coefficients(part, how.weight, how.per_image, how.name)
