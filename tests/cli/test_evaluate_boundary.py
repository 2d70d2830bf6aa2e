"""``lovasz evaluate --boundary``: boundary IoU of the data set, of classes and images, as the metrics count it."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from lovasz.cli.app import app
from lovasz.metrics import BoundaryJaccardIndex, ImageBoundaryJaccardIndex
from lovasz.study.score import evaluation
from tests.cli.commands import assert_refused
from tests.study.masks import VOID, draw, write

Masks = list[tuple[Any, Any]]


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., tuple[Result, Any]]:
    """Runs the command on these masks, as arrays; returns its result and the record it wrote."""

    def run(masks: Masks, *options: object) -> tuple[Result, Any]:
        for index, pair in enumerate(masks):
            for name, mask in zip(("predictions", "targets"), pair, strict=True):
                (tmp_path / name).mkdir(exist_ok=True)
                np.save(tmp_path / name / f"{index:02}.npy", mask)
        folders = (tmp_path / "predictions", tmp_path / "targets")
        arguments = ("evaluate", *folders, *options, "--out", tmp_path / "out")
        result = CliRunner().invoke(app, [*map(str, arguments)], prog_name="lovasz")
        record = tmp_path / "out" / "results.json"
        return result, json.loads(record.read_text()) if record.exists() else None

    return run


def blocks(images: int) -> Masks:
    """Drawn masks, each pixel of them a block of 5 x 5, so that some pixels lie inside their class."""
    return [tuple(np.kron(mask, np.ones((5, 5), np.uint8)) for mask in pair) for pair in draw(images, 5)]


def rows(folder: Path, name: str = "images.csv") -> list[dict[str, str]]:
    with open(folder / "out" / name, newline="") as file:
        return list(csv.DictReader(file))


def by_metric(kind: Any, masks: Masks, num_classes: int, **options: Any) -> torch.Tensor:
    """What a metric says, in float64, of masks of any size."""
    torch.set_default_dtype(torch.float64)
    try:
        metric = kind(num_classes, **options)
        for pair in masks:
            metric.update(*(torch.from_numpy(mask.astype(np.int64))[None] for mask in pair))
        return metric.compute()
    finally:
        torch.set_default_dtype(torch.float32)


def assert_as_the_metrics(record: Any, masks: Masks, num_classes: int, **options: Any) -> None:
    classes = by_metric(BoundaryJaccardIndex, masks, num_classes, average="none", **options)
    found = [one["boundary_iou"] for one in record["classes"]]
    assert found == pytest.approx([None if value.isnan() else float(value) for value in classes])
    assert record["scores"]["boundary_iou"] == pytest.approx(float(classes.nanmean()))
    images = by_metric(ImageBoundaryJaccardIndex, masks, num_classes, empty=record["scores"]["empty"], **options)
    assert record["scores"]["image_boundary_iou"] == pytest.approx(float(images))


@pytest.mark.parametrize(("text", "width"), [("2px", 2), ("0.02", 0.02), ("1px", 1)])
@pytest.mark.parametrize("empty", ["skip", "one"])
def test_it_is_that_of_the_metrics(text: str, width: float, empty: str, evaluate: Any) -> None:
    masks = blocks(8)
    result, record = evaluate(masks, "--num-classes", 5, "--ignore", VOID, "--boundary", text, "--empty", empty)
    assert result.exit_code == 0, result.output
    assert record["boundary"] == width
    assert_as_the_metrics(record, masks, 5, width=width, ignore_index=VOID)
    assert record["scores"]["boundary_iou"] != pytest.approx(record["scores"]["miou"])


def test_it_is_printed_and_written(tmp_path: Path, evaluate: Any) -> None:
    masks = blocks(8)
    result, record = evaluate(masks, "--num-classes", 5, "--ignore", VOID, "--boundary", "0.01")
    reach = re.escape("Boundary IoU (1 % of the diagonal), mean over classes")
    assert re.search(rf"{reach} +{100 * record['scores']['boundary_iou']:.2f}", result.stdout)
    over_images = f"{100 * record['scores']['image_boundary_iou']:.2f}"
    assert re.search(rf"  of each image, mean over images +{over_images}", result.stdout)
    for label, one in enumerate(record["classes"]):
        assert re.search(
            rf"\n  {label} +{100 * one['iou']:.2f} +{100 * one['boundary_iou']:.2f} *\n", result.stdout
        )
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<th>boundary IoU</th>" in page
    assert "within 1 % of the diagonal of another class" in page
    for one in record["classes"]:
        assert f'<td data-v="{one["boundary_iou"]:.6f}">' in page

    # The counts of each image add up to the scores, and are whole numbers.
    table = rows(tmp_path)
    for label, one in enumerate(record["classes"]):
        sums = [sum(int(row[f"boundary_{what}_{label}"]) for row in table) for what in ("tp", "fp", "fn")]
        assert one["boundary_iou"] == pytest.approx(sums[0] / sum(sums))
    means = [float(row["boundary_miou"]) for row in table]
    assert np.mean(means) == pytest.approx(record["scores"]["image_boundary_iou"], abs=1e-6)
    row = table[3]
    ious = [float(row[f"boundary_iou_{c}"]) for c in range(5) if row[f"boundary_iou_{c}"]]
    assert np.mean(ious) == pytest.approx(float(row["boundary_miou"]), abs=1e-6)
    expected = by_metric(ImageBoundaryJaccardIndex, masks[3:4], 5, width=0.01, ignore_index=VOID)
    assert float(row["boundary_miou"]) == pytest.approx(float(expected), abs=1e-6)


def test_without_the_option_nothing_of_it_is_counted_nor_told(
    tmp_path: Path, evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "boundary_counts", None)
    result, record = evaluate(draw(3, 5), "--num-classes", 5, "--ignore", VOID)
    assert result.exit_code == 0, result.output
    assert record["boundary"] is None
    assert not [name for one in (record["scores"], record["classes"][0]) for name in one if "boundary" in name]
    assert not [name for name in rows(tmp_path)[0] if "boundary" in name]
    assert "oundary" not in result.stdout
    assert "oundary IoU" not in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("width", ["5", "0", "1", "0px", "-0.1", "nan", "2.5px", "px", "2 %", ""])
def test_another_width_is_refused(width: str, evaluate: Any) -> None:
    result, _ = evaluate(draw(1, 5), "--num-classes", 5, "--boundary", width)
    said = "must be a fraction of the diagonal above 0 and below 1, as 0.02, or pixels, as 5px, got"
    assert_refused(result, f"--boundary {said} {width}".rstrip())


# ---- with other options ----


def test_a_class_that_is_ignored_makes_no_boundary(evaluate: Any) -> None:
    masks = [(p % 5, np.where(t == VOID, 0, t)) for p, t in blocks(6)]
    _, record = evaluate(masks, "--num-classes", 5, "--ignore", 0, "--boundary", "1px")
    assert_as_the_metrics(record, masks, 5, width=1, ignore_index=0)
    assert record["classes"][0]["boundary_iou"] is None


def test_labels_are_mapped_first(evaluate: Any) -> None:
    masks = blocks(6)
    stored = [tuple(np.where(mask < 5, 10 * mask, mask) for mask in pair) for pair in masks]
    names = ",".join(f"{10 * label}:{label}" for label in range(5)) + ",77:void"
    _, record = evaluate(stored, "--num-classes", 5, "--ignore", VOID, "--map", names, "--boundary", "1px")
    assert_as_the_metrics(record, masks, 5, width=1, ignore_index=VOID)


@pytest.mark.parametrize("shape", [(7, 9, 10), (9, 10, 1), (1, 9, 10)])
def test_volumes_have_boundaries_along_every_axis(shape: tuple[int, ...], evaluate: Any) -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 4, [-(-size // 3) for size in shape]).astype(np.int16)
    for axis, size in enumerate(shape):
        target = np.repeat(target, 3, axis).take(range(size), axis)
    prediction = np.where(rng.random(shape) < 0.2, 3 - target, target)
    masks = [(prediction.astype(np.int16), target)]
    result, record = evaluate(masks, "--num-classes", 4, "--boundary", "1px")
    assert result.exit_code == 0, result.output
    assert_as_the_metrics(record, masks, 4, width=1)


def test_scores_are_decided_first(evaluate: Any) -> None:
    rng = np.random.default_rng(0)
    masks = [(rng.random((3, 12, 13), dtype=np.float32), rng.integers(0, 3, (12, 13))) for _ in range(3)]
    scores = [(np.log(logits), target) for logits, target in masks]
    _, record = evaluate(scores, "--num-classes", 3, "--scores", "logits", "--boundary", "1px")
    assert_as_the_metrics(record, [(logits.argmax(0), target) for logits, target in masks], 3, width=1)


@pytest.mark.parametrize("kind", [np.uint16, np.int64, np.int8])
def test_every_type_of_label_is_counted_alike(kind: Any, evaluate: Any) -> None:
    void = np.iinfo(kind).max
    masks = [tuple(np.where(mask == VOID, void, mask.astype(kind)) for mask in pair) for pair in blocks(4)]
    _, record = evaluate(masks, "--num-classes", 5, "--ignore", void, "--boundary", "1px")
    assert_as_the_metrics(record, masks, 5, width=1, ignore_index=int(void))


def test_many_classes_have_each_their_columns(tmp_path: Path, evaluate: Any) -> None:
    rng = np.random.default_rng(0)
    masks = [tuple(rng.integers(0, 700, (20, 30)).astype(np.uint16) for _ in range(2)) for _ in range(2)]
    _, record = evaluate(masks, "--num-classes", 700, "--boundary", "1px", "--resamples", 0)
    assert_as_the_metrics(record, masks, 700, width=1)
    (first, _) = rows(tmp_path)
    assert len(first) == 3 + 2 * (1 + 4 * 700)
    assert sum(int(first[f"tp_{c}"]) + int(first[f"fn_{c}"]) for c in range(700)) == int(first["pixels"])


def test_a_line_has_no_boundary(tmp_path: Path, evaluate: Any) -> None:
    line = np.zeros(9, np.uint8)
    result, record = evaluate([(line, line)], "--num-classes", 2, "--boundary", "1px")
    assert result.exit_code == 1
    (problem,) = record["left_out"]["mismatched"]
    has = f"{tmp_path / 'targets' / '00.npy'} has the shape (9,); a boundary needs at least two axes"
    assert problem["message"] == has


def test_pictures_with_files_left_out_are_counted_in_their_places(tmp_path: Path) -> None:
    masks = blocks(20)
    predictions, targets = write(tmp_path, masks)
    (predictions / "03.png").write_bytes(b"no picture")
    arguments = (predictions, targets, "--num-classes", 5, "--ignore", VOID, "--boundary", "1px", "--allow-missing")
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    table = rows(tmp_path)
    assert [row["name"] for row in table] == [f"{index:02}" for index in range(20) if index != 3]
    for row in table:
        one = [masks[int(row["name"])]]
        expected = by_metric(ImageBoundaryJaccardIndex, one, 5, width=1, ignore_index=VOID)
        assert float(row["boundary_miou"]) == pytest.approx(float(expected), abs=1e-6)
