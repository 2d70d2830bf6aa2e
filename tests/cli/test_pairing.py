"""Both commands on files that belong together by subfolders, by affixes and by lists, and on files passed over."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner, Result

from lovasz.cli.app import app
from lovasz.cli.session import load
from lovasz.study.data.parts import PARTS, Data
from lovasz.study.train.config_file import make_config
from tests.cli.commands import assert_refused
from tests.study.test_datasets import NEW, nnunet

# Labels, the same ones wrong everywhere, and with two pixels wrong: IoU 7/8, 4/6 and 3/4.
G = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [0, 2, 2, 1], [0, 0, 0, 1]], np.uint8)
W = (G + 1) % 3
Q = G.copy()
Q[1, 2], Q[3, 3] = 1, 0


Run = Callable[..., tuple[Result, dict[str, Any]]]


def miou(*pairs: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> float:
    """The mIoU of predictions and targets from sets of pixels."""
    found = []
    for label in range(3):
        predicted, true = (
            {(n, *p) for n, two in enumerate(pairs) for p in np.argwhere(two[k] == label).tolist()} for k in (0, 1)
        )
        found.append(len(predicted & true) / len(predicted | true))
    return sum(found) / 3


def save(folder: Path, **masks: NDArray[np.uint8]) -> Path:
    for name, mask in masks.items():
        path = folder / (name.replace("__", "/") + ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Evaluates with three classes; returns what was printed and what was written."""

    def evaluated(*arguments: object) -> tuple[Result, dict[str, Any]]:
        out = tmp_path / "out"
        given = ["evaluate", *map(str, arguments), "--num-classes", "3", "--out", str(out)]
        result = CliRunner().invoke(app, given, prog_name="lovasz")
        file = out / "results.json"
        return result, json.loads(file.read_text()) if file.exists() else {}

    return evaluated


