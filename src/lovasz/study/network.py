"""The network every loss trains: a small fully convolutional classifier."""

from torch import nn

# Part of what determines a result; change it with the layers below.
NETWORK = "conv1x1-64, 2 x conv3x3-64 (batch norm, ReLU), dropout 0.1, conv1x1"


def build_network(in_channels: int, num_classes: int, width: int = 64) -> nn.Sequential:
    """Builds a network from images (N, in_channels, H, W) to logits (N, num_classes, H, W).

    A 1 x 1 convolution mixes the bands, two 3 x 3 convolutions see a 5 x 5 neighbourhood.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits, C.
        width: Channels in between.

    Returns:
        The network, freshly initialised from PyTorch's global generator.
    """
    layers: list[nn.Module] = []
    for channels, kernel in ((in_channels, 1), (width, 3), (width, 3)):
        layers += [
            nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Dropout2d(0.1), nn.Conv2d(width, num_classes, 1))
