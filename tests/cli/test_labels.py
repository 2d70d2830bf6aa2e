"""Both commands on masks of colours, palettes and other numbers; every hint is followed."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from lovasz.cli.app import app
from lovasz.study.data.folder import load_folder
from lovasz.study.data.layout import find
from lovasz.study.data.parts import IGNORE_INDEX
from lovasz.study.io.classes import Classes, numbered
from lovasz.study.io.labels import parse_map
from lovasz.study.train.config_checks import check_config
from lovasz.study.train.config_file import make_config, write_config
from tests.cli.commands import assert_refused
from tests.core import processes
from tests.study.coloured import (
    BLUE,
    CLOSE,
    COLOURS,
    GREY,
    GREY_ALPHA,
    PALETTE,
    RED,
    RGB,
    RGB_ALPHA,
    TRUTH,
    WRONG,
    coloured,
    indexed,
    png,
    volume,
)
from tests.study.tiny_data import CLASSES, VOID, tiny_folder

# Of CLOSE against TRUTH, counted by hand.
IOU = (7 / 8, 4 / 6, 3 / 4)
LISTED = [
    {"name": "ground", "color": "#000000"},
    {"name": "square", "color": "#ff0000"},
    {"name": "disc", "color": [0, 128, 0]},
]
NAMED = Classes(CLASSES, None)


@pytest.fixture
def scored(tmp_path: Path) -> Callable[..., Any]:
    """Evaluates the folders p and t, and returns the IoU of each class, or of a failure all that was said."""

    def run(*options: object, code: int = 0) -> Any:
        folders = (tmp_path / "p", tmp_path / "t", "--out", tmp_path / "out")
        result = CliRunner().invoke(app, ["evaluate", *map(str, (*folders, *options))], prog_name="lovasz")
        assert result.exit_code == code, result.output
        if code:
            return result
        return [one["iou"] for one in json.loads((tmp_path / "out" / "results.json").read_text())["classes"]]

    return run


def classes(folder: Path, content: Any) -> tuple[str, Path]:
    """A class file."""
    path = folder / "classes.json"
    path.write_text(json.dumps(content))
    return "--classes", path


def both(folder: Path, write: Callable[[Path, Any], object], name: str = "a.png") -> None:
    """Writes CLOSE as prediction and TRUTH as target."""
    for place, labels in (("p", CLOSE), ("t", TRUTH)):
        (folder / place).mkdir(exist_ok=True)
        write(folder / place / name, labels)


# ---- evaluate: what is read ----


OPAQUE = np.full((4, 4, 1), 255)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        *((f"{depth}.png", lambda p, m, depth=depth: png(p, GREY, m, depth=depth)) for depth in (2, 4, 8, 16)),
        ("rgb.png", lambda p, m: png(p, RGB, np.repeat(m[..., None], 3, 2))),
        ("rgba.png", lambda p, m: png(p, RGB_ALPHA, np.concatenate([np.repeat(m[..., None], 3, 2), OPAQUE], 2))),
        ("la.png", lambda p, m: png(p, GREY_ALPHA, np.concatenate([m[..., None], OPAQUE], 2))),
        ("palette.png", indexed),
        ("scaled.nii", lambda p, m: volume(p, np.rint(m[..., None] * (65535 / 7)).astype(np.uint16), 7 / 65535)),
        ("signed.nii", lambda p, m: volume(p, m[..., None].astype(np.int8))),
    ],
)
def test_labels_are_read_exactly(
    name: str, write: Callable[[Path, Any], object], tmp_path: Path, scored: Callable[..., Any]
) -> None:
    both(tmp_path, write, name)
    assert scored("--num-classes", 3) == pytest.approx(IOU)


@pytest.mark.parametrize("alpha", [False, True])
def test_colours_are_scored_by_the_class_file(alpha: bool, tmp_path: Path, scored: Callable[..., Any]) -> None:
    def write(path: Path, labels: Any) -> None:
        picture = coloured(labels)
        png(path, RGB_ALPHA if alpha else RGB, np.concatenate([picture, OPAQUE], 2) if alpha else picture)

    both(tmp_path, write)
    assert scored(*classes(tmp_path, LISTED)) == pytest.approx(IOU)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<figcaption>truth" in page
    assert "could not be read again" not in page
    said = scored("--num-classes", 3, code=1).stdout
    assert "unreadable: " in said
    assert "Colours are read with --classes FILE.json" in said
    # An array of indices against the same colours.
    np.save(tmp_path / "p" / "a.npy", CLOSE)
    (tmp_path / "p" / "a.png").unlink()
    assert scored(*classes(tmp_path, LISTED)) == pytest.approx(IOU)


def test_a_colour_that_is_not_listed_is_an_error_whatever_is_allowed(
    tmp_path: Path, scored: Callable[..., Any]
) -> None:
    both(tmp_path, lambda p, m: png(p, RGB, coloured(m, (COLOURS[0], RED, (0, 128, 1)))))
    said = scored(*classes(tmp_path, LISTED), "--allow-missing", code=1).stdout
    assert (
        f"labels: {tmp_path / 'p' / 'a.png'}: holds 3 pixels of the colour #008001, which --classes does not list; "
        "the nearest listed is #008000, disc"
    ) in said


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 1, 0)])
def test_palettes_of_another_order_are_read_by_colour_or_refused(
    order: tuple[int, ...], tmp_path: Path, scored: Callable[..., Any]
) -> None:
    indexed(tmp_path / "t" / "a.png", TRUTH, more=1)
    indexed(tmp_path / "p" / "a.png", CLOSE, order)
    assert scored(*classes(tmp_path, LISTED)) == pytest.approx(IOU)
    result = scored("--num-classes", 3, code=2)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    for folder in ("t", "p"):
        assert f"{tmp_path / folder / 'a.png'} has #" in result.stderr
    # Both remedies of the message.
    assert "Give --classes FILE.json with the colour of each class" in result.stderr
    Image.fromarray(np.asarray(Image.open(tmp_path / "p" / "a.png"))).save(tmp_path / "p" / "a.png")
    assert len(scored("--num-classes", 3)) == 3


def test_palettes_of_one_order_are_indices(tmp_path: Path, scored: Callable[..., Any]) -> None:
    indexed(tmp_path / "t" / "a.png", TRUTH, more=100)
    indexed(tmp_path / "p" / "a.png", CLOSE)
    png(tmp_path / "p" / "b.png", GREY, TRUTH)
    png(tmp_path / "t" / "b.png", PALETTE, TRUTH % 2, (COLOURS[0], RED, BLUE))
    assert len(scored("--num-classes", 3)) == 3


def test_one_palette_among_many_is_found(tmp_path: Path, scored: Callable[..., Any]) -> None:
    for index in range(40):
        indexed(tmp_path / "t" / f"{index:02}.png", TRUTH)
        indexed(tmp_path / "p" / f"{index:02}.png", TRUTH, (0, 2, 1) if index == 33 else (0, 1, 2))
    for workers in (1, 3):
        said = scored("--num-classes", 3, "--workers", workers, code=2).stderr
        assert (
            f"{tmp_path / 't' / '00.png'} has #ff0000 at index 1, {tmp_path / 'p' / '33.png'} has #008000" in said
        )


def _evaluated(rank: int, world: int, folder: Path) -> str:
    import threading

    from lovasz.study.processes import Ranks
    from lovasz.study.score.evaluation import evaluate
    from lovasz.study.score.pairing import pair

    pairs, ranks = pair(folder / "p", folder / "t"), Ranks(rank, world)
    try:
        evaluate(pairs, ("0", "1", "2"), frozenset(), 2, threading.Event(), lambda *_: None, ranks)
    except ValueError as error:
        return str(error)
    return ""


def test_processes_find_the_palette_that_one_finds(tmp_path: Path) -> None:
    """The two files that differ are of different processes, each of which sees palettes of one order."""
    for index in range(6):
        for place in ("t", "p"):
            indexed(tmp_path / place / f"{index}.png", TRUTH, (0, 1, 2) if index % 3 else (2, 0, 1))
    alone = _evaluated(0, 1, tmp_path)
    assert "1.png has #000000 at index 0" in alone
    assert processes.run(_evaluated, 3, tmp_path, tmp_path) == [alone] * 3


# ---- evaluate: maps ----


def test_a_map_is_part_of_the_result(tmp_path: Path, scored: Callable[..., Any]) -> None:
    both(tmp_path, lambda p, m: png(p, GREY, np.array([7, 11, 200])[m]))
    options = ("--num-classes", 3, "--map", "7:0,11:1,200:2,99:void")
    assert scored(*options) == pytest.approx(IOU)
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert record["ignored"] == [255]
    expected = {
        "map": "--map 7:0,11:1,200:2,99:void",
        "labels": {"7": 0, "11": 1, "99": None, "200": 2},
        "never": [99],
    }
    assert record["maps"] == {"predictions": expected, "targets": expected}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "labels read by --map 7:0,11:1,200:2,99:void" in page
    assert "no target holds the value 99." in page
    result = CliRunner().invoke(app, ["evaluate", *map(str, (tmp_path / "p", tmp_path / "t", *options))])
    assert "--map 7:0,11:1,200:2,99:void: no target holds the value 99\n" in result.stdout


def test_values_of_the_class_file_are_its_classes(tmp_path: Path, scored: Callable[..., Any]) -> None:
    stored = np.array([[7, 7], [11, 12], [3, 3]])
    both(tmp_path, lambda p, m: png(p, GREY, stored[m, np.arange(4) % 2]))
    listed = [{"name": "a", "value": 7}, {"name": "b", "value": [11, 12]}, {"name": "c", "value": 3}]
    assert scored(*classes(tmp_path, listed)) == pytest.approx(IOU)
    said = scored(*classes(tmp_path, listed[:2]), code=1).stdout
    assert "labels: " in said
    assert f"holds the value 3 at 3 pixels, which --classes {tmp_path / 'classes.json'} does not name" in said
    listed[2] = {"void": True, "value": 3}
    listed.append({"name": "never", "value": 99})
    (tmp_path / "p" / "a.png").unlink()
    png(tmp_path / "p" / "a.png", GREY, np.array([7, 11, 7])[TRUTH])
    assert scored(*classes(tmp_path, listed)) == [1, 1, None]
    assert_refused(
        scored(*classes(tmp_path, listed), "--map", "7:0", code=2),
        "--map 7:0: --classes",
        "already says which values",
    )


def test_predictions_may_have_another_map(tmp_path: Path, scored: Callable[..., Any]) -> None:
    """Of ADE20K the targets are 1 to 150, and networks predict 0 to 149."""
    png(tmp_path / "t" / "a.png", GREY, TRUTH + 1)
    png(tmp_path / "p" / "a.png", GREY, CLOSE)
    said = scored("--map", "ade20k", code=1).stdout
    hint = re.search(r"predictions that hold class indices already: (--map-predictions none)", said)
    assert hint
    assert scored("--map", "ade20k", *shlex.split(hint[1]))[:3] == pytest.approx(IOU)
    assert scored("--num-classes", 3, "--map", "1:0,2:1,3:2", "--map-predictions", "none") == pytest.approx(IOU)
    png(tmp_path / "p" / "a.png", GREY, CLOSE * 10)
    assert scored("--num-classes", 3, "--map", "1:0,2:1,3:2", "--map-predictions", "10:1,20:2") == pytest.approx(
        IOU
    )
    assert_refused(
        scored("--num-classes", 3, "--map", "1:0", "--map-predictions", "x", code=2),
        "--map-predictions must be pairs",
    )


def test_cityscapes_has_19_classes(tmp_path: Path, scored: Callable[..., Any]) -> None:
    both(tmp_path, lambda p, m: png(p, GREY, np.array([7, 33, 4])[m]))
    (tmp_path / "p" / "a.png").write_bytes((tmp_path / "t" / "a.png").read_bytes())
    found = scored("--map", "cityscapes")
    assert (len(found), found[0], found[18]) == (19, 1, 1)
    assert_refused(scored("--map", "cityscapes", "--num-classes", 3, code=2), "makes 19 classes, got 3")


# ---- evaluate: hints, each of them followed ----


def followed(said: str, lead: str) -> list[str]:
    """The options after a hint's first words."""
    return shlex.split(re.search(re.escape(lead) + r"((?: --[\w-]+ \S+)+)", said.replace("\n", " "))[1])  # type: ignore[index]


