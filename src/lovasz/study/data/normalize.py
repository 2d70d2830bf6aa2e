"""How the values of images are standardised: by the training images, by numbers that are given, or not at all."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lovasz.study.io.text import printable

# The largest value of integers that are read on a scale from 0 to 1.
RANGES = {"uint8": 255.0, "uint16": 65535.0}
FORMS = "data, imagenet, none or MEAN/STD, as 0.5/0.5 or 0.4,0.5,0.6/0.2,0.2,0.3"


@dataclass(frozen=True)
class Normalization:
    """What is subtracted from each channel, and what it is divided by then.

    Attributes:
        option: What asked for it, for messages.
        mean: One for all channels or one a channel; empty: those of the training images.
        std: The same.
        scaled: Whether integers of 8 and 16 bits are brought to 0 to 1 first.
        coloured: Whether it is for images of three channels of 8 or 16 bits alone.
    """

    option: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scaled: bool = True
    coloured: bool = False

    @property
    def of_data(self) -> bool:
        """Whether it follows from the training images."""
        return not self.mean


@dataclass(frozen=True)
class Standard:
    """The numbers for one data set: x becomes (x / scale - mean) / std.

    Attributes:
        scale: The largest value of integers that are brought to 0 to 1, else 1.
        mean: One a channel.
        std: One a channel.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def key(self) -> str:
        """Name them, for a fingerprint."""
        return f"{self.scale};{self.mean};{self.std}"

    def of(self, mean: Sequence[float], std: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and std of channels that had these before."""
        means = tuple((a / self.scale - b) / c for a, b, c in zip(mean, self.mean, self.std, strict=True))
        return means, tuple(a / self.scale / c for a, c in zip(std, self.std, strict=True))


DATA = Normalization("--normalize data")
NONE = Normalization("--normalize none", (0.0,), (1.0,), scaled=False)
IMAGENET = Normalization("--normalize imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), coloured=True)


def parse_normalization(text: str) -> Normalization:
    """Read ``data``, ``imagenet``, ``none`` or ``MEAN/STD``.

    Raises:
        ValueError: If it is none of these.
    """
    named = {"data": DATA, "imagenet": IMAGENET, "none": NONE}
    if text in named:
        return named[text]
    try:
        mean, std = (tuple(map(float, half.split(","))) for half in text.split("/"))
    except ValueError:
        raise ValueError(f"--normalize must be {FORMS}, got {text!r}") from None
    if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        raise ValueError(f"--normalize must be finite means, and standard deviations above 0, got {text!r}")
    if len(mean) != len(std) and 1 not in (len(mean), len(std)):
        raise ValueError(f"--normalize must have as many means as standard deviations, got {text!r}")
    return Normalization(f"--normalize {text}", mean, std)


def standard_of(
    wanted: Normalization, mean: Sequence[float], std: Sequence[float], dtypes: Mapping[str, str]
) -> Standard:
    """Return the numbers for one data set.

    Args:
        wanted: What was asked for.
        mean: Mean of each channel over the training images, of stored values.
        std: Its standard deviation.
        dtypes: Types of the stored values, each with the first file that has it.

    Raises:
        ValueError: If the images are not of the kind that it is for.
    """
    channels = len(mean)
    if wanted.of_data:
        return Standard(1.0, tuple(mean), tuple(std))
    if wanted.scaled and len(dtypes) > 1:
        found = " and ".join(f"{dtype} in {printable(file)}" for dtype, file in dtypes.items())
        raise ValueError(
            f"{wanted.option} needs images of one type of values, got {found}; --normalize data takes any"
        )
    dtype, file = next(iter(dtypes.items()))
    if wanted.coloured and (channels != 3 or dtype not in RANGES):
        raise ValueError(
            f"{wanted.option} is for images of 3 channels of 8 or 16 bits, got {channels} of {dtype} in "
            f"{printable(file)}; --normalize data takes any"
        )
    for name, numbers in (("means", wanted.mean), ("standard deviations", wanted.std)):
        if len(numbers) not in (1, channels):
            raise ValueError(f"{wanted.option} has {len(numbers)} {name}, the images have {channels} channels")
    scale = RANGES.get(dtype, 1.0) if wanted.scaled else 1.0
    return Standard(scale, *(numbers * (channels // len(numbers)) for numbers in (wanted.mean, wanted.std)))


def standardised(image: Tensor, standard: Standard) -> Tensor:
    """Return an image (C, *) with the values that a network sees."""
    axes = (-1, *[1] * (image.ndim - 1))
    mean, std = torch.tensor(standard.mean).view(axes), torch.tensor(standard.std).view(axes)
    return (image / standard.scale - mean) / std


def described(wanted: Normalization, standard: Standard) -> str:
    """Say what is done with each channel, after "Images are taken in their own size, "."""
    if wanted.of_data:
        return "each channel standardised by mean and deviation over the training images"
    if not wanted.scaled:
        return f"with their values as they are ({wanted.option})"
    mean, std = (", ".join(f"{number:g}" for number in numbers) for numbers in (wanted.mean, wanted.std))
    scaled = f"divided by {standard.scale:g}, then " if standard.scale != 1 else ""
    return f"each channel {scaled}less {mean} and divided by {std} ({wanted.option})"


def expected_by(option: str, mean: Sequence[float], std: Sequence[float]) -> Normalization:
    """Return what pretrained weights expect of colour images on the scale from 0 to 1."""
    return replace(IMAGENET, option=option, mean=tuple(mean), std=tuple(std))
