"""The networks that the losses train, by name."""

import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lovasz.study.data.parts import IGNORE_INDEX

# Part of what determines a result; change it with the layers below.
DESCRIPTIONS = {
    "conv": "conv1x1-64, 2 x conv3x3-64 (batch norm, ReLU), dropout 0.1, conv1x1; 2-D",
    "unet-small": "MONAI UNet, 16 to 128 channels on 4 levels, 2 residual units, batch norm; 2-D and 3-D",
    "unet": "MONAI UNet, 32 to 256 channels on 4 levels, 2 residual units, batch norm; 2-D and 3-D",
    "unet-large": "MONAI UNet, 64 to 1024 channels on 5 levels, 2 residual units, batch norm; 2-D and 3-D",
}
UNETS = {"unet-small": (16, 32, 64, 128), "unet": (32, 64, 128, 256), "unet-large": (64, 128, 256, 512, 1024)}
CHOICES = (
    f"{', '.join(DESCRIPTIONS)}, smp:MODEL/ENCODER (segmentation_models_pytorch) or MODULE:FUNCTION, which is "
    "called with in_channels, num_classes and dims"
)


class FullSize(nn.Module):
    """Gives a network images whose sides it can halve, and its logits the size of the image.

    Images are padded by repeating their edge, to a multiple of ``multiple``, and the logits cropped
    again; logits of a lower resolution are interpolated linearly, but for training by the loss. Of several outputs,
    a list with the finest first, the others are for training alone.
    """

    def __init__(self, network: nn.Module, multiple: int = 1) -> None:
        super().__init__()
        self.network, self.multiple = network, multiple

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, C, *) of images (N, C_in, *)."""
        outputs, padded = self._outputs(image)
        return self._fitted(outputs[0], padded, image)

    def for_training(self, image: Tensor, target: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return logits (N, C, *), which may be coarser, and the target, void where it was padded."""
        outputs, padded = self._outputs(image)
        fine = padded.shape[2:]
        outputs = [interpolated(one, fine) if _finer(one.shape[2:], fine) else one for one in outputs]
        if all(one.shape[2:] == fine for one in outputs):
            return [self._fitted(one, padded, image) for one in outputs], target
        return outputs, F.pad(target, self._margins(image.shape[2:]), value=IGNORE_INDEX)

    @staticmethod
    def _fitted(logits: Tensor, padded: Tensor, image: Tensor) -> Tensor:
        logits = interpolated(logits, padded.shape[2:])
        inside: Any = (..., *map(slice, image.shape[2:]))
        result: Tensor = logits[inside]
        return result

    def _margins(self, size: Sequence[int]) -> list[int]:
        """Return what `F.pad` is to add to each axis, from the last to the first."""
        return [n for side in reversed(size) for n in (0, -side % self.multiple)]

    def _outputs(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the logits of the padded image, one or several, and this."""
        margins = self._margins(image.shape[2:])
        if any(margins):
            image = F.pad(image, margins, mode="replicate")
        logits: Any = self.network(image)
        logits = logits.get("out", logits.get("logits")) if isinstance(logits, dict) else logits
        logits = getattr(logits, "logits", logits)
        outputs = list(logits) if isinstance(logits, (list, tuple)) else [logits]
        if not outputs or not all(isinstance(one, Tensor) for one in outputs):
            raise TypeError(f"the network must return logits (N, C, *) or hold them as logits, got {type(logits)}")
        return outputs, image


def sides_of(logits: Tensor, target: Tensor) -> tuple[int, ...]:
    """Return the spatial size of a target (N, *) or (N, L, *) that logits (N, C, *) are to fit."""
    return tuple(target.shape[2 - logits.ndim :])


def resolution(logits: Tensor, size: Sequence[int]) -> str | None:
    """Return how logits (N, C, *) are to be interpolated to a spatial size, None if they have it."""
    if logits.shape[2:] == tuple(size):
        return None
    return "bilinear" if len(size) == 2 else "trilinear"


def interpolated(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Return the logits at this spatial size."""
    mode = resolution(logits, size)
    return logits if mode is None else F.interpolate(logits, tuple(size), mode=mode, align_corners=False)


def _finer(sizes: Sequence[int], fine: Sequence[int]) -> bool:
    return any(size > side for size, side in zip(sizes, fine, strict=True))


def outputs_for_training(network: nn.Module, image: Tensor, target: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return the logits of a network, which may be coarser than its image, and the target that they are to fit.

    There are several where the network has outputs of several resolutions, the finest first.
    """
    if isinstance(network, FullSize):
        return network.for_training(image, target)
    return [network(image)], target


def build_network(
    name: str, in_channels: int, num_classes: int, dims: int, *, encoder_weights: str | bool | None = None
) -> nn.Module:
    """Build a network from images (N, in_channels, *) to logits (N, num_classes, *) of the same size.

    Args:
        name: One of ``DESCRIPTIONS``, ``smp:MODEL/ENCODER`` or ``MODULE:FUNCTION``.
        in_channels: Channels of the image.
        num_classes: Channels of the logits, C.
        dims: Spatial axes.
        encoder_weights: Passed on to segmentation_models_pytorch, which downloads them; None is random ones.

    Returns:
        The network; what has no weights is freshly initialised from PyTorch's global generator.

    Raises:
        ValueError: If there is no such network, or none for so many axes.
    """
    if name == "conv":
        if dims != 2:
            raise ValueError("--network conv is for pictures; choose unet-small, unet or unet-large for volumes")
        return _conv(in_channels, num_classes)
    if name in UNETS:
        from monai.networks.nets import UNet

        channels = UNETS[name]
        strides = (2,) * (len(channels) - 1)
        unet = UNet(dims, in_channels, num_classes, channels, strides, num_res_units=2, norm="batch")
        return FullSize(unet, 2 ** len(strides))
    if name.startswith("smp:"):
        return FullSize(_smp(name, in_channels, num_classes, encoder_weights), 32)
    network = imported("--network", name)(in_channels=in_channels, num_classes=num_classes, dims=dims)
    if not isinstance(network, nn.Module):
        raise ValueError(f"--network {name} must return a torch.nn.Module, got {type(network).__name__}")
    return FullSize(network)


def check_network(name: str) -> None:
    """Check that a name may stand for a network, without building it.

    Raises:
        ValueError: If it does not; the message says what does.
    """
    if name in DESCRIPTIONS:
        return
    if name.startswith("smp:"):
        if "/" not in name:
            raise ValueError(f"--network {name}: expected smp:MODEL/ENCODER, as smp:Unet/resnet18")
        if importlib.util.find_spec("segmentation_models_pytorch") is None:
            raise ValueError(f"--network {name} needs segmentation_models_pytorch: pip install it first")
    elif ":" in name:
        imported("--network", name)
    else:
        raise ValueError(f"--network must be {CHOICES}, got {name!r}")


def imported(option: str, name: str) -> Callable[..., Any]:
    """Import ``package.module:function``.

    Raises:
        ValueError: If it cannot be imported or called; the message begins with the option.
    """
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # an installed command does not look where it is called
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # a user's module raises what it likes
        raise ValueError(f"{option} {name} cannot be imported: {error}") from error
    if not callable(found):
        raise ValueError(f"{option} {name} is {type(found).__name__}, not a function")
    return found


def identity(name: str) -> str:
    """Return the name; with a hash of its file for one that is imported, whose code may change."""
    digest = code_of(name)
    return f"{name} ({digest})" if digest else name


def code_of(name: str) -> str:
    """Return a hash of the file from which ``MODULE:FUNCTION`` is imported; of any other name nothing."""
    if ":" not in name or name.startswith("smp:"):
        return ""
    file = inspect.getsourcefile(importlib.import_module(name.partition(":")[0]))
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:8] if file else "built in"


def _smp(name: str, in_channels: int, num_classes: int, weights: str | bool | None) -> nn.Module:
    import segmentation_models_pytorch

    model, encoder = name.removeprefix("smp:").split("/", 1)
    try:
        network: nn.Module = segmentation_models_pytorch.create_model(
            model, encoder, encoder_weights=weights, in_channels=in_channels, classes=num_classes
        )
    except (KeyError, ValueError) as error:
        raise ValueError(f"--network {name}: {error}") from error
    return network


def _conv(in_channels: int, num_classes: int, width: int = 64) -> nn.Sequential:
    """Build a 1 x 1 convolution that mixes the bands, and two of 3 x 3 that see a 5 x 5 neighbourhood."""
    layers: list[nn.Module] = []
    for channels, kernel in ((in_channels, 1), (width, 3), (width, 3)):
        layers += [
            nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Dropout2d(0.1), nn.Conv2d(width, num_classes, 1))
