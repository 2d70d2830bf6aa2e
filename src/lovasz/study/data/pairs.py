"""Images with their masks, in three parts; and how two folders make them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from lovasz.study.data.parts import TEST, TRAIN, VAL
from lovasz.study.data.regions import Regions
from lovasz.study.io.classes import Classes
from lovasz.study.io.kinds import SUFFIXES, suffix_of
from lovasz.study.io.matching import CHANNEL, match
from lovasz.study.io.names import Listing, shown_name
from lovasz.study.io.text import printable

_T = TypeVar("_T")


class LayoutError(ValueError):
    """The data are not laid out as they should be; the message names what is missing."""


@dataclass(frozen=True)
class Pair:
    """One image and its mask.

    Attributes:
        name: What the report calls the image.
        image: The file of the image, or of its first channel.
        mask: The file of the mask, or of that of its first label.
        channels: The files of its other channels, in order.
        labels: The files of the masks of its other labels, in order.
    """

    name: str
    image: Path
    mask: Path
    channels: tuple[Path, ...] = ()
    labels: tuple[Path, ...] = ()

    @property
    def images(self) -> tuple[Path, ...]:
        """All files of the image."""
        return (self.image, *self.channels)

    @property
    def masks(self) -> tuple[Path, ...]:
        """All files of masks."""
        return (self.mask, *self.labels)


@dataclass(frozen=True)
class Layout:
    """The pairs of each part.

    Attributes:
        pairs: By part.
        note: How the parts were made, a sentence.
        void: Labels that this layout leaves out by convention.
        told: How names were paired, what was passed over and what the labels are, in sentences.
        classes: The classes, if a file of the layout names them.
        regions: The labels, if they may overlap.
    """

    pairs: dict[str, list[Pair]]
    note: str
    void: tuple[int, ...] = ()
    told: tuple[str, ...] = ()
    classes: Classes | None = None
    regions: Regions | None = None

    def in_order(self, names: Sequence[str]) -> "Layout":
        """Return the same with the masks of labels in this order, which have a folder each."""
        assert self.regions is not None
        order = [self.regions.names.index(name) for name in names]
        pairs = {
            part: [
                replace(pair, mask=pair.masks[order[0]], labels=tuple(pair.masks[place] for place in order[1:]))
                for pair in found
            ]
            for part, found in self.pairs.items()
        }
        return replace(self, pairs=pairs)


@dataclass(frozen=True)
class Paired:
    """What two folders hold together: pairs in the order of names, and sentences about how."""

    pairs: list[Pair]
    told: tuple[str, ...]


def paired(images: Listing, masks: Listing) -> Paired:
    """Pair the images of a folder with the masks of another.

    Raises:
        LayoutError: If a file has no partner, or is of a kind that is not read and has one.
        MatchingError: If a file could have two partners.
    """
    cases = _channels(images, masks)
    found = match(images if cases is None else Listing(images.folder, cases.firsts, images.passed), masks)
    for (one, other), sides in zip((found.folders, found.folders[::-1]), ((0, 1), (1, 0)), strict=True):
        alone = [shown_name(one.files[name]) for name in found.alone[sides[0]]]
        if alone:
            raise LayoutError(
                f"{len(alone)} of {len(one.files)} in {printable(one.folder)} have no partner in "
                f"{printable(other.folder)}: {few(alone)}"
            )
    if found.unread:
        files = [
            printable(folder.folder / file)
            for _, *both in found.unread
            for folder, file in zip(found.folders, both, strict=True)
            if suffix_of(file) not in SUFFIXES
        ]
        raise LayoutError(
            f"{len(found.unread)} with a partner are of a kind that is not read: {few(files)}; save them as PNG, "
            "TIFF, NumPy or NIfTI files, or move both files of the pair elsewhere"
        )
    pairs = [
        Pair(
            name,
            images.folder / image,
            masks.folder / mask,
            tuple(images.folder / file for file in cases.others[image]) if cases else (),
        )
        for name, image, mask in found.pairs
    ]
    rule = found.rule
    if cases:
        rule = f"Each image is the {cases.number} files of its name with _0000 and so on: {len(pairs):,} images."
    return Paired(pairs, tuple(said for said in (rule, *found.passed_over) if said))


def fifths(items: Sequence[_T]) -> tuple[list[_T], list[_T]]:
    """Return all but each fifth, and each fifth."""
    return [item for index, item in enumerate(items) if index % 5 != 4], list(items[4::5])


def without_a_test_part(train: Sequence[_T], val: Sequence[_T]) -> dict[str, list[_T]]:
    """Return parts where there are two alone: the second is tested on, each fifth of the first is validation."""
    rest, fifth = fifths(train)
    return {TRAIN: rest, VAL: fifth, TEST: list(val)}


def few(names: Sequence[str]) -> str:
    """Return the first names of a list."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


@dataclass(frozen=True)
class _Cases:
    """Images of several files, as nnU-Net has them: the first file of each by name, and the others by the first."""

    firsts: dict[str, str]
    others: dict[str, list[str]]
    number: int


def _channels(images: Listing, masks: Listing) -> _Cases | None:
    """Group files that are the channels of images; None if they are not."""
    numbers: dict[str, list[str]] = {}
    for name in images.files:
        found = CHANNEL.fullmatch(name)
        if found is None or name in masks.files:
            return None
        numbers.setdefault(found[1], []).append(found[2])
    most = max(map(len, numbers.values()), default=0)
    if most < 2 or not any(name in masks.files for name in numbers):
        return None
    expected = [f"{channel:04}" for channel in range(most)]
    for name, those in numbers.items():
        if those != expected:
            raise LayoutError(
                f"{printable(images.folder)}: {name} has the files _{', _'.join(those)}, others "
                f"_{', _'.join(expected)}; each image needs all channels"
            )
    files = {name: [images.files[f"{name}_{channel}"] for channel in expected] for name in numbers}
    return _Cases(
        {name: those[0] for name, those in files.items()}, {those[0]: those[1:] for those in files.values()}, most
    )
