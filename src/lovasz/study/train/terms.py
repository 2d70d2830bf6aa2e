"""Single losses over the labelled pixels, for networks with one class per pixel.

Each takes logits (N, C, *) and a target (N, *), void where ``IGNORE_INDEX``. The target may be finer: the Lovász
losses interpolate inside, all others have the logits interpolated first.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lovasz import lovasz_cross_entropy, lovasz_softmax
from lovasz.measures import FBeta, Tversky
from lovasz.study.data.parts import IGNORE_INDEX
from lovasz.study.train.network import interpolated, resolution


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Compute the mean of -log p_target over the labelled pixels."""
    if weight is not None:
        weight = weight.to(logits)
    logits = interpolated(logits, target.shape[1:])
    return F.cross_entropy(logits, target, weight=weight, ignore_index=IGNORE_INDEX)


def inverse_frequency(pixels: Sequence[int]) -> Tensor:
    """Weighs each class by 1 / pixels, scaled to mean 1 over the classes that occur, (C,)."""
    count = torch.tensor(pixels, dtype=torch.float64)
    weight = torch.where(count > 0, 1 / count.clamp_min(1), 0.0)
    return (weight / weight[count > 0].mean()).float()


def focal(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Compute MONAI's focal loss of the softmax, the mean over the labelled pixels of -(1 - p)^gamma log p."""
    from monai.losses import FocalLoss

    loss = FocalLoss(gamma=gamma, use_softmax=True, to_onehot_y=True, reduction="none")
    x, labels = _labelled(logits, target)
    value: Tensor = loss(x, labels).sum() / max(1, labels.numel())
    return value


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """Compute MONAI's soft Dice loss, one Dice score per class over all labelled pixels."""
    from monai.losses import DiceLoss

    value: Tensor = DiceLoss(softmax=True, to_onehot_y=True, batch=True)(*_labelled(logits, target))
    return value


def tversky(logits: Tensor, target: Tensor, alpha: float, beta: float) -> Tensor:
    """Compute MONAI's soft Tversky loss; alpha weighs false positives, beta false negatives."""
    from monai.losses import TverskyLoss

    loss = TverskyLoss(softmax=True, to_onehot_y=True, batch=True, alpha=alpha, beta=beta)
    value: Tensor = loss(*_labelled(logits, target))
    return value


def jaccard_metric(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the Jaccard metric loss over the classes present among the labelled pixels.

    With probabilities p and labels y of a class, and L1 norms over all labelled pixels,
    ``1 - (|p| + |y| - |p - y|) / (|p| + |y| + |p - y|)``: of hard labels the soft Jaccard loss.

    References:
        Wang, Ning, Blaschko: Jaccard Metric Losses: Optimizing the Jaccard Index with Soft Labels (NeurIPS 2023),
        https://arxiv.org/abs/2302.05666
    """
    x, labels = _labelled(logits, target)
    y = F.one_hot(labels[0, 0], x.shape[1]).T.to(x.dtype)
    loss, present = of_norms(x[0].softmax(0), y), y.any(1)
    return torch.where(present, loss, 0.0).sum() / present.sum().clamp(min=1)


def of_norms(p: Tensor, y: Tensor) -> Tensor:
    """Compute that of each row of probabilities and labels (..., P); of a row without anything it is 1."""
    both, apart = p.sum(-1) + y.sum(-1), (p - y).abs().sum(-1)
    return 1 - (both - apart) / (both + apart).clamp_min(torch.finfo(p.dtype).tiny)


def lovasz(logits: Tensor, target: Tensor, measure: str | Tversky | FBeta = "jaccard") -> Tensor:
    """Compute the Lovász-Softmax loss over the classes present among the labelled pixels, of all processes."""
    upsample = resolution(logits, target.shape[1:])
    return lovasz_softmax(
        logits, target, ignore_index=IGNORE_INDEX, group="world", upsample=upsample, measure=measure
    )


def lovasz_exact(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the same of each process by sorting."""
    upsample = resolution(logits, target.shape[1:])
    return lovasz_softmax(logits, target, ignore_index=IGNORE_INDEX, bins=None, upsample=upsample)


def ce_lovasz(logits: Tensor, target: Tensor, measure: str | Tversky | FBeta = "jaccard") -> Tensor:
    """Compute the sum of cross-entropy and Lovász-Softmax in the same passes, over the pixels of all processes."""
    upsample = resolution(logits, target.shape[1:])
    return lovasz_cross_entropy(
        logits, target, ignore_index=IGNORE_INDEX, group="world", upsample=upsample, measure=measure
    )


def _labelled(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the labelled pixels alone, (1, C, P) and (1, 1, P).

    MONAI's own ``ignore_index`` came late and expects the ignored value among the classes.
    """
    labelled = target != IGNORE_INDEX
    x = interpolated(logits, target.shape[1:]).movedim(1, -1)[labelled].T.unsqueeze(0)
    return x, target[labelled][None, None]
