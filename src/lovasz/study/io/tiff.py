"""TIFF: every sample as it is stored, and what would have to be converted refused."""

import logging
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.kinds import Stored, UnreadableFileError, check_upright
from lovasz.study.io.palette import packed, packed_16
from lovasz.study.io.tiff_pages import stack_axes, tags_of_pages

# Classic and big, little and big endian.
MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# By TIFF's numbers: what keeps values, and what may change them and serves for photos alone.
LOSSLESS = {1, 5, 8, 32946, 32773, 34925, 50000}
LOSSY = {7, 50001}
JPEG = 7
# The predictor of floating point, by its number.
FLOATING = 3
GREY, RGB, PALETTE, INKS, YCBCR = 1, 2, 3, 5, 6
# Bits of the kind of a page: a smaller copy of another; which of its pixels are valid.
REDUCED, VALIDITY = 1, 4
# The colours of a palette and, in data of MetaMorph, the pictures behind one page.
COLOUR_MAP, METAMORPH = 320, 33629
# Tags that say which samples there are, where, and what they mean; tifffile passes over a damaged one.
MEANT = {
    254,
    256,
    257,
    258,
    259,
    262,
    266,
    270,
    273,
    274,
    277,
    278,
    279,
    284,
    317,
    320,
    322,
    323,
    324,
    325,
    338,
    339,
}
# Strips and tiles in a file: a tile of 20,000 x 20,000 pixels in strips of a row has 80,000.
MOST_SEGMENTS = 2**21
# Pictures within a page: copies of half the size, of a quarter and so on.
MOST_INNER = 64
# Pixels of a tile, which may be larger than its picture: 4096 x 4096.
MOST_IN_TILE = 2**24


def open_tiff(path: Path, file: BinaryIO, stack: ExitStack, colours: bool) -> Stored:
    """Open a TIFF; the arguments are those of `opened`."""
    chain = tags_of_pages(file)
    import tifffile

    _quiet(logging.getLogger("tifffile"))
    tiff: Any = stack.enter_context(tifffile.TiffFile(file))
    pages, validity, segments = [], [], 0
    for page, tags in zip(tiff.pages, chain, strict=True):
        if damaged := (tags & MEANT) - set(page.tags.keys()):
            raise ValueError(f"its tag {min(damaged)} is damaged")
        segments += len(page.dataoffsets)
        if segments > MOST_SEGMENTS:
            raise ValueError(f"it has more than {MOST_SEGMENTS:,} strips or tiles")
        _check_inner(path, page)
        if page.subfiletype & VALIDITY:
            validity.append(page)
        elif not page.subfiletype & REDUCED:
            pages.append(page)
    if not pages:
        raise UnreadableFileError(path, "holds reduced copies of a picture, and not itself; save the picture alone")
    first = pages[0]
    if METAMORPH in first.tags:
        raise UnreadableFileError(path, "is a stack of MetaMorph (STK); save it as OME-TIFF or NIfTI")
    size = int(file.seek(0, 2))
    for page in pages:
        _check_kind(path, page, colours)
        _check_segments(page, size)
    for number, page in enumerate(pages[1:], 2):
        if _kind(page) != _kind(first):
            raise UnreadableFileError(
                path,
                f"holds several pictures that are no stack: page 1 is {_words(first)}, page {number} "
                f"{_words(page)}; save each alone",
            )
    depth, channels = stack_axes(path, str(first.description), len(pages), first.samplesperpixel)
    listed = _palette(first) if first.photometric == PALETTE else None
    palette = listed if colours else None
    samples = channels * (first.samplesperpixel if palette is None else 3)
    axes = "D" * (depth > 1) + "HW" + "C" * (samples > 1)
    lengths = {"D": depth, "H": first.imagelength, "W": first.imagewidth, "C": samples}
    dtype = np.dtype(first.dtype) if palette is None else palette.dtype
    # JPEG of up to 8 bits, and samples of one bit, come as bytes.
    dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype

    def read() -> NDArray[Any]:
        for page in validity:
            if not page.asarray(maxworkers=1).all():
                raise UnreadableFileError(
                    path,
                    "has a mask of valid pixels, of which some are not, and they would be read as data; save it "
                    "without (gdal_translate -mask none), and leave these pixels out by the labels",
                )
        # Pages are in the order depth, channel, and a page is H, W, samples.
        shape = (depth, channels, *(first.imagelength, first.imagewidth, first.samplesperpixel))
        values = np.empty((depth * channels, *shape[2:]), dtype if palette is None else first.dtype)
        for place, page in zip(values, pages, strict=True):
            place[...] = _samples(page)
        values = np.moveaxis(values.reshape(shape), 1, -2)
        if palette is not None:
            values = palette[values[..., 0]]
        return np.ascontiguousarray(values).reshape([lengths[axis] for axis in axes])

    shape, bits = tuple(lengths[axis] for axis in axes), int(first.bitspersample)
    if listed is None or colours:
        return Stored(shape, read, dtype, axes, bits=bits)
    indexed = packed_16(listed) if listed.dtype == np.uint16 else packed(listed)
    return Stored(shape, read, dtype, axes, palette=indexed, bits=bits)


def _check_inner(path: Path, page: Any) -> None:
    """Check that the pictures within a page (SubIFDs), which are passed over, are smaller copies of it."""
    offsets = page.subifds or ()
    if len(offsets) > MOST_INNER:
        raise ValueError(f"it has more than {MOST_INNER} pictures within a page")
    for inner in page.pages if offsets else ():
        smaller = inner.imagelength * inner.imagewidth < page.imagelength * page.imagewidth
        if not inner.subfiletype & REDUCED and not smaller:
            raise UnreadableFileError(
                path, "holds another picture within a page (SubIFD), no smaller copy of it; save each alone"
            )


