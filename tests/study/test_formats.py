"""Every row of the table of docs/files.md: files written by something else than their reader, value for value."""

import io
import itertools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from lovasz.study.io.images import open_image, read_image
from lovasz.study.io.kinds import UnreadableFileError
from tests.study.raw import (
    DEFLATE,
    GREY,
    GREY_ALPHA,
    LZW,
    NONE,
    PACKBITS,
    PALETTE,
    RGB,
    RGBA,
    WEBP,
    ZSTD,
    png_of,
    raw_nifti,
    raw_png,
    raw_tiff,
)

#: EXIF with an orientation of 6 alone.
TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
DOCS = Path(__file__).parents[2] / "docs" / "files.md"
H, W = 5, 7
#: A palette of four colours, and the same as a TIFF holds it: 16 bits each, all reds first.
COLOURS = np.array([[10, 20, 30], [40, 50, 60], [255, 0, 7], [1, 2, 3]], np.uint8)
WHITE_IS_ZERO, TIFF_RGB, TIFF_PALETTE, CMYK, YCBCR, LAB = 0, 2, 3, 5, 6, 8


@dataclass
class Row:
    """A line of the table, and files that it is true of."""

    format: str
    stored: str
    outcome: str
    cases: list[tuple[str, Callable[[Path], object], Any]] = field(default_factory=list)


def samples(channels: int, dtype: Any, most: int | None = None) -> np.ndarray:
    """Values (H, W, C) all over the range of a type, or of so many bits."""
    random = np.random.default_rng(channels)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return random.normal(0, 1e4, (H, W, channels)).astype(dtype)
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if most is None else (0, most)
    values = random.integers(low, high, (H, W, channels), dtype.newbyteorder("="), endpoint=True).astype(dtype)
    values.flat[:2] = low, high
    return values


def first(values: np.ndarray) -> np.ndarray:
    """Channels first."""
    return np.moveaxis(values, -1, 0)


def png(values: np.ndarray, depth: int, colour: int, **options: Any) -> Callable[[Path], object]:
    return lambda path: png_of(path, values, depth, colour, **options)


def tiff(values: np.ndarray, **options: Any) -> tuple[str, Callable[[Path], object], np.ndarray]:
    """A case: these samples in one page."""
    return "tif", lambda path: raw_tiff(path, [values], **options), first(values)


def few(channels: int, depth: int) -> np.ndarray:
    return samples(channels, np.uint8 if depth <= 8 else np.uint16, 2**depth - 1)


def on_the_earth(path: Path) -> None:
    """A GeoTIFF of two channels: a pixel's size, the place of a corner, no keys, GDAL's value for no data."""
    extratags: list[tuple[int, str, int, Any]] = [
        (33550, "d", 3, (0.5, 0.5, 0.0)), (33922, "d", 6, (0.0, 0.0, 0.0, 4e5, 5e6, 0.0)),
        (34735, "H", 4, (1, 1, 0, 0)), (42113, "s", 0, "9999"),
    ]  # fmt: skip
    tifffile.imwrite(
        path, samples(2, "i2", 9999), photometric="minisblack", planarconfig="contig", extratags=extratags
    )


def coloured(depth: int, factor: int) -> Callable[[Path], object]:
    """A TIFF of `INDICES` whose palette has the colours times a factor."""
    entries = np.zeros((3, 2**depth), int)
    entries[:, : len(COLOURS)] = COLOURS.T.astype(int) * factor
    tags = {320: (3, entries.reshape(-1).tolist())}
    return lambda path: raw_tiff(path, [INDICES], depth=depth, photometric=TIFF_PALETTE, tags=tags)


def with_validity(valid: np.ndarray) -> Callable[[Path], object]:
    """A TIFF of RGB whose second page says which pixels are valid."""
    tags = [{}, {254: (4, [4]), 262: (3, [4])}]
    return lambda path: raw_tiff(path, [few(3, 8), valid], per_page=tags)


def pillow(values: np.ndarray, mode: str, **options: Any) -> Callable[[Path], object]:
    def write(path: Path | io.BytesIO) -> None:
        Image.frombytes(mode, (values.shape[1], values.shape[0]), values.tobytes()).save(path, **options)

    return write


