"""How the values of images are standardised: exact numbers, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lovasz.study.data.augment import Augmentation
from lovasz.study.data.folder import load_folder
from lovasz.study.data.layout import find
from lovasz.study.data.normalize import DATA, Normalization, expected_by, parse_normalization
from lovasz.study.data.parts import PARTS, Data
from lovasz.study.io.classes import Classes
from lovasz.study.train.config_checks import check_config
from lovasz.study.train.config_file import make_config
from lovasz.study.train.start import normalization_of
from tests.study.tiny_data import CLASSES, VOID, picture, tiny_folder

Load = Callable[..., Data]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the tiny folder, or what a function has made of its images."""

    def loaded(how: str | Normalization = DATA, change: Callable[[Any], Any] | None = None) -> Data:
        root = tmp_path / "mine"
        if not root.exists():
            tiny_folder(root)
        for file in root.glob("*/images/*.png") if change else ():
            np.save(file.with_suffix(".npy"), change(np.moveaxis(np.asarray(Image.open(file)), -1, 0)))
            file.unlink()
        wanted = parse_normalization(how) if isinstance(how, str) else how
        classes, known = Classes(CLASSES, None), tmp_path / "known.json"
        return load_folder(root, find(root), classes, (VOID,), None, known, lambda *at: None, normalization=wanted)

    return loaded


def raw() -> torch.Tensor:
    """The first training image as it is stored."""
    return torch.from_numpy(picture(1, (20, 24))[0]).movedim(-1, 0)


def per_channel(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers).view(-1, 1, 1)


def wide(image: Any) -> Any:
    return image.astype(np.uint16) * 257  # 255 becomes 65535


@pytest.mark.parametrize("change", [None, wide])
def test_imagenet_is_exact(change: Any, load: Load) -> None:
    data = load("imagenet", change)
    found, _ = data.parts["train"].samples[0]
    stored = raw().float() / 255 if change is None else (raw().float() * 257) / 65535
    expected = (stored - per_channel(0.485, 0.456, 0.406)) / per_channel(0.229, 0.224, 0.225)
    assert torch.equal(found, expected)
    top = "255" if change is None else "65535"
    assert data.prepared == (
        f"each channel divided by {top}, then less 0.485, 0.456, 0.406 and divided by 0.229, 0.224, 0.225 "
        "(--normalize imagenet)"
    )
    assert f"Images are taken in their own size, {data.prepared}; labels left out: 9." in data.notes


@pytest.mark.parametrize(
    ("how", "change", "expected"),
    [
        ("none", None, lambda x: x),
        ("0.5/0.25", None, lambda x: (x / 255 - 0.5) / 0.25),
        ("0.1,0.2,0.3/1,2,4", None, lambda x: (x / 255 - per_channel(0.1, 0.2, 0.3)) / per_channel(1, 2, 4)),
        ("0.1,0.2,0.3/2", None, lambda x: (x / 255 - per_channel(0.1, 0.2, 0.3)) / 2),
        ("100/50", lambda image: image.astype(np.float32), lambda x: (x - 100) / 50),
        ("100/50", lambda image: image.astype(np.int16), lambda x: (x - 100) / 50),
    ],
)
def test_numbers_are_exact(how: str, change: Any, expected: Any, load: Load) -> None:
    """On the scale from 0 to 1 of unsigned integers, on the values themselves of others."""
    found, _ = load(how, change).parts["train"].samples[0]
    assert torch.equal(found, expected(raw().float()))


def test_it_is_part_of_the_data(load: Load) -> None:
    found = [load(how) for how in ("data", "imagenet", "none", "0.5/0.5", "0.485,0.456,0.406/0.229,0.224,0.225")]
    assert len({data.fingerprint for data in found}) == 4
    assert found[1].fingerprint == found[4].fingerprint  # of the same numbers
    assert found[0].prepared == ""
    assert "standardised by mean and deviation over the training images; labels" in found[0].notes[-1]


@pytest.mark.parametrize(
    ("how", "change", "said"),
    [
        ("imagenet", lambda image: image[:2], r"of 3 channels of 8 or 16 bits, got 2 of uint8 in \S+\.npy"),
        ("imagenet", lambda image: image.astype(np.float32), r"got 3 of float32 in \S+\.npy; --normalize data"),
        ("1,2/1,1", None, "--normalize 1,2/1,1 has 2 means, the images have 3 channels"),
        ("1/1,1", None, "--normalize 1/1,1 has 2 standard deviations, the images have 3 channels"),
    ],
)  # fmt: skip
def test_images_that_it_is_not_for(how: str, change: Any, said: str, load: Load) -> None:
    with pytest.raises(ValueError, match=said):
        load(how, change)


def test_images_of_several_types(load: Load, tmp_path: Path) -> None:
    load()
    np.save(tmp_path / "mine/test/images/test1.npy", np.ones((3, 20, 24), np.float32))
    (tmp_path / "mine/test/images/test1.png").unlink()
    with pytest.raises(
        ValueError, match=r"needs images of one type\b.*, got uint8 in \S+ and float32 in \S+test1\.npy"
    ):
        load("0.5/0.5")
    assert load("none").channels == load().channels == 3


@pytest.mark.parametrize("text", ["image", "1", "1/2/3", "1/", "a/1", "1/0", "1/-1", "nan/1", "1/inf", "1,2/1,2,3"])
def test_what_is_no_normalization(text: str) -> None:
    with pytest.raises(ValueError, match=r"^--normalize must .*, got '"):
        check_config(make_config({"data": Path("x"), "normalize": text}, None))


def test_the_scene_refuses_it() -> None:
    with pytest.raises(ValueError, match="--normalize is for your own --data"):
        check_config(make_config({"normalize": "none"}, None))


def test_the_default_is_what_the_weights_expect(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").touch()
    for given, expected in (
        ({}, DATA),
        ({"weights": str(tmp_path / "weights.pt")}, DATA),
        ({"weights": "efficientnet-lite0"}, expected_by("--weights efficientnet-lite0", (0.5,), (0.5,))),
        ({"weights": "efficientnet-lite0", "normalize": "data"}, DATA),
    ):
        assert normalization_of(make_config({"data": Path("x")} | given, None)) == expected


@pytest.mark.parametrize("how", ["none", "imagenet", "0.5/0.25"])
def test_light_changes_images_alike_however_they_are_standardised(how: str, load: Load) -> None:
    """In units of the standard deviation over the training images, about their mean."""
    data, plain = load(how), load()
    images = torch.stack([data.parts["train"].samples[n][0] for n in range(len(data.parts["train"].samples))])
    torch.testing.assert_close(torch.tensor(data.mean), images.mean((0, 2, 3)))
    torch.testing.assert_close(torch.tensor(data.std), images.std((0, 2, 3), correction=0))
    mean, std = per_channel(*data.mean), per_channel(*data.std)
    changed = 0
    for seed in range(8):
        found, expected = (
            Augmentation(("light",), None, (20, 24), one.mean, one.std)(*one.parts["train"].samples[0], seed)[0]
            for one in (data, plain)
        )
        torch.testing.assert_close((found - mean) / std, expected, atol=1e-4, rtol=1e-4)
        changed += not torch.allclose(expected, plain.parts["train"].samples[0][0])
    assert changed > 3
    assert (plain.mean, plain.std) == ((), ())
    assert {len(data.parts[part].samples) for part in PARTS} == {6, 2, 3}