def _quiet(logger: logging.Logger) -> None:
    """Keep off the terminal what is checked here."""
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _samples(page: Any) -> NDArray[Any]:
    """Decode a page, (H, W, S) however it is stored."""
    values: NDArray[Any] = page.asarray(maxworkers=1)
    if page.axes.startswith("S"):
        values = np.moveaxis(values, 0, -1)
    return values.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)


def _kind(page: Any) -> tuple[object, ...]:
    return page.imagelength, page.imagewidth, page.samplesperpixel, page.dtype, page.photometric, _map_of(page)


def _map_of(page: Any) -> object:
    return page.tags[COLOUR_MAP].value if page.photometric == PALETTE and COLOUR_MAP in page.tags else None


def _words(page: Any) -> str:
    shape = f"{page.imagelength} x {page.imagewidth} x {page.samplesperpixel}"
    return f"{shape} {_photometric(page)} of {page.bitspersample} bits"


def _photometric(page: Any) -> str:
    return str(getattr(page.photometric, "name", page.photometric))


def _check_kind(path: Path, page: Any, colours: bool) -> None:
    """Check that the samples of a page mean what they are."""
    check_upright(path, page.tags.valueof(274, 1))
    compression = int(page.compression)
    name = getattr(page.compression, "name", str(compression))
    if compression not in LOSSLESS | LOSSY:
        raise UnreadableFileError(path, f"is compressed as {name}, which is not read; save it with deflate or LZW")
    if not colours and compression in LOSSY:
        kind = "a JPEG" if compression == JPEG else f"compressed as {name}"
        raise UnreadableFileError(path, f"a mask cannot be {kind}, which changes labels; expected a PNG")
    if page.predictor == FLOATING and page.parent.byteorder == ">":
        raise UnreadableFileError(
            path,
            "has a predictor of floats and the big-endian byte order, which readers undo differently; save it "
            "without a predictor",
        )
    photometric = int(page.photometric)
    if photometric == 0:
        what = "values" if colours else "labels"
        raise UnreadableFileError(path, f"stores its {what} inverted, white as 0; expected a PNG or black as 0")
    as_rgb = photometric == YCBCR and compression == JPEG and page.samplesperpixel == 3
    if photometric not in (GREY, RGB, PALETTE, INKS) and not as_rgb:
        raise UnreadableFileError(
            path, f"stores its colours as {_photometric(page)}, which would have to be converted; save it as RGB"
        )
    if photometric == INKS and compression in LOSSY:
        raise UnreadableFileError(
            path, "holds the inks of print (CMYK) as JPEG, which writers store either way round; save it with LZW"
        )
    if page.imagedepth != 1 or page.tiledepth != 1:
        raise UnreadableFileError(path, "holds a volume behind one page; save its slices as pages, or as NIfTI")
    if page.dtype is None or np.dtype(page.dtype).kind not in "buif":
        form = getattr(page.sampleformat, "name", page.sampleformat)
        raise UnreadableFileError(
            path, f"holds {form} samples of {page.bitspersample} bits, which are not read; save it as float32"
        )
    if photometric == PALETTE and (page.samplesperpixel != 1 or COLOUR_MAP not in page.tags):
        raise UnreadableFileError(path, "has a palette without colours, or more than its indices; save it as RGB")


def _check_segments(page: Any, size: int) -> None:
    """Check that the strips or tiles of a page are all there, before any is decoded."""
    height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    if min(height, width, samples) < 1:
        raise ValueError(f"it has the size {height} x {width} x {samples}")
    planes = samples if page.planarconfig == 2 else 1
    if page.is_tiled:
        length, across = page.tilelength, page.tilewidth
        if min(length, across) < 1 or length * across > max(MOST_IN_TILE, 4 * height * width):
            raise ValueError(f"it has tiles of {length} x {across} pixels")
    else:
        length, across = min(page.rowsperstrip, height), width
        if length < 1:
            raise ValueError("it has strips without rows")
    expected = planes * math.ceil(height / length) * math.ceil(width / across)
    offsets, counts = page.dataoffsets, page.databytecounts
    if len(offsets) != expected or len(counts) != expected:
        raise ValueError(f"it needs {expected:,} strips or tiles, and has {len(offsets):,}")
    row = (across * page.bitspersample * (samples // planes) + 7) // 8
    for number, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
        if offset < 8 or count < 1:
            raise ValueError(
                "it has strips or tiles without content; save it in full, with GDAL as SPARSE_OK=FALSE"
            )
        if offset + count > size:
            raise ValueError("it ends before its pixels do")
        if page.compression == 1:
            rows = length if page.is_tiled else min(length, height - number % math.ceil(height / length) * length)
            if count < rows * row:
                raise ValueError("it has fewer bytes than pixels")


def _palette(page: Any) -> NDArray[Any]:
    """Return the colours of a palette, (K, 3): of 16 bits, and of 8 where each is one of 8 bits.

    Some writers store 0 to 255 in the place of 0 to 65535, and libtiff takes a palette without larger values so.
    """
    colours = np.asarray(page.tags[COLOUR_MAP].value, dtype=np.uint16).reshape(3, -1).T
    if len(colours) != 2**page.bitspersample:
        raise ValueError(f"its palette has {len(colours)} colours, and {page.bitspersample} bits")
    if colours.max() < 256:
        return colours.astype(np.uint8)
    for widened in (colours // 257 * 257, colours // 256 * 256):
        if (colours == widened).all():
            return (colours // 256).astype(np.uint8)
    return colours
