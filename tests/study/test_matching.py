"""Which files of two folders belong together: names, subfolders, affixes, normal forms, and what is passed over."""

import os
import re
import unicodedata
from pathlib import Path

import pytest

from lovasz.study.io.kinds import SUFFIXES, UnreadableFileError
from lovasz.study.io.matching import AFFIXES, Matched, MatchingError, match
from lovasz.study.io.names import listing
from lovasz.study.io.passed import PassedOver

DOCS = Path(__file__).parents[2] / "docs"


def fill(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    folder.mkdir(exist_ok=True)
    return folder


def matched(root: Path, first: list[str], second: list[str]) -> Matched:
    return match(listing(fill(root / "first", *first)), listing(fill(root / "second", *second)))


def names(found: Matched) -> list[str]:
    return [name for name, _, _ in found.pairs]


def test_subfolders_are_walked_and_belong_to_the_name(tmp_path: Path) -> None:
    found = matched(
        tmp_path, ["x.png", "city/x.png", "city/deep/y.npy"], ["x.png", "city/x.png", "city/deep/y.png"]
    )
    assert found.pairs == [
        ("city/deep/y", "city/deep/y.npy", "city/deep/y.png"),
        ("city/x", "city/x.png", "city/x.png"),
        ("x", "x.png", "x.png"),
    ]
    assert (found.alone, found.unread, found.rule) == (([], []), [], "")


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    folder = fill(tmp_path / "data" / "masks", "a/x.png", "b/c/y.png")
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "b" / "self").symlink_to(folder / "b" / "self")
    (folder / "b" / "up").symlink_to("/")
    (folder / "again").symlink_to(folder / "b")
    (folder / "from-elsewhere").symlink_to(fill(tmp_path / "elsewhere", "z.png"))
    found = listing(folder)
    assert found.files == {name: f"{name}.png" for name in ("a/x", "b/c/y", "from-elsewhere/z")}
    assert sorted(found.passed.links) == ["a/loop", "again", "b/up"]
    assert found.passed.files == ("b/self",)  # a link to nothing, of no known kind
    assert "3 folders listed elsewhere (" in found.passed.sentence("masks")


def test_the_number_of_files_is_told_while_they_are_listed(tmp_path: Path) -> None:
    told: list[int] = []
    listing(fill(tmp_path, "a.png", "b.xcf", "one/c.png", "two/d.png", "two/README"), told.append)
    assert told == [2, 4, 5]


def test_hidden_folders_are_not_entered_and_are_told(tmp_path: Path) -> None:
    found = listing(fill(tmp_path, "a.png", ".ipynb_checkpoints/a.png", "b/.git/c.png"))
    assert list(found.files) == ["a"]
    assert found.passed == PassedOver(hidden=(".ipynb_checkpoints", "b/.git"))
    assert found.passed.sentence("x") == "Passed over in x: 2 hidden folders (.ipynb_checkpoints, b/.git)"


def test_what_is_passed_over_is_counted_by_kind_and_folder(tmp_path: Path) -> None:
    files = ["a.xcf", "b.xcf", "one/c.xcf", "one/d.json", "plain", "e.png"]
    quiet = [".hidden.png", "Thumbs.db", "desktop.ini", "README.md", "LICENSE", "one/.DS_Store"]
    passed = listing(fill(tmp_path, *files, *quiet)).passed
    assert passed.record() == {
        "files": [
            {"kind": ".xcf", "folder": "", "files": 2},
            {"kind": ".xcf", "folder": "one", "files": 1},
            {"kind": ".json", "folder": "one", "files": 1},
            {"kind": "without a suffix", "folder": "", "files": 1},
        ],
        "hidden_and_documents": 6,
        "hidden_folders": [],
        "folders_listed_elsewhere": [],
    }
    assert passed.sentence(tmp_path) == (
        f"Passed over in {tmp_path}: 3 .xcf in 2 folders; 1 .json in one; 1 without a suffix; 6 hidden or of "
        "documentation"
    )
    assert listing(fill(tmp_path / "quiet", *quiet)).passed.sentence("quiet") == ""


