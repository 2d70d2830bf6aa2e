"""``lovasz evaluate``: its files, tables, errors, exit codes, interruption, and many processes."""

import csv
import errno
import io
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner, Result

from lovasz.cli.app import app
from lovasz.cli.evaluation_tables import counting
from lovasz.study.io import disk
from lovasz.study.processes import Ranks
from tests.cli.commands import assert_refused
from tests.study.masks import VOID, draw, spoil, write
from tests.study.raw import GREY, raw_png

ROOT = Path(__file__).parents[2]
OPTIONS = ("--num-classes", "5", "--ignore", str(VOID))


@pytest.fixture
def invoke() -> Callable[..., Result]:
    """Runs the command in this process."""
    return lambda *arguments: CliRunner().invoke(app, ["evaluate", *map(str, arguments)], prog_name="lovasz")


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_everything_is_written_and_printed(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    masks, out = draw(30, 5), tmp_path / "out"
    result = invoke(*write(tmp_path, masks), *OPTIONS, "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    names = ["results.json", "images.csv", "confusion.csv", "table.tex", "table.md", "report.html"]
    assert lines[-6:] == [str(out / name) for name in names]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    assert "\x1b" not in result.stdout
    assert "\r" not in result.stdout

    record = json.loads((out / "results.json").read_text())
    assert (record["complete"], record["counted"], record["images"], record["left_out"]) == (True, 30, 30, {})
    assert f"(mIoU)   {100 * record['scores']['miou']:.2f}" in result.stdout
    assert f"{100 * record['scores']['image_worst']:.2f}" in result.stdout
    assert record["ignored"] == [VOID]
    assert len(record["classes"]) == 5
    assert record["classes"][4]["recall"] is None
    for one in record["classes"]:
        assert f"{100 * one['iou']:.2f}" in result.stdout

    rows = read_csv(out / "images.csv")
    assert [row["name"] for row in rows] == [f"{index:02}" for index in range(30)]
    for row, (prediction, target) in zip(rows, masks, strict=True):
        counts = target != VOID
        assert int(row["pixels"]) == counts.sum()
        assert float(row["accuracy"]) == pytest.approx((prediction == target)[counts].mean(), abs=1e-6)
        ious = []
        for label in range(5):
            p, t = (prediction == label) & counts, target == label
            assert (row[f"iou_{label}"] == "") == (not t.any())
            counted = [int(row[f"{what}_{label}"]) for what in ("tp", "fp", "fn")]
            assert counted == [(p & t).sum(), (p & ~t).sum(), (t & ~p).sum()]
            if t.any():
                ious.append((p & t).sum() / (p | t).sum())
                assert float(row[f"iou_{label}"]) == pytest.approx(ious[-1], abs=1e-6)
        assert float(row["miou"]) == pytest.approx(np.mean(ious), abs=1e-6)
    assert np.mean([float(row["miou"]) for row in rows]) == pytest.approx(record["scores"]["image_miou"], abs=1e-6)
    with open(out / "confusion.csv", newline="") as file:
        table = list(csv.reader(file))
    assert table[0][1:] == [row[0] for row in table[1:]] == list("01234")
    assert sum(int(cell) for row in table[1:] for cell in row[1:]) == record["scores"]["pixels"]
    worst = min(rows, key=lambda row: float(row["miou"]))
    assert f"Worst images, by IoU: {worst['name']} ({100 * float(worst['miou']):.2f})" in result.stdout


def test_arrays_match_pictures_and_classes_have_names(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    predictions, targets = write(tmp_path, draw(5, 5))
    for path in list(predictions.iterdir()):
        np.save(path.with_suffix(".npy"), np.asarray(Image.open(path)).astype(np.int64))
        path.unlink()
    (tmp_path / "classes.txt").write_text("sky\nroad\n[bold]car\na,b\nman\n")
    out = tmp_path / "out"
    result = invoke(predictions, targets, "--classes", tmp_path / "classes.txt", "--ignore", 255, "--out", out)
    assert result.exit_code == 0, result.output
    assert "[bold]car" in result.stdout
    assert list(read_csv(out / "images.csv")[0])[4:9] == [
        "iou_sky",
        "iou_road",
        "iou_[bold]car",
        "iou_a,b",
        "iou_man",
    ]
    assert list(read_csv(out / "images.csv")[0])[-6:] == [
        "tp_a,b",
        "fp_a,b",
        "fn_a,b",
        "tp_man",
        "fp_man",
        "fn_man",
    ]
    assert [one["name"] for one in json.loads((out / "results.json").read_text())["classes"]][3] == "a,b"


def test_volumes_are_evaluated(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    nibabel = pytest.importorskip("nibabel")
    target = np.zeros((8, 9, 5), np.int16)
    target[2:5, 2:5, 1:4] = 1
    for folder, mask in (("predictions", np.roll(target, 1, 0)), ("targets", target)):
        (tmp_path / folder).mkdir()
        nibabel.Nifti1Image(mask, np.eye(4)).to_filename(tmp_path / folder / "a.nii.gz")
    out = tmp_path / "out"
    result = invoke(tmp_path / "predictions", tmp_path / "targets", "--num-classes", 2, "--out", out)
    assert result.exit_code == 0, result.output
    assert float(read_csv(out / "images.csv")[0]["iou_1"]) == pytest.approx(0.5, abs=1e-6)
    assert "slice 1 of 0 to 4 along the last axis" in (out / "report.html").read_text()


# ---- files that do not fit ----


def test_files_without_a_pair_are_listed_and_end_the_command(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    predictions, targets = write(tmp_path, draw(30, 5))
    for index in range(25):
        (predictions / f"{index:02}.png").rename(predictions / f"x{index:02}.png")
    out = tmp_path / "out"
    arguments = (predictions, targets, *OPTIONS, "--out", out)
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert f"missing: {targets / '00.png'} has no prediction of that name in {predictions}" in result.stdout
    assert result.stdout.count("missing: ") == 20
    assert "and 30 more, all in results.json" in result.stdout
    assert "--allow-missing evaluates the 5 pairs that match." in result.stdout
    assert "mIoU" not in result.stdout
    record = json.loads((out / "results.json").read_text())
    assert (record["complete"], record["scores"], record["counted"], record["images"]) == (False, None, 0, 30)
    assert [one["name"] for one in record["left_out"]["missing"]] == [f"{index:02}" for index in range(25)]
    assert [one["name"] for one in record["left_out"]["extra"]] == [f"x{index:02}" for index in range(25)]
    assert [path.name for path in out.iterdir()] == ["results.json"]

    result = invoke(*arguments, "--allow-missing")
    assert result.exit_code == 0
    assert "50 names left out" in result.stdout
    assert "mIoU" in result.stdout
    record = json.loads((out / "results.json").read_text())
    assert (record["complete"], record["counted"], record["images"]) == (True, 5, 30)
    assert len(read_csv(out / "images.csv")) == 5
    page = (out / "report.html").read_text()
    assert "50 names left out" in page
    assert "5 of 30 targets" in page


def test_scores_in_the_place_of_classes_are_told_so(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    predictions, targets = write(tmp_path, draw(3, 5))
    (predictions / "01.png").unlink()
    np.save(predictions / "01.npy", np.zeros((5, 5, 4)))
    result = invoke(predictions, targets, *OPTIONS, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "expected class indices: of scores take the argmax over the classes" in result.stdout.replace("\n", " ")


def test_broken_files_are_left_out_and_change_the_exit_code(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    predictions, targets = write(tmp_path, draw(10, 5))
    spoil(predictions, targets)
    out = tmp_path / "out"
    arguments = (predictions, targets, *OPTIONS, "--out", out)
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert "2 names left out:" in result.stdout
    assert f"unreadable: {predictions / '03.png'}: cannot be read" in result.stdout
    shape = np.asarray(Image.open(predictions / "07.png")).shape
    assert (
        f"mismatched: {predictions / '07.png'} has the shape {shape}, {targets / '07.png'} (5, 4)" in result.stdout
    )
    record = json.loads((out / "results.json").read_text())
    assert (record["complete"], record["counted"], set(record["left_out"])) == (
        False, 8, {"unreadable", "mismatched"},
    )  # fmt: skip
    tables = {"images.partial.csv", "confusion.partial.csv", "table.partial.tex", "table.partial.md"}
    names = {"results.json", "report.html", *tables}
    assert {path.name for path in out.iterdir()} == names
    assert "no result over all files" in (out / "report.html").read_text()

    result = invoke(*arguments, "--allow-missing")
    assert result.exit_code == 0
    assert "2 names left out:" in result.stdout
    assert json.loads((out / "results.json").read_text())["complete"]
    assert {path.name for path in out.iterdir()} == {name.replace(".partial", "") for name in names}


def test_labels_that_are_no_class_are_an_error_whatever_is_allowed(
    tmp_path: Path, invoke: Callable[..., Result]
) -> None:
    predictions, targets = write(tmp_path, draw(6, 5))
    for folder, name in ((predictions, "02.png"), (targets, "04.png")):
        mask = np.array(Image.open(folder / name))
        mask[np.asarray(Image.open(targets / name)) != VOID] = 9
        Image.fromarray(mask).save(folder / name)
    out = tmp_path / "out"
    result = invoke(predictions, targets, *OPTIONS, "--out", out, "--allow-missing")
    assert result.exit_code == 1
    pixels = [(np.asarray(Image.open(targets / name)) != VOID).sum() for name in ("02.png", "04.png")]
    assert f"labels: {predictions / '02.png'} holds the label 9 at {pixels[0]} pixels;" in result.stdout
    assert f"labels: {targets / '04.png'} holds the label 9 at {pixels[1]} pixels;" in result.stdout
    assert "or ignored labels (255)" in result.stdout
    assert not json.loads((out / "results.json").read_text())["complete"]


def test_an_empty_image_with_255_is_a_problem_like_any_other(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    """Where the target is of class 0 alone, the table of labels has one row."""
    empty, found = np.zeros((4, 5), np.uint8), np.full((4, 5), 255, np.uint8)
    found[0] = 0
    result = invoke(*write(tmp_path, [(empty, empty), (found, empty)]), "--num-classes", 2, "--out", tmp_path / "o")
    assert result.exit_code == 1, result.output
    assert "01.png holds the label 255 at 15 pixels" in result.stdout
    assert "--map 255:1" in result.stdout
    assert json.loads((tmp_path / "o" / "results.json").read_text())["counted"] == 1


def test_nothing_to_count_is_no_success(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    predictions, targets = write(tmp_path, draw(2, 5))
    for path in predictions.iterdir():
        path.write_bytes(b"")
    out = tmp_path / "out"
    out.mkdir()
    for old in ("report.html", "images.csv", "table.tex", "table.partial.md"):
        (out / old).write_text("of another day")
    result = invoke(predictions, targets, *OPTIONS, "--out", out, "--allow-missing")
    assert result.exit_code == 1
    assert "nothing was counted" in result.stdout
    assert [path.name for path in out.iterdir()] == ["results.json"]


def test_images_without_a_pixel_that_counts_have_no_score(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    masks = [(np.zeros((4, 4), np.uint8), np.full((4, 4), VOID, np.uint8))] * 2
    out = tmp_path / "out"
    result = invoke(*write(tmp_path, masks), *OPTIONS, "--out", out)
    assert result.exit_code == 0, result.output
    assert read_csv(out / "images.csv")[0]["miou"] == ""
    assert json.loads((out / "results.json").read_text())["scores"]["miou"] is None


def test_shapes_are_compared_before_a_pixel_is_decoded(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    predictions, targets = write(tmp_path, draw(3, 5))
    raw_png(predictions / "01.png", 8, GREY, (30_000, 30_000), b"")
    result = invoke(predictions, targets, *OPTIONS, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert (
        f"mismatched: {predictions / '01.png'} has the shape (30000, 30000), {targets / '01.png'}" in result.stdout
    )


def test_the_limit_of_values_can_be_raised(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    masks = [(np.zeros((8, 8), np.uint8),) * 2, (np.zeros((20, 9), np.uint8),) * 2]
    arguments = (*write(tmp_path, masks), *OPTIONS, "--out", tmp_path / "out")
    result = invoke(*arguments, "--max-values", 179)
    assert result.exit_code == 1
    assert "01.png: unfolds to 20 x 9 = 180 values, more than the limit of 179; cut it into tiles" in result.stdout
    assert "--max-values 180" in result.stdout
    assert invoke(*arguments, "--max-values", 180).exit_code == 0
    assert_refused(invoke(*arguments, "--max-values", 0), "--max-values must be at least 1, got 0")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    predictions, targets = write(tmp_path, draw(3, 5))
    (predictions / "01.png").unlink()
    os.mkfifo(predictions / "01.png")
    result = invoke(predictions, targets, *OPTIONS, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert f"unreadable: {predictions / '01.png'}: is not a regular file" in result.stdout


# ---- names, and where they are written ----


def test_names_that_cannot_be_encoded_are_escaped_everywhere(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    masks = [*draw(3, 5), (np.full((9, 9), 4, np.uint8), np.zeros((9, 9), np.uint8))]
    folders = write(tmp_path / os.fsdecode(b"\xe9tude"), masks)
    # The first two differ in escapes alone, the last is the worst; one is unreadable, one missing.
    names = [os.fsdecode(b"\xff"), r"\udcff", os.fsdecode(b"\xfe\n"), os.fsdecode(b"\xfd\x1b[31m")]
    for folder in folders:
        for index, name in enumerate(names):
            (folder / f"{index:02}.png").rename(folder / f"{name}.png")
    (folders[0] / f"{names[1]}.png").write_bytes(b"")
    (folders[0] / f"{names[2]}.png").unlink()
    out = tmp_path / os.fsdecode(b"out\xff")
    result = invoke(*folders, *OPTIONS, "--allow-missing", "--out", out)
    assert result.exit_code == 0, result.output
    record = json.loads((out / "results.json").read_text(encoding="utf-8"))
    written = [row["name"] for row in read_csv(out / "images.csv")]
    page = (out / "report.html").read_text(encoding="utf-8")
    left_out = [one["name"] for kind in ("unreadable", "missing") for one in record["left_out"][kind]]
    assert sorted([*written, *left_out]) == sorted([r"\udcff", r"\\udcff", r"\udcfe\x0a", r"\udcfd\x1b[31m"])
    for text in (result.stdout, page):
        assert "\x1b" not in text
        for name in (r"\udcfd\x1b[31m", r"\\udcff", r"\udcfe\x0a", r"\udce9tude"):
            assert name in text
    assert r"\udce9tude" in record["predictions"]
    assert result.stdout.splitlines()[-1].endswith(r"out\udcff/report.html")


def test_names_in_tables_are_no_formulas(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    folders = write(tmp_path, draw(2, 5))
    for folder in folders:
        (folder / "00.png").rename(folder / "=1+cmd.png")
    (tmp_path / "classes.txt").write_text("=sky\n+road\n-3\n@man\ncar\n")
    out = tmp_path / "out"
    arguments = (*folders, "--classes", tmp_path / "classes.txt", "--ignore", VOID, "--out", out)
    assert invoke(*arguments).exit_code == 0
    assert [row["name"] for row in read_csv(out / "images.csv")] == ["01", "'=1+cmd"]
    with open(out / "confusion.csv", newline="") as file:
        table = list(csv.reader(file))
    assert table[0][1:] == [row[0] for row in table[1:]] == ["'=sky", "'+road", "'-3", "'@man", "car"]
    assert all(cell.isdecimal() for row in table[1:] for cell in row[1:])


@pytest.mark.parametrize("full", ["results.json", "images.csv", "confusion.csv", "table.tex", "report.html"])
def test_a_full_disk_is_named_with_the_file(
    full: str, tmp_path: Path, invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(path: Path, *arguments: Any, **options: Any) -> Any:
        return open("/dev/full" if full in path.name else path, *arguments, **options)

    monkeypatch.setattr(disk, "open", opened, raising=False)
    result = invoke(*write(tmp_path, draw(3, 5)), *OPTIONS, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr == f"lovasz: cannot write {tmp_path / 'out' / full}: No space left on device\n"
    assert "(mIoU)" in result.stdout


def test_a_full_disk_under_the_counts_is_named(
    tmp_path: Path, invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    result = invoke(*write(tmp_path, draw(3, 5)), *OPTIONS, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert re.fullmatch(r"lovasz: cannot write the counts .* \(TMPDIR\): No space left on device\n", result.stderr)


# ---- options ----


def test_more_classes_than_fit_into_memory_are_refused_before_anything_is_read(
    tmp_path: Path, invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    half = 56 * 100**2  # 8 bytes in 2 + 5 matrices of 100 x 100
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 2, "SC_PHYS_PAGES": half}.__getitem__)
    folders = write(tmp_path, draw(3, 5))
    arguments = (*folders, "--ignore", VOID, "--out", tmp_path / "out", "--num-classes")
    assert invoke(*arguments, 100, "--workers", 1).exit_code == 0
    (folders[0] / "00.png").write_bytes(b"")  # which is not noticed
    for number in (101, 70_001, 10**12):
        assert_refused(
            invoke(*arguments, number, "--workers", 1), f"at most 100 classes, got {number}: ", "8 x 7 x"
        )
    assert_refused(invoke(*arguments, 77, "--workers", 2), "at most 76 classes, got 77", "--workers 1 allows 100")
    (tmp_path / "classes.txt").write_text("\n".join(map(str, range(101))))
    arguments = (*arguments[:-1], "--classes", tmp_path / "classes.txt", "--workers", 1)
    assert_refused(invoke(*arguments), "at most 100 classes, got 101")


def test_options_that_cannot_be_used_are_refused(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    predictions, targets = write(tmp_path, draw(3, 5))
    labels = sorted(set(np.asarray(Image.open(targets / "00.png")).ravel().tolist()))
    assert_refused(
        invoke(predictions, targets),
        "--num-classes N or --classes FILE is needed",
        f"{targets / '00.png'} holds the labels {', '.join(map(str, labels))}",
    )
    (tmp_path / "classes.txt").write_text("sky\n\nroad")
    classes = ("--classes", tmp_path / "classes.txt")
    assert_refused(invoke(predictions, targets, *classes), "classes.txt, line 2: the name is empty")
    (tmp_path / "classes.txt").write_text("sky\nroad")
    assert_refused(
        invoke(predictions, targets, *classes, "--num-classes", 3), "--num-classes is 3, but", "2 classes"
    )
    assert_refused(invoke(predictions, targets, "--num-classes", 0), "--num-classes must be at least 1, got 0")
    assert_refused(
        invoke(predictions, targets, *classes, "--ignore", 0, "--ignore", 1), "--ignore must leave a class"
    )
    assert_refused(invoke(predictions, targets, *OPTIONS, "--workers", -1), "--workers", "-1")
    assert_refused(invoke(predictions, predictions, *OPTIONS), "PREDICTIONS and TARGETS must be two folders")
    assert_refused(invoke(tmp_path / "nowhere", targets, *OPTIONS), "nowhere: No such file or directory")
    (tmp_path / "empty").mkdir()
    (tmp_path / "void").mkdir()
    assert_refused(invoke(tmp_path / "empty", tmp_path / "void", *OPTIONS), "hold no masks")
    assert_refused(invoke(predictions, targets, *OPTIONS, "--images", tmp_path / "void"), "void: holds no file of")
    (tmp_path / "file").touch()
    assert_refused(invoke(predictions, targets, *OPTIONS, "--out", tmp_path / "file"), "it is not a folder")


def test_progress_has_a_rate_and_the_time_left() -> None:
    console = Console(force_terminal=True, width=100, record=True, file=io.StringIO())
    with counting(console, 1000, Ranks(1, 2)) as on_images:
        for _ in range(4):
            on_images(100, 3)
            time.sleep(0.2)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert re.search(r"Counting, process 2 of 2 \(3 left out\) .* 400/500 [\d,]+ images/s 0:00:\d\d left", shown)
