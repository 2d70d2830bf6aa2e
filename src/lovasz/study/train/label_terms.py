"""Single losses over labels that are each a mask by itself, for networks with one channel a label.

Each takes logits (N, L, *) and a target (N, L, *) of 0 and 1, void where ``IGNORE_INDEX``, and returns the mean
over the labels. The target may be finer: the Lovász losses interpolate inside, all others have the logits
interpolated first.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from lovasz import lovasz_binary_cross_entropy, lovasz_hinge, lovasz_sigmoid
from lovasz.measures import FBeta, Tversky
from lovasz.study.data.parts import IGNORE_INDEX
from lovasz.study.train.network import interpolated, resolution, sides_of
from lovasz.study.train.terms import of_norms


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the mean of -log p of what is so, over the pixels of all labels that count."""
    logits, known = interpolated(logits, sides_of(logits, target)), target != IGNORE_INDEX
    losses = F.binary_cross_entropy_with_logits(logits, target.to(logits), reduction="none")
    return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)


def focal(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Compute MONAI's focal loss of the sigmoid, the mean of -(1 - p)^gamma log p over the pixels that count."""
    from monai.losses import FocalLoss

    logits, known = interpolated(logits, sides_of(logits, target)), target != IGNORE_INDEX
    losses = FocalLoss(gamma=gamma, reduction="none")(logits, target.to(logits))
    return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """Compute MONAI's soft Dice loss of each label over all its pixels that count."""
    from monai.losses import DiceLoss

    return _mean(DiceLoss(sigmoid=True, batch=True), logits, target)


def tversky(logits: Tensor, target: Tensor, alpha: float, beta: float) -> Tensor:
    """Compute MONAI's soft Tversky loss of each label; alpha weighs false positives, beta false negatives."""
    from monai.losses import TverskyLoss

    return _mean(TverskyLoss(sigmoid=True, batch=True, alpha=alpha, beta=beta), logits, target)


def jaccard_metric(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the Jaccard metric loss of each label, without foreground 1 as soon as anything is predicted.

    With probabilities p and masks y, and L1 norms over all pixels that count,
    ``1 - (|p| + |y| - |p - y|) / (|p| + |y| + |p - y|)``.

    References:
        Wang, Ning, Blaschko: Jaccard Metric Losses: Optimizing the Jaccard Index with Soft Labels (NeurIPS 2023),
        https://arxiv.org/abs/2302.05666
    """
    return _mean(lambda x, y: of_norms(x.sigmoid(), y).squeeze(), logits, target)


def lovasz(
    logits: Tensor, target: Tensor, form: str = "sigmoid", measure: str | Tversky | FBeta = "jaccard"
) -> Tensor:
    """Compute the Lovász-sigmoid loss or the Lovász hinge of each label, over the pixels of all processes."""
    loss = lovasz_sigmoid if form == "sigmoid" else lovasz_hinge
    upsample = resolution(logits, sides_of(logits, target))
    return loss(
        logits, target, ignore_index=IGNORE_INDEX, group="world", upsample=upsample, measure=measure, channels=True
    )


def bce_lovasz(
    logits: Tensor, target: Tensor, form: str = "sigmoid", measure: str | Tversky | FBeta = "jaccard"
) -> Tensor:
    """Compute the sum of binary cross-entropy and one of these in the same passes."""
    upsample = resolution(logits, sides_of(logits, target))
    return lovasz_binary_cross_entropy(
        logits, target, ignore_index=IGNORE_INDEX, group="world", upsample=upsample, measure=measure, form=form,
        channels=True,
    )  # fmt: skip


def _mean(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean over the labels of a loss of logits and masks (1, 1, P)."""
    return torch.stack([loss(x, y) for x, y in _labels(logits, target)]).mean()


def _labels(logits: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the pixels of each label that count."""
    logits = interpolated(logits, sides_of(logits, target))
    for x, y in zip(logits.unbind(1), target.unbind(1), strict=True):
        known = y != IGNORE_INDEX
        yield x[known][None, None], y[known][None, None].to(x)
