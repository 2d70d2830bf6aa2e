"""What is said of each image beside its masks: the group it belongs to, and properties."""

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from lovasz.study.io.kinds import suffix_of
from lovasz.study.io.lists import ListError, read_list
from lovasz.study.io.text import csv_text, printable

IMAGE, GROUP = "image", "group"


def groups(option: str, names: Sequence[str]) -> list[str]:
    """Return the group of each image.

    Args:
        option: A CSV file with the columns image and group; or a regular expression, whose first group, or all that
            it matches, is the group of an image.
        names: Names of images.

    Raises:
        ValueError: If it is neither, or an image has no group.
    """
    if is_file(option):
        columns = properties(Path(option), names, (GROUP,))
        return columns[GROUP]
    try:
        pattern = re.compile(option)
    except re.error as error:
        raise ValueError(
            f"--group must be a CSV file or a regular expression, got {printable(option)} ({error})"
        ) from error
    found = []
    for name in names:
        match = pattern.search(name)
        group = match and match[1 if pattern.groups else 0]
        if not group:
            raise ValueError(f"--group {printable(option)} finds no group in the name {name}")
        found.append(group)
    return found


def is_file(option: str) -> bool:
    """Return whether ``--group`` names a file rather than a pattern."""
    # Not Path.is_file, which raises for a pattern longer than a name may be.
    return option.lower().endswith(".csv") or os.path.isfile(option)


def properties(file: Path, names: Sequence[str], only: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Return, by column of a CSV file, the cell of each image.

    The column image holds names as they are or as images.csv writes them, with a suffix or without; lines of other
    images are passed over.

    Args:
        file: The file.
        names: Names of images.
        only: The columns beside image that there must be; None for any.

    Raises:
        ValueError: If the file cannot be read, has other columns, names an image twice, or lacks one, or a cell.
    """
    plain = list(map(_normal, names))
    # What images.csv writes comes first: of a name that begins like a formula it is another.
    known = dict(zip(plain, plain, strict=True)) | {csv_text(name): name for name in plain}
    lines: dict[str, tuple[str, dict[str, str]]] = {}
    columns: list[str] = []
    for line, row in read_list(file, (IMAGE, *(only or ())), only and ()):
        found = [known[form] for form in _forms(row.pop(IMAGE)) if form in known]
        columns = list(row)
        if not found:
            continue
        first, other = lines.setdefault(found[0], (line, row))
        if other is not row:
            raise ListError(f"{line}: the image {found[0]} is also in {first.rpartition(', ')[2]}")
    where = printable(file)
    for name, key in zip(names, plain, strict=True):
        if key not in lines:
            raise ListError(f"{where}: has no line of the image {name}")
        line, row = lines[key]
        lacking = [column for column, cell in row.items() if not cell]
        if lacking:
            raise ListError(f"{line}: has no {printable(lacking[0])} of the image {name}")
    if not columns:
        raise ListError(f"{where}: has no column beside {IMAGE}")
    return {printable(column): [printable(lines[key][1][column]) for key in plain] for column in columns}


def _forms(image: str) -> list[str]:
    """Return the names that a cell may mean, the whole cell first; a suffix without a letter is part of a name."""
    kind = suffix_of(image)
    texts = [image, image[: len(image) - len(kind)]] if kind.strip(".0123456789") else [image]
    return [_normal(form) for text in texts for form in (text, printable(text))]


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)
