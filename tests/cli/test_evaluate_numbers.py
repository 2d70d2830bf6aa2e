"""What ``lovasz evaluate`` says of its numbers: surprises, the background, false alarms, several labels."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from lovasz.cli.app import app
from lovasz.study.io import disk
from tests.cli.commands import assert_refused
from tests.study.masks import write

G = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [0, 2, 2, 1], [0, 0, 0, 1]], np.uint8)
Q = G.copy()
Q[1, 2], Q[3, 3] = 1, 0


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., tuple[Result, Any]]:
    """Evaluates masks in this process; gives what was printed and results.json."""

    def run(masks: list[tuple[np.ndarray, np.ndarray]], *options: object) -> tuple[Result, Any]:
        folders = write(tmp_path, masks)
        arguments = ("evaluate", *folders, *options, "--out", tmp_path / "out")
        result = CliRunner().invoke(app, [*map(str, arguments)], prog_name="lovasz")
        path = tmp_path / "out" / "results.json"
        return result, json.loads(path.read_text(), parse_constant=pytest.fail) if path.is_file() else None

    return run


def page(tmp_path: Path) -> str:
    """The report as text."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", (tmp_path / "out" / "report.html").read_text()))


def test_a_class_that_no_target_holds_is_the_first_line(tmp_path: Path, evaluate: Any) -> None:
    target = np.array([[0, 255], [255, 0]], np.uint8)
    result, record = evaluate([(np.zeros((2, 2), np.uint8), target)], "--num-classes", 2, "--ignore", 255)
    said = (
        "No target holds class 1, nor is it predicted where a pixel counts: no IoU, and the mean is over 1 class."
    )
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == f"Warning: {said}"
    assert record["warnings"] == [said]
    assert said in page(tmp_path)
    assert "mean over 1 class (mIoU)   100.00" in result.stdout
    assert record["classes"][1]["iou"] is None


def test_a_class_only_predicted_is_named_with_its_pixels(tmp_path: Path, evaluate: Any) -> None:
    (tmp_path / "classes.txt").write_text("sky\ncar <b>\nman\n")
    prediction = np.array([[0, 1], [1, 0]], np.uint8)
    result, record = evaluate([(prediction, np.zeros((2, 2), np.uint8))], "--classes", tmp_path / "classes.txt")
    nowhere, alarm = record["warnings"]
    assert nowhere.startswith("No target holds class 2 (man), nor is it predicted")
    assert alarm == (
        "No target holds class 1 (car <b>), but 2 pixels are predicted so: IoU 0, which counts in the mean."
    )
    assert "car &lt;b&gt;" in page(tmp_path)
    assert record["scores"]["miou"] == pytest.approx((2 / 4 + 0) / 2)
    assert result.stdout.count("Warning: ") == 2


def test_many_classes_that_nobody_labelled_are_not_all_named(evaluate: Any) -> None:
    _, record = evaluate([(Q, G)], "--num-classes", 40)
    assert "classes 3, 4, 5, 6, 7, 8, 9, 10 and 29 more, nor" in record["warnings"][0]


def test_nothing_that_would_surprise_says_nothing(tmp_path: Path, evaluate: Any) -> None:
    result, record = evaluate([(Q, G)], "--num-classes", 3)
    assert record["warnings"] == []
    assert "Warning" not in result.stdout
    assert record["scores"]["miou"] == pytest.approx((7 / 8 + 4 / 6 + 3 / 4) / 3)


def test_an_ignored_class_is_out_of_the_mean(tmp_path: Path, evaluate: Any) -> None:
    result, record = evaluate([(Q, G)], "--num-classes", 3, "--ignore", 0, "--empty", "one")
    assert "mean over 2 classes (mIoU)" in result.stdout
    assert " 70.83" in result.stdout
    for name in ("miou", "image_miou", "class_miou"):
        assert record["scores"][name] == pytest.approx((4 / 6 + 3 / 4) / 2)
    ignored = record["classes"][0]
    assert {ignored[name] for name in ("iou", "dice", "precision", "recall", "image_iou", "worst")} == {None}
    assert ignored["absent"] == ignored["false_alarms"] == 0
    assert record["warnings"] == [
        "The ignored class 0 has no score, and the mean is over 2 classes; what is predicted so where another "
        "class is labelled is an error there."
    ]


# ---- the mean over the foreground ----


