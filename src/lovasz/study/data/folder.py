"""A user's own images and masks: checked once as a whole, then read one by one."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lovasz.study.data.channels import read_channels
from lovasz.study.data.check_files import check_files
from lovasz.study.data.examine import resized, targets
from lovasz.study.data.normalize import DATA, Normalization, Standard, described, standard_of, standardised
from lovasz.study.data.pairs import Layout, LayoutError, Pair
from lovasz.study.data.parts import MOST_CLASSES, MULTICLASS, PARTS, TRAIN, Data, Part
from lovasz.study.data.regions import FILES, Regions
from lovasz.study.data.stored import read_masks
from lovasz.study.io.class_colours import background_of, class_colours
from lovasz.study.io.classes import Classes
from lovasz.study.io.labelling import Labelling, check_stored_ids, make_labelling
from lovasz.study.io.labels import LabelMap, listed
from lovasz.study.io.text import printable

# Bytes of prepared images that are kept in memory instead of read again.
CACHE = 4 * 2**30


@dataclass(frozen=True)
class Reading:
    """How files become samples.

    Attributes:
        labelling: How what masks store becomes labels.
        regions: Of which of these each mask of a binary or multilabel task is; None: they are classes.
        size: Images and masks are resized to this; None keeps them as they are.
        standard: What is done with the values of images.
    """

    labelling: Labelling
    regions: Regions | None
    size: tuple[int, ...] | None
    standard: Standard


class Folder:
    """Samples read from files; those that fit are kept in memory."""

    def __init__(self, pairs: Sequence[Pair], reading: Reading) -> None:
        self.pairs, self.reading = pairs, reading
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        self.room = CACHE // len(PARTS)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index not in self.kept:
            image, target = self._read(index)
            compact = target.short()  # a quarter of the memory; there are `MOST_CLASSES` at most
            self.room -= 4 * image.numel() + 2 * compact.numel()
            if self.room < 0:
                return image, target
            self.kept[index] = image, compact
        image, compact = self.kept[index]
        return image, compact.long()

    def _read(self, index: int) -> tuple[Tensor, Tensor]:
        pair, reading = self.pairs[index], self.reading
        image = torch.from_numpy(read_channels(pair.images).astype(np.float32))
        stored = read_masks(pair, image.shape, reading.labelling, reading.regions)
        target = targets(stored.labels, reading.labelling)
        if reading.size and tuple(image.shape[1:]) != reading.size:
            mode: dict[str, Any] = {"mode": "trilinear"}
            if image.ndim == 3:
                mode = {"mode": "bilinear", "antialias": True}
            image = F.interpolate(image[None], reading.size, **mode, align_corners=False)[0]
            target = resized(target, reading.size)
        masks = target if reading.regions is None else reading.regions.masks(target)
        return standardised(image, reading.standard), masks


def load_folder(
    path: Path,
    layout: Layout,
    classes: Classes,
    ignore: Sequence[int],
    size: tuple[int, ...] | None,
    known: Path,
    on_file: Callable[[int, int], None],
    label_map: LabelMap | None = None,
    *,
    regions: Regions | None = None,
    normalization: Normalization = DATA,
) -> Data:
    """Check every file and return the data; what was found is kept for the next time.

    Args:
        path: What the user named, for messages.
        layout: The pairs.
        classes: Names of the classes.
        ignore: Labels left out, after the map.
        size: Images and masks are resized to this.
        known: A file that holds what an earlier check found; used again if no file has changed.
        on_file: Called with the number of files checked and that of all.
        label_map: What the values of masks stand for; None: for themselves, or what the class file says.
        regions: The labels of a binary or multilabel task; None: each pixel has one class.
        normalization: How the values of images are standardised.

    Raises:
        ValueError: If the map does not fit the classes, palettes differ, or images are not those that the
            normalization is for.
        UnreadableFileError: If a file cannot be read, sizes differ, or a label is no class.
        LayoutError: If there are more than `MOST_CLASSES`, images differ in channels or axes, or a class
            is missing from training.
    """
    if regions is not None and regions.source == FILES:
        layout = layout.in_order(regions.names)
    ignore = tuple(sorted({*ignore, *layout.void}))
    num_classes = len(classes.names)
    if num_classes > MOST_CLASSES:
        raise LayoutError(f"there must be at most {MOST_CLASSES} classes, got {num_classes}")
    for label in ignore:
        if 0 <= label < num_classes and label not in layout.void:
            raise LayoutError(
                f"--ignore {label} is one of the classes 0 to {num_classes - 1}, {classes.names[label]}; "
                "a label is a class or is left out"
            )
    masks = (str(mask) for part in PARTS for pair in layout.pairs[part] for mask in pair.masks)
    check_stored_ids(label_map, masks, "leave out --map: --num-classes 19 --ignore 255")
    labelling = make_labelling(classes, ignore, label_map)
    found = check_files(layout, labelling, size, regions, known, on_file)
    names, colours = (classes.names, classes.colours) if regions is None else (regions.names, regions.colours)
    absent = [name for name, pixels in zip(names, found["pixels"][TRAIN], strict=True) if not pixels]
    if absent:
        raise LayoutError(
            f"--data {path}: no training mask holds {', '.join(absent)}; nothing can learn a class without pixels"
        )
    sizes = {tuple(one) for one in found["sizes"]}
    dims = len(next(iter(sizes)))
    if size and len(size) != dims:
        raise LayoutError(f"--size must hold {dims} numbers for images of {dims} axes, got {len(size)}")
    ignore = tuple(sorted(labelling.ignored))
    standard = standard_of(normalization, found["mean"], found["deviation"], found["dtypes"])
    reading = Reading(labelling, regions, size, standard)
    mean, std = standard.of(found["mean"], found["deviation"])
    prepared = described(normalization, standard)
    fixed = "" if normalization.of_data else f";{standard.key}"
    digest = hashlib.sha256(f"{found['content']};{ignore};{size};{classes.names};{regions}{fixed}".encode())
    resized = f"resized to {' x '.join(map(str, size))}" if size else "in their own size"
    return Data(
        name=printable(path.stem if path.is_file() else path.resolve().name),
        class_names=names,
        colours=colours
        or tuple(class_colours(len(names), -1 if regions else background_of(names, found["pixels"][TRAIN]))),
        channels=len(mean),
        dims=dims,
        sizes=(size,) if size else tuple(sorted(sizes)),
        parts={
            part: Part(
                [pair.name for pair in layout.pairs[part]],
                Folder(layout.pairs[part], reading),
                found["pixels"][part],
                found["known"][part] if regions else None,
            )
            for part in PARTS
        },
        fingerprint=digest.hexdigest()[:16],
        notes=(
            layout.note,
            *layout.told,
            f"Images are taken {resized}, {prepared}"
            + (f"; labels left out: {', '.join(map(str, ignore))}." if ignore else "."),
            *([f"Labels are those of {labelling.label_map.name}."] if labelling.label_map else []),
            *([regions.note(classes)] if regions else []),
        ),
        task=MULTICLASS if regions is None else regions.task,
        warnings=(*found["constant"], *_never(labelling, found["named"])),
        prepared="" if normalization.of_data else prepared,
        mean=() if normalization.of_data else mean,
        std=() if normalization.of_data else std,
    )


def missing_from(data: Data) -> list[str]:
    """Say which classes no validation or test mask holds; predicted there, their IoU is 0."""
    said = []
    for part in PARTS[1:]:
        absent = [
            name for name, pixels in zip(data.class_names, data.parts[part].pixels, strict=True) if not pixels
        ]
        if absent:
            said.append(f"no {part} mask holds {', '.join(absent)}: where it is not predicted it has no {part} IoU")
    return said


def _never(labelling: Labelling, named: Sequence[int]) -> tuple[str, ...]:
    """Say which values of a map no mask holds."""
    never = labelling.never(named)
    return (f"{labelling.label_map.name}: no mask holds {listed(never)}",) if labelling.label_map and never else ()
