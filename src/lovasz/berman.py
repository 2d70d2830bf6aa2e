"""Every public name of the PyTorch file published with the paper, on the operators of this library.

Arguments, defaults, order and values are those of the file (Berman et al. 2018), so that an import is all that
changes. Where the file crashes or misreads its input, this does what was meant; docs/berman.md lists each case.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import _losses, functional
from ._inputs import layouts
from ._math import jaccard

__all__ = [
    "StableBCELoss", "binary_xloss", "flatten_binary_scores", "flatten_probas", "iou", "iou_binary", "isnan",
    "lovasz_grad", "lovasz_hinge", "lovasz_hinge_flat", "lovasz_softmax", "lovasz_softmax_flat",
    "lovasz_softmax_logits", "mean", "xloss",
]  # fmt: skip


def _integers(labels: Tensor) -> Tensor:
    """Return labels as the file takes them: integers, or floats that hold integers."""
    if not labels.is_floating_point():
        return labels
    integers = labels.long()
    if not torch.equal(integers.to(labels.dtype), labels):
        raise ValueError("labels must hold integers, got fractions or NaN")
    return integers


def _wide(labels: Tensor) -> Tensor:
    """Return labels that any integer can be compared with: in uint8, -100 would equal 156."""
    return labels if labels.is_floating_point() else labels.long()


def _flatten(x: Tensor, labels: Tensor, ignore: int | None) -> tuple[Tensor, Tensor]:
    """Return the rows of x and labels that are not ignored, the labels flattened."""
    labels = labels.reshape(-1)
    if ignore is None:
        return x, labels
    valid = _wide(labels) != ignore
    return x[valid], labels[valid]


def _with_classes(probas: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities (N, C, *) and labels (N, *): both may have, and both may lack, an axis of size 1."""
    if labels.ndim >= max(probas.ndim, 2) and labels.shape[1] == 1:
        labels = labels.squeeze(1)
    return (probas.unsqueeze(1) if probas.shape == labels.shape else probas), labels


def _ignored(ignore: int | None) -> list[int]:
    return [] if ignore is None else [ignore]


def lovasz_grad(gt_sorted: Tensor) -> Tensor:
    """Compute the gradient of the Lovász extension with respect to errors sorted in decreasing order.

    Args:
        gt_sorted: (P,), 1 for foreground and 0 for background, sorted by decreasing error.

    Returns:
        (P,), the growth of the Jaccard loss as each pixel joins, from exact counts.

    Example:
        >>> lovasz_grad(torch.tensor([1.0, 0.0, 1.0]))
        tensor([0.5000, 0.1667, 0.3333])
    """
    f = gt_sorted > 0
    k, j = f.cumsum(0) - f.long(), (~f).cumsum(0) - (~f).long()
    foreground, background = jaccard.increments(k, j, f.sum())
    dtype = gt_sorted.dtype if gt_sorted.is_floating_point() else torch.get_default_dtype()
    return torch.where(f, foreground, background).to(dtype)


def iou_binary(
    preds: Tensor,
    labels: Tensor,
    EMPTY: float = 1.0,
    ignore: int | None = None,
    per_image: bool = True,
) -> float:
    """Compute the IoU of the foreground in percent, averaged over images; EMPTY where the union is empty.

    Args:
        preds, labels: (N, *), 1 for foreground.
        EMPTY: IoU of an image with neither foreground nor prediction.
        ignore: label to leave out.
        per_image: average over images, or one IoU for all pixels.

    Example:
        >>> iou_binary(torch.tensor([[1, 1, 0]]), torch.tensor([[1, 0, 0]]))
        50.0
    """
    pairs = zip(preds, labels, strict=True) if per_image else [(preds, labels)]
    return 100 * mean([_iou(pred, label, 1, EMPTY, ignore) for pred, label in pairs])


