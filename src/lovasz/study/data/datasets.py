"""Data sets of two parts with labels as they lie on disk: Cityscapes, ADE20K, COCO-stuff."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lovasz.study.data.pairs import Layout, LayoutError, paired, without_a_test_part
from lovasz.study.io.labelling import TRAIN_IDS
from lovasz.study.io.names import Listing, listing
from lovasz.study.io.text import printable


@dataclass(frozen=True)
class Dataset:
    """Where a data set has its images and masks.

    Attributes:
        name: What it is called.
        images: The folder of images.
        masks: The folder of masks; the first that is there.
        parts: The subfolders of both for training and for validation.
        others: Subfolders of the images whose masks hold no labels, or that have none.
        void: Labels left out by convention.
        hint: What to know of the labels; empty for nothing.
    """

    name: str
    images: str
    masks: tuple[str, ...]
    parts: tuple[str, str]
    others: tuple[str, ...] = ()
    void: tuple[int, ...] = ()
    hint: str = ""


DATASETS = (
    Dataset(
        "Cityscapes",
        "leftImg8bit",
        ("gtFine",),
        ("train", "val"),
        others=("test",),
        hint="the masks are labelIds: --map cityscapes makes the 19 classes of the benchmark of them",
    ),
    Dataset(
        "ADE20K",
        "images",
        ("annotations",),
        ("training", "validation"),
        hint="in its masks 0 is void and 1 to 150 are the classes: --map ade20k makes them 255 and 0 to 149",
    ),
    Dataset(
        "COCO-stuff",
        "images",
        ("stuffthingmaps", "annotations"),
        ("train2017", "val2017"),
        void=(255,),
    ),
)


def dataset_in(data: Path) -> Dataset | None:
    """Return the data set whose folders are there."""
    for known in DATASETS:
        if all((data / known.images / part).is_dir() for part in known.parts) and _masks(data, known):
            return known
    return None


def from_dataset(data: Path, known: Dataset, on_files: Callable[[int], None], mapped: bool = False) -> Layout:
    """Pair the images of a data set; what is validation there is the test part here.

    Args:
        data: The folder.
        known: What `dataset_in` returns.
        on_files: Called now and then with the number of files found.
        mapped: Whether the labels will be mapped to others: then masks of train IDs are not taken.

    Raises:
        LayoutError: If a file has no partner, or there are masks of train IDs alone and they would be mapped again.
    """
    folder = _masks(data, known) or data
    labelled = [listing(folder / part, on_files) for part in known.parts]
    trained = any(name.endswith(TRAIN_IDS) for masks in labelled for name in masks.files)
    if trained and mapped and not all(map(_has_stored_ids, labelled)):
        raise LayoutError(
            f"--data {printable(data)}: the masks of {known.name} are {TRAIN_IDS}, whose labels are mapped "
            "already; leave out --map"
        )
    if trained:
        trained = not mapped
        labelled = [masks.only(lambda name, _: name.endswith(TRAIN_IDS) == trained) for masks in labelled]
    pairs, told = [], dict[str, None]()
    for part, masks in zip(known.parts, labelled, strict=True):
        found = paired(listing(data / known.images / part, on_files), masks)
        if not found.pairs:
            raise LayoutError(f"--data {printable(data)}: {printable(data / known.images / part)} holds no images")
        pairs.append(found.pairs)
        told.update(dict.fromkeys(found.told))
    if trained:
        told[f"{known.name}: the masks are those of {TRAIN_IDS}, in which 255 is void."] = None
    elif known.hint and not mapped:
        told[f"{known.name}: {known.hint}."] = None
    first, second = known.parts
    unused = sorted(
        entry.name
        for entry in (data / known.images).iterdir()
        if entry.is_dir() and entry.name not in known.parts and entry.name[0] != "."
    )
    why = dict.fromkeys(known.others, "has no labels to test on")
    said = [f"{printable(name)} {why.get(name, 'is not used')}" for name in unused]
    note = (
        f"The folders are those of {known.name}: the test part is {second}, which published results are on; each "
        f"fifth name of {first} is validation{'; ' if said else ''}{'; '.join(said)}."
    )
    void = (255,) if trained else known.void
    return Layout(without_a_test_part(*pairs), note, void, tuple(told))


def _masks(data: Path, known: Dataset) -> Path | None:
    """Return the folder of masks, None if there is none with both parts."""
    folders = (data / masks for masks in known.masks)
    return next((one for one in folders if all((one / part).is_dir() for part in known.parts)), None)


def _has_stored_ids(masks: Listing) -> bool:
    """Return whether there is a mask of other labels beside one of train IDs."""
    names = (name.removesuffix(TRAIN_IDS) for name in masks.files if name.endswith(TRAIN_IDS))
    return any(name in masks.files or f"{name}_labelIds" in masks.files for name in names)
