"""PNG and TIFF files put together byte by byte, from their specifications."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
SHORT_OR_LONG = {3: "H", 4: "I"}
# Compressions of a TIFF.
NONE, LZW, DEFLATE, PACKBITS, ZSTD, WEBP = 1, 5, 8, 32773, 50000, 50001


def raw_png(
    path: Path,
    depth: int,
    colour: int,
    size: tuple[int, int],
    rows: bytes,
    between: Sequence[tuple[bytes, bytes]] = (),
    interlaced: bool = False,
) -> Path:
    """A PNG of any depth and size, whose pixels may be missing; `between` header and pixels come other chunks."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)
    parts = (b"IHDR", header), *between, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


def packed(samples: np.ndarray, depth: int) -> bytes:
    """Rows of samples (H, W, S), whole numbers of so many bits, each row filled up to bytes."""
    if samples.dtype.kind == "f" or depth in (8, 16, 32, 64):
        return np.ascontiguousarray(samples).tobytes()
    bits = (samples.astype(np.int64)[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.reshape(len(samples), -1).astype(np.uint8), axis=1).tobytes()


def png_of(path: Path, samples: np.ndarray, depth: int, colour: int, **options: Any) -> Path:
    """A PNG of samples (H, W, S), without filters."""
    height, width, _ = samples.shape
    rows = packed(samples.astype(">u2" if depth == 16 else np.uint8), depth)
    length = len(rows) // height
    filtered = b"".join(b"\0" + rows[start : start + length] for start in range(0, len(rows), length))
    return raw_png(path, depth, colour, (width, height), filtered, **options)


def _compressed(content: bytes, compression: int) -> bytes:
    if compression == DEFLATE:
        return zlib.compress(content)
    if compression == PACKBITS:  # as literal runs
        runs = (content[start : start + 128] for start in range(0, len(content), 128))
        return b"".join(bytes([len(run) - 1]) + run for run in runs)
    if compression in (LZW, ZSTD):
        import imagecodecs

        return bytes({LZW: imagecodecs.lzw_encode, ZSTD: imagecodecs.zstd_encode}[compression](content))
    return content


def raw_tiff(
    path: Path,
    pages: Sequence[np.ndarray],
    *,
    depth: int = 0,
    photometric: int = 1,
    extra: Sequence[int] = (),
    order: str = "<",
    big: bool = False,
    planar: bool = False,
    tile: int = 0,
    rows: int = 0,
    compression: int = NONE,
    predictor: int = 1,
    strip: bytes = b"",
    tags: dict[int, tuple[int, Sequence[int] | bytes]] | None = None,
    per_page: Sequence[dict[int, tuple[int, Sequence[int] | bytes]]] = (),
) -> Path:
    """A TIFF of pages, each of samples (H, W, S); tags by number, with their type (2 text, 3 short, 4 long).

    `strip` is one that is compressed already.
    """
    place, number, entry = ("Q", "Q", "Q") if big else ("I", "H", "I")
    content = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42))
    content += struct.pack(order + "HHQ", 8, 0, 0) if big else bytes(4)
    link = len(content) - (8 if big else 4)
    kinds = {"b": 2, "u": 1, "i": 2, "f": 3}
    for index, samples in enumerate(pages):
        height, width, channels = samples.shape
        bits = depth or samples.dtype.itemsize * 8
        planes = [samples[..., [c]] for c in range(channels)] if planar else [samples]
        segments = []
        for plane in planes:
            if tile:
                down, across = -(-height // tile) * tile, -(-width // tile) * tile
                padded = np.zeros((down, across, plane.shape[2]), plane.dtype)
                padded[:height, :width] = plane
                parts = [
                    padded[y : y + tile, x : x + tile] for y in range(0, down, tile) for x in range(0, across, tile)
                ]
            else:
                parts = [plane[y : y + (rows or height)] for y in range(0, height, rows or height)]
            for part in parts:
                if predictor == 2:
                    part = np.diff(part, axis=1, prepend=np.zeros_like(part[:, :1])).astype(part.dtype)
                encoded = packed(part.astype(part.dtype.newbyteorder(order)), bits)
                segments.append(strip or _compressed(encoded, compression))
        offsets = []
        for segment in segments:
            offsets.append(len(content))
            content += segment + b"\0" * (len(segment) % 2)
        entries: dict[int, tuple[int, Sequence[int] | bytes]] = {
            256: (4, [width]),
            257: (4, [height]),
            258: (3, [bits] * channels),
            259: (3, [compression]),
            262: (3, [photometric]),
            277: (3, [channels]),
            284: (3, [2 if planar else 1]),
            317: (3, [predictor]),
            339: (3, [kinds[samples.dtype.kind]] * channels),
        }
        if tile:
            entries |= {322: (4, [tile]), 323: (4, [tile]), 324: (4, offsets), 325: (4, [len(s) for s in segments])}
        else:
            entries |= {278: (4, [rows or height]), 273: (4, offsets), 279: (4, [len(s) for s in segments])}
        if extra:
            entries[338] = 3, extra
        entries |= (tags or {}) | (per_page[index] if per_page else {})
        written = b""
        for tag, (kind, values) in sorted(entries.items()):
            value = (
                values
                if isinstance(values, bytes)
                else struct.pack(f"{order}{len(values)}{SHORT_OR_LONG[kind]}", *values)
            )
            count, room = len(values), 8 if big else 4
            if len(value) > room:
                start = len(content)
                content += value + b"\0" * (len(value) % 2)
                value = struct.pack(order + place, start)
            written += struct.pack(order + "HH" + entry, tag, kind, count) + value.ljust(room, b"\0")
        struct.pack_into(order + place, content, link, len(content))
        content += struct.pack(order + number, len(entries)) + written
        link = len(content)
        content += bytes(8 if big else 4)
    path.write_bytes(content)
    return path


def raw_nifti(path: Path, values: np.ndarray, code: int, slope: float = 0.0, intercept: float = 0.0) -> Path:
    """A NIfTI-1 file whose voxels lie right, front, up; values (W, H, D) as its first axis runs fastest."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, values.ndim, *values.shape, *[1] * (7 - values.ndim))
    struct.pack_into("<hh", header, 70, code, values.dtype.itemsize * 8)
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    struct.pack_into("<fff", header, 108, 352, slope, intercept)
    struct.pack_into("<hh", header, 252, 0, 1)
    for row in range(3):
        struct.pack_into("<4f", header, 280 + 16 * row, *np.eye(4)[row])
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + values.tobytes(order="F"))
    return path
