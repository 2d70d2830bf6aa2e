"""A user's own losses and networks, as ``tests.study.own:name``."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lovasz import lovasz_softmax


def loss(logits: Tensor, target: Tensor) -> Tensor:
    """A loss."""
    return 2 * lovasz_softmax(logits, target)


def of_two(logits: Tensor, target: Tensor) -> Tensor:
    """A loss of two classes alone."""
    if logits.shape[1] != 2:
        raise ValueError("two classes are needed")
    return lovasz_softmax(logits, target)


def constant(logits: Tensor, target: Tensor) -> Tensor:
    """No loss: nothing to train by."""
    return torch.tensor(0.0)


def coarse(in_channels: int, num_classes: int, dims: int) -> nn.Module:
    """A network whose logits have half the sides of its image, in a dictionary."""

    class Coarse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = (nn.Conv2d, nn.Conv3d)[dims - 2](in_channels, num_classes, 2, stride=2)

        def forward(self, image: Tensor) -> dict[str, Tensor]:
            return {"out": self.layer(image)}

    return Coarse()


def supervised(in_channels: int, num_classes: int, dims: int) -> nn.Module:
    """A network with outputs at the sides of its image, at a half and a quarter of them, and at twice as much."""

    class Supervised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = (nn.Conv2d, nn.Conv3d)[dims - 2](in_channels, num_classes, 3, padding=1)

        def forward(self, image: Tensor) -> list[Tensor]:
            return [interpolate(self.layer(image), scale_factor=scale) for scale in (1, 0.5, 0.25, 2)]

    return Supervised()


class Repeating(nn.Module):
    """A network that gives the same logits several times."""

    def __init__(self, in_channels: int, num_classes: int, times: int) -> None:
        super().__init__()
        self.layer, self.times = nn.Conv2d(in_channels, num_classes, 3, padding=1), times

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return them."""
        return [self.layer(image)] * self.times


def once(in_channels: int, num_classes: int, dims: int) -> nn.Module:
    """One output."""
    return Repeating(in_channels, num_classes, 1)


def thrice(in_channels: int, num_classes: int, dims: int) -> nn.Module:
    """Three that are the same."""
    return Repeating(in_channels, num_classes, 3)


def diverging(logits: Tensor, target: Tensor) -> Tensor:
    """A loss that is infinite on anything but the first small try."""
    return logits.sum() * (1.0 if logits.shape[2] == 8 else torch.inf)


class Encoded(nn.Module):
    """A network with an encoder, which has running statistics and dropout."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        conv = nn.Conv2d(in_channels, 6, 3, padding=1)
        self.encoder = nn.Sequential(conv, nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(0.2))
        self.head = nn.Conv2d(6, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.head(self.encoder(image))
        return logits


def encoded(in_channels: int, num_classes: int, dims: int) -> nn.Module:
    """A network with an encoder."""
    return Encoded(in_channels, num_classes)


def encoder_alone(in_channels: int, num_classes: int, dims: int) -> nn.Module:
    """A network that has nothing beside its encoder."""
    network = nn.Sequential()
    network.encoder = nn.Conv2d(in_channels, num_classes, 1)  # type: ignore[assignment]
    return network
