"""Files that would hang, fill the memory or be read as something else than they hold."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lovasz.study.io.images import open_image, read_image
from lovasz.study.io.kinds import TooLargeError, UnreadableFileError
from lovasz.study.io.masks import open_mask, read_mask
from lovasz.study.io.names import listing
from tests.study.raw import GREY, RGB, raw_png

STEPS = np.arange(6).reshape(2, 3) * 1000


def npy_header(path: Path, shape: tuple[int, ...]) -> Path:
    """An array that is a header alone."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return path


@pytest.mark.parametrize("read", [read_mask, read_image])
def test_a_file_of_two_arrays_is_refused(read: Callable[..., object], tmp_path: Path) -> None:
    for kind in (np.uint8, np.float64):
        with (tmp_path / "a.npy").open("wb") as file:
            np.save(file, STEPS.astype(kind))
            np.save(file, STEPS)
        with pytest.raises(UnreadableFileError, match=r"a\.npy: has \d+ bytes after its array, .*its own file"):
            read(tmp_path / "a.npy")


# ---- nothing is decoded that is too large ----


@pytest.mark.parametrize("read", [read_mask, read_image])
def test_a_small_file_that_unfolds_to_a_large_one_is_refused(read: Callable[..., object], tmp_path: Path) -> None:
    for path in (
        raw_png(tmp_path / "bomb.png", 8, GREY, (60_000, 60_000), b""),
        npy_header(tmp_path / "bomb.npy", (60_000, 60_000)),
    ):
        with pytest.raises(
            TooLargeError, match=r"60000 x 60000 = 3,600,000,000 values, more than .* 2,147,483,648"
        ):
            read(path)
    Image.new("L", (5, 4)).save(tmp_path / "a.png")
    read(tmp_path / "a.png", 20)
    with pytest.raises(TooLargeError, match=r"a\.png: unfolds to 4 x 5 = 20 values, more than the limit of 19"):
        read(tmp_path / "a.png", 19)