def test_void_in_a_prediction_is_told_as_such(tmp_path: Path, scored: Callable[..., Any]) -> None:
    both(tmp_path, lambda path, labels: png(path, GREY, 5 * labels))
    options = classes(tmp_path, [{"name": "a", "value": 5}, {"name": "b", "value": 10}, {"void": True, "value": 0}])
    said = scored(*options, code=1).stdout
    assert "of which 255 is void: a prediction holds a class wherever a pixel counts" in said
    prediction = 5 * CLOSE
    prediction[3, 3] = 5
    png(tmp_path / "p" / "a.png", GREY, prediction)
    assert scored(*options) == pytest.approx([5 / 6, 3 / 4])
    assert_refused(
        scored(*classes(tmp_path, [{"name": "a", "Value": 5}]), code=2),
        '"Value" is not read; expected name, color, ',
    )


def test_masks_of_train_ids_are_not_mapped_again(tmp_path: Path, scored: Callable[..., Any]) -> None:
    stored = np.array([[7, 19, 20, 0], [19, 19, 20, 23]], np.uint8)
    trained = np.array([[0, 6, 7, 255], [6, 6, 7, 10]], np.uint8)
    close = np.where(trained == 255, 0, trained)
    close[0, 0] = 6
    iou = {0: 0.0, 6: 3 / 4, 7: 1.0, 10: 1.0}
    name = "x_gtFine_labelTrainIds.png"
    both(tmp_path, lambda path, _: png(path, GREY, close if path.parent.name == "p" else trained), name)
    found = scored("--map", "cityscapes", "--map-predictions", "none", code=2)
    assert_refused(found, f"{tmp_path / 't' / name} is a mask of trainIds, mapped already; leave out --map: ")
    assert_refused(scored("--map", "cityscapes", code=2), "mapped already; --map-predictions none")
    expected = [iou.get(label) for label in range(19)]
    assert scored("--num-classes", 19, "--ignore", 255) == pytest.approx(expected)
    (tmp_path / "t" / name).unlink()
    (tmp_path / "p" / name).rename(tmp_path / "p" / "x_pred.png")
    png(tmp_path / "t" / "x_gtFine_labelIds.png", GREY, stored)
    assert scored("--map", "cityscapes", "--map-predictions", "none") == pytest.approx(expected)
    data = tiny_folder(tmp_path / "data")
    for mask in sorted(data.glob("*/masks/*")):
        mask.rename(mask.with_name(f"{mask.stem}_gtFine_labelTrainIds{mask.suffix}"))
    with pytest.raises(ValueError, match=r"_gtFine_labelTrainIds\.png is a mask of trainIds, mapped already"):
        load_folder(
            data, find(data), numbered(19), (), None, tmp_path / "known", lambda *_: None, parse_map("cityscapes")
        )