def iou(
    preds: Tensor,
    labels: Tensor,
    C: int,
    EMPTY: float = 1.0,
    ignore: int | None = None,
    per_image: bool = False,
) -> Any:
    """Compute the IoU of every class but the ignored one, in percent, in NumPy; EMPTY where one is absent.

    Args:
        preds, labels: (N, *), class indices.
        C: number of classes.
        EMPTY: IoU of a class that is neither labelled nor predicted.
        ignore: label to leave out; as a class it has no IoU.
        per_image: average over images, or one IoU for all pixels.

    Example:
        >>> iou(torch.tensor([[0, 1, 1]]), torch.tensor([[0, 0, 1]]), C=2).tolist()
        [50.0, 50.0]
    """
    pairs = list(zip(preds, labels, strict=True)) if per_image else [(preds, labels)]
    classes = [c for c in range(C) if c != ignore]
    ious = [mean([_iou(p, t, c, EMPTY, ignore) for p, t in pairs]) for c in classes]
    return 100 * torch.tensor(ious, dtype=torch.float64, device="cpu").numpy()


def _iou(preds: Tensor, labels: Tensor, c: int, empty: float, ignore: int | None) -> float:
    preds, labels = _wide(torch.as_tensor(preds)), _wide(torch.as_tensor(labels))
    labelled, predicted = labels == c, preds == c
    if ignore is not None:
        predicted = predicted & (labels != ignore)
    union = int((labelled | predicted).sum())
    return int((labelled & predicted).sum()) / union if union else empty


def lovasz_hinge(logits: Tensor, labels: Tensor, per_image: bool = True, ignore: int | None = None) -> Tensor:
    """Compute the binary Lovász hinge loss.

    Args:
        logits: (N, H, W), unnormalised scores.
        labels: (N, H, W), 0 and 1.
        per_image: one loss per image, then the mean, in which an image without valid pixels is a zero.
        ignore: label to leave out.
    """
    if [n for n in logits.shape if n != 1] != [n for n in labels.shape if n != 1]:
        raise ValueError(f"labels must have the shape of logits {tuple(logits.shape)}, got {tuple(labels.shape)}")
    pair = (logits, _integers(labels).reshape(logits.shape))
    x, t = ((a if per_image else a[None]).unsqueeze(-1).flatten(1)[:, None] for a in pair)
    total = functional.lovasz_hinge(x, t, ignore_index=_ignored(ignore), per_image=True, reduction="sum")
    return total / max(len(x), 1)


