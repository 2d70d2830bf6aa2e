"""The files of a folder and its subfolders by name."""

import itertools
import os
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lovasz.study.io.kinds import SUFFIXES, UnreadableFileError, suffix, suffix_of
from lovasz.study.io.passed import PassedOver, is_apart
from lovasz.study.io.text import printable


@dataclass(frozen=True)
class Listing:
    """What lies in a folder and its subfolders.

    Attributes:
        folder: The folder.
        files: The files that can be read by name, in the order of names. A name is `name_of` the
            path below the folder; the file is that path as it is stored.
        passed: What else there is.
    """

    folder: Path
    files: dict[str, str]
    passed: PassedOver = field(default=PassedOver())

    def only(self, wanted: Callable[[str, str], bool]) -> "Listing":
        """Return the same with the files alone whose name and path are wanted; the others are passed over."""
        kept = {name: file for name, file in self.files.items() if wanted(name, file)}
        others = (file for name, file in self.files.items() if name not in kept)
        return Listing(self.folder, kept, self.passed.with_files(others))


def stem(path: Path) -> str:
    """Return the name without its suffix."""
    return path.name[: len(path.name) - len(suffix(path))]


def shown_name(file: str) -> str:
    """Return the path of a file without its suffix, `printable`, as it is stored."""
    kind = suffix_of(file.rpartition("/")[2])
    return printable(file[: len(file) - len(kind)])


def name_of(file: str) -> str:
    """Return the name by which a file is compared: as `shown_name`, in Unicode's normal form NFC."""
    name = shown_name(file)
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def files_in(folder: Path) -> dict[str, Path]:
    """List the readable kinds of files in a folder by name, in the order of their names.

    Raises:
        UnreadableFileError: As `listing`.
    """
    return {name: folder / file for name, file in listing(folder).files.items()}


def listing(
    folder: Path,
    on_files: Callable[[int], None] = lambda number: None,
    other: Path | None = None,
    kinds: Collection[str] = SUFFIXES,
) -> Listing:
    """List the readable kinds of files in a folder and its subfolders; the rest is `PassedOver`.

    Links to folders are followed, each folder is entered once.

    Args:
        folder: The folder.
        on_files: Called now and then with the number of files found.
        other: A folder that is listed for itself, and not entered where it lies in this one.
        kinds: Suffixes of files that are read.

    Raises:
        UnreadableFileError: If a folder cannot be listed or two files share a name.
    """
    found: list[tuple[str, str]] = []
    passed: list[str] = []
    hidden: list[str] = []
    links: list[str] = []
    apart = 0
    for inside, names in _folders(folder, other, hidden, links):
        for name in names:
            if is_apart(name):
                apart += 1
            elif suffix_of(name) in kinds:
                found.append((name_of(inside + name), inside + name))
            else:
                passed.append(inside + name)
        on_files(len(found) + len(passed) + apart)
    found.sort()
    for (name, file), (following, again) in itertools.pairwise(found):
        if name == following:
            raise UnreadableFileError(folder / again, _same(file, again))
    return Listing(folder, dict(found), PassedOver(tuple(sorted(passed)), apart, tuple(hidden), tuple(links)))


def _same(file: str, other: str) -> str:
    if shown_name(file) == shown_name(other):
        return f"has the same name as {printable(file)}; which of the two is meant?"
    return (
        f"has the same name as {printable(file)} but for the Unicode normal form ({other!a} and "
        f"{file!a}); which of the two is meant?"
    )


def _folders(
    folder: Path, other: Path | None, hidden: list[str], links: list[str]
) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder, as a path below the first that is empty or ends in a slash, with its files.

    Hidden folders, and those that are entered already, for themselves, or hold this one, are noted.
    """
    above = {_identity(parent) for parent in folder.resolve().parents}
    entered = set() if other is None else {_identity(other)}
    folders, linked = [""], list[str]()
    while folders or linked:
        # Links last, so that a folder is listed where it lies.
        is_link = not folders
        inside = linked.pop(0) if is_link else folders.pop()
        place = folder / inside
        identity = _identity(place)
        if identity in entered or (is_link and identity in above):
            links.append(inside.rstrip("/"))
            continue
        entered.add(identity)
        try:
            with os.scandir(place) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise UnreadableFileError(place, error.strerror or str(error)) from error
        subfolders = [entry for entry in found if _is_dir(entry)]
        for entry in subfolders:
            if entry.name[0] == ".":
                hidden.append(inside + entry.name)
            else:
                (linked if entry.is_symlink() else folders).append(f"{inside}{entry.name}/")
        if subfolders:
            known = {entry.name for entry in subfolders}
            yield inside, [entry.name for entry in found if entry.name not in known]
        else:
            yield inside, [entry.name for entry in found]


def _identity(folder: Path) -> tuple[int, int]:
    try:
        stat = folder.stat()
    except OSError as error:
        raise UnreadableFileError(folder, error.strerror or str(error)) from error
    return stat.st_dev, stat.st_ino


def _is_dir(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, which is refused when it is read
        return False
