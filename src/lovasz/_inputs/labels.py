"""What labels a target may hold, which of them are void, and the message about any other."""

from collections.abc import Sequence

import torch
from torch import Tensor

#: Types of labels that PyTorch computes little in.
UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


def num_labels(form: str, num_classes: int) -> int:
    """Return how many labels a target may hold: the classes, or background and foreground of each channel."""
    return num_classes if form == "softmax" else 2


def whole_labels(target: Tensor) -> Tensor:
    """Return the labels of a floating target as integers, int32, where every one is a whole number."""
    labels = target.to(torch.int32)
    again = labels.to(target.dtype)  # which no fraction, NaN or number beyond 32 bits survives
    if target.device.type == "cuda":
        torch._assert_async((again == target).all(), "a floating target must hold whole numbers")
    elif not torch.equal(again, target):
        raise ValueError(
            "a floating target must hold 0.0 and 1.0 or ignored labels, no other and none between, got "
            f"{_named(target[again != target])}: soft targets have no place in a loss that is defined on sets of "
            "pixels"
        )
    return labels


def canonical_target(target: Tensor, mask: Tensor | None, ignore_index: Sequence[int], num_classes: int) -> Tensor:
    """Return labels as int64 with -1 where void; any other label that is no class is an error.

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
    """Assert on the device that the labels are good, for which nothing waits."""
    torch._assert_async(good, f"target holds a label that is neither one of the {num_classes} classes nor ignored")


def _bad_labels(found: Tensor, ignore_index: Sequence[int], num_classes: int) -> str:
    ignored = ", ".join(map(str, ignore_index)) or "none"
    hint = "; a binary task has two classes, or one channel and a sigmoid" if num_classes == 1 else ""
    return (
        f"target must hold classes 0 to {num_classes - 1} or ignored labels (ignore_index: {ignored}), "
        f"got {found.numel()} other: {_named(found)}{hint}"
    )


def _named(found: Tensor) -> str:
    """Return which values there are, and how many of each: five of them."""
    nans = int(found.isnan().sum())
    values, numbers = found[~found.isnan()].unique(return_counts=True)
    named = [f"{v:g}" if found.is_floating_point() else str(v) for v in values[:5].tolist()]
    rows = [*zip(named, numbers[:5].tolist(), strict=True), *([("nan", nans)] if nans else [])]
    return ", ".join(f"{value} ({number}x)" for value, number in rows) + (", ..." if len(values) > 5 else "")
