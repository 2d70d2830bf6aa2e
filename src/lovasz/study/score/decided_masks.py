"""The masks that are decided from scores, as files: one for each file of scores, of its name."""

import contextlib
import io
import threading
from collections.abc import Sequence, Set
from pathlib import Path, PurePath, PurePosixPath

import numpy as np

from lovasz.study.io.classes import Classes
from lovasz.study.io.disk import flush_folder, naming, replaced
from lovasz.study.io.kinds import VOLUMES, suffix, suffix_of
from lovasz.study.io.labels import Labels
from lovasz.study.io.names import listing
from lovasz.study.io.text import printable
from lovasz.study.io.volumes import volume_like
from lovasz.study.processes import Ranks
from lovasz.study.score.pairing import Pairs

# What masks are written as.
KINDS = (".png", *VOLUMES, ".npy")
# What a PNG of 16 bits holds at most.
MOST = 65535


class DecidedMasks:
    """Files of the labels, with the values that a class file gives; their folder has its name once it is complete.

    Labels (H, W) are written as PNG, those of a NIfTI target as NIfTI on its grid, all others as ``.npy``.

    Attributes:
        folder: Where they lie once all are written, all by one rule.
        partial: Where they are written, and stay if some are missing.
    """

    def __init__(self, out: Path, pairs: Pairs, classes: Classes) -> None:
        self.folder, self.partial = out / "masks", out / "masks.partial"
        self._pairs = pairs
        self._names = [_name(pairs, image) for image in range(len(pairs.files))]
        self._values = _values(classes)
        self._written: set[int] = set()
        self._begun, self._lock = False, threading.Lock()

    def check(self) -> None:
        """Check that every name stays in the folder, and that the folder holds no other masks.

        Raises:
            ValueError: If one does not, two are the same, one is a folder of another, or it does.
        """
        for name in self._names:
            path = PurePath(name)
            if not path.parts or path.is_absolute() or any(part.startswith(".") for part in path.parts):
                raise ValueError(
                    f"--decide writes each mask by its name, and {printable(name)}.png is hidden or leads out of "
                    f"{printable(self.folder)}; give other names in the column name of the list"
                )
        names = set(self._names)
        if len(names) < len(self._names):
            raise ValueError("--decide writes each mask by its name, and two have the same")
        self._check_folders(names)
        if self.folder.exists() and self.partial.exists():
            raise ValueError(
                f"{printable(self.folder)} and {printable(self.partial)} are both there; delete one of them, "
                "or choose another --out"
            )
        for folder in (self.folder, self.partial):
            found = listing(folder).files.values() if folder.is_dir() else ()
            others = [file for file in found if file[: len(file) - len(suffix_of(file))] not in names]
            if others:
                raise ValueError(
                    f"{printable(folder)} holds masks that are not of this evaluation, such as "
                    f"{printable(min(others))}; delete the folder, or choose another --out"
                )

    def write(self, image: int, labels: Labels) -> None:
        """Write the mask of an image, in one step; a file that holds it already is left.

        Before the first, the masks of an earlier evaluation, maybe of another rule, are called partial.

        Raises:
            OSError: If it cannot be written; the message names it.
        """
        _, target = self._pairs.paths(image)
        kind = ".png" if labels.ndim == 2 else suffix(target) if suffix(target) in VOLUMES else ".npy"
        path, content = self._path(image, kind), _content(kind, self._values[labels], target)
        with self._lock:
            if not self._begun:
                _rename(self.folder, self.partial)
                self._begun = True
        self._remove(image, kind)
        with naming(path):
            if not path.is_file() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                with replaced(path, binary=True) as file:
                    file.write(content)
        self._written.add(image)

    def finish(self, ranks: Ranks, complete: bool) -> None:
        """Delete masks of an earlier evaluation that were not replaced; if all are there, rename the folder.

        Where no image could be decided, nothing is deleted.

        Raises:
            OSError: If they cannot be deleted, or the folder cannot be renamed.
        """
        written = set[int]().union(*ranks.all(self._written))
        if not written:
            return
        for image in range(len(self._names)):
            if image not in written:
                self._remove(image)
        if complete:
            _rename(self.partial, self.folder)

    def place(self, complete: bool) -> Path:
        """Return the folder in which `finish` leaves the masks."""
        return self.folder if complete else self.partial

    def _check_folders(self, names: Set[str]) -> None:
        """Check that no mask has the path of a folder of another."""
        for name in self._names:
            for folder in map(str, PurePosixPath(name).parents):
                if any(folder.removesuffix(kind) in names for kind in KINDS if folder.endswith(kind)):
                    raise ValueError(
                        f"--decide writes each mask by its name, and that of {printable(name)} would lie in a "
                        f"folder {printable(folder)}, which may be another mask; give other names in the column "
                        "name of the list"
                    )

    def _path(self, image: int, kind: str) -> Path:
        return self.partial / f"{self._names[image]}{kind}"

    def _remove(self, image: int, but: str = "") -> None:
        """Delete the files of an image, but for one kind: two kinds of one name could not be paired."""
        for kind in KINDS:
            if kind != but:
                path = self._path(image, kind)
                with naming(path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    path.unlink()


def _rename(folder: Path, other: Path) -> None:
    """Rename a folder, unless another process has done so or there is none."""
    with naming(other), contextlib.suppress(FileNotFoundError):
        folder.rename(other)
        flush_folder(other.parent)


def _content(kind: str, values: Labels, target: Path) -> bytes:
    """Return the content of a file of the values that stand for labels."""
    if kind in VOLUMES:
        return volume_like(target, values, kind)
    content = io.BytesIO()
    if kind == ".npy":
        np.save(content, values, allow_pickle=False)
    else:
        from PIL import Image

        Image.fromarray(values).save(content, "png")
    return content.getvalue()


def _name(pairs: Pairs, image: int) -> str:
    """Return the path of a mask in the folder, without suffix: of the file of its scores, or the name in a list."""
    name, scores, _ = pairs.files[image]
    return PurePath(name if pairs.by else scores[: len(scores) - len(suffix_of(PurePath(scores).name))]).as_posix()


def _values(classes: Classes) -> Labels:
    """Return what is stored for each class: its first value in the class file, else its label."""
    stored: Sequence[int] = range(len(classes.names))
    if classes.label_map is not None:
        first = {label: value for value, label in reversed(classes.label_map.pairs) if label is not None}
        stored = [first[label] for label in stored]
    if min(stored) < 0 or max(stored) > MOST:
        raise ValueError(
            f"--decide writes masks of values from 0 to {MOST}, and the classes have {min(stored)} to {max(stored)}"
        )
    return np.array(stored, dtype=np.uint8 if max(stored) < 256 else np.uint16)
