"""The encoder of a network by itself: kept as it is in the first steps, and trained at a rate of its own."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from lovasz.study.train.network import FullSize
from lovasz.study.train.settings import Settings


def inner(network: nn.Module) -> nn.Module:
    """Return the network as its author made it."""
    return network.network if isinstance(network, FullSize) else network


def encoder_of(network: nn.Module) -> nn.Module | None:
    """Return the attribute ``encoder`` of a network, if it is a module."""
    found = getattr(inner(network), "encoder", None)
    return found if isinstance(found, nn.Module) else None


def check_encoder(network: nn.Module, name: str, freeze: int, encoder_lr: float) -> None:
    """Check that a network has what is frozen, or trained at another rate, and something besides.

    Raises:
        ValueError: If it has not.
    """
    option = f"--freeze {freeze}" if freeze else f"--encoder-lr {encoder_lr:g}"
    if not freeze and encoder_lr == 1:
        return
    encoder = encoder_of(network)
    if encoder is None or not any(True for _ in encoder.parameters()):
        raise ValueError(
            f"{option} needs a network with an encoder, a module of this name, as those of smp: have; --network "
            f"{name} has none"
        )
    own = {id(one) for one in encoder.parameters()}
    if all(id(one) in own for one in network.parameters()):
        raise ValueError(f"{option} needs something to train beside the encoder; --network {name} has nothing")


def parameter_groups(network: nn.Module, settings: Settings) -> Iterable[Any]:
    """Return the parameters for an optimiser, first those outside of the encoder, which have another rate."""
    encoder = encoder_of(network)
    if settings.encoder_lr == 1 or encoder is None:
        return network.parameters()
    inside = {id(one) for one in encoder.parameters()}
    rest = [one for one in network.parameters() if id(one) not in inside]
    rate = settings.lr * settings.encoder_lr
    return [{"params": rest, "lr": settings.lr}, {"params": list(encoder.parameters()), "lr": rate}]


class FrozenEncoder:
    """Keeps the encoder as it is in the first steps, its running statistics too.

    It follows from the number of the step alone, so that a training can go on at any.
    """

    def __init__(self, network: nn.Module, steps: int, alone: bool) -> None:
        """Remember what is to be kept.

        Args:
            network: The network.
            steps: For so many steps; 0 is never.
            alone: Whether one process trains. Of several the gradients are added up for the parameters that need
                one when the training begins, so that these must not change.
        """
        self.encoder, self.steps, self.alone = encoder_of(network) if steps else None, steps, alone
        parameters = self.encoder.parameters() if self.encoder is not None else ()
        self.kept = [one for one in parameters if one.requires_grad]

    def before(self, step: int) -> None:
        """Prepare the encoder for a step; to validate, the modes of all modules were changed meanwhile."""
        if self.encoder is None:
            return
        if step < self.steps:
            self.encoder.eval()
        elif step == self.steps:
            self.encoder.train()
        if self.alone and step <= self.steps:
            for one in self.kept:
                one.requires_grad_(step == self.steps)

    def after(self, step: int) -> None:
        """Drop the gradients that a step must not use."""
        if step < self.steps:
            for one in self.kept:
                one.grad = None
