"""Which image belongs to which mask and to which part: by folders, as in Pascal VOC, or by a list."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from lovasz.study.data.parts import PARTS, TEST, TRAIN, VAL
from lovasz.study.io.names import files_in
from lovasz.study.io.text import printable

LAYOUTS = (
    "a folder with train, val and test, each with images and masks; a folder as Pascal VOC's with JPEGImages, "
    "SegmentationClass and ImageSets; or a CSV file with the columns part, image, mask"
)


class LayoutError(ValueError):
    """The data are not laid out as they should be; the message names what is missing."""


@dataclass(frozen=True)
class Pair:
    """One image and its mask."""

    name: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Layout:
    """The pairs of each part.

    Attributes:
        pairs: By part.
        note: How the parts were made, a sentence.
        void: Labels that this layout leaves out by convention.
    """

    pairs: dict[str, list[Pair]]
    note: str
    void: tuple[int, ...] = ()


def find(data: Path) -> Layout:
    """Finds every pair without reading any.

    Args:
        data: A folder or a list file in one of ``LAYOUTS``.

    Raises:
        LayoutError: If it is none of them, a part is missing or empty, or a file has no partner.
        UnreadableFileError: If a folder cannot be listed.
    """
    if data.is_file():
        layout = _from_list(data)
    elif not data.is_dir():
        raise LayoutError(f"--data {data}: there is no such file or folder")
    elif (data / "JPEGImages").is_dir() and (data / "SegmentationClass").is_dir():
        layout = _from_voc(data)
    elif (data / TRAIN).is_dir():
        layout = _from_folders(data)
    else:
        raise LayoutError(f"--data {data}: expected {LAYOUTS}")
    for part in PARTS:
        if not layout.pairs.get(part):
            hint = "; without a list test.txt, val.txt is the test part and each fifth name of train.txt validation"
            hint = hint if part == VAL and layout.void else ""
            raise LayoutError(f"--data {data}: the {part} part holds no images{hint}")
    _check_apart(layout, data)
    return layout


def _from_folders(data: Path) -> Layout:
    pairs = {}
    for part in PARTS:
        folders = data / part / "images", data / part / "masks"
        for folder in folders:
            if not folder.is_dir():
                raise LayoutError(f"--data {data}: {folder} is missing; expected {LAYOUTS}")
        images, masks = map(files_in, folders)
        _check_partners(set(images), set(masks), folders)
        pairs[part] = [Pair(name, images[name], masks[name]) for name in images]
    return Layout(pairs, "The parts are the folders train, val and test as given.")


def _from_voc(data: Path) -> Layout:
    images, masks = files_in(data / "JPEGImages"), files_in(data / "SegmentationClass")
    lists = data / "ImageSets" / "Segmentation"
    lists = lists if lists.is_dir() else data / "ImageSets"
    named: dict[str, list[str]] = {}
    for part in PARTS:
        file = lists / f"{part}.txt"
        if file.is_file():
            named[part] = [printable(line.split()[0]) for line in _text(file).splitlines() if line.strip()]
            for name in named[part]:
                for folder, kind in ((data / "JPEGImages", images), (data / "SegmentationClass", masks)):
                    if name not in kind:
                        raise LayoutError(f"{file}: {name} is not in {folder}")
    for part in (TRAIN, VAL):
        if part not in named:
            raise LayoutError(f"--data {data}: {lists / part}.txt is missing")
    note = "The parts are those of ImageSets."
    if TEST not in named:
        named[TEST] = named[VAL]
        named[VAL], named[TRAIN] = named[TRAIN][4::5], [n for i, n in enumerate(named[TRAIN]) if i % 5 != 4]
        note = (
            "There is no test list: the test part is the list val, which published results are on; each fifth "
            "name of the list train is validation."
        )
    pairs = {part: [Pair(name, images[name], masks[name]) for name in names] for part, names in named.items()}
    return Layout(pairs, note, void=(255,))


def _from_list(file: Path) -> Layout:
    pairs: dict[str, list[Pair]] = {part: [] for part in PARTS}
    rows = csv.DictReader(io.StringIO(_text(file), newline=""))
    try:
        if set(rows.fieldnames or ()) != {"part", "image", "mask"}:
            found = ", ".join(rows.fieldnames or ()) or "nothing"
            raise LayoutError(f"{file}: the first line must name the columns part, image, mask, got {found}")
        for row in rows:
            where = f"{file}, line {rows.line_num}"
            if row["part"] not in PARTS:
                raise LayoutError(f"{where}: part must be one of {', '.join(PARTS)}, got {row['part']!r}")
            if not row["image"] or not row["mask"]:
                raise LayoutError(f"{where}: an image and a mask are needed")
            image, mask = (file.parent / row[kind] for kind in ("image", "mask"))
            for path in (image, mask):
                if not path.is_file():
                    raise LayoutError(f"{where}: there is no file {path}")
            pairs[row["part"]].append(Pair(printable(row["image"]), image, mask))
    except csv.Error as error:
        raise LayoutError(f"{file}, line {rows.line_num + 1}: is not CSV ({error})") from error
    return Layout(pairs, f"The parts are those of the list {file.name}.")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LayoutError(f"{file}: is not UTF-8 text ({error.reason} at byte {error.start})") from error


def _check_partners(images: set[str], masks: set[str], folders: tuple[Path, Path]) -> None:
    first, second = folders
    for names, others, here, there in ((images, masks, first, second), (masks, images, second, first)):
        alone = sorted(names - others)
        if alone:
            listed = ", ".join(alone[:5]) + (", ..." if len(alone) > 5 else "")
            raise LayoutError(f"{len(alone)} of {len(names)} in {here} have no partner in {there}: {listed}")


def _check_apart(layout: Layout, data: Path) -> None:
    """An image in two parts would be tested on what was learned."""
    seen: dict[Path, str] = {}
    for part in PARTS:
        for pair in layout.pairs[part]:
            other = seen.setdefault(pair.image.resolve(), part)
            if other != part:
                raise LayoutError(f"--data {data}: {pair.image} is in both {other} and {part}")