def lovasz_hinge_flat(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the binary Lovász hinge loss of flat (P,) logits and labels of 0 and 1."""
    return functional.lovasz_hinge(logits, _integers(labels), ignore_index=[])


def flatten_binary_scores(scores: Tensor, labels: Tensor, ignore: int | None = None) -> tuple[Tensor, Tensor]:
    """Return scores and labels as flat (P,) tensors, without the pixels labelled `ignore`."""
    return _flatten(scores.reshape(-1), labels, ignore)


class StableBCELoss(nn.Module):
    """Compute the mean binary cross-entropy of logits with targets of 0 and 1 of the same shape."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss; the names of the arguments are the published ones."""
        return F.binary_cross_entropy_with_logits(input, target.to(input.dtype).expand_as(input))


def binary_xloss(logits: Tensor, labels: Tensor, ignore: int | None = None) -> Tensor:
    """Compute the mean binary cross-entropy of (N, H, W) logits, a zero where no pixel is valid."""
    logits, labels = flatten_binary_scores(logits, labels, ignore)
    if not len(logits):
        return logits.sum() * 0.0
    return StableBCELoss()(logits, labels)


def lovasz_softmax(
    probas: Tensor,
    labels: Tensor,
    classes: str | Sequence[int] = "present",
    per_image: bool = False,
    ignore: int | None = None,
) -> Tensor:
    """Compute the Lovász-Softmax loss of class probabilities.

    Args:
        probas: (N, C, H, W), probabilities; (N, H, W) or C = 1 is read as the foreground's, class 1.
        labels: (N, H, W), class indices.
        classes: "all", "present", or the classes to average.
        per_image: one loss per image, then the mean.
        ignore: label to leave out.

    Example:
        >>> probas = torch.tensor([[0.9, 0.2], [0.1, 0.8]])  # (P, C)
        >>> lovasz_softmax(probas, torch.tensor([0, 1]))  # class 0: errors 0.1, 0.1; class 1: 0.2, 0.2
        tensor(0.1500)
    """
    probas, labels = _with_classes(probas, labels)
    probas, target, *_ = layouts.flat(*layouts.softmax_pixels(probas, _integers(labels), None)[:3])
    foreground = torch.arange(probas.shape[1], device=probas.device)
    num_classes = len(foreground)
    if num_classes == 1:
        if isinstance(classes, str):
            foreground, num_classes = foreground + 1, 2
        elif len(classes) == 1:
            foreground, num_classes = foreground + classes[0], torch.iinfo(torch.int64).max
            classes = "all"
        else:
            raise ValueError(f"classes must name one class for one probability, got {classes!r}")
    target = torch.ops.lovasz.labels(target, None, _ignored(ignore), num_classes)[:, None]
    one_hot = (target == foreground[:, None]).to(torch.int8).masked_fill(target < 0, -1)
    view = layouts.View(_probabilities(probas, target >= 0), one_hot, None)
    loss, _ = _losses.lovasz(view, "probs", ignore_index=-1, classes=classes, per_image=per_image)
    return loss.to(probas.dtype)


def _probabilities(probas: Tensor, valid: Tensor) -> Tensor:
    """Clamp to [0, 1], beyond which only rounding and ignored pixels may reach."""
    outside = ((probas < -1e-3) | (probas > 1 + 1e-3)) & valid
    if probas.device.type == "cuda":
        torch._assert_async(~outside.any(), "probas must be probabilities in [0, 1]")
    elif outside.any():
        raise ValueError(
            f"probas must be probabilities in [0, 1], got values from "
            f"{probas[outside].min():g} to {probas[outside].max():g}; for logits use lovasz.lovasz_softmax"
        )
    return probas.clamp(0, 1)


def lovasz_softmax_flat(probas: Tensor, labels: Tensor, classes: str | Sequence[int] = "present") -> Tensor:
    """Compute the Lovász-Softmax loss of flat probabilities (P, C) and labels (P,)."""
    return lovasz_softmax(probas, labels, classes)


def lovasz_softmax_logits(
    logits: Tensor,
    labels: Tensor,
    classes: str | Sequence[int] = "present",
    ignores: Sequence[int] = (255,),
) -> Tensor:
    """Compute the Lovász-Softmax loss of flat logits (P, C), the variant with a list of ignored labels.

    Args:
        logits: (P, C), unnormalised scores.
        labels: (P,), class indices.
        classes: "all", "present", or the classes to average.
        ignores: labels to leave out.
    """
    return functional.lovasz_softmax(logits, _integers(labels), classes=classes, ignore_index=list(ignores))


def flatten_probas(probas: Tensor, labels: Tensor, ignore: int | None = None) -> tuple[Tensor, Tensor]:
    """Return probabilities as (P, C) and labels as (P,), without the pixels labelled `ignore`."""
    probas, labels = _with_classes(probas, labels)
    return _flatten(probas.movedim(1, -1).reshape(-1, probas.shape[1]), labels, ignore)


def xloss(logits: Tensor, labels: Tensor, ignore: int | None = None) -> Tensor:
    """Compute the mean cross-entropy of (N, C, H, W) logits, a zero where no pixel is valid.

    Without `ignore` the label 255 is left out, as the file does whatever it is told.
    """
    ignored = 255 if ignore is None else ignore
    labels = labels.long()
    loss = F.cross_entropy(logits, labels, ignore_index=ignored)
    return torch.where((labels != ignored).any(), loss, 0.0)


def isnan(x: Any) -> Any:
    """Return whether x is NaN: of nothing else is it true that x differs from itself."""
    return x != x


def mean(l: Iterable[Any], ignore_nan: bool = False, empty: Any = 0) -> Any:  # noqa: E741
    """Return the mean of an iterable, optionally leaving NaN out.

    Args:
        l: values that add; a generator will do.
        ignore_nan: leave NaN out.
        empty: what to return for no values; "raise" raises ValueError.
    """
    values: Iterator[Any] = iter(l)
    if ignore_nan:
        values = (v for v in values if not isnan(v))
    kept = list(values)
    if not kept:
        if isinstance(empty, str) and empty == "raise":
            raise ValueError("Empty mean")
        return empty
    return kept[0] if len(kept) == 1 else sum(kept[1:], kept[0]) / len(kept)
