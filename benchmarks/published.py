"""The published formulation, transcribed from Algorithm 1: a loop over classes, a sort, float32 differences."""

import torch
from torch import Tensor


def gradient_of_extension(foreground_sorted: Tensor) -> Tensor:
    """Differences of neighbouring Jaccard losses in the order of decreasing error."""
    total = foreground_sorted.sum()
    intersection = total - foreground_sorted.cumsum(0)
    union = total + (1 - foreground_sorted).cumsum(0)
    jaccard = 1 - intersection / union
    return torch.cat((jaccard[:1], jaccard[1:] - jaccard[:-1]))


def lovasz_of_errors(errors: Tensor, foreground: Tensor) -> Tensor:
    """Errors (P,) sorted and weighed."""
    errors_sorted, order = errors.sort(descending=True)
    return errors_sorted @ gradient_of_extension(foreground[order])


def lovasz_softmax(logits: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """Logits (N, C, *), target (N, *); the mean over the classes present."""
    probs = logits.softmax(1).movedim(1, -1).flatten(0, -2)
    labels = target.flatten()
    probs, labels = probs[labels != ignore_index], labels[labels != ignore_index]
    losses = []
    for c in range(probs.shape[1]):
        foreground = (labels == c).to(probs.dtype)
        if foreground.sum() == 0:
            continue
        losses.append(lovasz_of_errors((foreground - probs[:, c]).abs(), foreground))
    return torch.stack(losses).mean()


def lovasz_sigmoid(logits: Tensor, target: Tensor) -> Tensor:
    """Binary, all pixels one set."""
    foreground = target.flatten().to(logits.dtype)
    return lovasz_of_errors((foreground - logits.flatten().sigmoid()).abs(), foreground)


def lovasz_hinge(logits: Tensor, target: Tensor) -> Tensor:
    """Binary, all pixels one set."""
    foreground = target.flatten().to(logits.dtype)
    margins = 1 - logits.flatten() * (2 * foreground - 1)
    margins_sorted, order = margins.sort(descending=True)
    return margins_sorted.relu() @ gradient_of_extension(foreground[order])
