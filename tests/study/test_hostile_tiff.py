"""TIFF files made to hang, to fill the memory or to be read as something else than they hold."""

import contextlib
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lovasz.study.io.images import open_image, read_image
from lovasz.study.io.kinds import TooLargeError, UnreadableFileError
from lovasz.study.io.masks import read_mask
from tests.study.raw import DEFLATE, LZW, NONE, PACKBITS, ZSTD, raw_tiff

PAGE = np.arange(35, dtype=np.uint8).reshape(5, 7, 1)


@pytest.fixture(autouse=True)
def _quick(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """A file is refused in seconds, and nothing is said beside the message."""
    start = time.perf_counter()
    yield
    assert time.perf_counter() - start < 20
    assert capfd.readouterr() == ("", "")


def with_tag(path: Path, tag: int, kind: int, count: int, value: int) -> None:
    """Writes another entry of the first page over the one that is there."""
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", content, start)[0], 12):
        if struct.unpack_from("<H", content, entry)[0] == tag:
            struct.pack_into("<HHII", content, entry, tag, kind, count, value)
    path.write_bytes(content)


@pytest.mark.parametrize("compression", [NONE, LZW, DEFLATE, PACKBITS, ZSTD])
@pytest.mark.parametrize("cut", [{}, {"rows": 2}, {"tile": 16}])
def test_a_file_that_ends_early_is_refused_wherever_it_ends(
    compression: int, cut: dict[str, int], tmp_path: Path
) -> None:
    pages = [np.random.default_rng(0).integers(0, 2, (20, 7, 1)).astype(np.uint8)] * 2
    content = raw_tiff(tmp_path / "whole.tif", pages, compression=compression, **cut).read_bytes()
    np.testing.assert_array_equal(read_mask(tmp_path / "whole.tif"), np.stack(pages)[..., 0])
    for length in range(0, len(content) - 4, 7):
        (tmp_path / "a.tif").write_bytes(content[:length])
        with pytest.raises(UnreadableFileError, match=r"a\.tif: cannot be read"):
            read_mask(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [LZW, DEFLATE, PACKBITS, ZSTD])
@pytest.mark.parametrize("lost", [1, 5, 30])
def test_a_strip_that_unfolds_to_fewer_pixels_is_refused(compression: int, lost: int, tmp_path: Path) -> None:
    short = raw_tiff(tmp_path / "a.tif", [PAGE.reshape(-1)[: 35 - lost].reshape(1, -1, 1)], compression=compression)
    with_tag(short, 256, 4, 1, 7)
    with_tag(short, 257, 4, 1, 5)
    with_tag(short, 278, 4, 1, 5)
    with pytest.raises(UnreadableFileError, match=r"a\.tif: cannot be read"):
        read_image(short)


def test_a_strip_that_unfolds_to_gigabytes_is_cut_to_its_size(tmp_path: Path) -> None:
    path = raw_tiff(tmp_path / "a.tif", [PAGE], compression=DEFLATE, strip=zlib.compress(bytes(2**28)))
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        read_image(path)


def test_what_a_header_says_is_checked_before_anything_is_decoded(tmp_path: Path) -> None:
    for tag, kind, count, value, why in (
        (256, 4, 1, 2**31, "cannot be read|unfolds to"),
        (257, 4, 1, 2**31, "cannot be read|unfolds to"),
        (256, 4, 1, 0, "cannot be read"),
        (277, 3, 1, 65535, "cannot be read"),
        (277, 3, 1, 0, "cannot be read"),
        (258, 3, 1, 0, "not read|cannot be read"),
        (258, 3, 1, 65, "not read|cannot be read"),
        (278, 4, 1, 0, "strips without rows|cannot be read"),
        (279, 4, 1, 2**31, "ends before its pixels do"),
        (279, 4, 1, 0, "without content"),
        (279, 4, 1, 34, "fewer bytes than pixels"),
        (273, 4, 1, 2**32 - 2, "ends before its pixels do"),
        (273, 4, 2**31, 8, "cannot be read"),
        (279, 4, 0, 0, "as stored"),
        (339, 3, 1, 9, "not read|cannot be read|holds no numbers"),
        (277, 99, 1, 1, r"its tag 277 is damaged"),
        (284, 3, 1, 2, "as stored"),
        (317, 3, 1, 99, "cannot be read"),
        (259, 3, 1, 8, "cannot be read"),
    ):
        path = raw_tiff(tmp_path / "a.tif", [PAGE])
        with_tag(path, tag, kind, count, value)
        if why == "as stored":  # a plane of one sample, and a strip without compression, can be read one way alone
            assert (read_image(path)[0] == PAGE[..., 0]).all()
            continue
        with pytest.raises(UnreadableFileError, match=why):
            read_image(path)


def test_pages_without_end_are_refused(tmp_path: Path) -> None:
    path = raw_tiff(tmp_path / "a.tif", [PAGE, PAGE])
    content = bytearray(path.read_bytes())
    first = struct.unpack_from("<I", content, 4)[0]
    link = first + 2 + 12 * struct.unpack_from("<H", content, first)[0]
    struct.pack_into("<I", content, link, first)
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match="its pages have no end"):
        read_image(path)
    # A hundred thousand pages of no entries, then one page of all the entries there can be.
    pages = b"".join(struct.pack("<HI", 0, 8 + 6 * (n + 1)) for n in range(100_000))
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + pages)
    with pytest.raises(UnreadableFileError, match=r"its pages have no end, or are more than 16,384"):
        read_image(path)
    entry = struct.pack("<HHII", 700, 1, 1, 0) * 65535
    path.write_bytes(
        b"II*\0" + b"".join(struct.pack("<IH", 8 + n * 786426, 65535) + entry for n in range(9)) + bytes(4)
    )
    with pytest.raises(UnreadableFileError, match=r"have more than 524,288 entries|cannot be read"):
        read_image(path)
    path.write_bytes(b"II*\0" + bytes(4))
    with pytest.raises(UnreadableFileError, match="it has no page"):
        read_image(path)


