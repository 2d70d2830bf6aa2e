"""The masks that are decided from scores, as files: one for each file of scores, of its name."""

import io
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np

from lovasz.study.io.classes import Classes
from lovasz.study.io.disk import naming, replaced
from lovasz.study.io.kinds import suffix_of
from lovasz.study.io.labels import Labels
from lovasz.study.io.names import listing
from lovasz.study.io.text import printable
from lovasz.study.score.pairing import Pairs

# What a PNG of 16 bits holds at most.
MOST = 65535


class DecidedMasks:
    """PNG files of the labels, as a class file that gives values has them.

    Attributes:
        folder: Where they lie.
    """

    def __init__(self, folder: Path, pairs: Pairs, classes: Classes) -> None:
        self.folder = folder
        self._files = [_file(pairs, image) for image in range(len(pairs.files))]
        self._values = _values(classes)

    def check(self) -> None:
        """Check that every name stays in the folder, and that the folder holds no other masks.

        Raises:
            ValueError: If one does not, two are the same, or it does.
        """
        for file in self._files:
            if not file.removesuffix(".png") or PurePath(file).is_absolute() or ".." in PurePath(file).parts:
                raise ValueError(
                    f"--decide writes each mask by its name, and {printable(file)} leads out of {self.folder}; "
                    "give other names in the column name of the list"
                )
        if len(set(self._files)) < len(self._files):
            raise ValueError("--decide writes each mask by its name, and two have the same")
        others = set(listing(self.folder).files.values()) - set(self._files) if self.folder.is_dir() else set()
        if others:
            raise ValueError(
                f"{printable(self.folder)} holds masks that are not of this evaluation, such as "
                f"{printable(min(others))}; delete the folder, or choose another --out"
            )

    def write(self, image: int, labels: Labels) -> None:
        """Write the mask of an image, (H, W), in one step; a file that holds it already is left.

        Raises:
            OSError: If it cannot be written; the message names it.
        """
        from PIL import Image

        path, content = self.folder / self._files[image], io.BytesIO()
        Image.fromarray(self._values[labels]).save(content, "png")
        with naming(path):
            if path.is_file() and path.read_bytes() == content.getvalue():
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            with replaced(path, binary=True) as file:
                file.write(content.getvalue())


def _file(pairs: Pairs, image: int) -> str:
    """Return where the mask of an image lies in the folder: by the file of its scores, or the name in a list."""
    name, scores, _ = pairs.files[image]
    return f"{name if pairs.by else scores[: len(scores) - len(suffix_of(PurePath(scores).name))]}.png"


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
