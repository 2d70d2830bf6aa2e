"""Data as nnU-Net has them: imagesTr, labelsTr and dataset.json."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lovasz.study.data.pairs import Layout, LayoutError, Pair, fifths, paired
from lovasz.study.data.parts import MOST_CLASSES, MULTILABEL, TEST, TRAIN, VAL
from lovasz.study.data.regions import CLASSES, Regions
from lovasz.study.io.classes import Classes
from lovasz.study.io.kinds import SUFFIXES
from lovasz.study.io.names import listing
from lovasz.study.io.text import UNSAFE, TextError, printable, text_of


@dataclass(frozen=True)
class Described:
    """What dataset.json says.

    Attributes:
        channels: Files of an image.
        ending: What their names end in.
        classes: The classes, None if they overlap and so have no order.
        regions: The labels that overlap, as sets of the classes that are stored; None if they do not.
        void: The label to ignore.
    """

    channels: int
    ending: str
    classes: Classes | None
    regions: Regions | None
    void: tuple[int, ...]


def from_nnunet(data: Path, on_files: Callable[[int], None]) -> Layout:
    """Pair the images of nnU-Net's folders; each fifth case is tested on if there are no test labels.

    Args:
        data: The folder with imagesTr, labelsTr and dataset.json, and perhaps imagesTs and labelsTs.
        on_files: Called now and then with the number of files found.

    Raises:
        LayoutError: If dataset.json says something else than the files, or a file has no partner.
    """
    described = read_description(data / "dataset.json")
    told: dict[str, None] = {}

    def cases(part: str) -> list[Pair]:
        images, masks = (
            listing(data / f"{kind}{part}", on_files).only(lambda _, file: file.endswith(described.ending))
            for kind in ("images", "labels")
        )
        found = paired(images, masks)
        told.update(dict.fromkeys(found.told))
        for pair in found.pairs:
            if len(pair.images) != described.channels:
                raise LayoutError(
                    f"{printable(pair.image)}: the image has {len(pair.images)} files, dataset.json names "
                    f"{described.channels} channels"
                )
        return found.pairs

    train = cases("Tr")
    if (data / "labelsTs").is_dir() and (data / "imagesTs").is_dir():
        test = cases("Ts")
        note = "The test part is imagesTs with labelsTs"
    else:
        train, test = fifths(train)
        note = "There are no labels of a test part (labelsTs): the test part is each fifth case of imagesTr"
        if (data / "imagesTs").is_dir():
            note += ", imagesTs is not used"
    train, val = fifths(train)
    note = f"The folders are nnU-Net's. {note}; each fifth of the other cases is validation."
    if described.regions is not None:
        names = ", ".join(map(printable, described.regions.names))
        told[f"dataset.json names regions that overlap: {names}."] = None
    return Layout(
        {TRAIN: train, VAL: val, TEST: test},
        note,
        described.void,
        tuple(told),
        described.classes,
        described.regions,
    )


def read_description(file: Path) -> Described:
    """Read dataset.json, of the present or of the first version of nnU-Net.

    Raises:
        LayoutError: If it cannot be read or says something else; the message names it.
    """
    where = printable(file)
    try:
        record: Any = json.loads(text_of(file))
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, TextError) else f"{where}: is not JSON ({error})"
        raise LayoutError(said) from error
    if not isinstance(record, dict):
        raise LayoutError(f"{where}: expected an object with channel_names and labels")
    channels, labels = record.get("channel_names", record.get("modality")), record.get("labels")
    if not isinstance(channels, dict) or not channels or not isinstance(labels, dict) or not labels:
        raise LayoutError(f"{where}: expected channel_names and labels, each with names")
    ending = record.get("file_ending", ".nii.gz")
    if ending not in SUFFIXES:
        raise LayoutError(
            f"{where}: file_ending {printable(json.dumps(ending))} is of a kind that is not read; expected one of "
            f"{', '.join(SUFFIXES)}: save images and labels as one of these"
        )
    if all(isinstance(name, str) for name in labels.values()):  # {"0": "background"}
        labels = {name: label for label, name in labels.items()}
    for name in labels:
        if UNSAFE.search(name) or not name.strip():
            raise LayoutError(f"{where}: the name {name!r} of a label is empty or holds what cannot be printed")
    if any(isinstance(label, list) for label in labels.values()):
        return Described(len(channels), ending, None, *_regions(where, labels))
    classes, void = _classes(where, labels)
    return Described(len(channels), ending, classes, None, void)


def _regions(where: str, labels: dict[str, Any]) -> tuple[Regions, tuple[int, ...]]:
    """Return the labels that overlap, each as the classes it is made of, without the background."""
    found: dict[str, tuple[int, ...]] = {}
    for name, given in labels.items():
        members = given if isinstance(given, list) else [given]
        if not members or not all(type(label) is int and 0 <= label < MOST_CLASSES for label in members):
            raise LayoutError(
                f"{where}: the region {printable(name)} must be a label or a list of labels, got {given!r}"
            )
        found[name] = tuple(dict.fromkeys(members))
    void = found.pop("ignore", ())
    names = [name for name in found if found[name] != (0,)]
    for name in names:
        if set(void) & set(found[name]):
            raise LayoutError(f"{where}: the region {printable(name)} holds the label to ignore, {void[0]}")
    members_of = tuple(found[name] for name in names)
    return Regions(MULTILABEL, tuple(names), CLASSES, members_of), void


def _classes(where: str, labels: dict[str, Any]) -> tuple[Classes, tuple[int, ...]]:
    numbers: dict[str, int] = {}
    for name, label in labels.items():
        if not (type(label) is int or (isinstance(label, str) and label.isascii() and label.isdigit())):
            raise LayoutError(f"{where}: the label of {printable(name)} must be a whole number, got {label!r}")
        numbers[name] = int(label)
    void = (numbers.pop("ignore"),) if "ignore" in numbers else ()
    names = sorted(numbers, key=numbers.__getitem__)
    if [numbers[name] for name in names] != list(range(len(names))) or void == (0,):
        raise LayoutError(
            f"{where}: the labels must be 0 to {len(names) - 1}, with ignore after them, got "
            f"{', '.join(str(label) for label in sorted(numbers.values()))}"
        )
    return Classes(tuple(names), None), void