def test_a_tile_far_larger_than_its_picture_is_refused(tmp_path: Path) -> None:
    path = raw_tiff(tmp_path / "a.tif", [PAGE], tile=16, compression=DEFLATE)
    for tag in (322, 323):
        with_tag(path, tag, 4, 1, 60_000 // 16 * 16)
    with pytest.raises(UnreadableFileError, match="it has tiles of 60000 x 60000 pixels"):
        read_image(path)


def test_strips_without_end_are_refused(tmp_path: Path) -> None:
    path = raw_tiff(tmp_path / "a.tif", [PAGE])
    count = 2**21 + 1
    places = path.stat().st_size
    path.write_bytes(path.read_bytes() + np.full(count, 8, "<u4").tobytes())
    for tag, number, value in (
        (256, 1, 1),
        (257, 1, count),
        (278, 1, 1),
        (273, count, places),
        (279, count, places),
    ):
        with_tag(path, tag, 4, number, value)
    with pytest.raises(UnreadableFileError, match="it has more than 2,097,152 strips or tiles"):
        read_image(path)


@pytest.mark.parametrize(
    "text",
    [
        '{"shape": ' + "[" * 100_000,
        '{"shape": [1e400, 5, 7]}',
        '{"shape": {"a": 1}}',
        '{"shape": [-1, 5, 7]}',
        '{"shape": ["a"]}',
        '{"shape": []}',
        "ImageJ=1\nimages=-3\n",
        "ImageJ=1\n" + "images=1\n" * 10_000,
        "<OME " + "<Pixels " * 10_000,
        "<OME><Pixels SizeC='" + "9" * 5000 + "'>",
        "<OME><Pixels SizeC='0' SizeZ='x' DimensionOrder='CCCC'>",
    ],
)
def test_a_description_does_no_harm(text: str, tmp_path: Path) -> None:
    """It is the picture as stored, or the file is refused."""
    path = raw_tiff(tmp_path / "a.tif", [PAGE], tags={270: (2, text.encode() + b"\0")})
    with contextlib.suppress(UnreadableFileError):
        assert (read_image(path)[0] == PAGE[..., 0]).all()


def test_a_stack_that_unfolds_to_a_large_one_is_refused(tmp_path: Path) -> None:
    path = raw_tiff(tmp_path / "a.tif", [PAGE] * 4)
    with open_image(path, 140) as image:
        assert image.shape == (1, 4, 5, 7)
    with pytest.raises(TooLargeError, match="unfolds to 4 x 5 x 7 = 140 values, more than the limit of 139"):
        read_image(path, 139)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_bytes_changed_at_random_are_refused_or_read(read: Callable[[Path], object], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    whole = raw_tiff(tmp_path / "a.tif", [PAGE] * 2, compression=LZW, rows=2).read_bytes()
    for _ in range(300):
        content = np.frombuffer(whole, np.uint8).copy()
        content[random.integers(0, len(content), 3)] = random.choice([0, 1, 255, 128], 3)
        (tmp_path / "a.tif").write_bytes(content.tobytes())
        with contextlib.suppress(UnreadableFileError):
            read(tmp_path / "a.tif")
