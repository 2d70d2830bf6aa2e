"""What a comparison trains and tests on: three parts of images with their targets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

# PyTorch's default, so that every loss skips these pixels without being told.
IGNORE_INDEX = -100
# Targets are kept in memory with 16 bits.
MOST_CLASSES = 2**15

TRAIN, VAL, TEST = PARTS = ("train", "val", "test")


class Samples(Protocol):
    """Images (C, *), float32, standardised, each with its target (*), int64, ``IGNORE_INDEX`` where void."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]:
        """Return an image and its target."""


@dataclass(frozen=True)
class Part:
    """The images of one part.

    Attributes:
        names: What the report calls each image.
        samples: Each image with its target.
        pixels: Labelled pixels of each class, (C,).
    """

    names: Sequence[str]
    samples: Samples
    pixels: Sequence[int]


@dataclass(frozen=True)
class Data:
    """Images, targets and everything that is known about them.

    Attributes:
        name: What the terminal and the report call them.
        class_names: One name a class.
        colours: One colour a class, ``#rrggbb``.
        channels: Channels of an image.
        dims: Its spatial axes: 2 of a picture, 3 of a volume.
        sizes: The spatial sizes that occur in training, each once.
        parts: The training, validation and test part by name.
        fingerprint: Hash of the data and their preparation.
        notes: Sentences for the report: how the parts were made, how images are prepared.
        warnings: Sentences for the terminal: what may not be meant so.
        credit: Whose data it is; empty for a user's own.
        licence: Under what licence.
        licence_url: Where the licence is written.
    """

    name: str
    class_names: tuple[str, ...]
    colours: tuple[str, ...]
    channels: int
    dims: int
    sizes: tuple[tuple[int, ...], ...]
    parts: dict[str, Part]
    fingerprint: str
    notes: tuple[str, ...] = field(default=())
    credit: str = ""
    licence: str = ""
    licence_url: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.class_names)

    @property
    def unit(self) -> str:
        """What is counted: ``pixels`` of pictures, ``voxels`` of volumes."""
        return "pixels" if self.dims == 2 else "voxels"