def test_subfolders_are_evaluated(tmp_path: Path, run: Run) -> None:
    predictions = save(tmp_path / "p", a=G, city__a=Q, city__deep__b=W)
    result, record = run(predictions, save(tmp_path / "t", a=G, city__a=G, city__deep__b=G))
    assert result.exit_code == 0, result.output
    assert record["scores"]["miou"] == pytest.approx(miou((G, G), (Q, G), (W, G)), abs=1e-9)
    with open(tmp_path / "out" / "images.csv", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["a", "city/a", "city/deep/b"]
    assert record["paired"] == ""


@pytest.mark.parametrize("inner", ["p", "t"])
def test_a_folder_in_the_other_is_not_walked_twice(inner: str, tmp_path: Path, run: Run) -> None:
    outer = tmp_path / "outer"
    folders = {name: outer / name if name == inner else outer for name in "pt"}
    save(folders["p"], a=Q)
    save(folders["t"], a=G)
    result, record = run(folders["p"], folders["t"])
    assert result.exit_code == 0, result.output
    assert record["counted"] == 1
    assert f"Passed over in {outer}: 1 folder listed elsewhere ({inner})" in result.stdout


def test_a_rule_is_used_and_shown(tmp_path: Path, run: Run) -> None:
    predictions = save(tmp_path / "p", ulm__a_leftImg8bit=Q, ulm__b_leftImg8bit=G)
    targets = save(tmp_path / "t", ulm__a_gtFine_labelIds=G, ulm__b_gtFine_labelIds=G, ulm__a_gtFine_color=W)
    photos = save(tmp_path / "photos", ulm__a_leftImg8bit=np.full((4, 4), 9, np.uint8))
    result, record = run(predictions, targets, "--images", photos)
    assert result.exit_code == 0, result.output
    said = "Paired by the names without _leftImg8bit and _gtFine_labelIds: 2 pairs."
    passed = f"Passed over in {targets}: 1 _gtFine_color.png in ulm"
    assert {said, passed} <= set(result.stdout.splitlines())
    assert record["paired"] == said
    assert record["passed_over"]["targets"]["files"] == [{"kind": "_gtFine_color.png", "folder": "ulm", "files": 1}]
    assert record["scores"]["miou"] == pytest.approx(miou((Q, G), (G, G)), abs=1e-9)
    page = (tmp_path / "out" / "report.html").read_text()
    assert said in page
    assert passed in page
    assert 'alt="photo of ulm/a"' in page.lower() or "image of ulm/a" in page.lower()


@pytest.mark.parametrize(
    ("prediction", "target"), [("b.gif", "b.gif"), ("b.xcf", "b.xcf"), ("b.npz", "b.png"), ("b.png", "b.npz")]
)
def test_a_pair_that_is_passed_over_makes_the_result_incomplete(
    prediction: str,
    target: str,
    tmp_path: Path,
    run: Run,
) -> None:
    folders = save(tmp_path / "p", a=G), save(tmp_path / "t", a=G)
    for folder, name, mask in zip(folders, (prediction, target), (W, G), strict=True):
        if name.endswith((".gif", ".png")):
            Image.fromarray(mask).save(folder / name)
        else:
            (folder / name).write_bytes(b"of another program")
    result, record = run(*folders)
    if record.get("counted") == 2:  # a GIF is read
        assert record["scores"]["miou"] == pytest.approx(miou((G, G), (W, G)), abs=1e-9)
        return
    assert result.exit_code == 1
    assert (record["complete"], record["counted"], record["images"], record["scores"]) == (False, 0, 2, None)
    assert [one["name"] for one in record["left_out"]["passed_over"]] == ["b"]
    kind = next(name[1:] for name in (prediction, target) if not name.endswith(".png"))
    assert f"is of a kind that is not read ({kind}), and belongs to" in result.stdout
    result, record = run(*folders, "--allow-missing")
    assert result.exit_code == 0
    assert record["scores"]["miou"] == 1
    assert "1 name left out" in (tmp_path / "out" / "report.html").read_text()


def test_what_is_passed_over_without_a_partner_is_told(tmp_path: Path, run: Run) -> None:
    folders = save(tmp_path / "p", a=G), save(tmp_path / "t", a=G)
    for name in ("log.xcf", "one/more.xcf", ".hidden", "Thumbs.db", "README.md"):
        (folders[0] / name).parent.mkdir(exist_ok=True)
        (folders[0] / name).touch()
    result, record = run(*folders)
    assert (result.exit_code, record["complete"]) == (0, True)
    said = f"Passed over in {folders[0]}: 2 .xcf in 2 folders; 3 hidden or of documentation"
    assert said in result.stdout.splitlines()
    assert said in (tmp_path / "out" / "report.html").read_text()
    assert record["passed_over"]["predictions"]["files"] == [
        {"kind": ".xcf", "folder": "", "files": 1},
        {"kind": ".xcf", "folder": "one", "files": 1},
    ]
    assert record["passed_over"]["predictions"]["hidden_and_documents"] == 3
    assert record["passed_over"]["targets"]["files"] == []


def test_folders_of_other_kinds_alone_hold_no_masks(tmp_path: Path, run: Run) -> None:
    for folder in ("p", "t"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.xcf").touch()
    assert_refused(
        run(tmp_path / "p", tmp_path / "t")[0], "hold no masks", f"Passed over in {tmp_path / 'p'}: 1 .xcf"
    )


# ---- lists ----


def test_a_list_is_evaluated(tmp_path: Path, run: Run) -> None:
    save(tmp_path / "data", out__one=Q, out__two=W, truth__a=G, truth__b=G)
    file = tmp_path / "data" / "list.csv"
    file.write_text("\ufeffprediction,target,name\nout/one.png,truth/a.png,=street\nout/two.png,truth/b.png,\n")
    result, record = run(file)
    assert result.exit_code == 0, result.output
    assert record["scores"]["miou"] == pytest.approx(miou((Q, G), (W, G)), abs=1e-9)
    assert record["predictions"] == record["targets"] == str(file)
    with open(tmp_path / "out" / "images.csv", newline="") as table:
        assert [row["name"] for row in csv.DictReader(table)] == ["'=street", "truth/b"]


def test_files_that_a_list_names_and_are_not_there_are_named_with_their_line(
    tmp_path: Path,
    run: Run,
) -> None:
    save(tmp_path, p=Q, t=G)
    (tmp_path / "b.npz").touch()
    file = tmp_path / "list.csv"
    file.write_text(
        "target,prediction\nt.png,p.png\nx.png,p.png\nt.png,y.png\nb.npz,p.png\n".replace("t.png,y", "./t.png,y")
    )
    result, record = run(file)
    assert result.exit_code == 1
    assert f"extra: {file}, line 3: there is no file {tmp_path / 'x.png'}" in result.stdout
    assert f"missing: {file}, line 4: there is no file {tmp_path / 'y.png'}" in result.stdout
    assert f"passed over: {file}, line 5: {tmp_path / 'b.npz'} is of a kind" in result.stdout
    assert (record["complete"], record["counted"]) == (False, 0)
    result, record = run(file, "--allow-missing")
    assert (result.exit_code, record["counted"]) == (0, 1)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a,b\n", "list.csv: the first line must name the columns prediction, target and perhaps name, got a, b"),
        ("", "got nothing"),
        ("prediction,target\np.png,\n", "list.csv, line 2: a prediction and a target are needed"),
        ("prediction,target\np.png,t.png,c\n", "line 2: has more cells than the 2 columns"),
        ("prediction,target\np.png,t.png\nq.png,t.png\n", "line 3: the name t is also in line 2; a column name"),
        ("prediction,target,name\np.png,t.png,a\np.png,t.png,b\n", "line 3: this pair is also in line 2"),
        ('prediction,target\np.png,"t.png\n', "is not CSV"),
        ("prediction,target\n", "holds no masks"),
    ],
)
def test_a_list_that_is_wrong_is_refused(
    rows: str,
    said: str,
    tmp_path: Path,
    run: Run,
) -> None:
    save(tmp_path, p=Q, t=G)
    (tmp_path / "list.csv").write_text(rows)
    assert_refused(run(tmp_path / "list.csv")[0], said)