@pytest.mark.parametrize(("names", "without"), [("nucleus\nBackground", 1), ("one\ntwo", 0), ("a\nbackground", 1)])
def test_the_mean_over_the_foreground_stands_beside_the_mean(
    names: str, without: int, tmp_path: Path, evaluate: Any
) -> None:
    (tmp_path / "classes.txt").write_text(names)
    target = np.zeros((10, 10), np.uint8)
    target[:3] = 1
    prediction = target.copy()
    prediction[3, :5] = 1
    result, record = evaluate([(prediction, target)], "--classes", tmp_path / "classes.txt")
    ious = (65 / 70, 30 / 35)
    assert record["scores"]["background"] == without
    assert record["scores"]["foreground_miou"] == pytest.approx(ious[1 - without])
    name = names.split("\n")[without]
    row = rf"the same without {name} \({(70, 30)[without]} % of the pixels\) +{100 * ious[1 - without]:.2f}"
    assert re.search(row, result.stdout)
    assert f"the same without {name} (" in page(tmp_path)


def test_without_a_large_class_there_is_one_mean(tmp_path: Path, evaluate: Any) -> None:
    result, record = evaluate([(Q, G)], "--num-classes", 3)  # 7, 5 and 4 of 16 pixels
    assert (record["scores"]["background"], record["scores"]["foreground_miou"]) == (None, None)
    assert "the same without" not in result.stdout + page(tmp_path)


def test_precision_is_on_the_terminal(evaluate: Any) -> None:
    result, _ = evaluate([(Q, G)], "--num-classes", 3)
    (row,) = (line for line in result.stdout.splitlines() if line.startswith("  1  "))
    # Class 1: 5 pixels labelled, 5 predicted, 4 in both.
    assert row.split()[3:6] == ["66.67", "80.00", "80.00"]


# ---- false alarms ----


def images() -> list[tuple[np.ndarray, np.ndarray]]:
    """Three images: one of both classes, one with a false alarm of three pixels, one without; four pixels each."""
    zero = np.zeros((2, 2), np.uint8)
    both = np.array([[0, 0], [1, 1]], np.uint8)
    return [(both, both), (np.array([[0, 1], [1, 1]], np.uint8), zero), (zero, zero)]


@pytest.mark.parametrize(
    ("empty", "of_class", "of_images"),
    [
        ("skip", (1,), (1, 1 / 4, 1)),
        ("zero", (1, 0), (1, 1 / 8, 1)),
        ("one", (1, 0, 1), (1, 1 / 8, 1)),
    ],
)
def test_false_alarms_are_counted_and_scored_as_asked(
    empty: str, of_class: tuple[float, ...], of_images: tuple[float, ...], tmp_path: Path, evaluate: Any
) -> None:
    result, record = evaluate(images(), "--num-classes", 2, "--empty", empty)
    one = record["classes"][1]
    assert (one["images"], one["absent"], one["false_alarms"], one["false_alarm_pixels"]) == (1, 2, 1, 3)
    assert record["classes"][0]["absent"] == 0
    assert record["scores"]["empty"] == empty
    assert one["image_iou"] == pytest.approx(np.mean(of_class))
    assert record["scores"]["image_miou"] == pytest.approx(np.mean(of_images))
    assert re.search(r"without +in +pixels *\n.*\n +1 +2 +1 +3 +\n", result.stdout)
    assert ("--empty" in result.stdout) == (empty != "skip")
    assert "False alarms" in page(tmp_path)
    with open(tmp_path / "out" / "images.csv") as file:
        rows = [line.rstrip("\n").split(",") for line in file]
    scored = {"skip": "", "zero": "0.000000", "one": "0.000000"}[empty]
    assert [row[5] for row in rows[1:]] == ["1.000000", scored, "1.000000" if empty == "one" else ""]


def test_without_false_alarms_there_is_no_table_of_them(tmp_path: Path, evaluate: Any) -> None:
    result, _ = evaluate([(G, G)], "--num-classes", 3)
    assert "False alarms" not in result.stdout + page(tmp_path)


def test_another_word_for_empty_is_refused(evaluate: Any) -> None:
    result, _ = evaluate([(G, G)], "--num-classes", 3, "--empty", "two")
    assert_refused(result, "--empty must be one of skip, zero, one, got two")


# ---- shapes ----


def arrays(folder: Path, prediction: np.ndarray, target: np.ndarray) -> None:
    for name, mask in (("predictions", prediction), ("targets", target)):
        (folder / name).mkdir(exist_ok=True)
        np.save(folder / name / "00.npy", mask)


