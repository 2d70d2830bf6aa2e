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
# One class a pixel; one label, there or not; several labels, which may overlap.
MULTICLASS, BINARY, MULTILABEL = ("multiclass", "binary", "multilabel")


class Samples(Protocol):
    """Images (C, *), float32, standardised, each with its target, int64, ``IGNORE_INDEX`` where void.

    A target is the class of each pixel (*); in a binary or multilabel task a mask of 0 and 1 for each label (L, *).
    """

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
        known: Pixels that count, where labels may overlap, so that those of the labels do not add up to them.
    """

    names: Sequence[str]
    samples: Samples
    pixels: Sequence[int]
    known: int | None = None

    @property
    def counting(self) -> int:
        """Number of pixels that count."""
        return sum(self.pixels) if self.known is None else self.known


@dataclass(frozen=True)
class Data:
    """Images, targets and everything that is known about them.

    Attributes:
        name: What the terminal and the report call them.
        class_names: One name a class, or a label.
        colours: One colour a class, ``#rrggbb``.
        channels: Channels of an image.
        dims: Its spatial axes: 2 of a picture, 3 of a volume.
        sizes: The spatial sizes that occur in training, each once.
        parts: The training, validation and test part by name.
        fingerprint: Hash of the data and their preparation.
        notes: Sentences for the report: how the parts were made, how images are prepared.
        warnings: Sentences for the terminal: what may not be meant so.
        prepared: What is done with the values of images, where it does not follow from the training part.
        mean: Mean of each channel over the training images, as samples hold them; empty: 0.
        std: Its standard deviation; empty: 1.
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
    task: str = MULTICLASS
    prepared: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes C, or of labels, which is that of the channels of the logits."""
        return len(self.class_names)

    @property
    def overlap(self) -> bool:
        """Whether labels may overlap: each is a mask by itself, and its channel is decided by itself."""
        return self.task != MULTICLASS

    @property
    def metric(self) -> str:
        """What the score over all classes is called: the mean IoU, of a single label its IoU."""
        return "IoU" if self.task == BINARY else "mIoU"

    @property
    def unit(self) -> str:
        """What is counted: ``pixels`` of pictures, ``voxels`` of volumes."""
        return "pixels" if self.dims == 2 else "voxels"
