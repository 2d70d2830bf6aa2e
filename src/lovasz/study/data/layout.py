"""Which image belongs to which mask and to which part: by folders, as in known data sets, or by a list."""

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from lovasz.study.data.datasets import dataset_in, from_dataset
from lovasz.study.data.nnunet import from_nnunet
from lovasz.study.data.pairs import Layout, LayoutError, Pair, paired, without_a_test_part
from lovasz.study.data.parts import MULTILABEL, PARTS, TEST, TRAIN, VAL
from lovasz.study.data.regions import FILES, Regions
from lovasz.study.io.kinds import SUFFIXES, suffix_of
from lovasz.study.io.lists import columns_of, read_list
from lovasz.study.io.names import Listing, listing, name_of
from lovasz.study.io.text import UNSAFE, TextError, printable, text_of

# The folders of each part.
KINDS = ("images", "masks")
# What columns of a list begin with that hold the masks of one label.
MASK_OF = "mask:"
LAYOUTS = (
    "a folder with train, val and test, each with images and masks; a folder as Pascal VOC's with JPEGImages, "
    "SegmentationClass and ImageSets, as Cityscapes', ADE20K's, COCO-stuff's or nnU-Net's; or a CSV file with the "
    "columns part, image, mask"
)


def find(data: Path, on_files: Callable[[int], None] = lambda number: None, mapped: bool = False) -> Layout:
    """Find every pair without reading any.

    Args:
        data: A folder or a list file in one of ``LAYOUTS``.
        on_files: Called now and then with the number of files found.
        mapped: Whether the labels will be mapped to others: then Cityscapes' masks are those of labelIds.

    Raises:
        LayoutError: If it is none of them, a part is missing or empty, or a file has no partner.
        MatchingError: If a file could have two partners.
        UnreadableFileError: If a folder cannot be listed.
    """
    if data.is_file():
        layout = _from_list(data)
    elif not data.is_dir():
        raise LayoutError(f"--data {data}: there is no such file or folder")
    elif (data / "JPEGImages").is_dir() and (data / "SegmentationClass").is_dir():
        layout = _from_voc(data, on_files)
    elif all((data / name).exists() for name in ("imagesTr", "labelsTr", "dataset.json")):
        layout = from_nnunet(data, on_files)
    elif known := dataset_in(data):
        layout = from_dataset(data, known, on_files, mapped)
    elif (data / TRAIN).is_dir():
        layout = _from_folders(data, on_files)
    else:
        raise LayoutError(f"--data {data}: expected {LAYOUTS}")
    for part in PARTS:
        if not layout.pairs.get(part):
            hint = "; without a list test.txt, val.txt is the test part and each fifth name of train.txt validation"
            hint = hint if part == VAL and (data / "JPEGImages").is_dir() else ""
            raise LayoutError(f"--data {data}: the {part} part holds no images{hint}")
    _check_apart(layout, data)
    return layout


def _from_folders(data: Path, on_files: Callable[[int], None]) -> Layout:
    pairs, told = {}, dict[str, None]()
    for part in PARTS:
        for kind in KINDS:
            if not (data / part / kind).is_dir():
                raise LayoutError(f"--data {data}: {data / part / kind} is missing; expected {LAYOUTS}")
    labels = {part: _folders_of_labels(data / part, on_files) for part in PARTS}
    names = tuple(labels[TRAIN])
    for part in PARTS:
        if tuple(labels[part]) != names:
            raise LayoutError(
                f"--data {data}: masks of {part} are {_said(labels[part])}, those of train {_said(names)}; "
                "expected the same"
            )
        images, masks = (data / part / kind for kind in KINDS)
        listed = listing(images, on_files)
        found = [paired(listed, one) for one in labels[part].values() or [listing(masks, on_files)]]
        first, *others = found
        pairs[part] = [
            replace(pair, labels=tuple(more.mask for more in rest))
            for pair, *rest in zip(first.pairs, *(one.pairs for one in others), strict=True)
        ]
        told.update(dict.fromkeys(sentence for one in found for sentence in one.told))
    regions = Regions(MULTILABEL, names, FILES) if names else None
    note = "The parts are the folders train, val and test as given."
    return Layout(pairs, note, told=tuple(told), regions=regions)


def _folders_of_labels(part: Path, on_files: Callable[[int], None]) -> dict[str, Listing]:
    """List the folders of masks where there is one for each label: they hold the same names; else none."""
    images, masks = (_subfolders(part / kind) for kind in KINDS)
    if len(masks) < 2 or set(masks) & set(images):
        return {}
    if any(entry.is_file() and suffix_of(entry.name) in SUFFIXES for entry in (part / KINDS[1]).iterdir()):
        return {}
    found = {name: listing(part / KINDS[1] / name, on_files) for name in masks}
    files = [name for one in found.values() for name in one.files]
    if len(set(files)) == len(files):  # each in one folder alone: these are no labels
        return {}
    for name in masks:
        if UNSAFE.search(name):
            raise LayoutError(f"{printable(part / KINDS[1])}: the name {name!r} of a folder cannot be printed")
    return found


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))


