"""The losses that can be compared, by name."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lovasz import lovasz_cross_entropy, lovasz_softmax
from lovasz.study.data.parts import IGNORE_INDEX
from lovasz.study.train.network import imported, interpolated, resolution

# (logits (N, C, *), target (N, *), progress) -> loss; progress runs from 0 to 1 over a training. The target may be
# finer: the Lovász losses interpolate inside, all others have the logits interpolated first.
NamedLoss = Callable[[Tensor, Tensor, float], Tensor]

DESCRIPTIONS = {
    "ce": "cross-entropy",
    "weighted-ce": "cross-entropy, each class weighted by 1 / its number of training pixels",
    "dice": "soft Dice loss (MONAI)",
    "ce+dice": "cross-entropy + soft Dice loss (MONAI)",
    "lovasz": "Lovász-Softmax loss",
    "ce+lovasz": "cross-entropy + Lovász-Softmax loss",
    "ce>lovasz": "cross-entropy for the first half of the steps, then the Lovász-Softmax loss",
    "lovasz-exact": "Lovász-Softmax loss by sorting (bins=None), to compare with counting",
}


def describe(name: str) -> str:
    """Return what a loss is, in words."""
    return DESCRIPTIONS.get(name, "the user's own")


def check_names(names: Sequence[str]) -> None:
    """Check that every name is the name of a loss, or ``MODULE:FUNCTION`` of a user's own.

    Raises:
        ValueError: If a name is unknown, none is given, or a function is none or no loss.
    """
    allowed = ", ".join(DESCRIPTIONS)
    if not names:
        raise ValueError(f"at least one loss is needed; choose from {allowed}")
    for name in names:
        if ":" in name:
            _try(name)
        elif name not in DESCRIPTIONS:
            raise ValueError(f"unknown loss {name!r}; choose from {allowed}, or MODULE:FUNCTION for your own")


def _try(name: str) -> None:
    """Call a user's loss once on something small, before any work is lost."""
    logits = torch.zeros(2, 3, 4, 4).requires_grad_()
    target = (torch.arange(32) % 3).view(2, 4, 4)
    target[0, 0] = IGNORE_INDEX
    function = imported("--loss", name)
    try:
        loss = function(logits, target)
    except Exception as error:  # a user's function raises what it likes
        raise ValueError(
            f"--loss {name} failed on logits (2, 3, 4, 4) and target (2, 4, 4), void is {IGNORE_INDEX}: {error}"
        ) from error
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
        raise ValueError(f"--loss {name} must return a scalar tensor that requires a gradient, got {_kind(loss)}")


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}{'' if value.requires_grad else ' without a gradient'}"
    return type(value).__name__


def named_loss(name: str, pixels: Sequence[int]) -> NamedLoss:
    """Build the loss of a name; every loss leaves out the pixels labelled ``IGNORE_INDEX``.

    Args:
        name: One of ``DESCRIPTIONS``, or ``MODULE:FUNCTION``: called with logits and target.
        pixels: Training pixels of each class, (C,); ``weighted-ce`` weighs by their inverse.

    Returns:
        A function of logits (N, C, *), target (N, *) and the share of the training that is done.

    Raises:
        ValueError: If the name is unknown.
    """
    check_names([name])
    if ":" in name:
        own = imported("--loss", name)
        return lambda logits, target, progress: own(interpolated(logits, target.shape[1:]), target)
    if name == "ce":
        return lambda logits, target, progress: cross_entropy(logits, target)
    if name == "weighted-ce":
        weight = inverse_frequency(pixels)
        return lambda logits, target, progress: cross_entropy(logits, target, weight)
    if name == "dice":
        return lambda logits, target, progress: dice(logits, target)
    if name == "ce+dice":
        return lambda logits, target, progress: ce_dice(interpolated(logits, target.shape[1:]), target)
    if name == "lovasz":
        return lambda logits, target, progress: lovasz(logits, target)
    if name == "lovasz-exact":
        return lambda logits, target, progress: lovasz_softmax(
            logits, target, ignore_index=IGNORE_INDEX, bins=None, upsample=resolution(logits, target.shape[1:])
        )
    if name == "ce+lovasz":
        return lambda logits, target, progress: ce_lovasz(logits, target)
    return lambda logits, target, progress: (cross_entropy if progress < 0.5 else lovasz)(logits, target)


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


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """Compute MONAI's soft Dice loss, one Dice score per class over all labelled pixels.

    Unlabelled pixels are cut out first: MONAI's own ``ignore_index`` came late and expects the
    ignored value among the classes.
    """
    from monai.losses import DiceLoss

    labelled = target != IGNORE_INDEX
    logits = interpolated(logits, target.shape[1:]).movedim(1, -1)[labelled].T.unsqueeze(0)  # (1, C, P)
    loss = DiceLoss(softmax=True, to_onehot_y=True, batch=True)
    value: Tensor = loss(logits, target[labelled][None, None])
    return value


def lovasz(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the Lovász-Softmax loss over the classes present among the labelled pixels, of all processes."""
    return lovasz_softmax(
        logits, target, ignore_index=IGNORE_INDEX, group="world", upsample=resolution(logits, target.shape[1:])
    )


def ce_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the sum of both."""
    return cross_entropy(logits, target) + dice(logits, target)


def ce_lovasz(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the sum of cross-entropy and Lovász-Softmax in the same passes, over the pixels of all processes."""
    return lovasz_cross_entropy(
        logits, target, ignore_index=IGNORE_INDEX, group="world", upsample=resolution(logits, target.shape[1:])
    )