def test_the_hint_for_0_and_255_is_right(tmp_path: Path, scored: Callable[..., Any]) -> None:
    for place, labels in (("p", CLOSE), ("t", TRUTH)):
        png(tmp_path / place / "a.png", GREY, (labels == 2) * 255)
    expected = [12 / 13, 3 / 4]
    said = scored("--num-classes", 2, code=1).stdout
    assert "--ignore" not in said
    assert scored("--num-classes", 2, *followed(said, "If 255 is the foreground:")) == pytest.approx(expected)
    said = scored("--num-classes", 1, code=1).stdout
    assert scored(*followed(said, "If 255 is the foreground:")) == pytest.approx(expected)


def test_the_hint_for_one_class_is_right(tmp_path: Path, scored: Callable[..., Any]) -> None:
    for place, labels in (("p", CLOSE), ("t", TRUTH)):
        png(tmp_path / place / "a.png", GREY, labels == 2)
    said = scored("--num-classes", 1, code=1).stdout
    assert "--ignore" not in said
    options = followed(said, "The background is a class as well:")
    assert scored(*options) == pytest.approx([12 / 13, 3 / 4])


def test_the_hint_for_labels_from_1_is_right(tmp_path: Path, scored: Callable[..., Any]) -> None:
    both(tmp_path, lambda p, m: png(p, GREY, m + 1))
    said = scored("--num-classes", 3, code=1).stdout
    options = followed(said, "If labels count from 1:")
    assert scored("--num-classes", 3, *options) == pytest.approx(IOU)


