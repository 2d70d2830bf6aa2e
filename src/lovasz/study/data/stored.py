"""What the masks of an image store: labels, one for each pixel, or one for each pixel and label."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lovasz.study.data.pairs import Pair
from lovasz.study.data.regions import BITS, CHANNELS, FILES, Regions
from lovasz.study.io.advice import advice
from lovasz.study.io.images import open_image
from lovasz.study.io.kinds import UnreadableFileError, suffix
from lovasz.study.io.labelling import Labelling, UnknownLabelError
from lovasz.study.io.labels import Labels
from lovasz.study.io.masks import JPEGS, UnknownLabelsError, fits, open_mask
from lovasz.study.io.text import printable
from lovasz.study.io.volumes import check_same_place
from lovasz.study.io.whole import whole


@dataclass(frozen=True)
class StoredMasks:
    """The masks of an image.

    Attributes:
        labels: Those of each pixel (*), or where each label has a mask of its own (L, *).
        palettes: Of each mask, as far as it is used.
        named: Values of the map that they hold.
    """

    labels: Labels
    palettes: tuple[bytes, ...]
    named: frozenset[int]


def read_masks(pair: Pair, image: Sequence[int], labelling: Labelling, regions: Regions | None) -> StoredMasks:
    """Read the masks of an image; `check_labels` says whether they hold labels alone.

    Args:
        pair: The image and its masks.
        image: The shape of the image, channels first.
        labelling: How what each mask stores becomes labels.
        regions: The labels of a binary or multilabel task, or None.

    Raises:
        UnreadableFileError: If a mask cannot be read or has another size.
    """
    if regions is not None and regions.source == CHANNELS:
        return _channels(pair, image[1:], len(regions.names), labelling)
    found = [_one(pair, path, tuple(image), labelling) for path in pair.masks]
    if regions is None or regions.source != FILES:
        return found[0]
    # Each file has its own colour for what is there: palettes say nothing.
    return StoredMasks(
        np.stack([one.labels for one in found]), (), frozenset().union(*(one.named for one in found))
    )


def check_labels(pair: Pair, labels: Labels, labelling: Labelling, regions: Regions | None) -> None:
    """Check that the masks of an image hold labels alone.

    Args:
        pair: The image and its masks.
        labels: What `read_masks` found.
        labelling: How it was read.
        regions: The labels of a binary or multilabel task, or None.

    Raises:
        UnreadableFileError: If a mask holds what is neither a label nor left out.
    """
    in_files = regions is not None and regions.source == FILES
    for path, one in zip(pair.masks, labels if in_files else [labels], strict=True):
        if regions is not None and regions.source == BITS:
            _check_bits(path, one, labelling, len(regions.names))
        else:
            _check(path, one, labelling)


def _one(pair: Pair, path: Path, image: tuple[int, ...], labelling: Labelling) -> StoredMasks:
    sides = image[1:]
    with open_mask(path, labelling=labelling) as mask:
        if not fits(path, mask.shape, sides):
            hint = "; an array must have its channels first" if image[:-1] == mask.shape else ""
            raise UnreadableFileError(
                path,
                f"has the size {mask.shape}, its image {printable(pair.image)} {sides}; expected the same{hint}",
            )
        check_same_place(path, pair.image)
        labels = mask.read().reshape(sides)
        return StoredMasks(labels, (mask.palette,), mask.named)


def _channels(pair: Pair, sides: Sequence[int], number: int, labelling: Labelling) -> StoredMasks:
    """Read a file with a mask of 0 and 1 for each label, as channels."""
    path = pair.mask
    if suffix(path) in JPEGS:
        raise UnreadableFileError(path, "a mask cannot be a JPEG, which changes labels; expected a PNG")
    with open_image(path) as opened:
        if opened.shape != (number, *sides):
            raise UnreadableFileError(
                path,
                f"has the shape {opened.shape}, with channels first; expected {(number, *sides)}, a channel of 0 "
                f"and 1 for each of {number} labels and the size of its image {printable(pair.image)}",
            )
        check_same_place(path, pair.image)
        try:
            labels, named = labelling.mapped(whole(path, opened.read()))
        except UnknownLabelError as error:
            raise UnknownLabelsError(path, str(error)) from error
        return StoredMasks(labels, (), named)


def _check(path: Path, labels: Labels, labelling: Labelling) -> None:
    """Refuse labels that are neither a class nor left out."""
    values, counts = np.unique(labels, return_counts=True)
    ignore = sorted(labelling.ignored)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        if value not in ignore and not 0 <= value < labelling.num_classes:
            raise UnreadableFileError(
                path,
                f"holds the label {value} ({count}x); expected classes 0 to {labelling.num_classes - 1}"
                + (f" or the ignored {', '.join(map(str, ignore))}" if ignore else "")
                + advice(labels, labelling, in_target=True),
            )


def _check_bits(path: Path, labels: Labels, labelling: Labelling, number: int) -> None:
    """Refuse values that are not left out and have a bit beyond those of the labels."""
    values = np.unique(labels)
    for value in values[~np.isin(values, sorted(labelling.ignored))].tolist():
        if not 0 <= value < 2**number:
            raise UnreadableFileError(
                path, f"holds the value {value}; of {number} labels as bits, values are 0 to {2**number - 1}"
            )
