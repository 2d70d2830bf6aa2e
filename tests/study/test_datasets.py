"""Data sets as they lie on disk: Cityscapes, ADE20K, COCO-stuff and nnU-Net; and images of several files."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lovasz.study.data.folder import load_folder
from lovasz.study.data.layout import find
from lovasz.study.data.pairs import Layout, LayoutError
from lovasz.study.data.parts import PARTS
from lovasz.study.io.classes import numbered
from lovasz.study.io.kinds import UnreadableFileError
from tests.study.test_layout import touch


def shown(layout: Layout) -> dict[str, list[str]]:
    return {part: [pair.name for pair in layout.pairs[part]] for part in PARTS}


def cityscapes(root: Path, *kinds: str) -> Path:
    for part, cities in (("train", ("aachen", "ulm")), ("val", ("munster",)), ("test", ("berlin",))):
        for city in cities:
            for number in range(5):
                frame = f"{city}/{city}_{number:06}_000019"
                touch(root / "leftImg8bit" / part / f"{frame}_leftImg8bit.png")
                for kind in (*kinds, "color.png", "instanceIds.png", "polygons.json"):
                    touch(root / "gtFine" / part / f"{frame}_gtFine_{kind}")
    return root


def frames(city: str, *numbers: int) -> list[str]:
    return [f"{city}/{city}_{number:06}_000019" for number in numbers]


def test_cityscapes(tmp_path: Path) -> None:
    layout = find(cityscapes(tmp_path, "labelIds.png"))
    assert shown(layout) == {
        "train": [*frames("aachen", 0, 1, 2, 3), *frames("ulm", 0, 1, 2, 3)],
        "val": [*frames("aachen", 4), *frames("ulm", 4)],
        "test": frames("munster", 0, 1, 2, 3, 4),
    }
    pair = layout.pairs["test"][0]
    assert pair.image == tmp_path / "leftImg8bit/val/munster/munster_000000_000019_leftImg8bit.png"
    assert pair.mask == tmp_path / "gtFine/val/munster/munster_000000_000019_gtFine_labelIds.png"
    assert layout.void == ()
    assert "the test part is val" in layout.note
    assert "test has no labels to test on" in layout.note
    told = "\n".join(layout.told)
    assert "Paired by the names without _leftImg8bit and _gtFine_labelIds: 10 pairs." in told
    assert "10 _gtFine_color.png in 2 folders" in told
    assert "--map cityscapes" in told


def test_cityscapes_with_masks_of_train_ids(tmp_path: Path) -> None:
    layout = find(cityscapes(tmp_path, "labelIds.png", "labelTrainIds.png"))
    masks = [pair.mask.name for part in PARTS for pair in layout.pairs[part]]
    assert len(masks) == 15
    assert all(name.endswith("_gtFine_labelTrainIds.png") for name in masks)
    assert layout.void == (255,)
    told = "\n".join(layout.told)
    assert "10 _gtFine_labelIds.png in 2 folders" in told
    assert "--map" not in told


def test_labels_are_never_mapped_twice(tmp_path: Path) -> None:
    layout = find(cityscapes(tmp_path / "both", "labelIds.png", "labelTrainIds.png"), mapped=True)
    masks = [pair.mask.name for part in PARTS for pair in layout.pairs[part]]
    assert all(name.endswith("_gtFine_labelIds.png") for name in masks)
    assert layout.void == ()
    assert "--map" not in "".join(layout.told)
    with pytest.raises(LayoutError, match="are _labelTrainIds, whose labels are mapped already; leave out --map"):
        find(cityscapes(tmp_path / "mapped", "labelTrainIds.png"), mapped=True)


def test_a_mask_of_train_ids_that_is_missing_is_named(tmp_path: Path) -> None:
    cityscapes(tmp_path, "labelIds.png", "labelTrainIds.png")
    (tmp_path / "gtFine/val/munster/munster_000002_000019_gtFine_labelTrainIds.png").unlink()
    with pytest.raises(LayoutError, match=r"have no partner .*: munster/munster_000002_000019"):
        find(tmp_path)


def test_ade20k(tmp_path: Path) -> None:
    for part, letters, many in (("training", "train", 11), ("validation", "val", 3)):
        for number in range(many):
            touch(tmp_path / "images" / part / f"ADE_{letters}_{number:08}.jpg")
            touch(tmp_path / "annotations" / part / f"ADE_{letters}_{number:08}.png")
    layout = find(tmp_path)
    assert {part: [int(name[-8:]) for name in names] for part, names in shown(layout).items()} == {
        "train": [0, 1, 2, 3, 5, 6, 7, 8, 10], "val": [4, 9], "test": [0, 1, 2],
    }  # fmt: skip
    assert all("_val_" in name for name in shown(layout)["test"])
    assert any("--map ade20k" in said for said in layout.told)


@pytest.mark.parametrize("masks", ["annotations", "stuffthingmaps"])
@pytest.mark.parametrize("ending", ["", "_labelTrainIds"])
def test_coco_stuff(masks: str, ending: str, tmp_path: Path) -> None:
    for part, many in (("train2017", 6), ("val2017", 2)):
        for number in range(many):
            touch(tmp_path / "images" / part / f"{number:012}.jpg")
            touch(
                tmp_path / masks / part / f"{number:012}.png", tmp_path / masks / part / f"{number:012}{ending}.png"
            )
    touch(tmp_path / "annotations" / "instances_train2017.json", tmp_path / "images" / "test2017" / "1.jpg")
    layout = find(tmp_path)
    assert [len(layout.pairs[part]) for part in PARTS] == [5, 1, 2]
    assert layout.pairs["val"][0].mask == tmp_path / masks / "train2017" / f"000000000004{ending}.png"
    assert layout.void == (255,)
    assert "test2017 is not used" in layout.note


NEW = {
    "channel_names": {"0": "FLAIR", "1": "T1"},
    "labels": {"background": 0, "edema": 1, "ignore": 2},
    "file_ending": ".png",
}


def nnunet(root: Path, description: Any, test: bool = False, channels: int = 2) -> Path:
    touch(root / "dataset.json")
    (root / "dataset.json").write_text(description if isinstance(description, str) else json.dumps(description))
    generator = np.random.default_rng(0)
    for part, many in (("Tr", 10), *([("Ts", 2)] if test else [])):
        for number in range(many):
            name = f"{part}_{number:03}"
            for kind in ("images", "labels"):
                (root / f"{kind}{part}").mkdir(exist_ok=True)
            for channel in range(channels):
                values = generator.integers(0, 256, (8, 9), dtype=np.uint8)
                Image.fromarray(values).save(root / f"images{part}" / f"{name}_{channel:04}.png")
            Image.fromarray(np.arange(72, dtype=np.uint8).reshape(8, 9) % 3).save(
                root / f"labels{part}" / f"{name}.png"
            )
    return root


def test_nnunet_without_test_labels(tmp_path: Path) -> None:
    layout = find(nnunet(tmp_path, NEW))
    numbers = {part: [int(name[-3:]) for name in names] for part, names in shown(layout).items()}
    assert numbers == {"train": [0, 1, 2, 3, 6, 7, 8], "val": [5], "test": [4, 9]}
    assert layout.classes is not None
    assert (layout.classes.names, layout.void) == (("background", "edema"), (2,))
    assert "the test part is each fifth case of imagesTr" in layout.note
    assert "Each image is the 2 files of its name with _0000 and so on: 10 images." in layout.told


def test_nnunet_with_test_labels(tmp_path: Path) -> None:
    layout = find(nnunet(tmp_path, NEW, test=True))
    assert [len(layout.pairs[part]) for part in PARTS] == [8, 2, 2]
    assert shown(layout)["test"] == ["Ts_000", "Ts_001"]


def test_files_of_an_image_are_its_channels(tmp_path: Path) -> None:
    layout = find(nnunet(tmp_path, NEW))
    load: Callable[..., Any] = lambda: load_folder(  # noqa: E731
        tmp_path, layout, numbered(2), (), None, tmp_path / "known.json", lambda done, number: None
    )
    data = load()
    assert (data.channels, data.num_classes) == (2, 2)
    files = [
        [tmp_path / "imagesTr" / f"{name}_{channel:04}.png" for channel in range(2)]
        for name in shown(layout)["train"]
    ]
    raw = torch.from_numpy(np.array([[np.asarray(Image.open(file)) for file in those] for those in files])).double()
    expected = (raw - raw.mean((0, 2, 3), keepdim=True)) / raw.std((0, 2, 3), keepdim=True, correction=0)
    for index, one in enumerate(expected):
        torch.testing.assert_close(data.parts["train"].samples[index][0].double(), one, atol=1e-4, rtol=0)

    # A changed second channel is noticed, one of another size is named.
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(files[0][1])
    assert load().fingerprint != data.fingerprint
    Image.fromarray(np.zeros((4, 9), np.uint8)).save(files[0][1])
    with pytest.raises(
        UnreadableFileError, match=re.escape(f"{files[0][1]}: has the size (4, 9), another channel")
    ):
        load()


def test_an_image_that_lacks_a_channel_is_named(tmp_path: Path) -> None:
    nnunet(tmp_path, NEW)
    (tmp_path / "imagesTr" / "Tr_003_0001.png").unlink()
    with pytest.raises(LayoutError, match="Tr_003 has the files _0000, others _0000, _0001; each image needs all"):
        find(tmp_path)


def test_nnunet_of_the_first_version_and_with_regions(tmp_path: Path) -> None:
    old = {"modality": {"0": "CT"}, "labels": {"1": "liver", "0": "background"}, "file_ending": ".png"}
    layout = find(nnunet(tmp_path / "old", old, channels=1))
    assert layout.classes is not None
    assert (layout.classes.names, layout.void) == (("background", "liver"), ())
    assert "Paired by the names without _0000: 10 pairs." in layout.told
    regions = {**NEW, "labels": {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}}
    layout = find(nnunet(tmp_path / "regions", regions))
    assert (layout.classes, layout.void) == (None, (3,))
    assert any("regions that overlap" in said for said in layout.told)


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ("{", "dataset.json: is not JSON"),
        ("[]", "expected an object with channel_names and labels"),
        ({"labels": {"a": 0}}, "expected channel_names and labels"),
        ({**NEW, "file_ending": ".nrrd"}, 'file_ending ".nrrd" is of a kind that is not read; expected one of'),
        ({**NEW, "labels": {"a": 0, "b": 2}}, "the labels must be 0 to 1, with ignore after them, got 0, 2"),
        ({**NEW, "labels": {"a": 0, "b": 0.5}}, "the label of b must be a whole number, got 0.5"),
        ({**NEW, "labels": {"a": 0, "\x1b": 1}}, "holds what cannot be printed"),
        ({**NEW, "channel_names": {"0": "CT"}}, "the image has 2 files, dataset.json names 1 channels"),
    ],
)
def test_a_description_that_is_wrong_is_named(description: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=re.escape(said)) as caught:
        find(nnunet(tmp_path, description))
    assert "\x1b" not in str(caught.value)


def test_files_of_another_ending_are_passed_over(tmp_path: Path) -> None:
    nnunet(tmp_path, NEW)
    touch(tmp_path / "labelsTr" / "notes.tif", tmp_path / "labelsTr" / "Tr_000.json")
    layout = find(tmp_path)
    assert f"Passed over in {tmp_path / 'labelsTr'}: 1 .json; 1 .tif" in layout.told