def _said(names: Collection[str]) -> str:
    return f"folders of {', '.join(names)}" if names else "in one folder"


def _from_voc(data: Path, on_files: Callable[[int], None]) -> Layout:
    folders = [listing(data / name, on_files) for name in ("JPEGImages", "SegmentationClass")]
    images, masks = folders
    lists = data / "ImageSets" / "Segmentation"
    lists = lists if lists.is_dir() else data / "ImageSets"
    named: dict[str, list[str]] = {}
    for part in PARTS:
        file = lists / f"{part}.txt"
        if file.is_file():
            lines = {line: text.split()[0] for line, text in enumerate(_text(file).splitlines(), 1) if text.strip()}
            named[part] = list(lines.values())
            first = dict[str, int]()
            for line, name in lines.items():
                if first.setdefault(_key(name), line) != line:
                    raise LayoutError(f"{file}, line {line}: {printable(name)} is also in line {first[_key(name)]}")
                for folder in folders:
                    if _key(name) not in folder.files:
                        raise LayoutError(
                            f"{file}: {printable(name)} is not in {folder.folder}{_passed(folder, name)}"
                        )
    for part in (TRAIN, VAL):
        if part not in named:
            raise LayoutError(f"--data {data}: {lists / part}.txt is missing")
    note = "The parts are those of ImageSets."
    if TEST not in named:
        named |= without_a_test_part(named[TRAIN], named[VAL])
        note = (
            "There is no test list: the test part is the list val, which published results are on; each fifth "
            "name of the list train is validation."
        )
    pairs = {
        part: [
            Pair(printable(name), images.folder / images.files[_key(name)], masks.folder / masks.files[_key(name)])
            for name in names
        ]
        for part, names in named.items()
    }
    told = tuple(said for folder in folders if (said := folder.passed.sentence(folder.folder)))
    return Layout(pairs, note, (255,), told)


def _key(name: str) -> str:
    """Return the name by which a file of a list is looked for; a list has no suffixes."""
    return name_of(f"{name}.png")


def _passed(folder: Listing, name: str) -> str:
    """Say that a file of this name is there and is of a kind that is not read."""
    there = next((file for file in folder.passed.files if name_of(file) == _key(name)), "")
    return f": {printable(there)} is of a kind that is not read; save it as a PNG" if there else ""


def _from_list(file: Path) -> Layout:
    pairs: dict[str, list[Pair]] = {part: [] for part in PARTS}
    lines: dict[tuple[str, Path], str] = {}
    try:
        kinds = tuple(name for name in columns_of(file) if name.startswith(MASK_OF)) or ("mask",)
        for where, row in read_list(file, ("part", "image", *kinds)):
            if row["part"] not in PARTS:
                raise LayoutError(f"{where}: part must be one of {', '.join(PARTS)}, got {row['part']!r}")
            if not all(row[kind] for kind in ("image", *kinds)):
                raise LayoutError(f"{where}: an image and a mask are needed")
            image, mask, *others = (file.parent / row[kind] for kind in ("image", *kinds))
            for path in (image, mask, *others):
                if not path.is_file():
                    raise LayoutError(f"{where}: there is no file {printable(path)}")
            first = lines.setdefault((row["part"], image.resolve()), where)
            if first != where:
                raise LayoutError(
                    f"{where}: the image {printable(row['image'])} is also in {first.rpartition(', ')[2]}"
                )
            pairs[row["part"]].append(Pair(printable(row["image"]), image, mask, labels=tuple(others)))
    except TextError as error:
        raise LayoutError(str(error)) from error
    names = tuple(kind.removeprefix(MASK_OF) for kind in kinds if kind != "mask")
    for name in names:
        if UNSAFE.search(name) or not name.strip():
            raise LayoutError(f"{printable(file)}: the label {name!r} of a column is empty or cannot be printed")
    note = f"The parts are those of the list {printable(file.name)}."
    return Layout(pairs, note, regions=Regions(MULTILABEL, names, FILES) if names else None)


def _text(file: Path) -> str:
    try:
        return text_of(file)
    except TextError as error:
        raise LayoutError(str(error)) from error


def _check_apart(layout: Layout, data: Path) -> None:
    """Refuse an image in two parts: it would be tested on what was learned."""
    seen: dict[Path, str] = {}
    for part in PARTS:
        for pair in layout.pairs[part]:
            other = seen.setdefault(pair.image.resolve(), part)
            if other != part:
                raise LayoutError(f"--data {data}: {pair.image} is in both {other} and {part}")