def test_a_volume_that_unfolds_to_a_large_one_is_refused(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    volume = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    volume.to_filename(tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[42:48] = struct.pack("<3h", 3000, 3000, 3000)
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(TooLargeError, match="27,000,000,000 values"):
        read_mask(tmp_path / "a.nii")


def test_a_satellite_tile_is_not_too_large(tmp_path: Path) -> None:
    with open_image(raw_png(tmp_path / "tile.png", 8, RGB, (20_000, 20_000), b"")) as image:
        assert image.shape == (3, 20_000, 20_000)
    with open_mask(npy_header(tmp_path / "micro-ct.npy", (1024, 1024, 1024))) as mask:
        assert mask.shape == (1024, 1024, 1024)


def test_the_shape_in_the_header_is_that_of_what_is_read(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    axes = np.eye(4)[[2, 0, 1, 3]]  # another order of axes than the one in which volumes are read
    for name, shape in (("a", (2, 3, 4)), ("one", (2, 3, 4, 1)), ("modes", (2, 3, 4, 5))):
        nibabel.Nifti1Image(np.ones(shape, np.int16), axes).to_filename(tmp_path / f"{name}.nii.gz")
    for name in ("RGB", "RGBA", "L", "LA", "P", "CMYK", "I;16", "1"):
        Image.new(name, (4, 3)).save(tmp_path / f"{name}.tif", compression="raw")
    np.save(tmp_path / "fortran.npy", np.asfortranarray(np.ones((3, 4, 5))))
    np.save(tmp_path / "flat.npy", np.ones((3, 4)))
    for path in tmp_path.iterdir():
        with open_image(path) as image:
            assert image.shape == image.read().shape, path.name
        if path.name in ("a.nii.gz", "one.nii.gz", "L.tif", "P.tif", "1.tif", "I;16.tif", "flat.npy"):
            with open_mask(path) as mask:
                assert mask.shape == mask.read().shape, path.name


# ---- what never ends, or is no file ----


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zeros.npy").symlink_to("/dev/zero")
    (tmp_path / "folder.tif").mkdir()
    for name in ("pipe.png", "zeros.npy", "folder.tif"):
        for read in (read_mask, read_image):
            with pytest.raises(UnreadableFileError, match=f"{name}: is not a regular file"):
                read(tmp_path / name)
    np.save(tmp_path / "a.npy", STEPS)
    (tmp_path / "link.npy").symlink_to(tmp_path / "a.npy")
    np.testing.assert_array_equal(read_mask(tmp_path / "link.npy"), STEPS)


def test_a_link_to_itself_is_refused_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert listing(tmp_path).files == {"loop": "loop.png"}
    with pytest.raises(UnreadableFileError, match=r"loop\.png: cannot be read \(Too many levels"):
        read_mask(tmp_path / "loop.png")


# ---- what would be read as something else ----


@pytest.mark.parametrize(("depth", "row"), [(1, b"\x50"), (2, b"\x1b"), (4, b"\x01\x23")])
def test_grey_of_few_bits_is_read_as_its_labels(depth: int, row: bytes, tmp_path: Path) -> None:
    labels = [0, 1, 0, 1] if depth == 1 else [0, 1, 2, 3]
    assert read_mask(raw_png(tmp_path / "a.png", depth, GREY, (4, 1), b"\0" + row)).tolist() == [labels]


def test_float16_is_read_as_its_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([0, 1, 255, 65504], np.float16))
    assert read_mask(tmp_path / "a.npy").tolist() == [0, 1, 255, 65504]
    for value in (0.5, np.inf, np.nan):
        np.save(tmp_path / "a.npy", np.array([value], np.float16))
        with pytest.raises(UnreadableFileError, match="float16 values that are not whole numbers"):
            read_mask(tmp_path / "a.npy")


def _jpeg(path: Path) -> None:
    Image.new("L", (8, 8)).save(path, "JPEG")


def _lossy_tiff(path: Path) -> None:
    Image.new("L", (8, 8)).save(path, compression="jpeg")


def _white_is_zero(path: Path) -> None:
    Image.new("L", (8, 8)).save(path, tiffinfo={262: 0})


def _pages(path: Path) -> None:
    pages = [Image.new("L", (8, 8), n) for n in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])


@pytest.mark.parametrize(
    ("name", "write", "why"),
    [
        ("named.png", _jpeg, "cannot be a JPEG"),
        ("lossy.tif", _lossy_tiff, "cannot be a JPEG"),
        ("inverted.tif", _white_is_zero, "stores its labels inverted"),
        ("frames.png", _pages, "holds several pictures"),
        ("animal.png", lambda p: Image.new("L", (8, 8)).save(p, "GIF"), "cannot be read"),
        ("script.png", lambda p: p.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "cannot be"),
        ("zip.npy", lambda p: np.savez(p.with_suffix(".npz"), a=1) or p.with_suffix(".npz").rename(p), "cannot be"),
        ("complex.npy", lambda p: np.save(p, np.zeros(3, complex)), "holds no numbers"),
        ("columns.npy", lambda p: np.save(p, np.zeros(3, [("a", "u1")])), "holds no numbers"),
        ("short.npy", lambda p: npy_header(p, (30, 30)), "cannot be read"),
    ],
)
def test_a_mask_that_is_not_what_it_seems_is_refused(
    name: str, write: Callable[[Path], object], why: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(UnreadableFileError, match=f"{name}: .*{why}"):
        read_mask(tmp_path / name)


def test_overviews_of_a_tiff_are_not_pictures_of_their_own(tmp_path: Path) -> None:
    whole, half = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)), Image.new("L", (4, 4))
    half.encoderinfo = {"tiffinfo": {254: 1}}
    whole.save(tmp_path / "a.tif", save_all=True, append_images=[half])
    assert read_mask(tmp_path / "a.tif").tolist() == np.asarray(whole).tolist()
    whole.save(tmp_path / "a.tif", save_all=True, append_images=[half] * 64)
    assert read_mask(tmp_path / "a.tif").tolist() == np.asarray(whole).tolist()


def test_images_of_16_bits_keep_them(tmp_path: Path) -> None:
    for kind, mode in ((">u2", "I;16B"), ("<u2", "I;16")):
        Image.frombytes(mode, (3, 2), STEPS.astype(kind).tobytes()).save(tmp_path / "a.tif")
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), STEPS[None])
    row = (np.arange(6) * 4001).astype(">u2")
    wide = read_image(raw_png(tmp_path / "a.png", 16, RGB, (2, 1), b"\0" + row.tobytes()))
    assert wide.tolist() == [[[0, 12003]], [[4001, 16004]], [[8002, 20005]]]


def test_values_beyond_float32_are_refused(tmp_path: Path) -> None:
    for kind, value, what in (
        ("f8", 1e300, "beyond float32"),
        ("f8", -(2.0**128), "beyond float32"),
        ("f4", np.inf, "infinite"),
        ("f2", np.nan, "NaN"),
        ("f2", -np.inf, "infinite"),
    ):
        np.save(tmp_path / "a.npy", np.array([[1, value]], kind))
        expected = (
            rf"a\.npy: holds a value that is not finite in float32 \(1 {what}\), the first at \(0, 0, 1\); replace"
        )
        with pytest.raises(UnreadableFileError, match=expected):
            read_image(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.array([[[0, 1], [np.nan, 1]], [[np.inf, np.nan], [1e39, 0]]]))
    with pytest.raises(
        UnreadableFileError, match=r"2 NaN, 1 infinite, 1 beyond float32\), the first at \(0, 1, 0\)"
    ):
        read_image(tmp_path / "a.npy")
    for kind in ("f8", "f4", "f2"):
        most = min(np.finfo(kind).max, np.finfo("f4").max)
        np.save(tmp_path / "a.npy", np.array([[-most, most]], kind))
        assert np.isfinite(read_image(tmp_path / "a.npy").astype(np.float32)).all()
