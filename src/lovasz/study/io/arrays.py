"""Arrays in files: opened by their header, which says shape and type, and decoded only when asked."""

import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.text import printable

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
VOLUMES = (".nii", ".nii.gz")
SUFFIXES = (*PICTURES, *VOLUMES, ".npy")
# Pillow's names of the formats of these pictures; it would try some forty others, one of which starts a program.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
# Compressions of a TIFF that change values.
LOSSY = ("tiff_jpeg", "jpeg", "webp")
# Values of one file, pixels times channels: a small file can unfold to any number. A satellite tile of 20,000 x
# 20,000 has 1.6e9 with four channels, a volume of 1024 x 1024 x 1024 has 1.1e9; both pass.
MOST_VALUES = 2**31
# EXIF's number of the tag, and TIFF's of the kind of a page, with its bits for an overview and a mask.
ORIENTATION, PAGE, NO_PICTURE = 0x0112, 254, 0b101
# More pages are no overviews: each has half the side of the one before.
MOST_PAGES = 64


class UnreadableFileError(ValueError):
    """A file does not hold what it should; the message names it and says why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{printable(path)}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Rebuilds itself on its way out of another process."""
        return type(self), (self.path, self.reason)


class TooLargeError(UnreadableFileError):
    """A file unfolds to more values than are read: to so many."""

    def __init__(self, path: Path, reason: str, values: int) -> None:
        super().__init__(path, reason)
        self.values = values

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Rebuilds itself on its way out of another process."""
        return type(self), (self.path, self.reason, self.values)


@dataclass(frozen=True)
class Stored:
    """An array in an open file.

    Attributes:
        shape: Its shape once it is read: of a picture (H, W) or (H, W, C).
        read: Decodes it.
    """

    shape: tuple[int, ...]
    read: Callable[[], NDArray[Any]]


def suffix(path: Path) -> str:
    """Returns the suffix in small letters, ``.nii.gz`` as one."""
    return suffix_of(path.name)


def suffix_of(name: str) -> str:
    """Returns the suffix of a file's name as `suffix` does."""
    name = name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else os.path.splitext(name)[1]


@contextmanager
def opened(path: Path, most: int, colours: bool = False) -> Iterator[Stored]:
    """Opens a file without decoding it.

    Args:
        path: A regular file, or a link to one: a pipe or a device might never answer.
        most: How many values are read at most.
        colours: Whether the values of a picture are colours; else they are labels, which are never
            converted.

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
            if kind == ".npy":
                shape, dtype, read = _array(path, stack)
            elif kind in VOLUMES:
                shape, dtype, read = _volume(path)
            elif kind in PICTURES:
                shape, dtype, read = _picture(path, stack, colours)
            else:
                raise UnreadableFileError(path, f"is of no known kind; expected one of {', '.join(SUFFIXES)}")
        if min(shape, default=1) < 1 or dtype.kind not in "buif":
            raise UnreadableFileError(path, f"holds no numbers (shape {shape}, {dtype})")
        if (values := math.prod(shape)) > most:
            unfolded = f"{' x '.join(map(str, shape))} = {values:,} values"
            reason = f"unfolds to {unfolded}, more than the limit of {most:,}; cut it into tiles"
            raise TooLargeError(path, reason, values)

        def decode() -> NDArray[Any]:
            with _named(path):
                array = read()
            return array.astype(array.dtype.newbyteorder("="), copy=False)

        yield Stored(shape, decode)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Says of which file a decoder complains."""
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


_Opened = tuple[tuple[int, ...], np.dtype[Any], Callable[[], NDArray[Any]]]


def _array(path: Path, stack: ExitStack) -> _Opened:
    file = stack.enter_context(path.open("rb"))
    version = np.lib.format.read_magic(file)
    # Version 3 differs from 2 in the names of columns alone, and an array of columns holds no numbers.
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not unpickled")

    def read() -> NDArray[Any]:
        file.seek(0)
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array

    return shape, dtype, read


def _volume(path: Path) -> _Opened:
    import nibabel

    volume: Any = nibabel.load(path)
    shape = list(volume.shape)
    if len(shape) > 2:
        # Axes in one order, right, front, up, whatever order the file has them in.
        for axis, (place, _) in enumerate(nibabel.io_orientation(volume.affine)):
            shape[int(place)] = volume.shape[axis]
    return (
        tuple(shape),
        volume.get_data_dtype(),
        lambda: np.asanyarray(nibabel.as_closest_canonical(volume).dataobj),
    )


def _picture(path: Path, stack: ExitStack, colours: bool) -> _Opened:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # `opened` has a limit of its own
    picture: Any = stack.enter_context(Image.open(path, formats=FORMATS))
    if _pages(picture) > 1:
        raise UnreadableFileError(path, "holds several pictures; expected one, or of a volume a NIfTI or .npy file")
    if picture.format != "PNG":  # in which it may come after the pixels
        _check_upright(path, picture)
    mode, (width, height), args = picture.mode, picture.size, picture.tile[0][3] if picture.tile else ""
    stored = args if isinstance(args, str) else str(args[0])  # how Pillow calls what is in the file
    deep = mode.startswith("I;16")
    if not colours:
        if picture.format in ("JPEG", "MPO") or picture.info.get("compression") in LOSSY:
            raise UnreadableFileError(path, "a mask cannot be a JPEG, which changes labels; expected a PNG")
        if stored.startswith(("1;I", "L;I", "L;2I", "L;4I")):
            raise UnreadableFileError(path, "stores its labels inverted, white as 0; expected a PNG or black as 0")
    elif ";16" in stored and not deep:
        raise UnreadableFileError(
            path, "has 16 bits a channel, of which 8 would be read; save it with 8 or as a .npy file"
        )
    convert = ""
    if colours and mode not in ("L", "RGB", "I", "F", "1") and not deep:
        convert = "L" if mode in ("LA", "La") else "RGB"
    channels = len(convert or picture.getbands())

    def read() -> NDArray[Any]:
        _check_upright(path, picture)
        values = np.asarray(picture.convert(convert) if convert else picture)
        # Grey of 2 or 4 bits comes as 0 to 255.
        bits = re.match(r"L;([24])", stored)
        return values // np.uint8(255 // (2 ** int(bits[1]) - 1)) if bits and not colours else values

    return (height, width, channels) if channels > 1 else (height, width), np.dtype(np.uint8), read


def _check_upright(path: Path, picture: Any) -> None:
    turned = picture.getexif().get(ORIENTATION, 1)
    if turned != 1:
        raise UnreadableFileError(
            path,
            f"is shown turned or mirrored by its EXIF orientation {turned}, and its mask may be either way; "
            "save it upright",
        )


def _pages(picture: Any) -> int:
    """Counts the pictures of a file, but not overviews and masks of the first, nor what phones add to a JPEG."""
    if picture.format != "TIFF":
        return 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
    pages = 1
    try:
        for number in range(1, MOST_PAGES):
            picture.seek(number)
            pages += not picture.tag_v2.get(PAGE, 0) & NO_PICTURE
            if pages > 1:
                break
        else:
            pages += 1
    except EOFError:
        pass
    picture.seek(0)
    return pages
