"""The measures that a loss may extend, the Jaccard index among them: how much FP and FN weigh.

All are the Tversky index of true positives TP, false positives FP and false negatives FN,

    TP / (TP + alpha FP + beta FN)

and at one-hot predictions the loss is 1 minus it. As a function of the set of wrong pixels that is submodular, and
its Lovász extension convex in the errors, for every number of foreground pixels G if and only if beta >= 1,
whatever alpha. A false negative that joins others adds

    (beta G + alpha FP) / (D (D - 1 + beta)),    D = G - FN + alpha FP + beta FN

which grows with FN where beta < 1. So the Jaccard index is submodular, and the Tversky indices with beta >= 1; the
Dice score and F_beta are not. Their extension too is 1 - measure at one-hot predictions, continuous, growing with
every error, and has a gradient in closed form. But it is not convex: it may have local minima in the errors, and
its value is no longer the largest over the orders of the pixels: a step may be worth less than its gradient says.
For one class of one image Dice is a monotone function of the Jaccard index, which then is the better one to train.
"""

from dataclasses import dataclass
from numbers import Real
from typing import Any


def _number(measure: object, name: str, value: Any, least: float, most: float) -> float:
    """Check a number against limits, beyond which float64 would lose what it means."""
    kind = type(measure).__name__
    allowed = isinstance(value, Real) and not isinstance(value, bool)
    if not allowed:
        raise TypeError(f"{name} of {kind} must be a number, got {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{name} of {kind} must be from {least:g} to {most:g}, got {value!r}")
    return float(value)


@dataclass(frozen=True)
class Tversky:
    """The Tversky index, ``TP / (TP + alpha FP + beta FN)``; 1, 1 is the Jaccard index, 1/2, 1/2 the Dice score.

    Args:
        alpha: weight of false positives, from 1e-6 to 1e6.
        beta: weight of false negatives, likewise; submodular from 1 on.

    Raises:
        TypeError, ValueError: for other weights.

    Example:
        >>> import torch, lovasz
        >>> logits = torch.tensor([9.0, 9.0, -9.0, -9.0])  # TP = 1, FP = 1, FN = 1
        >>> lovasz.lovasz_sigmoid(logits, torch.tensor([1, 0, 1, 0]), measure=Tversky(0.5, 1.5))  # 1 - 1/3
        tensor(0.6666)

    References:
        Salehi, Erdogmus, Gholipour (2017), https://arxiv.org/abs/1706.05721
    """

    alpha: float
    beta: float

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            object.__setattr__(self, name, _number(self, name, getattr(self, name), 1e-6, 1e6))

    @property
    def submodular(self) -> bool:
        """Return whether the loss is convex in the errors."""
        return self.beta >= 1


@dataclass(frozen=True)
class FBeta:
    """The F score, ``(1 + beta²) TP / ((1 + beta²) TP + beta² FN + FP)``: recall counts beta times as much.

    ``FBeta(1)`` is the Dice score. None is submodular.

    Args:
        beta: from 1e-3 to 1e3.

    Raises:
        TypeError, ValueError: for another beta.

    Example:
        >>> FBeta(2).tversky
        Tversky(alpha=0.2, beta=0.8)
    """

    beta: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", _number(self, "beta", self.beta, 1e-3, 1e3))

    @property
    def tversky(self) -> Tversky:
        """Return the same measure by the weights of false positives and false negatives."""
        square = self.beta * self.beta
        return Tversky(1 / (1 + square), square / (1 + square))

    @property
    def submodular(self) -> bool:
        """Return False, as the loss is not convex in the errors."""
        return False


#: Measures by name.
NAMED = {"jaccard": Tversky(1.0, 1.0), "dice": Tversky(0.5, 0.5)}
JACCARD = NAMED["jaccard"]
