"""Pictures other than TIFF: Pillow decodes them, but for PNG of 16-bit colour, which it would narrow."""

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.kinds import Stored, UnreadableFileError, check_upright
from lovasz.study.io.palette import packed

# Pillow's names of the formats of pictures, TIFF among them; it would try some forty others, one of which starts a
# program.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
# EXIF's number of the tag that says how a picture is shown.
ORIENTATION = 0x0112
# What Pillow calls a BMP whose palette is black and white, or greys in order; it then decodes so many bits a pixel.
GREY_BITS = {"1": 1, "L": 8}


def open_picture(path: Path, file: BinaryIO, stack: ExitStack, colours: bool) -> Stored:
    """Open a picture that is no TIFF; the arguments are those of `opened`."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # `opened` has a limit of its own
    picture: Any = stack.enter_context(Image.open(file, formats=FORMATS))
    # What phones add to a JPEG is no second picture.
    pages = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
    if pages > 1:
        raise UnreadableFileError(
            path, f"holds several pictures, {pages} of an animation; save each alone, or a stack as TIFF or .npy"
        )
    if picture.format != "PNG":  # in which it may come after the pixels
        check_upright(path, picture.getexif().get(ORIENTATION, 1))
    if not colours and picture.format in ("JPEG", "MPO"):
        raise UnreadableFileError(path, "a mask cannot be a JPEG, which changes labels; expected a PNG")
    mode, args = picture.mode, picture.tile[0][3] if picture.tile else ""
    stored = args if isinstance(args, str) else str(args[0])  # how Pillow calls what is in the file
    if mode in ("CMYK", "YCCK"):
        raise UnreadableFileError(
            path, "holds the inks of print (CMYK), which writers store either way round; save it as RGB"
        )
    if picture.format == "BMP" and stored.startswith("BGR;1"):
        raise UnreadableFileError(path, "has 16 bits a pixel, which are no bytes a channel; save it with 24")
    if picture.format == "BMP" and mode in GREY_BITS and _bits(file) != GREY_BITS[mode]:
        raise UnreadableFileError(
            path, f"has a palette of greys alone and {_bits(file)} bits a pixel, which is misread; save it as PNG"
        )
    wide = ";16" in stored and mode != "I;16"
    if wide and _interlaced(file):
        raise UnreadableFileError(path, "has 16 bits a channel and is interlaced; save it without interlacing")
    if wide:
        mode = stored.split(";")[0]
    elif colours and mode == "1" and picture.format == "BMP":  # whose palette has black and white
        mode = "L"
    elif colours and mode == "P":
        mode = "RGBA" if "transparency" in picture.info else "RGB"
    elif mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        raise UnreadableFileError(path, f"holds samples of the kind {mode}; save it as 8-bit or 16-bit RGB")
    channels = len(Image.getmodebands(mode) * "C")
    few = re.match(r"L;([24])", stored)
    bits = 16 if wide or mode == "I;16" else int(few[1]) if few else 1 if mode == "1" else 8
    width, height = picture.size

    def read() -> NDArray[Any]:
        check_upright(path, picture.getexif().get(ORIENTATION, 1))
        if wide:
            return _wide(file, channels)
        values = np.asarray(picture if mode == picture.mode else picture.convert(mode))
        # Grey of 2 or 4 bits comes as 0 to 255, of 1 bit as false and true.
        if few:
            return values // np.uint8(255 // (2**bits - 1))
        return values.astype(np.uint8) if values.dtype == bool else values

    return Stored(
        (height, width, channels) if channels > 1 else (height, width),
        read,
        np.dtype(np.uint16 if bits == 16 else np.uint8),
        axes="HWC" if channels > 1 else "HW",
        alpha=mode in ("LA", "RGBA"),
        palette=None if colours else _palette(path, picture),
        bits=bits,
    )


def _palette(path: Path, picture: Any) -> NDArray[np.int64] | None:
    """Return the colour of each index as `Stored` has it, before any is decoded; None without a palette."""
    if (picture.format, picture.mode) == ("BMP", "1"):  # black at index 0, else it is a P
        return packed(np.array([[0] * 3, [255] * 3]))
    if picture.mode != "P" or picture.palette is None:
        return None
    order, content = picture.palette.getdata()  # RGB of a PNG, blue first of a BMP
    if len(content) % len(order):
        raise UnreadableFileError(path, "has a palette that cannot be read")
    entries = np.frombuffer(content, np.uint8).reshape(-1, len(order))
    colours = packed(entries[:, [order.index(name) for name in "RGB"]])
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        colours[clear : clear + 1] = -1
    elif isinstance(clear, bytes):
        opacity = np.frombuffer(clear, np.uint8)[: len(colours)]
        colours[: len(opacity)][opacity < 255] = -1
    return colours


def _bits(file: BinaryIO) -> int:
    """Return the bits a pixel of a BMP, after a header of 12 bytes or of more."""
    file.seek(14)
    header = file.read(16)
    return int.from_bytes(header[10:12] if header[:4] == b"\x0c\0\0\0" else header[14:16], "little")


def _interlaced(file: BinaryIO) -> bool:
    """Return whether a PNG is, by its header, whose last byte that is."""
    file.seek(28)
    return file.read(1) != b"\0"


def _wide(file: BinaryIO, channels: int) -> NDArray[Any]:
    """Decode a PNG of 16 bits a channel."""
    import imagecodecs

    file.seek(0)
    values: NDArray[Any] = imagecodecs.png_decode(file.read())
    # A colour that stands for transparent pixels comes as one channel more.
    return np.ascontiguousarray(values[..., :channels]) if values.ndim == 3 else values