def test_the_hint_for_void_is_right(tmp_path: Path, scored: Callable[..., Any]) -> None:
    target = TRUTH.copy()
    target[0, 0] = 255
    png(tmp_path / "t" / "a.png", GREY, target)
    png(tmp_path / "p" / "a.png", GREY, CLOSE)
    said = scored("--num-classes", 3, code=1).stdout
    assert scored("--num-classes", 3, *followed(said, "If it means void:")) == pytest.approx([6 / 7, 4 / 6, 3 / 4])
    # A prediction may not hold it, and nothing helps.
    png(tmp_path / "p" / "a.png", GREY, np.where(CLOSE == 2, 255, CLOSE))
    said = scored("--num-classes", 3, "--ignore", 255, code=1).stdout
    assert f"{tmp_path / 'p' / 'a.png'} holds the label 255" in said
    assert "If " not in said


def test_smoothed_masks_get_no_hint_to_ignore_their_edges(tmp_path: Path, scored: Callable[..., Any]) -> None:
    smooth = np.asarray(
        Image.fromarray((TRUTH == 1).astype(np.uint8) * 255).resize((16, 16), Image.Resampling.BICUBIC)
    )
    for place in ("p", "t"):
        png(tmp_path / place / "a.png", GREY, smooth)
    said = scored("--num-classes", 2, code=1).stdout
    assert "it is no label mask of 2 classes" in said
    assert "--ignore" not in said
    assert "made again with nearest neighbour" in said
    sharp = np.asarray(Image.fromarray((TRUTH == 1).astype(np.uint8)).resize((16, 16), Image.Resampling.NEAREST))
    for place in ("p", "t"):
        png(tmp_path / place / "a.png", GREY, sharp)
    assert scored("--num-classes", 2) == [1, 1]