def test_a_readme_that_is_an_image_is_an_image(tmp_path: Path) -> None:
    assert list(listing(fill(tmp_path, "readme.png", "license.tif", "notice.npy")).files) == [
        "license", "notice", "readme",
    ]  # fmt: skip


@pytest.mark.parametrize("affix", AFFIXES)
def test_every_affix_is_left_out_of_a_whole_folder(affix: str, tmp_path: Path) -> None:
    put = (lambda name: affix + name) if affix.endswith("_") else (lambda name: name + affix)
    found = matched(tmp_path, ["in/a.png", "in/b.png"], [f"in/{put(name)}.png" for name in "ab"])
    assert names(found) == ["in/a", "in/b"]
    assert found.pairs[0][1:] == ("in/a.png", f"in/{put('a')}.png")
    assert found.rule == f"Paired by the names without {affix}: 2 pairs."


def test_cityscapes_names_are_paired_and_its_other_files_told(tmp_path: Path) -> None:
    kinds = ("labelIds.png", "color.png", "instanceIds.png", "polygons.json")
    frames = [f"aachen/aachen_{n:06}_000019" for n in range(3)]
    found = matched(
        tmp_path,
        [f"{frame}_leftImg8bit.png" for frame in frames],
        [f"{frame}_gtFine_{kind}" for frame in frames for kind in kinds],
    )
    assert names(found) == frames
    assert all(mask.endswith("_gtFine_labelIds.png") for _, _, mask in found.pairs)
    assert found.rule == "Paired by the names without _leftImg8bit and _gtFine_labelIds: 3 pairs."
    assert found.alone == ([], [])
    counts = {kind: number for (kind, _), number in found.folders[1].passed.counts().items()}
    assert counts == {"_gtFine_color.png": 3, "_gtFine_instanceIds.png": 3, "_gtFine_polygons.json": 3}
    assert "3 _gtFine_color.png in aachen" in found.passed_over[0]


def test_of_two_masks_of_an_image_the_one_of_the_same_name_is_meant(tmp_path: Path) -> None:
    found = matched(tmp_path, ["x_gtFine_labelIds.png"], ["x_gtFine_labelIds.png", "x_gtFine_labelTrainIds.png"])
    assert (names(found), found.alone) == (["x_gtFine_labelIds"], ([], []))
    assert found.folders[1].passed.files == ("x_gtFine_labelTrainIds.png",)


def test_equal_names_come_first(tmp_path: Path) -> None:
    found = matched(tmp_path, ["a.png", "b.png"], ["a.png", "a_mask.png", "b_mask.png"])
    assert (names(found), found.alone, found.rule) == (["a"], (["b"], ["a_mask", "b_mask"]), "")


def test_names_without_the_affix_of_the_rule_have_no_partner(tmp_path: Path) -> None:
    found = matched(tmp_path, ["a_img.png", "b_img.png", "c.png"], ["a_mask.png", "b_mask.png", "c_mask.png"])
    assert (names(found), found.alone) == (["a", "b"], (["c"], ["c_mask"]))


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (["a.png"], ["a_mask.png", "a_seg.png"], "a_mask and a_seg could both belong to a "),
        (["a_img.png"], ["a_mask.png", "a.png"], "could both belong to a_img "),
        (["a.png", "b.png"], ["a_mask.png", "b_seg.png"], "by one affix and "),
        (["a.png"], ["a_labelIds.png", "a_labelTrainIds.png"], "could both belong to a "),
        (["x_leftImg8bit.png"], ["x_gtFine_labelIds.png", "x_gtFine_labelTrainIds.png"], "to x_leftImg8bit "),
        (["a_0000.png", "a_0001.png"], ["a.png"], "a_0000 and a_0001 could both belong to a "),
        (["x.png"], ["one/x.png", "two/x.png"], "one/x and two/x could both belong to x "),
    ],
)
def test_what_is_ambiguous_is_refused_by_name(
    first: list[str], second: list[str], said: str, tmp_path: Path
) -> None:
    for number, (one, other) in enumerate(((first, second), (second, first))):
        with pytest.raises(MatchingError, match=re.escape(said)) as caught:
            matched(tmp_path / str(number), one, other)
        assert "a list (CSV)" in str(caught.value)


