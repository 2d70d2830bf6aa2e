"""Which image belongs to which mask: the three layouts, and what is wrong with one that is none."""

import re
from pathlib import Path

import pytest

from lovasz.study.data.layout import find
from lovasz.study.data.pairs import LayoutError
from lovasz.study.data.parts import PARTS


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def folders(root: Path) -> Path:
    for part in PARTS:
        touch(*(root / part / "images" / f"{part}{n}.jpg" for n in range(3)))
        touch(*(root / part / "masks" / f"{part}{n}.png" for n in range(3)))
    return root


def voc(root: Path, **lists: int) -> Path:
    number = 0
    for part, many in lists.items():
        names = [f"2007_{number + index:06}" for index in range(many)]
        number += many
        touch(*(root / "JPEGImages" / f"{name}.jpg" for name in names))
        touch(*(root / "SegmentationClass" / f"{name}.png" for name in names))
        (root / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Segmentation" / f"{part}.txt").write_text("\n".join(names) + "\n\n")
    return root


def names(root: Path) -> dict[str, list[str]]:
    return {part: [pair.name for pair in pairs] for part, pairs in find(root).pairs.items()}


def test_folders(tmp_path: Path) -> None:
    touch(folders(tmp_path) / "train" / "images" / ".DS_Store", tmp_path / "train" / "masks" / "Thumbs.db")
    layout = find(tmp_path)
    assert {part: len(pairs) for part, pairs in layout.pairs.items()} == dict.fromkeys(PARTS, 3)
    pair = layout.pairs["val"][1]
    assert (pair.name, pair.image) == ("val1", tmp_path / "val" / "images" / "val1.jpg")
    assert pair.mask == tmp_path / "val" / "masks" / "val1.png"
    assert layout.void == ()


def test_voc_with_a_test_list(tmp_path: Path) -> None:
    layout = find(voc(tmp_path, train=6, val=2, test=3))
    assert [len(layout.pairs[part]) for part in PARTS] == [6, 2, 3]
    assert layout.pairs["train"][0].mask == tmp_path / "SegmentationClass" / "2007_000000.png"
    assert layout.void == (255,)


def test_voc_without_one_is_tested_on_val_and_says_so(tmp_path: Path) -> None:
    layout = find(voc(tmp_path, train=11, val=3))
    found = {part: [int(pair.name[-2:]) for pair in layout.pairs[part]] for part in PARTS}
    assert found == {"train": [0, 1, 2, 3, 5, 6, 7, 8, 10], "val": [4, 9], "test": [11, 12, 13]}
    assert "the test part is the list val" in layout.note


def test_list(tmp_path: Path) -> None:
    touch(*(tmp_path / f"{kind}{n}.png" for kind in "im" for n in range(3)))
    rows = ["part,image,mask", *(f"{part},i{n}.png,{tmp_path}/m{n}.png" for n, part in enumerate(PARTS))]
    (tmp_path / "mine.csv").write_text("\ufeff" + "\n".join(rows))
    layout = find(tmp_path / "mine.csv")
    assert [layout.pairs[part][0].image.name for part in PARTS] == ["i0.png", "i1.png", "i2.png"]
    assert layout.pairs["test"][0].mask == tmp_path / "m2.png"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("image,mask\ni.png,m.png", "must name the columns part, image, mask, got image, mask"),
        ("", "got nothing"),
        ("part,image,mask\ntraining,i.png,m.png", r"line 2: part must be one of train, val, test, got 'training'"),
        ("part,image,mask\ntrain,i.png,m.png\nval,no.png,m.png", r"line 3: there is no file .*no\.png"),
        ("part,image,mask\ntrain,i.png,", "line 2: an image and a mask are needed"),
        ("part,image,mask\ntrain,i.png,m.png", "the val part holds no images"),
        ("part,image,mask\ntest,i.png,m.png\ntest,i.png,m.png", "line 3: the image i.png is also in line 2"),
        ("part,image,mask\ntrain,i.png,m.png\ntrain,./i.png,n.png", "line 3: the image ./i.png is also in line 2"),
        (f"part,image,mask\ntrain,{'i' * 200_000}.png,m.png", "line 2: is not CSV"),
        (b"part,image,mask\ntrain,\xff.png,m.png", r"mine\.csv: is not UTF-8 text \(invalid start byte at byte 22"),
    ],
)
def test_wrong_list(rows: str | bytes, said: str, tmp_path: Path) -> None:
    touch(tmp_path / "i.png", tmp_path / "m.png", tmp_path / "n.png")
    (tmp_path / "mine.csv").write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    with pytest.raises(LayoutError, match=said):
        find(tmp_path / "mine.csv")