@pytest.mark.parametrize("shape", [(1, 4, 4), (4, 4, 1)])
def test_an_axis_of_length_1_is_no_axis_of_classes(shape: tuple[int, ...], tmp_path: Path, scored: Any) -> None:
    (tmp_path / "p").mkdir()
    png(tmp_path / "t" / "a.png", GREY, TRUTH)
    np.save(tmp_path / "p" / "a.npy", CLOSE.reshape(shape))
    assert scored("--num-classes", 3) == pytest.approx(IOU)
    np.save(tmp_path / "p" / "a.npy", (CLOSE / 2).reshape(shape))
    said = scored("--num-classes", 3, code=1).stdout
    assert "argmax" not in said
    assert "of probabilities save the labels, such as (p > 0.5) as uint8" in said


def test_scores_are_told_to_take_the_argmax_over_their_axis(tmp_path: Path, scored: Callable[..., Any]) -> None:
    (tmp_path / "p").mkdir()
    png(tmp_path / "t" / "a.png", GREY, TRUTH)
    scores = np.random.default_rng(0).random((4, 4, 3)) + 9.0 * (np.arange(3) == CLOSE[..., None])
    for axis in (0, 2):
        array = np.moveaxis(scores, 2, axis)
        np.save(tmp_path / "p" / "a.npy", array)
        said = scored("--num-classes", 3, code=1).stdout
        found = re.search(r"take the argmax over the classes, axis (\d)", said.replace("\n", " "))
        assert found
        np.save(tmp_path / "p" / "a.npy", array.argmax(int(found[1])))
        assert scored("--num-classes", 3) == pytest.approx(IOU)
    # Of several labels of a pixel the argmax would make one.
    np.save(tmp_path / "p" / "a.npy", np.moveaxis(scores > 1, 2, 0))
    said = scored("--num-classes", 3, code=1).stdout
    assert "argmax" not in said
    assert "expected one class index of each pixel" in said