def test_a_flat_folder_belongs_to_one_with_subfolders(tmp_path: Path) -> None:
    found = matched(
        tmp_path, ["x_pred.png", "y_pred.png"], ["ulm/x_gtFine_labelIds.png", "jena/y_gtFine_labelIds.png"]
    )
    assert [(name, target) for name, _, target in found.pairs] == [
        ("x", "ulm/x_gtFine_labelIds.png"),
        ("y", "jena/y_gtFine_labelIds.png"),
    ]
    assert "without _pred and _gtFine_labelIds and their folders: 2 pairs" in found.rule


NFC, NFD = (unicodedata.normalize(form, "Zürich") for form in ("NFC", "NFD"))


def test_normal_forms_are_compared_as_one_and_shown_as_stored(tmp_path: Path) -> None:
    assert NFC != NFD
    found = matched(tmp_path, [f"{NFC}/a.png", f"{NFC}.png"], [f"{NFD}/a.png", f"{NFD}.png"])
    assert found.pairs == [(f"{NFD}", f"{NFC}.png", f"{NFD}.png"), (f"{NFD}/a", f"{NFC}/a.png", f"{NFD}/a.png")]
    found = matched(tmp_path / "affix", [f"{NFC}.png"], [f"{NFD}_mask.png"])
    assert names(found) == [NFD]


def test_names_that_differ_in_their_normal_form_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="but for the Unicode normal form") as caught:
        listing(fill(tmp_path, f"{NFC}.png", f"{NFD}.png"))
    assert r"Z\xfcrich.png" in str(caught.value)
    assert r"Zu\u0308rich.png" in str(caught.value)


def test_case_is_never_folded(tmp_path: Path) -> None:
    found = matched(tmp_path, ["a.png", "b.PNG"], ["A.png", "b.png"])
    assert (names(found), found.alone) == (["b"], (["a"], ["A"]))


def test_a_name_passed_over_that_has_a_partner_is_a_pair_that_is_not_read(tmp_path: Path) -> None:
    first = ["a.png", "b.npz", "c.npz", "d.png", "e.npz", "f.png", "f.json"]
    second = ["a.png", "b.npz", "c.png", "d.npz", "f.png", "f.json", "g.npz"]
    found = matched(tmp_path, first, second)
    assert names(found) == ["a", "f"]  # f.json lies beside what is read
    assert found.unread == [("b", "b.npz", "b.npz"), ("c", "c.npz", "c.png"), ("d", "d.png", "d.npz")]
    assert found.alone == ([], [])
    assert "npz" not in "".join(SUFFIXES)
    under_rule = matched(tmp_path / "rule", ["a_img.png", "b_img.npz"], ["a_mask.png", "b_mask.png"])
    assert (names(under_rule), under_rule.unread) == (["a"], [("b", "b_img.npz", "b_mask.png")])


def test_without_subfolders_what_can_be_read_comes_first(tmp_path: Path) -> None:
    """The picture of another kind took the place of the mask, whatever their folders."""
    found = matched(tmp_path, ["x_pred.png", "y_pred.png"], ["a/x.png", "b/x.gif", "0/y.gif", "a/y.png"])
    assert [pair[1:] for pair in found.pairs] == [("x_pred.png", "a/x.png"), ("y_pred.png", "a/y.png")]
    assert (found.alone, found.unread) == (([], []), [])


def test_names_that_are_not_utf_8_have_no_normal_form_and_stay_apart(tmp_path: Path) -> None:
    odd = [os.fsdecode(b"\xff.png"), r"\udcff.png"]
    found = matched(tmp_path, odd, odd)
    assert names(found) == [r"\\udcff", r"\udcff"]


def test_the_page_lists_the_affixes_that_are_left_out() -> None:
    table = (DOCS / "pairing.md").read_text().split("| left out |")[1].split("\n\n")[0]
    listed = [affix for line in table.splitlines()[2:] for affix in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted(listed) == sorted(AFFIXES)
    assert len(listed) > 20
