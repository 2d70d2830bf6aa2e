"""Data as nnU-Net has them: imagesTr, labelsTr and dataset.json."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lovasz.study.data.pairs import Layout, LayoutError, Pair, fifths, paired
from lovasz.study.data.parts import TEST, TRAIN, VAL
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
        void: The label to ignore.
    """

    channels: int
    ending: str
    classes: Classes | None
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
    if described.classes is None:
        told["dataset.json names regions that overlap: the labels stand for themselves."] = None
    return Layout({TRAIN: train, VAL: val, TEST: test}, note, described.void, tuple(told), described.classes)


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
    classes, void = _classes(where, labels)
    return Described(len(channels), ending, classes, void)


def _classes(where: str, labels: dict[str, Any]) -> tuple[Classes | None, tuple[int, ...]]:
    numbers: dict[str, int] = {}
    for name, label in labels.items():
        if isinstance(label, list):
            ignored = labels.get("ignore")
            return None, (ignored,) if type(ignored) is int else ()
        if not (type(label) is int or (isinstance(label, str) and label.isascii() and label.isdigit())):
            raise LayoutError(f"{where}: the label of {printable(name)} must be a whole number, got {label!r}")
        if UNSAFE.search(name) or not name.strip():
            raise LayoutError(f"{where}: the name {name!r} of a label is empty or holds what cannot be printed")
        numbers[name] = int(label)
    void = (numbers.pop("ignore"),) if "ignore" in numbers else ()
    names = sorted(numbers, key=numbers.__getitem__)
    if [numbers[name] for name in names] != list(range(len(names))) or void == (0,):
        raise LayoutError(
            f"{where}: the labels must be 0 to {len(names) - 1}, with ignore after them, got "
            f"{', '.join(str(label) for label in sorted(numbers.values()))}"
        )
    return Classes(tuple(names), None), void