# ---- compare ----


def remade(root: Path, change: Callable[[Path, Any], object]) -> Path:
    """The tiny data with other masks."""
    tiny_folder(root)
    for mask in root.glob("*/masks/*.png"):
        change(mask, np.asarray(Image.open(mask)))
    return root


def load(root: Path, known: Path, of: Classes = NAMED, ignore: Any = (VOID,), text: str = "") -> Any:
    """Loads a folder as the command does."""
    known.mkdir(exist_ok=True)
    label_map = parse_map(text) if text else None
    return load_folder(root, find(root), of, ignore, None, known / "known.json", lambda *_: None, label_map)


def targets(data: Any) -> Any:
    return [data.parts["train"].samples[n][1].tolist() for n in range(6)]


def test_compare_trains_on_what_a_map_or_colours_say(tmp_path: Path) -> None:
    plain = load(tiny_folder(tmp_path / "plain"), tmp_path / "0")
    mapped = remade(tmp_path / "mapped", lambda p, m: png(p, GREY, np.where(m == VOID, 3, 50 * m)))
    found = load(mapped, tmp_path / "1", ignore=(), text="50:1,100:2,3:void,77:0")
    assert targets(found) == targets(plain)
    assert (np.array(targets(found)) == IGNORE_INDEX).any()
    assert "Labels are those of --map 50:1,100:2,3:void,77:0." in found.notes
    assert found.warnings == ("--map 50:1,100:2,3:void,77:0: no mask holds the value 77",)
    again = load(mapped, tmp_path / "1", ignore=(), text="50:1,100:2,3:void,77:0")  # from what was found before
    assert (again.warnings, again.fingerprint) == (found.warnings, found.fingerprint)
    other = load(mapped, tmp_path / "1", ignore=(), text="50:2,100:1,3:void")
    assert targets(other) != targets(found)
    assert other.fingerprint != found.fingerprint

    listed = Classes(CLASSES, ("#000000", "#ff0000", "#008000"), None, ("#0000ff",))
    colours = (*COLOURS, *[BLUE] * 7)
    root = remade(tmp_path / "colours", lambda p, m: png(p, RGB, coloured(m, colours)))
    assert targets(load(root, tmp_path / "2", listed, ())) == targets(plain)
    root = remade(
        tmp_path / "palettes",
        lambda p, m: (
            png(p, PALETTE, np.array([2, 0, 1, *[3] * 7])[m], (RED, COLOURS[2], COLOURS[0], BLUE))
            if "train1" in p.name
            else png(p, PALETTE, m, colours)
        ),
    )
    assert targets(load(root, tmp_path / "3", listed, ())) == targets(plain)
    with pytest.raises(
        ValueError, match=r"palettes differ, .*train0\.png has #000000 at index 0, .*train1\.png has"
    ):
        load(root, tmp_path / "4", ignore=(VOID, 3))


