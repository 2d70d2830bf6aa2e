"""Arrays in files: opened by their header, which says shape and type, and decoded only when asked."""

import dataclasses
import io
import math
import os
import stat
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.kinds import (
    ARCHIVE,
    PICTURES,
    SUFFIXES,
    VOLUMES,
    Stored,
    TooLargeError,
    UnreadableFileError,
    suffix,
)
from lovasz.study.io.pictures import open_picture
from lovasz.study.io.text import printable
from lovasz.study.io.tiff import MAGICS, open_tiff

# Arrays of an archive that a message names.
NAMED = 5
# What NumPy compresses with: the readers of others unfold all at once, however little is asked for.
COMPRESSED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Bytes of a header that NumPy reads: of an archive a header of 4 GB may be a file of 4 MB.
MOST_HEADER = 10_000
# NumPy parses a header as Python, and Python 3.11 miscounts its depth where two threads parse at a time.
_PARSER = threading.Lock()


@contextmanager
def opened(path: Path, most: int, colours: bool = False) -> Iterator[Stored]:
    """Open a file without decoding it.

    Args:
        path: A regular file, or a link to one: a pipe or a device might never answer.
        most: How many values are read at most.
        colours: Whether the values of a picture are colours, and a palette is looked up; else they are labels:
            the samples as stored, the indices of a palette.

    Raises:
        UnreadableFileError: If the file is missing or broken, holds no numbers, or would be read as
            something else than it holds; here or when it is decoded.
        TooLargeError: If it has more values.
    """
    with ExitStack() as stack:
        with _named(path):
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise UnreadableFileError(path, "is not a regular file, and nothing else is opened")
            kind = suffix(path)
            if kind in (".npy", ARCHIVE):
                stored = _array(path, *(_alone if kind == ARCHIVE else _plain)(path, stack))
            elif kind in VOLUMES:
                stored = _volume(path)
            elif kind in PICTURES:
                file = stack.enter_context(path.open("rb"))
                tiff = file.read(4) in MAGICS  # whatever its name says
                file.seek(0)
                stored = (open_tiff if tiff else open_picture)(path, file, stack, colours)
            else:
                raise UnreadableFileError(path, f"is of no known kind; expected one of {', '.join(SUFFIXES)}")
        if min(stored.shape, default=1) < 1 or stored.dtype.kind not in "buif":
            raise UnreadableFileError(path, f"holds no numbers (shape {stored.shape}, {stored.dtype})")
        if (values := math.prod(stored.shape)) > most:
            unfolded = f"{' x '.join(map(str, stored.shape))} = {values:,} values"
            reason = f"unfolds to {unfolded}, more than the limit of {most:,}; cut it into tiles"
            raise TooLargeError(path, reason, values)

        def decode() -> NDArray[Any]:
            with _named(path):
                array = stored.read()
                if array.shape != stored.shape:
                    raise ValueError(f"it decodes to the shape {array.shape}, its header says {stored.shape}")
            return array.astype(array.dtype.newbyteorder("="), copy=False)

        yield dataclasses.replace(stored, read=decode)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say of which file a decoder complains."""
    try:
        yield
    except UnreadableFileError:
        raise
    except FileNotFoundError as error:
        raise UnreadableFileError(path, "there is no such file") from error
    except Exception as error:  # decoders raise whatever they like on a broken file
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        # The lines after the first are advice to programmers.
        reason = printable((reason.splitlines() or [type(error).__name__])[0])
        raise UnreadableFileError(path, f"cannot be read ({reason})") from error


def _plain(path: Path, stack: ExitStack) -> tuple[IO[bytes], int]:
    """Open a file, and return its size."""
    file = stack.enter_context(path.open("rb"))
    return file, os.fstat(file.fileno()).st_size


def _alone(path: Path, stack: ExitStack) -> tuple[IO[bytes], int]:
    """Open the only array of an archive, and return its size once it is unfolded, as its header says."""
    archive = stack.enter_context(zipfile.ZipFile(path))
    inside = archive.infolist()
    if len(inside) != 1:
        named = ", ".join(printable(one.filename.removesuffix(".npy")) for one in inside[:NAMED])
        more = ", ..." if len(inside) > NAMED else ""
        raise UnreadableFileError(
            path, f"holds {len(inside)} arrays{f' ({named}{more})' if named else ''}; expected one"
        )
    if inside[0].compress_type not in COMPRESSED:
        raise UnreadableFileError(
            path, "is compressed otherwise than NumPy does; save it with numpy.savez_compressed"
        )
    return stack.enter_context(archive.open(inside[0])), inside[0].file_size


def _array(path: Path, file: IO[bytes], size: int) -> Stored:
    version = np.lib.format.read_magic(file)
    # Version 3 differs from 2 in the names of columns alone, and an array of columns holds no numbers.
    first = version == (1, 0)
    length = file.read(2 if first else 4)
    if (said := int.from_bytes(length, "little")) > MOST_HEADER:
        raise ValueError(f"its header has {said:,} bytes, more than {MOST_HEADER:,}")
    header = io.BytesIO(length + file.read(said))
    with _PARSER:
        read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(header)
    start, whole = file.tell(), math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not unpickled")
    after = size - start - whole
    if after > 0:
        raise UnreadableFileError(
            path, f"has {after:,} bytes after its array, such as another one; save each array in its own file"
        )

    def read() -> NDArray[Any]:
        file.seek(start)
        content = np.empty(whole, np.uint8)
        found = file.readinto(content)  # type: ignore[attr-defined]  # of a file, or of a part of an archive
        if found < whole:
            raise ValueError(f"it ends after {found:,} of the {whole:,} bytes of its array")
        return content.view(dtype).reshape(shape, order="F" if fortran else "C")

    return Stored(shape, read, dtype)


def _volume(path: Path) -> Stored:
    import nibabel

    volume: Any = nibabel.load(path)
    shape = list(volume.shape)
    if len(shape) > 2:
        # Axes in one order, right, front, up, whatever order the file has them in.
        for axis, (place, _) in enumerate(nibabel.io_orientation(volume.affine)):
            shape[int(place)] = volume.shape[axis]

    def read() -> NDArray[Any]:
        return np.asanyarray(nibabel.as_closest_canonical(volume).dataobj)

    return Stored(tuple(shape), read, volume.get_data_dtype())