def tiff_of_webp(path: Path) -> None:
    """A TIFF whose strip is a WebP without loss."""
    content = io.BytesIO()
    pillow(few(3, 8), "RGB", format="WEBP", lossless=True)(content)
    raw_tiff(path, [few(3, 8)], photometric=TIFF_RGB, compression=WEBP, strip=content.getvalue())


def animated(path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)


def bmp(depth: int, rows: bytes, colours: bytes = b"") -> Callable[[Path], object]:
    """A BMP of W x H pixels, the lowest row first."""
    header = struct.pack("<IiiHHIIiiII", 40, W, H, 1, depth, 0, 0, 0, 0, len(colours) // 4, 0)
    start = 14 + len(header) + len(colours)

    def write(path: Path) -> None:
        path.write_bytes(b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + colours + rows)

    return write


def opaque(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[..., -1] = np.iinfo(values.dtype).max
    return values


INDICES = few(1, 2)
SEEN = first(COLOURS[INDICES[..., 0]])
CLEAR = [(b"PLTE", COLOURS.tobytes()), (b"tRNS", bytes([255, 128]))]
SOLID = [(b"PLTE", COLOURS.tobytes()), (b"tRNS", bytes([255, 255]))]
BGR = np.concatenate([COLOURS[:, ::-1], np.zeros((4, 1), np.uint8)], axis=1).tobytes()
SMOOTH = np.tile(np.linspace(0, 255, 16).astype(np.uint8)[:, None], (1, 16))[..., None]
PAGES = [samples(1, np.uint16), samples(1, np.uint16) // 2, samples(1, np.uint16) // 3]
STACK = np.stack([page[..., 0] for page in PAGES])[None]
BANDS = np.stack([page[..., 0] for page in PAGES])
IMAGEJ = "ImageJ=1.54f\nimages=3\n{}=3\nloop=false\n"
OME = '<?xml version="1.0"?><OME><Image ID="0"><Pixels DimensionOrder="XYCZT" Size{}="3" SizeT="1"/></Image></OME>'


def described(text: str, pages: list[np.ndarray] = PAGES) -> Callable[[Path], object]:
    return lambda path: raw_tiff(path, pages, tags={270: (2, text.encode() + b"\0")})


ROWS = [
    Row(
        "PNG",
        "grey of 1, 2 or 4 bits",
        "samples as stored, 0 to 1, 3 or 15, not stretched to 255",
        [("png", png(few(1, depth), depth, GREY), first(few(1, depth))) for depth in (1, 2, 4)],
    ),
    Row(
        "PNG",
        "grey of 8 or 16 bits; RGB of 8 or 16 bits",
        "as stored",
        [
            ("png", png(few(c, depth), depth, colour), first(few(c, depth)))
            for depth, (c, colour) in itertools.product((8, 16), ((1, GREY), (3, RGB)))
        ],
    ),
    Row(
        "PNG, WebP",
        "alpha, 8 or 16 bits, not opaque everywhere",
        "the last channel, as stored",
        [
            ("png", png(few(c, depth), depth, colour), first(few(c, depth)))
            for depth, (c, colour) in itertools.product((8, 16), ((2, GREY_ALPHA), (4, RGBA)))
        ]
        + [("webp", pillow(few(4, 8), "RGBA", lossless=True, exact=True), first(few(4, 8)))],
    ),
    Row(
        "PNG, WebP",
        "alpha that is opaque everywhere",
        "dropped, since it says nothing: grey or RGB",
        [
            ("png", png(opaque(few(c, depth)), depth, colour), first(few(c, depth))[:-1])
            for depth, (c, colour) in itertools.product((8, 16), ((2, GREY_ALPHA), (4, RGBA)))
        ]
        + [("webp", pillow(opaque(few(4, 8)), "RGBA", lossless=True), first(few(4, 8))[:3])],
    ),
    Row(
        "PNG",
        "a palette of 1 to 8 bits",
        "its colours: RGB, and RGBA where a pixel is not opaque",
        [("png", png(INDICES, depth, PALETTE, between=SOLID[:1]), SEEN) for depth in (2, 4, 8)]
        + [
            ("png", png(INDICES % 2, 1, PALETTE, between=SOLID[:1]), first(COLOURS[INDICES[..., 0] % 2])),
            ("png", png(INDICES, 8, PALETTE, between=SOLID), SEEN),
            (
                "png",
                png(INDICES, 8, PALETTE, between=CLEAR),
                np.concatenate([SEEN, np.where(first(INDICES) == 1, 128, 255).astype(np.uint8)]),
            ),
        ],
    ),
    Row(
        "PNG",
        "one colour that stands for transparent pixels (`tRNS` of grey and RGB)",
        "the colour, as stored",
        [
            ("png", png(few(c, depth), depth, colour, between=[(b"tRNS", bytes(2 * c))]), first(few(c, depth)))
            for depth, (c, colour) in itertools.product((8, 16), ((1, GREY), (3, RGB)))
        ],
    ),
    Row(
        "PNG",
        "16 bits a channel, RGB or alpha, interlaced",
        "refused",
        [
            (
                "png",
                lambda path: raw_png(path, 16, RGB, (1, 1), bytes(7), interlaced=True),
                "has 16 bits a channel and is interlaced; save it without",
            )
        ],
    ),
    Row(
        "PNG, WebP",
        "animated",
        "refused: frames are no slices",
        [(kind, animated, "holds several pictures, 2 of an animation") for kind in ("png", "webp")],
    ),
    Row(
        "WebP",
        "RGB",
        "as decoded; bit for bit where it was compressed without loss",
        [("webp", pillow(few(3, 8), "RGB", lossless=True), first(few(3, 8)))],
    ),
    Row(
        "JPEG",
        "grey; colour",
        "as decoded: grey, RGB",
        [
            ("jpg", pillow(SMOOTH, "L", quality=100), "within 2 of SMOOTH"),
            ("jpg", pillow(np.tile(SMOOTH, 3), "RGB", quality=100), "within 2 of SMOOTH"),
        ],
    ),
    Row(
        "JPEG",
        "CMYK",
        "refused: some writers store the inks the other way round",
        [("jpg", pillow(few(4, 8), "CMYK"), r"holds the inks of print \(CMYK\).*save it as RGB")],
    ),
    Row(
        "BMP",
        "palette of 1, 4 or 8 bits; 24 or 32 bits",
        "its colours, RGB; the unused byte of 32 bits is dropped",
        [
            ("bmp", bmp(8, np.pad(INDICES[::-1, :, 0], ((0, 0), (0, 1))).tobytes(), BGR), SEEN),
            (
                "bmp",
                bmp(24, np.pad(few(3, 8)[::-1, :, ::-1].reshape(H, -1), ((0, 0), (0, 3))).tobytes()),
                first(few(3, 8)),
            ),
            ("bmp", bmp(32, few(4, 8)[::-1, :, [2, 1, 0, 3]].tobytes()), first(few(4, 8))[:3]),
        ],
    ),
    Row(
        "BMP",
        "a palette of greys in order, of 4 bits, or of 8 with black and white alone",
        "refused: Pillow misreads it",
        [
            ("bmp", bmp(8, bytes(8 * H), bytes(4) + b"\xff" * 3 + b"\0"), "greys alone and 8 bits a pixel"),
            (
                "bmp",
                bmp(4, bytes(4 * H), b"".join(bytes((n, n, n, 0)) for n in range(16))),
                "greys alone and 4 bits a pixel",
            ),
        ],
    ),
    Row(
        "BMP",
        "16 bits",
        "refused: 5 bits a channel would be stretched",
        [("bmp", bmp(16, bytes(16 * H)), "has 16 bits a pixel")],
    ),
    Row(
        "TIFF",
        "1 to 64 bits, unsigned; any number of channels",
        "as stored, in the next type of 8 to 64 bits",
        [
            tiff(few(c, depth), depth=depth)
            for depth, c in itertools.product((1, 2, 4, 6, 8, 10, 12, 14, 16), (1, 3, 4, 13))
        ]
        + [tiff(samples(c, dtype)) for dtype, c in itertools.product((np.uint32, np.uint64), (1, 5))]
        + [tiff(samples(2, np.uint32, 2**24 - 1), depth=24)],
    ),
    Row(
        "TIFF",
        "signed integers of 8 to 64 bits; float16, float32, float64",
        "as stored",
        [
            tiff(samples(c, dtype))
            for dtype, c in itertools.product(("i1", "i2", "i4", "i8", "f2", "f4", "f8"), (1, 2, 4))
        ],
    ),
    Row(
        "TIFF",
        "either byte order, classic or BigTIFF; interleaved or planar; strips or tiles",
        "the same values",
        [
            tiff(samples(c, dtype), order=order, big=big, planar=planar, **cut)
            for c, dtype, order, big, planar, cut in itertools.product(
                (1, 4), ("u1", "u2", "f4"), "<>", (False, True), (False, True), ({}, {"rows": 2}, {"tile": 16})
            )
        ],
    ),
    Row(
        "TIFF",
        "compressed by LZW, deflate, PackBits, Zstandard; with a predictor",
        "the same values",
        [
            tiff(samples(c, dtype), compression=compression, predictor=predictor, **cut)
            for c, dtype, compression, predictor, cut in itertools.product(
                (1, 4), ("u1", "u2"), (NONE, LZW, DEFLATE, PACKBITS, ZSTD), (1, 2), ({}, {"rows": 2}, {"tile": 16})
            )
            if compression != NONE or predictor == 1
        ],
    ),
    Row(
        "TIFF",
        "big-endian floating point with its predictor",
        "refused: readers undo it differently",
        [
            (
                "tif",
                lambda path: pytest.importorskip("tifffile").imwrite(
                    path, few(1, 8)[..., 0].astype(">f4"), byteorder=">", predictor=3, compression="deflate"
                ),
                "a predictor of floats and the big-endian byte order",
            )
        ],
    ),
    Row(
        "TIFF",
        "compressed as JPEG or WebP",
        "as decoded, RGB of YCbCr; never a mask",
        [
            ("tif", pillow(np.tile(SMOOTH, 3), "RGB", compression="jpeg", quality=100), "within 2 of SMOOTH"),
            ("tif", pillow(SMOOTH, "L", compression="jpeg", quality=100), "within 2 of SMOOTH"),
            ("tif", tiff_of_webp, first(few(3, 8))),
        ],
    ),
    Row(
        "TIFF",
        "any other compression (CCITT fax, LERC, JPEG 2000, ...)",
        "refused",
        [
            (
                "tif",
                pillow(np.zeros((8, 1), np.uint8), "1", compression="group4"),
                "is compressed as CCITT.*save it with deflate",
            ),
            *[
                ("tif", lambda path, c=c: raw_tiff(path, [few(1, 8)], compression=c), "is compressed as .*not read")
                for c in (34887, 34712, 65000)
            ],
        ],
    ),
    Row(
        "TIFF",
        "more samples than colours: near-infrared, alpha, others",
        "channels, as stored, alpha too",
        [
            tiff(few(c, 8), photometric=TIFF_RGB, extra=extra)
            for c, extra in ((4, [0]), (4, [1]), (4, [2]), (6, [0, 0, 0]), (5, [2, 0]))
        ]
        + [
            tiff(opaque(few(4, 8)), photometric=TIFF_RGB, extra=[2]),
            tiff(few(2, 8), extra=[2]),
            tiff(few(4, 16), extra=[0, 0, 0]),
        ],
    ),
    Row(
        "TIFF",
        "CMYK, other inks",
        "the inks, as stored",
        [
            tiff(few(4, 8), photometric=CMYK),
            tiff(few(4, 16), photometric=CMYK, planar=True),
            tiff(few(5, 8), photometric=CMYK, extra=[0]),
        ],
    ),
    Row(
        "TIFF",
        "a palette",
        "its colours: RGB of 8 bits where they have no more, else of 16",
        [("tif", coloured(depth, 257), SEEN) for depth in (2, 4, 8)]
        + [("tif", coloured(8, 256), SEEN), ("tif", coloured(8, 211), 211 * SEEN.astype(np.uint16))],
    ),
    Row(
        "TIFF",
        "white as 0; YCbCr without JPEG; L\\*a\\*b\\*; raw sensor data",
        "refused: readers disagree about them",
        [
            ("tif", lambda path: raw_tiff(path, [few(1, 8)], photometric=WHITE_IS_ZERO), "inverted, white as 0"),
            *[
                (
                    "tif",
                    lambda path, p=p: raw_tiff(path, [few(3, 8)], photometric=p),
                    f"stores its colours as {name}.*save it as RGB",
                )
                for p, name in ((YCBCR, "YCBCR"), (LAB, "CIELAB"), (32844, "LOGL"), (32803, "CFA"))
            ],
        ],
    ),
    Row(
        "TIFF",
        "several pages of one size and type",
        "a stack (C, D, H, W), the pages along D",
        [
            ("tif", lambda path: raw_tiff(path, PAGES), STACK),
            (
                "tif",
                lambda path: raw_tiff(path, [few(3, 8), few(3, 8)[::-1]]),
                np.stack([first(few(3, 8)), first(few(3, 8)[::-1])], axis=1),
            ),
            ("tif", described(IMAGEJ.format("slices")), STACK),
            ("tif", described(IMAGEJ.format("frames")), STACK),
            ("tif", described(OME.format("Z")), STACK),
            ("tif", described('{"shape": [3, 5, 7]}'), STACK),
        ],
    ),
    Row(
        "TIFF",
        "pages that ImageJ, OME or tifffile's `axes` call channels",
        "channels",
        [
            ("tif", described(IMAGEJ.format("channels")), BANDS),
            ("tif", described(OME.format("C")), BANDS),
            ("tif", described('{"shape": [3, 5, 7], "axes": "CYX"}'), BANDS),
            (
                "tif",
                described(
                    "ImageJ=1.54f\nimages=6\nchannels=2\nslices=3\n",
                    [p for page in PAGES for p in (page, page + 1)],
                ),
                np.concatenate([STACK, STACK + 1]),
            ),
        ],
    ),
    Row(
        "TIFF",
        "overviews (reduced copies), also within a page (SubIFD)",
        "passed over; another picture there is refused",
        [
            (
                "tif",
                lambda path: raw_tiff(path, [few(3, 8), few(3, 8)[::2]], per_page=[{}, {254: (4, [1])}]),
                first(few(3, 8)),
            )
        ],
    ),
    Row(
        "TIFF",
        "a mask of valid pixels",
        "passed over where all are valid, else refused",
        [
            ("tif", with_validity(np.full((H, W, 1), 255, np.uint8)), first(few(3, 8))),
            ("tif", with_validity(few(1, 8)), "has a mask of valid pixels, of which some are not"),
        ],
    ),
    Row(
        "TIFF",
        "where it lies on the Earth, its value for no data (GeoTIFF, GDAL)",
        "passed over: such values are numbers like others",
        [("tif", on_the_earth, first(samples(2, "i2", 9999)))],
    ),
    Row(
        "TIFF",
        "pages that differ; fewer than the file says; along several axes",
        "refused",
        [
            (
                "tif",
                lambda path: raw_tiff(path, [few(1, 8), few(1, 8)[:2]]),
                "no stack: page 1 is 5 x 7 x 1 .*page 2 2 x 7 x 1",
            ),
            (
                "tif",
                lambda path: raw_tiff(path, [few(1, 8), few(1, 16)]),
                "no stack: .*of 8 bits, page 2 .*of 16 bits",
            ),
            (
                "tif",
                described(IMAGEJ.format("slices"), PAGES[:1]),
                "says that it holds 3 Z pictures, and has 1 pages",
            ),
            (
                "tif",
                described('{"shape": [3, 5, 7], "truncated": true}', PAGES[:1]),
                "says that it holds 3 Q pictures",
            ),
            (
                "tif",
                described("ImageJ=1.54f\nimages=6\nslices=3\nframes=2\n", PAGES * 2),
                "has pages along the axes T, Z",
            ),
        ],
    ),
    Row(
        "JPEG, TIFF, PNG, WebP",
        "an EXIF orientation other than upright",
        "refused: its mask may be either way",
        [
            (
                "tif",
                lambda path: raw_tiff(path, [few(1, 8)], tags={274: (3, [6])}),
                "EXIF orientation 6.*save it upright",
            ),
            *[
                (kind, pillow(few(3, 8), "RGB", exif=TURNED), "EXIF orientation 6")
                for kind in ("jpg", "png", "webp")
            ],
        ],
    ),
    Row(
        "NumPy (`.npy`)",
        "(H, W), (C, H, W), (C, H, W, D) of any type of number, either byte order",
        "as stored",
        [
            ("npy", lambda path, v=v: np.save(path, v), v)
            for v in (
                first(samples(c, dtype))
                for c, dtype in itertools.product((1, 5), (">u2", "<i4", "f2", ">f8", "u8"))
            )
        ]
        + [("npy", lambda path: np.save(path, few(1, 1)[..., 0] > 0), first(few(1, 1)) > 0)],
    ),
    Row(
        "NIfTI",
        "integers, floating point; 3 axes, or channels as the fourth; a scale factor",
        "axes in the order right, front, up; scaled values as float64",
        [
            ("nii", lambda path: raw_nifti(path, samples(4, "<i2"), 4), samples(4, "<i2")[None]),
            ("nii", lambda path: raw_nifti(path, samples(4, "<f4"), 16), samples(4, "<f4")[None]),
            (
                "nii",
                lambda path: raw_nifti(path, samples(4, "<i2"), 4, 0.5, 3.0),
                samples(4, "<i2")[None] * 0.5 + 3,
            ),
            (
                "nii",
                lambda path: raw_nifti(path, samples(4, "u1")[:, :, None, :], 2),
                first(samples(4, "u1"))[..., None],
            ),
        ],
    ),
    Row(
        "all",
        "NaN, infinities, values beyond float32",
        "refused: how many, and where the first is",
        [
            (
                "tif",
                lambda path: raw_tiff(path, [np.array([[[0], [np.nan], [np.inf]]])]),
                r"float32 \(1 NaN, 1 infinite\), the first at \(0, 0, 1\)",
            ),
            ("npy", lambda path: np.save(path, np.array([[1e39]])), "a value that is not finite in float32"),
            ("nii", lambda path: raw_nifti(path, np.full((2, 2, 2), np.nan, "<f4"), 16), "8 NaN"),
        ],
    ),
    Row(
        "all",
        "complex numbers, text, Python objects, tables",
        "refused",
        [
            ("npy", lambda path: np.save(path, np.zeros(3, complex)), "holds no numbers"),
            ("npy", lambda path: np.save(path, np.array([{}]), allow_pickle=True), "not unpickled"),
            (
                "tif",
                lambda path: raw_tiff(path, [samples(1, "u8")], tags={339: (3, [6])}),
                "holds no numbers|are not read",
            ),
        ],
    ),
]

CASES = [(row, *case) for row in ROWS for case in row.cases]


@pytest.mark.parametrize(
    ("row", "kind", "write", "expected"), CASES, ids=[f"{row.format}-{row.stored}" for row, *_ in CASES]
)
def test_each_row_of_the_table_is_true(
    row: Row, kind: str, write: Callable[[Path], object], expected: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{kind}"
    write(path)
    if row.outcome.startswith("refused") or (isinstance(expected, str) and not expected.startswith("within")):
        with pytest.raises(UnreadableFileError, match=expected) as raised:
            read_image(path)
        assert str(raised.value).startswith(f"{path}: ")
        assert "\n" not in str(raised.value)
        return
    with open_image(path) as image:
        values = image.read()
        assert image.shape == values.shape
    if isinstance(expected, str):
        np.testing.assert_allclose(values.astype(int), np.broadcast_to(SMOOTH[..., 0], values.shape), atol=2)
        assert values.dtype == np.uint8
        return
    np.testing.assert_array_equal(values, expected, strict=False)
    assert values.shape == expected.shape
    assert values.dtype == expected.dtype.newbyteorder("=")


def _table() -> Iterator[tuple[str, ...]]:
    # The table of scores has its tests with the command.
    for line in DOCS.read_text().partition("## Scores")[0].splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
        if line.startswith("| ") and len(cells) == 3 and cells[0] != "format":
            yield cells


def test_the_table_of_the_page_is_the_one_that_is_tested() -> None:
    assert list(_table()) == [(row.format, row.stored, row.outcome) for row in ROWS]
    assert all(row.cases for row in ROWS)