def test_a_name_that_a_list_of_voc_has_twice_is_named(tmp_path: Path) -> None:
    (voc(tmp_path, train=2, val=1) / "ImageSets" / "Segmentation" / "val.txt").write_text(
        "2007_000002\n\n2007_000002\n"
    )
    with pytest.raises(LayoutError, match=r"val\.txt, line 3: 2007_000002 is also in line 1"):
        find(tmp_path)


def test_a_list_of_voc_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (voc(tmp_path, train=2, val=1) / "ImageSets" / "Segmentation" / "val.txt").write_bytes(b"2007_\xff\n")
    with pytest.raises(LayoutError, match=r"val\.txt: is not UTF-8 text"):
        find(tmp_path)


def test_partners_that_are_missing_are_named(tmp_path: Path) -> None:
    touch(folders(tmp_path) / "val" / "images" / "alone.png")
    with pytest.raises(LayoutError, match=r"1 of 4 in \S*val/images have no partner in \S*val/masks: alone"):
        find(tmp_path)
    (tmp_path / "val" / "images" / "alone.png").unlink()
    touch(*(tmp_path / "test" / "masks" / f"more{n}.png" for n in range(7)))
    with pytest.raises(
        LayoutError, match=r"7 of 10 in \S*test/masks .*: more0, more1, more2, more3, more4, \.\.\."
    ):
        find(tmp_path)


def test_what_is_no_layout(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="there is no such file or folder"):
        find(tmp_path / "nothing")
    with pytest.raises(LayoutError, match=r"expected a folder with train, val and test, .* JPEGImages"):
        find(tmp_path)
    folders(tmp_path / "half")
    for file in (tmp_path / "half" / "test" / "masks").iterdir():
        file.unlink()
    with pytest.raises(LayoutError, match="3 of 3"):
        find(tmp_path / "half")
    for file in (tmp_path / "half" / "test" / "images").iterdir():
        file.unlink()
    with pytest.raises(LayoutError, match="the test part holds no images"):
        find(tmp_path / "half")
    (tmp_path / "half" / "test" / "images").rmdir()
    with pytest.raises(LayoutError, match=re.escape(str(tmp_path / "half" / "test" / "images")) + " is missing"):
        find(tmp_path / "half")
    voc(tmp_path / "voc", train=2)
    with pytest.raises(LayoutError, match=r"val\.txt is missing"):
        find(tmp_path / "voc")
    voc(tmp_path / "other", train=2, val=1)
    (tmp_path / "other" / "SegmentationClass" / "2007_000001.png").unlink()
    with pytest.raises(LayoutError, match=r"train\.txt: 2007_000001 is not in \S*SegmentationClass"):
        find(tmp_path / "other")


def test_an_image_in_two_parts_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "i.png", tmp_path / "m.png", tmp_path / "j.png")
    (tmp_path / "mine.csv").write_text("part,image,mask\ntrain,i.png,m.png\nval,j.png,m.png\ntest,./i.png,m.png\n")
    with pytest.raises(LayoutError, match=r"i\.png is in both train and test"):
        find(tmp_path / "mine.csv")
