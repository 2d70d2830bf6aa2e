"""Files of scores that are damaged, hostile, or hold something else: each is refused in one line."""

import io
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.scored import SHAPE, evaluate, make
from tests.study.raw import png_of

SCORES = np.zeros((2, *SHAPE), np.float32)


class Bomb:
    """What runs where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("was unpickled",)


def npy(array: Any) -> bytes:
    """The content of a ``.npy`` file."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


def header(shape: tuple[int, ...]) -> bytes:
    """The same of an array of float32 without its values."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return content.getvalue()


def zipped(content: bytes, name: str = "a.npy", compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of one file."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as file:
        file.writestr(name, content)
    return archive.getvalue()


def several() -> bytes:
    """An archive of seven arrays."""
    archive = io.BytesIO()
    np.savez(archive, **{f"a{n}": SCORES for n in range(7)})
    return archive.getvalue()


def longer_than_it_is() -> bytes:
    """An archive whose directory and header say that the array has 64 times the bytes it has."""
    content = header((2, 12, 10)) + bytes(15)
    archive = bytearray(zipped(content, compression=zipfile.ZIP_STORED))
    size, wrong = (struct.pack("<I", len(content) - 15 + more) for more in (15, 960))
    return bytes(archive.replace(size, wrong))


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "objects": (lambda: zipped(npy(np.array([Bomb()], object))), "holds Python objects, which are not unpickled"),
    "too large": (lambda: zipped(header((60_000, 60_000))), "unfolds to 60000 x 60000 = 3,600,000,000 values"),
    "not all there": (longer_than_it_is, "cannot be read (EOFError)"),
    "more after it": (lambda: zipped(npy(SCORES) + bytes(2**24)), "has 16,777,216 bytes after its array"),
    "a header alone": (
        lambda: zipped(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**28) + bytes(2**28)),
        "its header has 268,435,456 bytes, more than 10,000",
    ),
    "lzma": (lambda: zipped(npy(SCORES), compression=zipfile.ZIP_LZMA), "is compressed otherwise than NumPy does"),
    "bzip2": (lambda: zipped(npy(SCORES), compression=zipfile.ZIP_BZIP2), "compressed otherwise than NumPy does"),
    "several": (several, "holds 7 arrays (a0, a1, a2, a3, a4, ...); expected one"),
    "none": (lambda: b"PK\x05\x06" + bytes(18), "holds 0 arrays; expected one"),
    "another kind": (lambda: zipped(b"class IoU 0.5", "read.txt"), "cannot be read"),
    "no archive": (lambda: npy(SCORES), "cannot be read (File is not a zip file)"),
    "integers": (lambda: zipped(npy(SCORES.astype(np.int64))), "holds int64 values; expected scores of floating"),
    "complex": (lambda: zipped(npy(SCORES.astype(np.complex64))), "holds no numbers"),
    "columns": (lambda: zipped(npy(np.zeros(SHAPE, [("é", "f4")]))), "holds no numbers"),
    "negative": (lambda: zipped(header((-2, 12, 10))), "bytes after its array"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    make(tmp_path, 2, images=1)
    content, said = HOSTILE[name]
    path = tmp_path / "s" / "0.npz"
    path.write_bytes(content())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines = evaluate(tmp_path, "--scores", "logits", classes=2, code=1).stdout.splitlines()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    (line,) = [line for line in lines if "0.npz" in line]
    assert said in line
    assert line.startswith(("  unreadable: ", "  mismatched: "))
    assert grown < 128, f"{grown:.0f} MiB"


GREY, RGB, PALETTE = 0, 2, 3


@pytest.mark.parametrize(
    ("depth", "colour", "said"),
    [
        (1, GREY, "has 1 bit a pixel; expected a grey map of 8 or 16"),
        (2, GREY, "has 2 bits a pixel"),
        (4, GREY, "has 4 bits a pixel"),
        (8, RGB, "holds colours; expected a grey map of probabilities of 8 or 16 bits"),
        (8, PALETTE, "holds a palette; expected a grey map"),
        (1, PALETTE, "holds a palette; expected a grey map"),
    ],
)
def test_a_picture_of_another_depth_is_no_grey_map(depth: int, colour: int, said: str, tmp_path: Path) -> None:
    make(tmp_path, 2, images=1)
    between = [(b"PLTE", bytes(range(6)))] if colour == PALETTE else []
    samples = np.zeros((*SHAPE, 3 if colour == RGB else 1), np.uint8)
    png_of(tmp_path / "s" / "0.png", samples, depth, colour, between=between)
    output = evaluate(tmp_path, "--scores", "probabilities", classes=2, code=1).stdout
    assert said in output
    assert "0.png" in output


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (np.int16, "has 16 bits with a sign a pixel"),
        (np.uint32, "has 32 bits a pixel"),
        (bool, "has 1 bit a pixel"),
    ],
)
def test_a_tiff_of_another_depth_is_no_grey_map(kind: Any, said: str, tmp_path: Path) -> None:
    import tifffile

    make(tmp_path, 2, images=1)
    tifffile.imwrite(tmp_path / "s" / "0.tif", np.zeros(SHAPE, kind), photometric="minisblack")
    assert said in evaluate(tmp_path, "--scores", "probabilities", classes=2, code=1).stdout


def test_a_grey_map_holds_no_logits(tmp_path: Path) -> None:
    make(tmp_path, 2, images=1)
    Image.fromarray(np.full(SHAPE, 99, np.uint8)).save(tmp_path / "s" / "0.png")
    said = "is a picture, of whole numbers; expected logits of floating point, or --scores probabilities"
    assert said in evaluate(tmp_path, "--scores", "logits", classes=2, code=1).stdout
