"""Masks and images from files: what is read, what is refused, and why."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lovasz.study.io.images import read_image
from lovasz.study.io.kinds import UnreadableFileError, suffix
from lovasz.study.io.masks import read_mask
from lovasz.study.io.names import files_in, listing, stem
from lovasz.study.io.passed import PassedOver

LABELS = np.array([[0, 1, 2], [3, 200, 255]], dtype=np.uint8)


def nifti(path: Path, values: np.ndarray) -> None:
    """A volume."""
    nibabel = pytest.importorskip("nibabel")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's deprecations inside nibabel
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(path)


def palette_png(path: Path, labels: np.ndarray) -> None:
    """A picture whose indices stand for colours."""
    picture = Image.fromarray(labels)
    picture.putpalette([(7 * i) % 256 for i in range(768)])
    picture.save(path)


def png(path: Path, labels: np.ndarray) -> None:
    """A picture as it is."""
    Image.fromarray(labels).save(path)


@pytest.mark.parametrize(
    ("name", "write", "labels"),
    [
        ("grey.png", png, LABELS),
        ("palette.png", palette_png, LABELS),
        ("deep.png", png, LABELS.astype(np.uint16) * 257),
        ("two.png", png, LABELS > 1),
        ("plain.tif", png, LABELS),
        ("plain.TIFF", png, LABELS),
        ("plain.bmp", png, LABELS),
        ("ints.npy", np.save, LABELS.astype(np.int64) - 100),
        ("bools.npy", np.save, LABELS > 1),
        ("big-endian.npy", np.save, LABELS.astype(">i4")),
        ("whole.npy", np.save, LABELS.astype(np.float32)),
        ("line.npy", np.save, np.arange(5)),
    ],
)
def test_a_mask_is_read_as_its_labels(
    tmp_path: Path, name: str, write: Callable[..., None], labels: np.ndarray
) -> None:
    write(tmp_path / name, labels)
    found = read_mask(tmp_path / name)
    assert np.issubdtype(found.dtype, np.integer)
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, labels)


def test_a_volume_is_read_as_its_labels(tmp_path: Path) -> None:
    labels = np.arange(24).reshape(2, 3, 4)
    for name, values in (("a.nii", labels.astype(np.int16)), ("b.nii.gz", labels.astype(np.float64))):
        nifti(tmp_path / name, values)
        np.testing.assert_array_equal(read_mask(tmp_path / name), labels)
    nifti(tmp_path / "one.nii", labels[..., None].astype(np.uint8))
    np.testing.assert_array_equal(read_mask(tmp_path / "one.nii"), labels)
    nifti(tmp_path / "flat.nii", labels[0].astype(np.uint8))
    with pytest.raises(UnreadableFileError, match=r"flat.nii: has the shape \(3, 4\); expected a volume"):
        read_mask(tmp_path / "flat.nii")


@pytest.mark.parametrize(
    ("name", "write", "why"),
    [
        (
            "colours.png",
            lambda p: png(p, np.eye(3, dtype=np.uint8)[None]),
            "holds 3 channels of colour, first \\(1, 0",
        ),
        ("clear.png", lambda p: png(p, np.zeros((2, 3, 4), np.uint8)), "is not opaque at 6 pixels"),
        ("lossy.jpg", lambda p: png(p, LABELS), "a mask cannot be a JPEG"),
        ("half.npy", lambda p: np.save(p, LABELS / 2), "float64 values that are not whole numbers"),
        (
            "nan.npy",
            lambda p: np.save(p, np.full((2, 2), np.nan)),
            r"not whole numbers: .*\(4 NaN\), the first at \(0, 0\)",
        ),
        ("inf.npy", lambda p: np.save(p, np.full((2, 2), np.inf)), r"not whole numbers: .*\(4 infinite\)"),
        ("huge.npy", lambda p: np.save(p, np.full((2, 2), 1e300)), "not whole numbers"),
        ("empty.npy", lambda p: np.save(p, np.zeros((0, 3))), "holds no numbers"),
        ("words.npy", lambda p: np.save(p, np.array(["a"])), "holds no numbers"),
        ("objects.npy", lambda p: np.save(p, np.array([{}]), allow_pickle=True), "cannot be read"),
        ("broken.png", lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n and no more"), "cannot be read"),
        ("nothing.png", lambda p: p.write_bytes(b""), "cannot be read"),
        ("text.nii", lambda p: p.write_text("text"), "cannot be read"),
        ("absent.png", lambda p: None, "there is no such file"),
        ("notes.txt", lambda p: p.write_text("0 1"), "is of no known kind; expected one of .png"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, name: str, write: Callable[[Path], None], why: str) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(UnreadableFileError, match=why) as caught:
        read_mask(path)
    assert str(caught.value).startswith(f"{path}: ")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.path) == (str(caught.value), path)


def test_a_truncated_picture_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    png(tmp_path / "a.png", rng.integers(0, 5, (90, 90), dtype=np.uint8))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        read_mask(tmp_path / "a.png")


def test_a_mask_larger_than_any_photo_is_no_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    png(tmp_path / "a.png", np.zeros((30, 40), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert read_mask(tmp_path / "a.png").shape == (30, 40)


def test_images_have_their_channels_first(tmp_path: Path) -> None:
    rgb = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    png(tmp_path / "rgb.png", rgb)
    png(tmp_path / "grey.png", rgb[..., 0])
    png(tmp_path / "deep.png", rgb[..., 0].astype(np.uint16) * 300)
    np.save(tmp_path / "bands.npy", np.moveaxis(rgb, -1, 0).astype(np.float32))
    np.save(tmp_path / "one.npy", rgb[..., 0])
    clear = np.concatenate([rgb, rgb[..., :1]], -1)
    png(tmp_path / "clear.png", clear)
    png(tmp_path / "opaque.png", np.concatenate([rgb, np.full_like(rgb[..., :1], 255)], -1))
    Image.fromarray(clear[..., :2]).save(tmp_path / "grey-clear.png")
    first = np.moveaxis(rgb, -1, 0)
    for name, expected in (
        ("rgb.png", first),
        ("grey.png", first[:1]),
        ("deep.png", first[:1].astype(np.uint16) * 300),
        ("bands.npy", first.astype(np.float32)),
        ("one.npy", first[:1]),
        ("clear.png", np.concatenate([first, first[:1]])),  # a transparency that differs is a channel
        ("grey-clear.png", first[:2]),
        ("opaque.png", first),
    ):
        found = read_image(tmp_path / name)
        np.testing.assert_array_equal(found, expected, err_msg=name)
        assert found.dtype == expected.dtype, name
        assert found.flags.c_contiguous
    palette_png(tmp_path / "palette.png", rgb[..., 0])
    assert read_image(tmp_path / "palette.png").shape == (3, 2, 3)
    nifti(tmp_path / "volume.nii", np.ones((2, 3, 4), np.float32))
    assert read_image(tmp_path / "volume.nii").shape == (1, 2, 3, 4)
    nifti(tmp_path / "modes.nii", np.ones((2, 3, 4, 5), np.float32))
    assert read_image(tmp_path / "modes.nii").shape == (5, 2, 3, 4)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "nan.npy", np.full((1, 2, 2), np.nan))
    np.save(tmp_path / "line.npy", np.arange(3))
    with pytest.raises(UnreadableFileError, match=r"nan.npy: holds values that are not finite"):
        read_image(tmp_path / "nan.npy")
    with pytest.raises(UnreadableFileError, match=r"line.npy: has the shape \(3,\); expected \(C, H, W\)"):
        read_image(tmp_path / "line.npy")


def test_a_folder_is_listed_by_stem(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.b.nii.gz", "a.png", ".hidden.png", "Thumbs.db", "README.md", "z.npy"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert list(files_in(tmp_path).items()) == [
        ("a", tmp_path / "a.png"),
        ("a.b", tmp_path / "a.b.nii.gz"),
        ("b", tmp_path / "b.PNG"),
        ("z", tmp_path / "z.npy"),
    ]
    found = listing(tmp_path)
    assert found.files == {name: path.name for name, path in files_in(tmp_path).items()}
    assert found.passed == PassedOver(apart=3)
    assert (stem(Path("x/a.b.nii.gz")), suffix(Path("x/a.b.NII.GZ"))) == ("a.b", ".nii.gz")
    assert (stem(Path("x/plain")), suffix(Path("x/plain"))) == ("plain", "")


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.png", "a.npy"):
        (tmp_path / name).touch()
    with pytest.raises(
        UnreadableFileError, match=r"a\.png: has the same name as a\.npy; which of the two is meant"
    ):
        files_in(tmp_path)
    with pytest.raises(UnreadableFileError, match="nowhere: No such file or directory"):
        files_in(tmp_path / "nowhere")