def test_the_hints_of_compare_are_right(tmp_path: Path) -> None:
    plain = load(
        remade(tmp_path / "plain", lambda p, m: png(p, GREY, np.isin(m, (1, 2)))), tmp_path / "0", numbered(2), ()
    )
    root = remade(tmp_path / "mine", lambda p, m: png(p, GREY, np.isin(m, (1, 2)) * 255))
    with pytest.raises(ValueError, match=r"holds the label 255 .*If 255 is the foreground: --map 255:1$"):
        load(root, tmp_path / "1", numbered(2), ())
    assert targets(load(root, tmp_path / "1", numbered(2), (), "255:1")) == targets(plain)
    root = remade(tmp_path / "from1", lambda p, m: png(p, GREY, np.where(m == VOID, 9, m + 1)))
    with pytest.raises(ValueError, match=r"holds the label 3 \(\d+x\).*If labels count from 1: --map 1:0,2:1,3:2$"):
        load(root, tmp_path / "2")
    original = load(tiny_folder(tmp_path / "original"), tmp_path / "3")
    assert targets(load(root, tmp_path / "2", text="1:0,2:1,3:2")) == targets(original)


@pytest.mark.usefixtures("memory_not_measured")
def test_compare_keeps_its_map(tmp_path: Path) -> None:
    root = remade(tmp_path / "mine", lambda p, m: png(p, GREY, np.where(m == VOID, VOID, 50 * m)))
    options = ["--data", root, "--ignore", VOID, "--map", "50:1,100:2,7:void", "--loss", "ce", "--steps", 1,
               "--seeds", 1, "--network", "conv", "--batch", 2, "--accelerator", "cpu"]  # fmt: skip

    def compare(*more: object) -> Result:
        out = ["--out", tmp_path / "out"]
        return CliRunner().invoke(app, ["compare", *map(str, [*options, *out, *more])], prog_name="lovasz")

    result = compare()
    assert result.exit_code == 0, result.output
    assert "--map 50:1,100:2,7:void: no mask holds the value 7\n" in result.stdout
    assert "map: 50:1,100:2,7:void\n" in (tmp_path / "out" / "config.yaml").read_text()
    assert "Labels are those of --map 50:1,100:2,7:void." in (tmp_path / "out" / "report.html").read_text()
    runs = {path.name for path in (tmp_path / "out" / "runs").iterdir()}
    options[options.index("50:1,100:2,7:void")] = "50:2,100:1"
    assert compare().exit_code == 0
    assert len({path.name for path in (tmp_path / "out" / "runs").iterdir()} - runs) == 1
    options[options.index("50:2,100:1")] = "50"
    result = compare()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--map must be pairs" in result.stderr


def test_a_map_in_yaml_must_be_quoted(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    config = make_config({"data": tmp_path, "num_classes": 2, "map": "255:1"}, None)
    file.write_text(write_config(config))
    assert make_config({}, file).map == "255:1"
    file.write_text("map: 255:1\n")  # which YAML reads to the base 60
    with pytest.raises(ValueError, match=r'--map: .*write it in quotes, as "255:1", got 15301'):
        make_config({"data": tmp_path}, file)
    with pytest.raises(ValueError, match="--map is for your own --data"):
        check_config(make_config({"map": "255:1"}, None))


def test_wrong_masks_of_one_order_stay_wrong(tmp_path: Path, scored: Callable[..., Any]) -> None:
    indexed(tmp_path / "t" / "a.png", TRUTH)
    indexed(tmp_path / "p" / "a.png", WRONG)
    assert scored("--num-classes", 3) == scored(*classes(tmp_path, LISTED)) == [0, 0, 0]
