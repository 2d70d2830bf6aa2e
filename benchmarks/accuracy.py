"""How exact counting is: loss and gradient against float64 sorting, in every regime of training.

Beside it the certified bound that comes with the counts, and the published float32 sort-and-difference.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

import lovasz

from . import published, regimes, results

Loss = Callable[[Tensor, Tensor], Tensor]


class Row(NamedTuple):
    """One regime of one loss. Errors are relative, the gradient's in the L2 norm of the logits."""

    loss_name: str
    regime: str
    pixels: int
    bins: int
    exact_loss: float
    loss_error: float
    certified_bound: float
    gradient_error: float
    published_loss_error: float
    published_gradient_error: float


def value_and_gradient(loss: Loss, logits: Tensor, target: Tensor) -> tuple[float, Tensor]:
    """The loss as a Python number, the gradient as float64."""
    x = logits.clone().requires_grad_()
    value = loss(x, target)
    (gradient,) = torch.autograd.grad(value, x)
    return value.double().item(), gradient.double()


def measure(
    name: str, counted: Loss, reference: Loss, sorted32: Loss, regime: str, logits: Tensor, target: Tensor
) -> Row:
    """One row; `reference` is called with float64 logits."""
    exact, exact_gradient = value_and_gradient(reference, logits.double(), target)
    value, gradient = value_and_gradient(counted, logits, target)
    old, old_gradient = value_and_gradient(sorted32, logits, target)
    counts = lovasz.count(logits, target, form=name)
    norm = exact_gradient.norm()
    return Row(
        name,
        regime,
        logits.shape[-1],
        counts.bins,
        exact,
        abs(value - exact) / exact,
        counts.bound().item() / exact,
        ((gradient - exact_gradient).norm() / norm).item(),
        abs(old - exact) / exact,
        ((old_gradient - exact_gradient).norm() / norm).item(),
    )


LOSSES: dict[str, tuple[Callable[..., Tensor], Loss]] = {
    "sigmoid": (lovasz.lovasz_sigmoid, published.lovasz_sigmoid),
    "softmax": (lovasz.lovasz_softmax, published.lovasz_softmax),
    "hinge": (lovasz.lovasz_hinge, published.lovasz_hinge),
}


def inputs(name: str, regime: regimes.Regime, seed: int) -> tuple[Tensor, Tensor]:
    """Logits and target of a regime; "converged" is where the loss of that form is about 1e-4."""
    if name == "softmax":
        return regimes.street(regime._replace(shift=7.5) if regime.shift > 10 else regime, seed)
    if name == "hinge" and regime.shift > 10:
        regime = regime._replace(shift=6.5, spread=1.3)
    return regimes.binary(regime, seed)


def stages(name: str) -> Iterator[regimes.Regime]:
    """The regimes of a loss; the large one is left to the softmax with an eighth of its pixels."""
    for regime in regimes.REGIMES:
        if name != "softmax":
            yield regime
        elif regime.foreground <= 1:  # the rarest of the 19 classes plays the part of a few pixels
            yield regime._replace(pixels=min(regime.pixels, 2**19))


def rows(names: tuple[str, ...] = tuple(LOSSES), seed: int = 0) -> Iterator[Row]:
    """Every regime of every loss."""
    for name in names:
        loss, sorted32 = LOSSES[name]
        for regime in stages(name):
            logits, target = inputs(name, regime, seed)
            yield measure(name, loss, partial(loss, bins=None), sorted32, regime.name, logits, target)


def print_table(csv_file: str | None) -> None:
    """The table, one row as soon as it is measured; with a file, the rows as CSV."""
    print(f"torch {torch.__version__}, lovasz {lovasz.__version__}; relative errors against float64 sorting")
    print(
        f"{'loss':8}{'regime':24}{'pixels':>9}{'bins':>7}{'exact':>10}"
        f"{'loss err':>10}{'certified':>11}{'grad err':>10} | {'published: loss':>15}{'grad':>9}"
    )
    found = []
    for r in rows():
        found.append(r)
        print(
            f"{r.loss_name:8}{r.regime:24}{r.pixels:9}{r.bins:7}{r.exact_loss:10.2e}{r.loss_error:10.1e}"
            f"{r.certified_bound:11.1e}{r.gradient_error:10.1e} | {r.published_loss_error:15.1e}"
            f"{r.published_gradient_error:9.1e}",
            flush=True,
        )
    if csv_file:
        results.write(csv_file, found)