def test_one_folder_alone_is_refused(tmp_path: Path, run: Run) -> None:
    folder = save(tmp_path / "p", a=G)
    assert_refused(run(folder)[0], "TARGETS is needed")
    assert_refused(run(tmp_path / "nowhere.csv")[0], "nowhere.csv: No such file or directory")
    assert_refused(run(folder / "a.png", folder)[0], "a.png is a file; expected two folders, or a list (CSV) alone")


# ---- compare ----


def images(root: Path, image: str, mask: str) -> Path:
    """Three parts whose files have these names, with {} for what is common."""
    for number, part in enumerate(PARTS):
        for index in range(2):
            for kind, name in (("images", image), ("masks", mask)):
                path = root / part / kind / name.format(f"{part}{index}")
                path.parent.mkdir(parents=True, exist_ok=True)
                values = np.roll(np.arange(72).reshape(8, 9), number * 2 + index)
                Image.fromarray((values % 3 if kind == "masks" else values).astype(np.uint8)).save(path)
    return root


def loaded(data: Path, **settings: object) -> tuple[Data, str]:
    """The data as the command loads them, and what it prints."""
    console = Console(record=True, width=200)
    config = make_config({"data": data, **settings}, None)
    (data.parent / "out").mkdir(exist_ok=True)
    return load(console, config, data.parent / "out"), console.export_text()


def test_compare_walks_subfolders(tmp_path: Path) -> None:
    data, printed = loaded(images(tmp_path / "data", "city/{}.png", "city/{}.png"), num_classes=3, ignore=())
    assert list(data.parts["val"].names) == ["city/val0", "city/val1"]
    assert printed == ""


def test_compare_shows_the_rule_and_what_is_passed_over(tmp_path: Path) -> None:
    folder = images(tmp_path / "data", "{}_image.png", "{}_mask.png")
    for name in ("a.xcf", "b.xcf", "README.md"):
        (folder / "val" / "masks" / name).touch()
    data, printed = loaded(folder, num_classes=3)
    said = (
        "Paired by the names without _image and _mask: 2 pairs.",
        f"Passed over in {folder / 'val' / 'masks'}: 2 .xcf; 1 ",
    )
    for sentence in said:
        assert sentence in printed.replace("\n", "")
        assert any(note.startswith(sentence) for note in data.notes)
    assert list(data.parts["train"].names) == ["train0", "train1"]


@pytest.mark.parametrize(("image", "mask"), [("b.xcf", "b.xcf"), ("b.npz", "b.png"), ("b.png", "b.npz")])
def test_compare_refuses_a_pair_that_is_passed_over(image: str, mask: str, tmp_path: Path) -> None:
    folder = images(tmp_path / "data", "{}.png", "{}.png")
    (folder / "val" / "images" / image).touch()
    (folder / "val" / "masks" / mask).touch()
    given = ["compare", "--data", str(folder), "--num-classes", "3", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, given, prog_name="lovasz")
    assert result.exit_code == 2
    assert "1 with a partner are of a kind that is not read: " in result.stderr
    assert str(folder / "val") in result.stderr
    assert result.stderr.count("\n") == 1


def test_compare_takes_the_classes_of_nnunet(tmp_path: Path) -> None:
    data, printed = loaded(nnunet(tmp_path / "data", NEW))
    assert (data.class_names, data.channels) == (("background", "edema"), 2)
    assert data.parts["train"].pixels == [7 * 24, 7 * 24]
    assert "Each image is the 2 files of its name" in printed
    assert any("each fifth case of imagesTr" in note for note in data.notes)
