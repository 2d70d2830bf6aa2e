"""Images whose channels lie in several files."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.images import open_image
from lovasz.study.io.kinds import Stored, UnreadableFileError
from lovasz.study.io.text import printable
from lovasz.study.io.volumes import check_same_place


@contextmanager
def open_channels(files: Sequence[Path]) -> Iterator[Stored]:
    """Open an image of one or several files without decoding it; the channels of all come one after the other.

    Raises:
        UnreadableFileError: As `open_image`, or if the files differ in size or place.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(open_image(file)) for file in files]
        first = opened[0]
        for file, other in zip(files[1:], opened[1:], strict=True):
            if other.shape[1:] != first.shape[1:]:
                raise UnreadableFileError(
                    file,
                    f"has the size {other.shape[1:]}, another channel of the image, {printable(files[0])}, "
                    f"{first.shape[1:]}; expected the same",
                )
            check_same_place(file, files[0])
        if len(opened) == 1:
            yield first
            return
        shape = (sum(one.shape[0] for one in opened), *first.shape[1:])

        def read() -> NDArray[Any]:
            return np.concatenate([one.read() for one in opened])

        yield Stored(shape, read, np.result_type(*(one.dtype for one in opened)))


def read_channels(files: Sequence[Path]) -> NDArray[Any]:
    """Read an image of one or several files: (C, H, W) of pictures, (C, H, W, D) of volumes.

    Raises:
        UnreadableFileError: As `open_channels`.
    """
    with open_channels(files) as opened:
        return opened.read()


def dtypes_of(files: Sequence[Path]) -> tuple[str, ...]:
    """Return the types of the values in the files of one image, each once."""
    found = []
    for file in files:
        with open_image(file) as opened:
            found.append(np.dtype(opened.dtype).name)
    return tuple(sorted({*found}))
