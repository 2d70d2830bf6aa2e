"""What the options of ``lovasz evaluate`` name: pairs of files, classes, labellings and photos."""

import dataclasses
import os
from pathlib import Path

from rich.console import Console

from lovasz.study.io.classes import Classes, numbered, read_classes
from lovasz.study.io.kinds import ARCHIVE, SUFFIXES, UnreadableFileError
from lovasz.study.io.labelling import Labelling, make_labelling
from lovasz.study.io.labels import LabelMap, parse_map
from lovasz.study.io.masks import read_mask
from lovasz.study.io.matching import match
from lovasz.study.io.names import Listing, listing, name_of
from lovasz.study.io.text import printable
from lovasz.study.score.evaluation import most_classes
from lovasz.study.score.pairing import Pairs, pair, pair_list

# Bytes that are counted on where the system does not say how many there are.
MEMORY = 8 * 2**30


def make_labellings(
    classes: Classes, ignored: frozenset[int], target_map: LabelMap | None, of_predictions: str | None
) -> tuple[Labelling, Labelling]:
    """Return how what predictions and targets store becomes labels."""
    targets = make_labelling(classes, ignored, target_map)
    if of_predictions is None:
        return targets, targets
    plain = dataclasses.replace(classes, label_map=None)
    other = None if of_predictions == "none" else parse_map(of_predictions, "--map-predictions")
    return make_labelling(plain, targets.ignored, other), targets


def make_classes(
    pairs: Pairs,
    num_classes: int | None,
    file: Path | None,
    target_map: LabelMap | None,
    threads: int,
    processes: int,
) -> Classes:
    """Return the classes by name; without a file their names are their numbers."""
    if num_classes is not None and num_classes < 1:
        raise ValueError(f"--num-classes must be at least 1, got {num_classes}")
    if file is not None:
        classes = read_classes(file)
        _check_memory(len(classes.names), min(threads, len(pairs.files)), processes)
        if num_classes not in (None, len(classes.names)):
            raise ValueError(f"--num-classes is {num_classes}, but {file} names {len(classes.names)} classes")
        return classes
    if num_classes is None and target_map is not None:
        num_classes = target_map.num_classes
    if num_classes is not None:
        _check_memory(num_classes, min(threads, len(pairs.files)), processes)
        return numbered(num_classes)
    message = "--num-classes N or --classes FILE is needed"
    if pairs.files:
        _, path = pairs.paths(0)
        labels = sorted(set(read_mask(path, pairs.most).ravel().tolist()))
        shown = ", ".join(map(str, labels[:20])) + (", ..." if len(labels) > 20 else "")
        message += f"; {printable(path)} holds the labels {shown}"
    raise ValueError(message)


def _check_memory(number: int, threads: int, processes: int) -> None:
    """Refuse more classes than fit, as `most_classes` says, into half of the memory."""
    memory = MEMORY
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    share = memory // (2 * processes)
    most, alone = most_classes(threads, share), most_classes(1, share)
    if number > most:
        hint = f"; --workers 1 allows {alone}" if alone > most else ""
        raise ValueError(
            f"there must be at most {most} classes, got {number}: their matrices, 8 x {2 + 5 * threads} x C x C "
            f"bytes with --workers {threads}, must fit into {share / 2**30:.1f} GiB, half of the memory{hint}"
        )


def make_pairs(predictions: Path, targets: Path | None, most: int, scores: bool = False) -> Pairs:
    """Pair two folders, or the files of a list."""
    kinds = (*SUFFIXES, ARCHIVE) if scores else SUFFIXES
    if targets is None:
        if predictions.is_dir():
            raise ValueError(f"TARGETS is needed: the folder of true masks for the predictions in {predictions}")
        return pair_list(predictions, most, kinds)
    for folder in (predictions, targets):
        if folder.is_file():
            raise ValueError(f"{folder} is a file; expected two folders, or a list (CSV) alone")
    console = Console(highlight=False, quiet=os.environ.get("RANK", "0") != "0")
    with console.status("Listing files") as status:
        return pair(predictions, targets, most, lambda number: status.update(f"Listing files: {number:,}"), kinds)


def parse_width(text: str) -> float:
    """Return the width of boundary regions that a text says: a fraction of the diagonal, or pixels, an int."""
    try:
        width = int(text.removesuffix("px")) if text.endswith("px") else float(text)
    except ValueError:
        width = 0
    if not (width >= 1 if isinstance(width, int) else 0 < width < 1):
        raise ValueError(
            "--boundary must be a fraction of the diagonal above 0 and below 1, as 0.02, or pixels, as 5px, got "
            f"{text}"
        )
    return width


def make_photos(pairs: Pairs, folder: Path | None) -> dict[str, Path]:
    """Return the photos by the names of their masks."""
    if folder is None:
        return {}
    names = {target: name for name, _, target in pairs.files}
    found = match(listing(folder), Listing(pairs.targets, {name_of(target): target for target in names}))
    photos = {names[target]: folder / photo for _, photo, target in found.pairs}
    if not photos:
        passed = ". ".join(
            ["holds no file of the name of a mask; expected photos for --images", *found.passed_over]
        )
        raise UnreadableFileError(folder, passed)
    return photos
