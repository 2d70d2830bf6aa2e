"""Loss and gradient by sorting in float64, one class at a time, for inputs too large to sort at once."""

import torch
from torch import Tensor

from lovasz._math import jaccard


def by_class(tensor: Tensor) -> Tensor:
    """float64 (C, P) of (N, C, *) or of a point cloud (P, C)."""
    return tensor.detach().double().movedim(1, 0).flatten(1)


def extension(errors: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of one class, and the weight of each of its errors (P,)."""
    ordered, order = errors.sort(descending=True, stable=True)
    f = foreground[order].long()
    k, j = f.cumsum(0) - f, (1 - f).cumsum(0) - (1 - f)
    w_f, w_b = jaccard.increments(k, j, f.sum())
    w = torch.where(f > 0, w_f, w_b)
    return ordered @ w, torch.empty_like(w).scatter_(0, order, w)


def pooled(form: str, logits: Tensor, target: Tensor, classes: str) -> tuple[float, Tensor]:
    """All images as one set of pixels: the loss, and its gradient as float64 (C, P)."""
    x, labels = by_class(logits), target.flatten()
    p = {"softmax": lambda: x.softmax(0), "sigmoid": x.sigmoid, "hinge": lambda: x}[form]()
    grad = torch.zeros_like(p)
    losses = []
    for c in range(len(p)):
        foreground = labels == (c if form == "softmax" else 1)
        if classes == "present" and not foreground.any():
            continue
        sign = 1 - 2 * foreground.double()
        errors = (1 + sign * p[c]).relu() if form == "hinge" else torch.where(foreground, 1 - p[c], p[c])
        loss, weights = extension(errors, foreground)
        grad[c] = sign * weights * (errors > 0 if form == "hinge" else 1.0)
        losses.append(loss.item())
    grad /= len(losses)
    if form == "sigmoid":
        grad *= p * (1 - p)
    elif form == "softmax":
        grad = p * (grad - (p * grad).sum(0))
    return sum(losses) / len(losses), grad


def value_and_gradient(
    form: str, logits: Tensor, target: Tensor, classes: str, per_image: bool
) -> tuple[float, Tensor]:
    """Loss and gradient (C, P) of `lovasz_{form}(logits.double(), ..., bins=None)`; per image, their mean."""
    if not per_image:
        return pooled(form, logits, target, classes)
    images = [pooled(form, x[None], t[None], classes) for x, t in zip(logits, target, strict=True)]
    number = len(images)
    return sum(value for value, _ in images) / number, torch.cat([grad for _, grad in images], 1) / number
