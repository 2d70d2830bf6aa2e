"""The definition, by brute force over sets, in Python numbers: what everything else is tested against."""

from collections.abc import Callable
from itertools import pairwise, permutations

import torch
from torch import Tensor

SetLoss = Callable[[frozenset[int], frozenset[int]], float]


def jaccard_loss_of_set(wrong: frozenset[int], foreground: frozenset[int]) -> float:
    """1 - IoU when exactly the pixels of `wrong` are predicted wrong; 0 where nothing is wrong."""
    predicted = foreground ^ wrong
    union = predicted | foreground
    return 1 - len(predicted & foreground) / len(union) if union else 0.0


def tversky_loss_of_set(wrong: frozenset[int], foreground: frozenset[int], alpha: float, beta: float) -> float:
    """1 - TP / (TP + alpha FP + beta FN) when exactly the pixels of `wrong` are predicted wrong."""
    predicted = foreground ^ wrong
    hits, false, missed = (len(s) for s in (predicted & foreground, predicted - foreground, foreground - predicted))
    return 1 - hits / (hits + alpha * false + beta * missed) if predicted | foreground else 0.0


def choquet(errors: list[float], foreground: frozenset[int], set_loss: SetLoss = jaccard_loss_of_set) -> float:
    """∫ J({i : error_i > t}) dt, exactly, over the intervals between the errors."""
    ends = sorted({0.0, *errors})
    return sum(
        (b - a) * set_loss(frozenset(i for i, m in enumerate(errors) if m > a), foreground)
        for a, b in pairwise(ends)
    )


def best_order(errors: list[float], foreground: frozenset[int]) -> float:
    """Largest over all orders of Σ error · growth of J: the Lovász extension of a submodular J."""
    best = -float("inf")
    for order in permutations(range(len(errors))):
        total, joined, before = 0.0, frozenset[int](), 0.0
        for i in order:
            joined |= {i}
            after = jaccard_loss_of_set(joined, foreground)
            total, before = total + errors[i] * (after - before), after
        best = max(best, total)
    return best


def lovasz_by_definition(
    logits: Tensor, labels: Tensor, form: str, set_loss: SetLoss = jaccard_loss_of_set
) -> list[float]:
    """The loss of each class, from logits (C, P) and labels: (P,) for softmax, else (C, P); -1 is void."""
    logits = logits.double()
    C, P = logits.shape
    losses = []
    for c in range(C):
        if form == "softmax":
            label = labels
            probs = logits.softmax(0)[c]
            is_foreground = [int(v) == c for v in label]
        else:
            label = labels[c]
            probs = logits[c].sigmoid()
            is_foreground = [int(v) == 1 for v in label]
        kept = [i for i in range(P) if int(label[i]) >= 0]
        errors = []
        for i in kept:
            if form == "hinge":
                x = float(logits[c, i])
                errors.append(max(0.0, 1 - x if is_foreground[i] else 1 + x))
            else:
                errors.append(abs(float(is_foreground[i]) - float(probs[i])))
        foreground = frozenset(n for n, i in enumerate(kept) if is_foreground[i])
        losses.append(choquet(errors, foreground, set_loss))
    return losses


def one_hot_iou(preds: Tensor, target: Tensor, c: int) -> float:
    """IoU of class c from sets of pixel positions."""
    predicted = {i for i, v in enumerate(preds.flatten().tolist()) if v == c}
    labelled = {i for i, v in enumerate(target.flatten().tolist()) if v == c}
    return len(predicted & labelled) / len(predicted | labelled)


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    """∂loss / ∂logits as float64."""
    (grad,) = torch.autograd.grad(loss, logits)
    return grad.double()