@pytest.fixture
def evaluate_arrays(tmp_path: Path) -> Callable[..., tuple[Result, Any]]:
    """As `evaluate`, of one pair of arrays."""

    def run(prediction: np.ndarray, target: np.ndarray, *options: object) -> tuple[Result, Any]:
        arrays(tmp_path, prediction, target)
        folders = (tmp_path / "predictions", tmp_path / "targets")
        arguments = ("evaluate", *folders, *options, "--out", tmp_path / "out")
        result = CliRunner().invoke(app, [*map(str, arguments)], prog_name="lovasz")
        return result, json.loads((tmp_path / "out" / "results.json").read_text())

    return run


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.bool_])
def test_several_labels_per_pixel_are_refused(axis: int, kind: Any, tmp_path: Path, evaluate_arrays: Any) -> None:
    rng = np.random.default_rng(0)
    prediction, target = (np.moveaxis(rng.integers(0, 2, (5, 6, 7)), 0, axis).astype(kind) for _ in range(2))
    if kind == np.int16:  # with void
        target[0, 0, 0] = 255
    result, record = evaluate_arrays(prediction, target, "--num-classes", 5, "--ignore", 255)
    assert result.exit_code == 1
    assert (record["complete"], record["scores"]) == (False, None)
    (problem,) = record["left_out"]["unreadable"]
    assert f"holds zeros and ones in the shape {target.shape}, which may be several labels" in problem["message"]
    # As advised, each class by itself:
    one = (np.take(mask, 2, axis) for mask in (prediction, target))
    result, record = evaluate_arrays(*one, "--num-classes", 2)
    p, t = (np.take(mask, 2, axis).astype(bool) for mask in (prediction, target))
    assert record["classes"][1]["iou"] == pytest.approx((p & t).sum() / (p | t).sum())


def test_a_volume_is_counted_where_its_slices_lie_side_by_side(evaluate_arrays: Any) -> None:
    volume = np.zeros((3, 4, 4), np.uint8)
    volume[1, 1:3] = 1
    assert evaluate_arrays(volume, volume, "--num-classes", 3)[0].exit_code == 1
    result, record = evaluate_arrays(*[volume.reshape(3, -1)] * 2, "--num-classes", 3)
    assert (result.exit_code, record["scores"]["pixels"], record["scores"]["miou"]) == (0, 48, 1)
    volume[2, 0, 0] = 2  # a label that no mask of 0 and 1 holds
    assert evaluate_arrays(volume, volume, "--num-classes", 3)[0].exit_code == 0


def test_a_nifti_volume_is_no_stack_of_classes(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    volume = np.zeros((4, 4, 3), np.uint8)
    volume[1:3, 1:3, 1] = 1
    for name in ("predictions", "targets"):
        (tmp_path / name).mkdir()
        nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / name / "a.nii.gz")
    arguments = (
        "evaluate",
        tmp_path / "predictions",
        tmp_path / "targets",
        "--num-classes",
        3,
        "--out",
        tmp_path / "out",
    )
    result = CliRunner().invoke(app, [*map(str, arguments)], prog_name="lovasz")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out" / "results.json").read_text())["scores"]["miou"] == 1


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.bool_])
@pytest.mark.parametrize("target", ["a.nii.gz", "a.tif"])
def test_what_fits_on_a_volume_has_one_label_of_each_voxel(target: str, kind: Any, tmp_path: Path) -> None:
    """Of two classes in an array of four or five slices nothing else tells."""
    import nibabel
    import tifffile

    volume = np.random.default_rng(0).integers(0, 2, (4, 8, 5)).astype(np.uint8)
    for folder in ("predictions", "targets"):
        (tmp_path / folder).mkdir()
    np.save(tmp_path / "predictions" / "a.npy", volume.astype(kind))
    if target == "a.tif":
        tifffile.imwrite(tmp_path / "targets" / target, volume, photometric="minisblack")
    else:
        nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "targets" / target)
    folders = (tmp_path / "predictions", tmp_path / "targets")
    words = ("evaluate", *folders, "--num-classes", 2, "--out", tmp_path / "o")
    result = CliRunner().invoke(app, [*map(str, words)], prog_name="lovasz")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "o" / "results.json").read_text())
    assert (record["scores"]["pixels"], record["scores"]["miou"]) == (160, 1)


def test_scores_are_reduced_as_advised(evaluate_arrays: Any) -> None:
    scores = np.eye(3, dtype=np.float32)[Q]
    _, record = evaluate_arrays(scores, G, "--num-classes", 3)
    assert "of scores take the argmax over the classes" in record["left_out"]["mismatched"][0]["message"]
    _, record = evaluate_arrays(scores.argmax(-1), G, "--num-classes", 3)
    assert record["scores"]["miou"] == pytest.approx((7 / 8 + 4 / 6 + 3 / 4) / 3)


# ---- a full disk ----


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, evaluate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name.startswith(".images.csv"):
            path.touch()  # the name is there, the space is not
            path = Path("/dev/full")
        return open(path, *arguments, **options)

    monkeypatch.setattr(disk, "open", opened, raising=False)
    result, _ = evaluate([(Q, G)], "--num-classes", 3)
    assert result.exit_code == 2
    assert result.stderr == f"lovasz: cannot write {tmp_path / 'out' / 'images.csv'}: No space left on device\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.json"]
