"""The files of a folder by name."""

import itertools
import os
from pathlib import Path

from lovasz.study.io.arrays import SUFFIXES, UnreadableFileError, suffix, suffix_of
from lovasz.study.io.text import printable


def stem(path: Path) -> str:
    """Returns the name without its suffix."""
    return path.name[: len(path.name) - len(suffix(path))]


def files_in(folder: Path) -> dict[str, Path]:
    """Lists the readable kinds of files in a folder by stem, in the order of their stems.

    Hidden files and files of other kinds (a README, ``Thumbs.db``) are left out.

    Raises:
        UnreadableFileError: If the folder cannot be listed or two files share a stem.
    """
    return {name: folder / file for name, file in names_in(folder).items()}


def names_in(folder: Path) -> dict[str, str]:
    """Lists as `files_in` does, but the name of each file alone: a third of the memory of paths.

    The stems are `printable`, the names as they are.
    """
    try:
        with os.scandir(folder) as entries:
            files = [
                e.name for e in entries if suffix_of(e.name) in SUFFIXES and e.name[0] != "." and not _is_dir(e)
            ]
    except OSError as error:
        raise UnreadableFileError(folder, error.strerror or str(error)) from error
    pairs = sorted((printable(file[: -len(suffix_of(file))]), file) for file in files)
    for (name, file), (following, other) in itertools.pairwise(pairs):
        if name == following:
            reason = f"has the same name as {printable(file)}; which of the two is meant?"
            raise UnreadableFileError(folder / other, reason)
    return dict(pairs)


def _is_dir(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, which is refused when it is read
        return False
