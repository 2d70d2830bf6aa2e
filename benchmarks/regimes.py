"""The inputs of the accuracy table: logits and targets at the stages of a training."""

from typing import NamedTuple

import torch
from torch import Tensor


class Regime(NamedTuple):
    """Logits `spread * N(0, 1)`, moved by `shift` towards the right side; `foreground` a share or a number."""

    name: str
    pixels: int
    foreground: float
    shift: float
    spread: float = 1.5


REGIMES = (
    Regime("start (std 0.001)", 2**18, 0.05, 0, 0.001),
    Regime("start (std 0.1)", 2**18, 0.05, 0, 0.1),
    Regime("early (near uniform)", 2**18, 0.05, 0.1),
    Regime("mid", 2**18, 0.05, 2),
    Regime("late", 2**18, 0.05, 6),
    Regime("late, rare class", 2**18, 133, 6),
    Regime("converged (loss 1e-4)", 2**20, 0.05, 12),
    Regime("ten foreground pixels", 2**20, 10, 3),
    Regime("late, large", 2**22, 0.05, 6),
)

#: Share of each of 19 classes: from 0.4 to 7e-5, wider than in a street scene.
STREET_SHARES = tuple(0.38 * 0.62**c for c in range(19))


def binary(regime: Regime, seed: int) -> tuple[Tensor, Tensor]:
    """float32 logits (1, 1, P) and int64 target (1, P)."""
    generator = torch.Generator().manual_seed(seed)
    P = regime.pixels
    number = round(regime.foreground * P) if regime.foreground < 1 else int(regime.foreground)
    target = torch.zeros(P, dtype=torch.int64)
    target[:number] = 1
    noise = torch.randn(P, generator=generator, dtype=torch.float64)
    logits = regime.spread * noise + regime.shift * (2 * target - 1)
    return logits.float()[None, None], target[None]


def street(regime: Regime, seed: int) -> tuple[Tensor, Tensor]:
    """float32 logits (1, 19, P) and int64 target (1, P); the shift goes to the logit of the right class."""
    generator = torch.Generator().manual_seed(seed)
    P = regime.pixels
    shares = torch.tensor(STREET_SHARES, dtype=torch.float64)
    target = torch.multinomial(shares / shares.sum(), P, replacement=True, generator=generator)
    logits = regime.spread * torch.randn(len(shares), P, generator=generator)
    logits.scatter_add_(0, target[None], torch.full((1, P), 2.0 * regime.shift))
    return logits[None], target[None]
