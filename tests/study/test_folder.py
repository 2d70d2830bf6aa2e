"""A user's own data: checked as a whole, read one by one, augmented, and put through a network."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lovasz.study.data import folder
from lovasz.study.data.augment import Augmentation
from lovasz.study.data.folder import load_folder, missing_from
from lovasz.study.data.layout import find
from lovasz.study.data.pairs import LayoutError
from lovasz.study.data.parts import IGNORE_INDEX, PARTS, Data
from lovasz.study.io import masks
from lovasz.study.io.classes import Classes, numbered
from lovasz.study.io.kinds import UnreadableFileError
from lovasz.study.train.config_checks import check_config
from lovasz.study.train.config_file import make_config
from lovasz.study.train.network import build_network
from lovasz.study.train.predict import logits_of
from lovasz.study.train.runs import check_fits, plan, steps_of
from tests.study.raw import GREY, LZW, raw_png, raw_tiff
from tests.study.tiny_data import CLASSES, VOID, picture, tiny_folder, write


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Data]:
    """Loads a folder with three classes, as the command does."""

    def loaded(path: Path, size: tuple[int, ...] | None = None, on_file: Any = lambda done, number: None) -> Data:
        return load_folder(
            path, find(path), Classes(CLASSES, None), (VOID,), size, tmp_path / "known.json", on_file
        )

    return loaded


def test_samples_are_the_files(tmp_path: Path, load: Callable[..., Data]) -> None:
    data = load(tiny_folder(tmp_path / "mine"))
    assert (data.name, data.class_names, data.channels, data.dims) == ("mine", CLASSES, 3, 2)
    assert (data.sizes, data.unit) == (((20, 24),), "pixels")
    assert [list(data.parts[part].names) for part in PARTS] == [
        [f"train{n}" for n in range(6)], ["val0", "val1"], ["test0", "test1", "test2"],
    ]  # fmt: skip
    images = torch.stack([image for image, _ in (data.parts["train"].samples[n] for n in range(6))])
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(images.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    for part, first in (("train", 1), ("val", 7), ("test", 9)):
        pixels = torch.zeros(3, dtype=torch.int64)
        for index in range(len(data.parts[part].samples)):
            image, mask = picture(first + index, (20, 24))
            for _ in range(2):  # read, then kept
                found, target = data.parts[part].samples[index]
                assert (target.numpy() == np.where(mask == VOID, IGNORE_INDEX, mask.astype(int))).all()
                assert found.dtype == torch.float32
                scale = (found - found.mean((1, 2), keepdim=True)) / found.std((1, 2), keepdim=True)
                raw = torch.from_numpy(image).movedim(-1, 0).float()
                expected = (raw - raw.mean((1, 2), keepdim=True)) / raw.std((1, 2), keepdim=True)
                torch.testing.assert_close(scale, expected, atol=1e-4, rtol=0)
            pixels += torch.bincount(target[target >= 0], minlength=3)
        assert list(data.parts[part].pixels) == pixels.tolist()


def test_size_is_that_of_images_and_masks(tmp_path: Path, load: Callable[..., Data]) -> None:
    data = load(tiny_folder(tmp_path / "mine"), size=(10, 12))
    image, target = data.parts["test"].samples[0]
    assert (image.shape, target.shape, data.sizes) == ((3, 10, 12), (10, 12), ((10, 12),))
    assert set(target.unique().tolist()) <= {IGNORE_INDEX, 0, 1, 2}
    targets = [data.parts["test"].samples[n][1] for n in range(3)]
    counted = sum(torch.bincount(one[one >= 0], minlength=3) for one in targets)
    assert list(data.parts["test"].pixels) == counted.tolist()
    with pytest.raises(LayoutError, match="--size must hold 2 numbers"):
        load(tmp_path / "mine", size=(10, 12, 4))


def test_volumes(tmp_path: Path, load: Callable[..., Data]) -> None:
    data = load(tiny_folder(tmp_path / "mine", size=(20, 24, 16), number=2))
    assert (data.channels, data.dims, data.sizes, data.unit) == (1, 3, ((20, 24, 16),), "voxels")
    image, target = data.parts["val"].samples[0]
    assert (image.shape, target.shape) == ((1, 20, 24, 16), (20, 24, 16))
    _, mask = picture(3, (20, 24, 16))
    assert (target.numpy() == np.where(mask == VOID, IGNORE_INDEX, mask.astype(int))).all()
    network = build_network("unet-small", 1, 3, 3).eval()
    with torch.inference_mode():
        whole, by_windows = (logits_of(network, image[None], crop) for crop in (None, (16, 16, 16)))
    assert whole.shape == by_windows.shape == (1, 3, 20, 24, 16)


def test_what_was_found_is_used_again_until_a_file_changes(tmp_path: Path, load: Callable[..., Data]) -> None:
    seen: list[tuple[int, int]] = []
    root = tiny_folder(tmp_path / "mine")
    first = load(root, on_file=lambda *at: seen.append(at))
    assert seen == [(n, 11) for n in range(1, 12)]
    seen.clear()
    again = load(root, on_file=lambda *at: seen.append(at))
    assert seen == []
    assert again.fingerprint == first.fingerprint
    assert [again.parts[part].pixels for part in PARTS] == [first.parts[part].pixels for part in PARTS]
    assert load(root, size=(10, 12)).fingerprint != first.fingerprint
    image, mask = picture(99, (20, 24))
    write(root / "val" / "images", root / "val" / "masks", "val0", image, mask)
    assert load(root, on_file=lambda *at: seen.append(at)).fingerprint != first.fingerprint
    assert len(seen) == 11


def test_same_files_elsewhere_are_the_same_data(tmp_path: Path, load: Callable[..., Data]) -> None:
    one, other = (load(tiny_folder(tmp_path / name)) for name in ("one", "other"))
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: (root / "val/images/val1.png").write_bytes(b"torn"), r"val1\.png: cannot be read"),
        (
            lambda root: Image.new("L", (24, 21)).save(root / "test/masks/test0.png"),
            r"test0\.png: has the size \(21, 24\), its image \S*test0\.png \(20, 24\)",
        ),
        (
            lambda root: Image.new("L", (24, 20), 7).save(root / "test/masks/test0.png"),
            r"test0\.png: holds the label 7 \(480x\); expected classes 0 to 2 or the ignored 9\. If it means void: "
            "--ignore 7",
        ),
        (
            lambda root: Image.new("RGB", (24, 20), "red").save(root / "train/masks/train3.png"),
            r"train3\.png: holds 3 channels of colour, first \(255, 0, 0\) at row 0, column 0",
        ),
        (
            lambda root: Image.new("L", (24, 20)).save(root / "val/images/val0.png"),
            r"has 1 channels and 2 axes, .* has 3",
        ),
    ],
)
def test_wrong_files_are_named(
    change: Callable[[Path], object], said: str, tmp_path: Path, load: Callable[..., Data]
) -> None:
    root = tiny_folder(tmp_path / "mine")
    change(root)
    with pytest.raises((UnreadableFileError, LayoutError), match=said):
        load(root)


def test_classes_that_are_missing(tmp_path: Path, load: Callable[..., Data]) -> None:
    root = tiny_folder(tmp_path / "mine")
    assert missing_from(load(root)) == []
    for part in ("val", "train"):
        for mask in (root / part / "masks").iterdir():
            labels = masks.read_mask(mask)
            Image.fromarray(np.where(labels == 2, 0, labels).astype(np.uint8)).save(mask)
        if part == "val":
            assert missing_from(load(root)) == [
                "no val mask holds Disc: where it is not predicted it has no val IoU"
            ]
    with pytest.raises(LayoutError, match="no training mask holds Disc"):
        load(root)


def test_images_that_do_not_fit_in_memory_are_read_again(
    tmp_path: Path, load: Callable[..., Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tiny_folder(tmp_path / "mine")
    kept = load(root).parts["train"].samples
    monkeypatch.setattr(folder, "CACHE", 3 * 10_000)  # one image of 20 x 24 for each part
    bounded = load(root).parts["train"].samples
    for _ in range(2):
        for index in range(6):
            for one, other in zip(kept[index], bounded[index], strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert isinstance(bounded, folder.Folder)
    assert len(bounded.kept) == 1


# ---- augmentation ----


@pytest.mark.parametrize("names", [("flip",), ("turn",), ("scale",), ("flip", "scale", "light"), ()])
def test_image_and_target_move_together(names: tuple[str, ...]) -> None:
    target = torch.arange(12 * 12).view(12, 12)
    augment = Augmentation(names, (8, 8), (8, 8))
    crops = set()
    for seed in range(20):
        image, moved = augment(target[None].float(), target, seed)
        assert (image.shape, moved.shape, image.dtype, moved.dtype) == (
            (1, 8, 8),
            (8, 8),
            torch.float32,
            torch.int64,
        )
        if not {"scale", "light"} & set(names):
            assert (image[0].long() == moved).all()
        if "scale" in names and "light" not in names:  # interpolated against nearest: a pixel apart at most
            assert (image[0] - moved).abs().max() <= 13
        again, _ = augment(target[None].float(), target, seed)
        assert (again == image).all()
        crops.add(tuple(moved.flatten().tolist()))
    assert len(crops) > 10


def test_views_of_a_square_are_all_eight() -> None:
    target = torch.arange(9).view(3, 3)
    views = {tuple(Augmentation(("turn",), None, (3, 3))(target[None].float(), target, seed)[1].flatten().tolist())
             for seed in range(100)}  # fmt: skip
    assert len(views) == 8


def test_small_images_are_padded_with_void() -> None:
    _, target = Augmentation((), (8, 8), (8, 8))(torch.ones(1, 4, 6), torch.ones(4, 6).long(), 0)
    assert (target == IGNORE_INDEX).sum() == 64 - 24


def test_what_was_found_is_not_believed_once_it_is_damaged(tmp_path: Path, load: Callable[..., Data]) -> None:
    root, seen = tiny_folder(tmp_path / "mine"), []
    first = load(root)
    written = (tmp_path / "known.json").read_text()
    (tmp_path / "known.json").write_text(written.replace('"mean": [', '"mean": [1'))
    again = load(root, on_file=lambda *at: seen.append(at))
    assert len(seen) == 11
    torch.testing.assert_close(again.parts["train"].samples[0], first.parts["train"].samples[0], rtol=0, atol=0)
    assert (tmp_path / "known.json").read_text() == written


# ---- networks, and what can be checked once the data are known ----


@pytest.mark.parametrize("name", ["conv", "unet-small", "unet", "unet-large", "tests.study.own:coarse"])
@pytest.mark.parametrize("size", [(20, 24), (17, 33)])
def test_logits_have_the_size_of_the_image(name: str, size: tuple[int, int]) -> None:
    network = build_network(name, 3, 5, 2)
    assert network(torch.randn(2, 3, *size)).shape == (2, 5, *size)


def test_plan_counts_epochs_in_steps(tmp_path: Path, load: Callable[..., Data]) -> None:
    data = load(tiny_folder(tmp_path / "mine"))
    for epochs, batch, devices, steps in ((3, 4, 1, 5), (2, 6, 1, 2), (4, 1, 2, 12), (1, 100, 1, 1)):
        given = {"data": tmp_path, "epochs": epochs, "batch": batch, "devices": devices}
        assert steps_of(make_config(given, None), data) == steps
    config = make_config({"data": tmp_path, "losses": ("ce", "tests.study.own:loss"), "lr": (0.1, 0.2)}, None)
    planned = plan(config, data, 1)
    assert [(run.lr, run.loss) for run in planned.searched] == [
        (0.1, "ce"), (0.1, "tests.study.own:loss"), (0.2, "ce"), (0.2, "tests.study.own:loss"),
    ]  # fmt: skip
    assert planned.number == 4 + 10 - 2
    hashed = [(run.loss, len(run.loss_code)) for run in planned.runs[:2]]
    assert hashed == [("ce", 0), ("tests.study.own:loss", 8)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"crop": (4, 4, 4)}, "--crop must have 2 sides"),
        ({"network": "conv", "size": (4, 4)}, None),
        ({"network": "tests.study.own:loss"}, "--network tests.study.own:loss failed: .*unexpected keyword"),
        ({"network": "tests.study.test_folder:too_few"}, "must give logits of 3 channels, got 2"),
        ({"network": "tests.study.test_folder:broken"}, r"failed on an image \(1, 3, 20, 24\): no luck"),
    ],
)
def test_network_is_tried_before_any_work(
    given: dict[str, Any], said: str | None, tmp_path: Path, load: Callable[..., Data]
) -> None:
    data = load(tiny_folder(tmp_path / "mine"))
    config = make_config({"data": tmp_path, **given}, None)
    if said is None:
        check_fits(config, data)
    else:
        with pytest.raises(ValueError, match=said):
            check_fits(config, data)


def too_few(in_channels: int, num_classes: int, dims: int) -> torch.nn.Module:
    return torch.nn.Conv2d(in_channels, num_classes - 1, 1)


def broken(in_channels: int, num_classes: int, dims: int) -> torch.nn.Module:
    class Broken(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no luck")

    return Broken()


def test_images_of_several_sizes_need_a_crop(tmp_path: Path, load: Callable[..., Data]) -> None:
    root = tiny_folder(tmp_path / "mine")
    image, mask = picture(50, (22, 30))
    write(root / "train" / "images", root / "train" / "masks", "other", image, mask)
    data = load(root)
    assert data.sizes == ((20, 24), (22, 30))
    with pytest.raises(
        ValueError, match=r"differ in size .20 x 24, 22 x 30. .* give --size or --crop, or --batch 1"
    ):
        check_fits(make_config({"data": root}, None), data)
    for given in ({"crop": (16, 16)}, {"batch": 1}):
        check_fits(make_config({"data": root, "network": "unet-small", **given}, None), data)


# ---- what would train or test on the wrong thing ----


def test_one_image_in_two_parts_is_refused_by_what_it_shows(tmp_path: Path, load: Callable[..., Data]) -> None:
    root = tiny_folder(tmp_path / "mine")
    (root / "test" / "images" / "test1.png").write_bytes((root / "train" / "images" / "train4.png").read_bytes())
    with pytest.raises(
        LayoutError, match=r"test1\.png of the test part is the same image as \S*train4\.png of the train"
    ):
        load(root)


def test_images_of_one_value_may_be_alike(tmp_path: Path, load: Callable[..., Data]) -> None:
    root = tiny_folder(tmp_path / "mine")
    for part in PARTS:
        Image.new("RGB", (24, 20)).save(root / part / "images" / f"{part}0.png")
    load(root)


def test_a_class_cannot_be_ignored(tmp_path: Path) -> None:
    root = tiny_folder(tmp_path / "mine")
    with pytest.raises(LayoutError, match="--ignore 1 is one of the classes 0 to 2, Square"):
        load_folder(root, find(root), Classes(CLASSES, None), (1, VOID), None, tmp_path / "known", lambda *_: None)


def test_arrays_with_channels_last_are_told_so(tmp_path: Path, load: Callable[..., Data]) -> None:
    root = tiny_folder(tmp_path / "mine")
    (root / "val" / "images" / "val0.png").unlink()
    np.save(root / "val" / "images" / "val0.npy", picture(7, (20, 24))[0])
    with pytest.raises(UnreadableFileError, match="expected the same; an array must have its channels first"):
        load(root)


def test_sizes_are_compared_before_a_pixel_is_decoded(tmp_path: Path, load: Callable[..., Data]) -> None:
    root = tiny_folder(tmp_path / "mine")
    file = root / "train" / "masks" / "train0.png"
    raw_png(file, 8, GREY, (30_000, 30_000), b"")
    with pytest.raises(
        UnreadableFileError, match=r"train0\.png: has the size \(30000, 30000\), its image \S* \(20,"
    ):
        load(root)


def test_standardisation_is_of_the_values_in_float32(tmp_path: Path, load: Callable[..., Data]) -> None:
    """A channel that is constant in float32 stays at zero, whatever it is in float64."""
    root = tiny_folder(tmp_path / "mine")
    for file in [*root.glob("*/images/*")]:
        image = np.asarray(Image.open(file)).transpose(2, 0, 1)[:1] * np.float64(1e-60)
        np.save(file.with_suffix(".npy"), image)
        file.unlink()
    image, _ = load(root).parts["train"].samples[0]
    assert (image == 0).all()


def test_more_classes_than_a_target_in_memory_can_hold_are_refused(tmp_path: Path) -> None:
    root = tiny_folder(tmp_path / "mine")
    with pytest.raises(LayoutError, match="at most 32768 classes, got 32769"):
        load_folder(root, find(root), numbered(2**15 + 1), (), None, tmp_path / "known", lambda *_: None)
    with pytest.raises(ValueError, match="--num-classes must be at most 32768, got 1000000000"):
        check_config(make_config({"data": root, "num_classes": 10**9}, None))


def test_names_that_are_not_utf_8_are_escaped(tmp_path: Path, load: Callable[..., Data]) -> None:
    root = tiny_folder(tmp_path / os.fsdecode(b"m\xffne"))
    for kind in ("images", "masks"):
        place = root / "train" / kind
        (place / "train0.png").rename(place / os.fsdecode(b"train\xfe.png"))
        (place / "train1.png").rename(place / r"train\udcfe.png")
    data = load(root)
    assert data.name == r"m\udcffne"
    assert {r"train\udcfe", r"train\\udcfe"} < set(data.parts["train"].names)
    (root / "val" / "masks" / "val0.png").write_bytes(b"")
    with pytest.raises(UnreadableFileError) as caught:
        load(root)
    str(caught.value).encode()


def test_volumes_are_turned_into_one_order_of_axes(tmp_path: Path, load: Callable[..., Data]) -> None:
    """A mask that is stored mirrored, with the affine that says so, is the same mask; elsewhere it is another."""
    import nibabel

    root = tiny_folder(tmp_path / "mine", size=(20, 24, 16), number=2)
    expected = load(root).parts["val"].samples[0][1]
    file = root / "val" / "masks" / "val0.nii.gz"
    labels = np.asanyarray(nibabel.load(file).dataobj)
    mirrored = np.diag([-1.0, 1, 1, 1])
    mirrored[0, 3] = labels.shape[0] - 1
    nibabel.save(nibabel.Nifti1Image(labels[::-1].copy(), mirrored), file)
    assert (load(root).parts["val"].samples[0][1] == expected).all()
    moved = np.eye(4)
    moved[1, 3] = 0.5
    nibabel.save(nibabel.Nifti1Image(labels, moved), file)
    with pytest.raises(UnreadableFileError, match=r"val0\.nii\.gz: lies elsewhere in space than \S*val0\.nii\.gz"):
        load(root)


def test_a_photo_that_is_shown_turned_is_refused(tmp_path: Path, load: Callable[..., Data]) -> None:
    root = tiny_folder(tmp_path / "mine")
    file = root / "train" / "images" / "train2.png"
    photo = Image.open(file)
    file.unlink()
    exif = Image.Exif()
    exif[0x0112] = 3
    photo.save(file.with_suffix(".jpg"), exif=exif)
    with pytest.raises(
        UnreadableFileError, match=r"train2\.jpg: is shown turned .* EXIF orientation 3.* save it upright"
    ):
        load(root)


# ---- what does not vary ----


def test_constant_images_and_channels_are_told(tmp_path: Path, load: Callable[..., Data]) -> None:
    root = tiny_folder(tmp_path / "mine")
    assert load(root).warnings == ()
    for part in PARTS:
        for path in (root / part / "images").iterdir():
            image = np.moveaxis(np.asarray(Image.open(path)).astype(np.float64), -1, 0)
            band = np.full_like(image[:1], 0.1)  # whose deviation is not 0 in floating point
            path.unlink()
            np.save(path.with_suffix(".npy"), np.concatenate([image, band]))
    constant = root / "val" / "images" / "val0.npy"
    np.save(constant, np.full((4, 20, 24), 0.1))
    data = load(root)
    assert data.warnings == (
        f"1 of 11 images is constant, and shows nothing: {constant}",
        "channel 4 of 4 is 0.1 in every training image (in float32), and tells nothing",
    )
    assert data.parts["train"].samples[0][0][3].abs().max() < 1e-6
    for part in PARTS:
        for path in (root / part / "images").iterdir():
            np.save(path, np.full((4, 20, 24), 7, np.uint8))
    several, *channels = load(root).warnings
    assert several.startswith("11 of 11 images are constant, and show nothing: ")
    assert several.endswith(", ...")
    assert [sentence[:19] for sentence in channels] == [f"channel {n} of 4 is 7" for n in (1, 2, 3, 4)]


def test_what_varies_beyond_float32_alone_is_told(tmp_path: Path, load: Callable[..., Data]) -> None:
    root = tiny_folder(tmp_path / "mine")
    for part in PARTS:
        for path in (root / part / "images").iterdir():
            image = np.asarray(Image.open(path))[..., 0].astype(np.int64) % 2
            path.unlink()
            np.save(path.with_suffix(".npy"), image + 2**40)
    assert load(root).warnings[-1].startswith("channel 1 of 1 is 1.09951e+12 in every training image (in float32)")


def test_stacks_of_pages_are_volumes(tmp_path: Path, load: Callable[..., Data]) -> None:
    nibabel = pytest.importorskip("nibabel")
    root = tiny_folder(tmp_path / "mine", size=(20, 24, 16), number=2)
    loaded = load(root).parts
    expected = {part: [loaded[part].samples[n] for n in range(2)] for part in PARTS}
    for path in sorted(root.glob("*/*/*.nii.gz")):
        pages = np.moveaxis(np.asanyarray(nibabel.load(path).dataobj), -1, 0)
        raw_tiff(path.with_name(path.name.replace(".nii.gz", ".tif")), list(pages[..., None]), compression=LZW)
        path.unlink()
    data = load(root)
    assert (data.channels, data.dims, data.sizes) == (1, 3, ((16, 20, 24),))
    for part in PARTS:
        for n, other in enumerate(expected[part]):
            one = data.parts[part].samples[n]
            torch.testing.assert_close(one[0], other[0].movedim(-1, 1))
            assert torch.equal(one[1], other[1].movedim(-1, 0))
    raw_tiff(root / "val" / "images" / "val0.tif", [np.zeros((20, 24, 1), np.uint8)])
    with pytest.raises(
        UnreadableFileError, match=r"has the size \(16, 20, 24\), its image \S*val0\.tif \(20, 24\)"
    ):
        load(root)
