"""Binary and multilabel data: which task it is, what the labels are, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from lovasz.cli.session import load
from lovasz.study.data.examine import resized
from lovasz.study.data.layout import find
from lovasz.study.data.parts import IGNORE_INDEX, PARTS, TEST, TRAIN, Data
from lovasz.study.train.config_checks import check_config
from lovasz.study.train.config_file import make_config
from lovasz.study.train.heads import head_of

# Images of each part, and their size.
NUMBER, SIZE = 2, (9, 7)
Write = Callable[[Path, str, int], None]


def folder(path: Path, write: Write) -> Path:
    """Write images, and with `write` what belongs to each."""
    number = 0
    for part in PARTS:
        for kind in ("images", "masks"):
            (path / part / kind).mkdir(parents=True)
        for index in range(NUMBER):
            random = np.random.default_rng(number := number + 1)
            image = random.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
            Image.fromarray(image).save(path / part / "images" / f"{index}.png")
            write(path / part / "masks", str(index), number)
    return path


def classes_of(number: int, most: int = 3) -> np.ndarray:
    return np.random.default_rng(100 + number).integers(0, most, SIZE, dtype=np.uint8)


def one_mask(most: int = 3, factor: int = 1) -> Write:
    def write(masks: Path, name: str, number: int) -> None:
        Image.fromarray(classes_of(number, most) * np.uint8(factor)).save(masks / f"{name}.png")

    return write


def in_folders(masks: Path, name: str, number: int) -> None:
    for label, value in enumerate(("nucleus", "cell")):
        (masks / value).mkdir(exist_ok=True)
        mask = (classes_of(number) > label).astype(np.uint8) * 255
        Image.fromarray(mask).save(masks / value / f"{name}.png")


def loaded(path: Path, out: Path, **given: object) -> Data:
    config = make_config({"data": path, **given}, None)
    check_config(config)
    out.mkdir(exist_ok=True)
    return load(Console(quiet=True), config, out)


def test_binary_of_a_class_against_all_others(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", one_mask(4))
    (data / "classes.txt").write_text("ground\ncell\nnucleus\n")
    for wanted in ("nucleus", "2"):
        found = loaded(data, tmp_path / "out", ignore=(3,), foreground=wanted)
        assert (found.task, found.class_names, found.num_classes) == ("binary", ("nucleus",), 1)
        image, target = found.parts[TRAIN].samples[0]
        stored = torch.from_numpy(classes_of(1, 4).astype(np.int64))
        assert torch.equal(target, torch.where(stored == 3, IGNORE_INDEX, (stored == 2).long())[None])
        assert image.shape == (3, *SIZE)
    part = found.parts[TRAIN]
    masks = [classes_of(number, 4) for number in (1, 2)]
    assert part.pixels == [sum(int((mask == 2).sum()) for mask in masks)]
    assert part.counting == sum(int((mask != 3).sum()) for mask in masks)
    assert "The foreground is nucleus, all else (ground, cell) background." in found.notes
    said = "--task binary needs --foreground CLASS, one of ground, cell, nucleus; the others are background"
    with pytest.raises(ValueError, match=said):
        loaded(data, tmp_path / "out", ignore=(3,), task="binary")
    with pytest.raises(
        ValueError, match="--foreground must be a class, ground, cell, nucleus, or its number, got '3'"
    ):
        loaded(data, tmp_path / "out", ignore=(3,), foreground="3")


@pytest.mark.parametrize("factor", [1, 255])
def test_binary_masks_of_two_values(tmp_path: Path, factor: int) -> None:
    """0 and 1, or 0 and 255, with or without names."""
    data = folder(tmp_path / "data", one_mask(2, factor))
    found = loaded(data, tmp_path / "out", task="binary")
    assert (found.task, found.class_names, found.metric) == ("binary", ("foreground",), "IoU")
    for part in PARTS:
        for index in range(NUMBER):
            number = 1 + NUMBER * PARTS.index(part) + index
            expected = torch.from_numpy(classes_of(number, 2).astype(np.int64))
            assert torch.equal(found.parts[part].samples[index][1], expected[None])
    head = head_of(make_config({"data": data, "task": "binary"}, None), find(data))
    assert head.told == (
        ("Masks hold 0 and 255: 255 is read as 1, any other value is refused.",) if factor > 1 else ()
    )
    assert loaded(data, tmp_path / "out", num_classes=1).class_names == ("foreground",)
    (data / "classes.txt").write_text("nucleus\n")  # one name: nothing else can be meant
    assert loaded(data, tmp_path / "out").class_names == ("nucleus",)
    (data / "classes.txt").write_text("background\nnucleus\n")
    assert loaded(data, tmp_path / "out", task="binary").class_names == ("nucleus",)
    if factor == 1:
        assert loaded(data, tmp_path / "out").task == "multiclass"  # two classes may be told by a softmax


def test_white_masks_with_another_value_are_refused(tmp_path: Path) -> None:
    """Whichever comes first: 255 is foreground in none of them without being said."""
    data = folder(tmp_path / "data", one_mask(2, 255))
    file = data / TEST / "masks" / "1.png"
    Image.fromarray(classes_of(1, 2)).save(file)
    with pytest.raises(
        ValueError, match=r"1.png: holds the value 1 at \d+ pixels, which masks of 0 and 255 does not"
    ):
        loaded(data, tmp_path / "out", task="binary")
    data = folder(tmp_path / "other", one_mask(2))
    file = data / TEST / "masks" / "1.png"
    Image.fromarray(classes_of(1, 2) * np.uint8(255)).save(file)
    with pytest.raises(ValueError, match=r"1.png: holds the label 255"):
        loaded(data, tmp_path / "out", task="binary")
    white = folder(tmp_path / "white", one_mask(2, 255))
    with pytest.raises(ValueError, match="no training mask holds foreground"):  # what is left out is no foreground
        loaded(white, tmp_path / "out", task="binary", ignore=(255,))
    # Void by name is void, and 1 the foreground.
    found = loaded(data, tmp_path / "out", task="binary", ignore=(255,))
    assert set(found.parts[TEST].samples[1][1].unique().tolist()) == {IGNORE_INDEX, 0}


def test_a_folder_of_masks_for_each_label(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", in_folders)
    found = loaded(data, tmp_path / "out")
    assert (found.task, found.class_names, found.metric) == ("multilabel", ("cell", "nucleus"), "mIoU")
    stored = torch.from_numpy(classes_of(2).astype(np.int64))
    assert torch.equal(found.parts[TRAIN].samples[1][1], torch.stack([stored > 1, stored > 0]).long())
    resized_data = loaded(data, tmp_path / "resized", size=(18, 14))
    double = found.parts[TRAIN].samples[1][1].repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.equal(resized_data.parts[TRAIN].samples[1][1], double)
    assert found.parts[TRAIN].counting == NUMBER * SIZE[0] * SIZE[1]
    (data / "classes.json").write_text(
        json.dumps([{"name": "nucleus", "color": "#112233"}, {"name": "cell", "color": "#445566"}])
    )
    other = loaded(data, tmp_path / "out")  # in the order of the class file, with its colours
    assert (other.class_names, other.colours) == (("nucleus", "cell"), ("#112233", "#445566"))
    assert torch.equal(other.parts[TRAIN].samples[1][1], found.parts[TRAIN].samples[1][1].flip(0))
    (data / "classes.json").unlink()
    with pytest.raises(ValueError, match=r"--task binary: there is a folder of masks for each of cell, nucleus"):
        loaded(data, tmp_path / "out", task="binary")
    (data / "classes.txt").write_text("cell\ntissue\n")
    with pytest.raises(ValueError, match="the folders of labels are cell, nucleus, the classes cell, tissue"):
        loaded(data, tmp_path / "out")
    (data / "classes.txt").unlink()
    (data / TEST / "masks" / "cell" / "0.png").unlink()
    with pytest.raises(ValueError, match="0"):
        loaded(data, tmp_path / "out")


def test_what_is_left_out_of_one_label_counts_for_the_others(tmp_path: Path) -> None:
    def write(masks: Path, name: str, number: int) -> None:
        in_folders(masks, name, number)
        for label, rows in (("cell", 2), ("nucleus", 3)):
            stored = np.asarray(Image.open(masks / label / f"{name}.png")) // np.uint8(255)
            stored[:rows] = 9
            Image.fromarray(stored).save(masks / label / f"{name}.png")

    found = loaded(folder(tmp_path / "data", write), tmp_path / "out", ignore=(9,))
    target = found.parts[TRAIN].samples[0][1]
    assert (target == IGNORE_INDEX).sum((1, 2)).tolist() == [2 * SIZE[1], 3 * SIZE[1]]
    assert found.parts[TRAIN].counting == NUMBER * (SIZE[0] - 2) * SIZE[1]


def test_a_list_with_a_column_for_each_label(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", in_folders)
    files = [f"{part}/{{}}/{index}.png" for part in PARTS for index in range(NUMBER)]
    rows = [
        f"{file.split('/')[0]},{','.join(file.format(kind) for kind in ('images', 'masks/nucleus', 'masks/cell'))}"
        for file in files
    ]
    (data / "list.csv").write_text("\n".join(["part,image,mask:nucleus,mask:cell", *rows]))
    found, same = loaded(data / "list.csv", tmp_path / "out"), loaded(data, tmp_path / "other")
    assert (found.task, found.class_names) == ("multilabel", ("nucleus", "cell"))
    for part in PARTS:
        assert torch.equal(found.parts[part].samples[1][1], same.parts[part].samples[1][1].flip(0))
    for header, said in (
        (
            "part,image,mask,mask:cell",
            r"must name the columns part, image, mask:cell, got part, image, mask, mask",
        ),
        ("part,image,mask:,mask:cell", r"the label '' of a column is empty or cannot be printed"),
    ):
        (data / "list.csv").write_text("\n".join([header, *rows]))
        with pytest.raises(ValueError, match=said):
            loaded(data / "list.csv", tmp_path / "out")


def test_a_part_without_a_label_is_refused(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", in_folders)
    (data / TEST / "masks" / "cell").rename(data / TEST / "masks" / "cells")
    said = "masks of test are folders of cells, nucleus, those of train folders of cell, nucleus; expected the same"
    with pytest.raises(ValueError, match=said):
        loaded(data, tmp_path / "out")


def test_folders_of_different_images_are_no_labels(tmp_path: Path) -> None:
    """As of cities: each name is in one of them alone."""

    def write(masks: Path, name: str, number: int) -> None:
        (masks / f"city{name}").mkdir()
        Image.fromarray(classes_of(number)).save(masks / f"city{name}" / f"{name}.png")

    data = folder(tmp_path / "data", write)
    assert find(data).regions is None
    assert loaded(data, tmp_path / "out", num_classes=3).task == "multiclass"


def test_channels_of_one_file(tmp_path: Path) -> None:
    def write(masks: Path, name: str, number: int) -> None:
        labels = classes_of(number)
        np.save(masks / f"{name}.npy", np.stack([labels > 0, labels > 1, labels == 1]).astype(np.uint8))

    data = folder(tmp_path / "data", write)
    (data / "classes.txt").write_text("any\nhigh\nlow\n")
    found = loaded(data, tmp_path / "out", task="multilabel")
    stored = torch.from_numpy(classes_of(1).astype(np.int64))
    expected = torch.stack([stored > 0, stored > 1, stored == 1]).long()
    assert torch.equal(found.parts[TRAIN].samples[0][1], expected)
    said = (
        r"has the shape \(3, 9, 7\), with channels first; expected \(2, 9, 7\), a channel of 0 and 1 for each of 2"
    )
    (data / "classes.txt").write_text("any\nhigh\n")
    with pytest.raises(ValueError, match=said):
        loaded(data, tmp_path / "out", task="multilabel")
    (data / "classes.txt").write_text("any\nhigh\nlow\n")
    white = np.stack([classes_of(5) > 0, classes_of(5) > 1, classes_of(5) == 1]).astype(np.uint8)
    np.save(data / TEST / "masks" / "0.npy", 255 * white)
    found = loaded(data, tmp_path / "out", task="multilabel", map="255:1")
    assert torch.equal(found.parts[TEST].samples[0][1], torch.from_numpy(white).long())
    np.save(data / TEST / "masks" / "0.npy", 2 * np.ones((3, *SIZE), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"0.npy: holds the label 2 \(189x\); expected classes 0 to 1"):
        loaded(data, tmp_path / "out", task="multilabel")


def test_bits(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", one_mask(4))
    given = {"map": "bits", "num_classes": 2}
    found = loaded(data, tmp_path / "out", **given)
    stored = torch.from_numpy(classes_of(1, 4).astype(np.int64))
    assert found.task == "multilabel"
    assert torch.equal(found.parts[TRAIN].samples[0][1], torch.stack([stored & 1, stored >> 1]))
    with pytest.raises(ValueError, match="holds the value 2; of 1 labels as bits, values are 0 to 1"):
        loaded(data, tmp_path / "out", map="bits", num_classes=1)
    with pytest.raises(ValueError, match="--ignore 3 is also a set of the 2 labels as bits"):
        loaded(data, tmp_path / "out", ignore=(3,), **given)
    assert loaded(data, tmp_path / "out", ignore=(9,), **given).task == "multilabel"
    with pytest.raises(ValueError, match="--map bits is for --task multilabel, got --task binary"):
        loaded(data, tmp_path / "out", task="binary", **given)
    with pytest.raises(ValueError, match="the task multilabel needs --classes FILE or --num-classes N"):
        loaded(data, tmp_path / "out", map="bits")


def test_regions_of_nnunet(tmp_path: Path) -> None:
    """Each is made of classes; they overlap, so that they are a multilabel task, unless classes are named."""
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    for kind in ("imagesTr", "labelsTr"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for number in range(10):
        image = np.random.default_rng(number).integers(0, 255, SIZE, dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / "data" / "imagesTr" / f"case{number}_0000.png")
        Image.fromarray(classes_of(number, 4)).save(tmp_path / "data" / "labelsTr" / f"case{number}.png")
    description = {"channel_names": {"0": "x"}, "labels": labels, "file_ending": ".png"}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(description))
    found = loaded(tmp_path / "data", tmp_path / "out")
    assert (found.task, found.class_names) == ("multilabel", ("whole", "core"))
    stored = torch.from_numpy(classes_of(0, 4).astype(np.int64))
    expected = torch.stack([(stored > 0) & (stored < 3), stored == 2]).long().masked_fill(stored == 3, IGNORE_INDEX)
    assert torch.equal(found.parts[TRAIN].samples[0][1], expected)
    assert loaded(tmp_path / "data", tmp_path / "out", num_classes=3).task == "multiclass"
    for wrong in ([], [1, -1], [1, "2"], [2, 3]):
        description["labels"] = {**labels, "core": wrong}
        (tmp_path / "data" / "dataset.json").write_text(json.dumps(description))
        with pytest.raises(
            ValueError, match=r"the region core (must be a label or a list of labels|holds the label to)"
        ):
            loaded(tmp_path / "data", tmp_path / "out")


def test_a_target_of_several_masks_is_resized_by_place() -> None:
    target = torch.tensor([[[0, 1], [1, IGNORE_INDEX]], [[1, 0], [0, 0]]])
    assert torch.equal(resized(target, (4, 4)), target.repeat_interleave(2, -1).repeat_interleave(2, -2))


def test_what_does_not_belong_together() -> None:
    with pytest.raises(ValueError, match="--foreground is for --task binary, got --task multilabel"):
        check_config(make_config({"data": "x", "task": "multilabel", "foreground": "a"}, None))
    with pytest.raises(ValueError, match="--task binary is for your own --data; the embedded scene is multiclass"):
        check_config(make_config({"task": "binary"}, None))
    assert make_config({"data": "x", "task": "binary"}, None).losses == ("bce", "sigmoid", "bce+sigmoid")
    assert make_config({"data": "x", "task": "binary", "losses": "hinge"}, None).losses == ("hinge",)
    assert make_config({"data": "x"}, None).of_task("multilabel").losses == ("bce", "sigmoid", "bce+sigmoid")
    assert make_config({"data": "x", "losses": "ce"}, None).of_task("multilabel").losses == ("ce",)
