"""Pictures of palettes and colours, and volumes, written byte by byte: by nothing that reads them here."""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TRUTH = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [0, 2, 2, 1], [0, 0, 0, 1]], np.uint8)
WRONG = ((TRUTH + 1) % 3).astype(np.uint8)
CLOSE = TRUTH.copy()
CLOSE[1, 2], CLOSE[3, 3] = 1, 0  # IoU 7/8, 4/6, 3/4

BLACK, RED, GREEN, BLUE = (0, 0, 0), (255, 0, 0), (0, 128, 0), (0, 0, 255)
COLOURS = (BLACK, RED, GREEN)
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6

Colour = tuple[int, int, int]


def png(
    path: Path,
    kind: int,
    samples: NDArray[np.generic],
    palette: tuple[Colour, ...] = (),
    clear: bytes = b"",
    depth: int = 8,
) -> Path:
    """A PNG of samples (H, W) or (H, W, channels); ``clear`` is the opacity of the palette's entries."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = samples.shape[:2]
    if depth < 8:
        bits = [np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :].ravel() for row in samples]
        rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    else:
        rows = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in samples)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))]
    parts += [(b"PLTE", bytes(value for colour in palette for value in colour))] if palette else []
    parts += [(b"tRNS", clear)] if clear else []
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


def coloured(labels: NDArray[np.integer], colours: tuple[Colour, ...] = COLOURS) -> NDArray[np.uint8]:
    """Red, green and blue of each label, (H, W, 3)."""
    return np.array(colours, np.uint8)[labels]


def indexed(path: Path, labels: NDArray[np.integer], order: tuple[int, ...] = (0, 1, 2), more: int = 0) -> Path:
    """A palette picture that shows the labels in `COLOURS`, its palette in any order and with more entries."""
    index = np.argsort(order)[labels]
    return png(path, PALETTE, index, (*(COLOURS[label] for label in order), *[BLUE] * more))


def volume(path: Path, stored: NDArray[np.integer], slope: float = 1, inter: float = 0) -> Path:
    """A NIfTI file of stored integers whose values are ``slope * stored + inter``."""
    codes = {"u1": 2, "i2": 4, "i4": 8, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280, "f4": 16}
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, stored.ndim, *stored.shape, *[1] * (7 - stored.ndim))
    kind = stored.dtype.str[1:]
    struct.pack_into("<hh", header, 70, codes[kind], 8 * stored.dtype.itemsize)
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    struct.pack_into("<3f", header, 108, 352.0, slope, inter)
    struct.pack_into("<hh", header, 252, 0, 1)
    for row in range(3):
        struct.pack_into("<4f", header, 280 + 16 * row, *np.eye(4)[row])
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + stored.tobytes(order="F"))
    return path


def tiff(path: Path, samples: NDArray[np.generic], sample_format: int = 1, photometric: int = 1) -> Path:
    """A little-endian TIFF of one strip."""
    height, width = samples.shape
    content = samples.tobytes()
    tags = [
        (256, 3, width), (257, 3, height), (258, 3, 8 * samples.dtype.itemsize), (259, 3, 1), (262, 3, photometric),
        (273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, len(content)), (339, 3, sample_format),
    ]  # fmt: skip
    place = 8 + len(content) + len(content) % 2
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    padding = bytes(place - 8 - len(content))
    path.write_bytes(
        b"II*\0" + struct.pack("<I", place) + content + padding + struct.pack("<H", len(tags)) + entries + bytes(4)
    )
    return path
