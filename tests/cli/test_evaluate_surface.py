"""``lovasz evaluate --surface``: NSD and HD95 of classes and images, by hand and as MONAI computes them."""

import csv
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from typer.testing import CliRunner, Result

from lovasz.cli.app import app
from lovasz.study.processes import Ranks
from lovasz.study.score import evaluation, pairing
from lovasz.study.score.surfaces import Tolerance
from lovasz.study.summary.surface_intervals import surface_means
from tests.cli.commands import assert_refused
from tests.study.masks import VOID, draw, write

Masks = Sequence[tuple[Any, Any]]

#: Voxels of 2, 3 and 0.5 mm.
SIZES = (2.0, 3.0, 0.5)


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., tuple[Result, Any]]:
    """Runs the command on these masks, as arrays or volumes; returns its result and the record it wrote."""

    def run(masks: Masks, *options: object, affine: Any = None, unit: str | None = None) -> tuple[Result, Any]:
        for index, pair in enumerate(masks):
            for name, mask in zip(("predictions", "targets"), pair, strict=True):
                (tmp_path / name).mkdir(exist_ok=True)
                if affine is None:
                    np.save(tmp_path / name / f"{index:02}.npy", mask)
                else:
                    volume = nibabel.Nifti1Image(mask.astype(np.uint8), affine)
                    volume.header.set_xyzt_units(unit)
                    volume.to_filename(tmp_path / name / f"{index:02}.nii")
        folders = (tmp_path / "predictions", tmp_path / "targets")
        arguments = ("evaluate", *folders, *options, "--out", tmp_path / "out")
        result = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*map(str, arguments)], prog_name="lovasz")
        record = tmp_path / "out" / "results.json"
        return result, json.loads(record.read_text()) if record.exists() else None

    return run


def blocks(images: int) -> Masks:
    """Drawn masks, each pixel of them a block of 5 x 5, so that surfaces have an inside."""
    return [tuple(np.kron(mask, np.ones((5, 5), np.uint8)) for mask in pair) for pair in draw(images, 5)]


def square(shift: tuple[int, ...], shape: tuple[int, ...] = (30, 40)) -> tuple[np.ndarray, np.ndarray]:
    """A square, or cube, of side 10 as class 1, and where it is predicted."""
    target = np.zeros(shape, np.uint8)
    target[tuple(slice(10, 20) for _ in shape)] = 1
    return np.roll(target, shift, range(len(shape))), target


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "out" / "images.csv", newline="") as file:
        return list(csv.DictReader(file))


def by_monai(
    masks: Masks, num_classes: int, tolerance: float, spacing: Any = None, ignored: tuple[int, ...] = ()
) -> np.ndarray:
    """NSD and HD95 of MONAI, (N, C, 2), of masks that are emptied where the target is ignored.

    Of a class that one mask lacks MONAI has an infinite distance, or none: NaN stands for it here.
    """
    found = []
    for pair in masks:
        counted = ~np.isin(pair[1], ignored)
        sides = [
            torch.from_numpy(np.stack([(side == label) & counted for label in range(num_classes)]))[None]
            for side in pair
        ]
        both = (sides[0].flatten(2).any(-1) & sides[1].flatten(2).any(-1))[0].numpy()
        values = np.full((num_classes, 2), np.nan)
        for label in np.flatnonzero(both):
            one = [side[:, label : label + 1] for side in sides]
            options = {"include_background": True, "spacing": spacing}
            with warnings.catch_warnings():  # of an argument that MONAI passes to itself
                warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
                values[label] = (
                    compute_surface_dice(*one, class_thresholds=[tolerance], **options).item(),
                    compute_hausdorff_distance(*one, percentile=95, **options).item(),
                )
        found.append(values)
    return np.stack(found)


def in_table(folder: Path, num_classes: int) -> np.ndarray:
    """NSD and HD95 in images.csv, (N, C, 2); NaN for an empty cell."""
    cells = [
        [[row[f"{what}_{label}"] or "nan" for what in ("nsd", "hd95")] for label in range(num_classes)]
        for row in rows(folder)
    ]
    return np.array(cells, dtype=np.float64)


def assert_means(record: Any, values: np.ndarray, background: int | None = None) -> None:
    """The means over images, and over classes but the background, of values (N, C, 2)."""
    assert record["scores"]["background"] == background
    others, known = [], ~np.isnan(values)
    for label, one in enumerate(record["classes"]):
        number = known[:, label].sum(0)
        means = np.nansum(values[:, label], axis=0) / np.where(number, number, np.nan)
        expected = [None if np.isnan(mean) else pytest.approx(mean, rel=1e-5) for mean in means]
        assert [one["nsd"], one["hd95"]] == expected
        if label != background and number.any():
            others.append(means)
    found = [record["scores"][name] for name in ("nsd", "hd95")]
    assert found == pytest.approx(np.mean(others, axis=0), rel=1e-5)


# ---- by hand ----


def test_a_shifted_square_is_as_far_as_it_is_shifted(tmp_path: Path, evaluate: Any) -> None:
    """Its surface has 36 pixels, of which 14 are 3 from the other: one side, and 4 of the side opposite."""
    masks = [square((0, 3))]
    for tolerance, nsd in (("3px", 1), ("2.99px", 22 / 36), ("2px", 22 / 36), ("0px", (14 + 0) / 36)):
        result, record = evaluate(masks, "--num-classes", 2, "--surface", tolerance)
        assert result.exit_code == 0, result.output
        assert record["surface"] == {"tolerance": float(tolerance[:-2]), "unit": "px"}
        assert record["classes"][1]["nsd"] == pytest.approx(nsd)
        assert record["classes"][1]["hd95"] == 3
        # Of the mean the background is no part, by whatever name.
        assert record["scores"]["background"] == 0
        assert (record["scores"]["nsd"], record["scores"]["hd95"]) == (pytest.approx(nsd), 3)
    assert float(rows(tmp_path)[0]["hd95_1"]) == 3


@pytest.mark.parametrize(("axis", "distance"), [(0, 6.0), (1, 9.0), (2, 1.5)])
def test_spacing_stretches_the_distance(axis: int, distance: float, evaluate: Any) -> None:
    shift = tuple(3 * (axis == other) for other in range(3))
    masks = [square(shift, (24, 25, 26))]
    affine = np.diag([*SIZES, 1])
    _, record = evaluate(masks, "--num-classes", 2, "--surface", f"{distance}mm", affine=affine, unit="mm")
    assert record["classes"][1]["nsd"] == 1
    assert record["classes"][1]["hd95"] == distance
    _, record = evaluate(
        masks, "--num-classes", 2, "--surface", f"{distance - 0.1:.2f}mm", affine=affine, unit="mm"
    )
    assert record["classes"][1]["nsd"] < 0.9


def test_a_class_in_one_mask_alone_is_a_diagonal_away(tmp_path: Path, evaluate: Any) -> None:
    """Class 2 is in the target of the first image, class 3 in the prediction of the second, class 4 nowhere."""
    masks = [tuple(mask.copy() for mask in square((0, 0))) for _ in range(2)]
    masks[0][1][:2, :2] = 2
    masks[1][0][:2, :2] = 3
    result, record = evaluate(masks, "--num-classes", 5, "--surface", "1px")
    assert result.exit_code == 0, result.output
    values = in_table(tmp_path, 5)
    assert values[0, 2].tolist() == values[1, 3].tolist() == [0, 50]  # 30 x 40 pixels
    assert np.isnan(values[0, [3, 4]]).all()
    assert np.isnan(values[1, [2, 4]]).all()
    assert [one["nsd"] for one in record["classes"]][1:] == [1, 0, 0, None]
    assert [one["hd95"] for one in record["classes"]][1:] == [0, 50, 50, None]
    assert record["scores"]["nsd"] == pytest.approx(1 / 3)
    assert record["scores"]["hd95"] == pytest.approx(100 / 3)


def test_the_diagonal_is_in_millimetres_too(evaluate: Any) -> None:
    prediction, target = square((0, 0, 0), (24, 25, 26))
    options = ("--num-classes", 2, "--surface", "1mm")
    _, record = evaluate([(0 * prediction, target)], *options, affine=np.diag([*SIZES, 1]))
    diagonal = np.hypot(np.hypot(24 * 2, 25 * 3), 26 / 2)
    assert record["classes"][1]["nsd"] == 0
    assert record["classes"][1]["hd95"] == pytest.approx(diagonal)


def test_where_the_target_is_ignored_both_masks_end(evaluate: Any) -> None:
    """Of the square only columns 10 to 14 are known; there both masks are the same."""
    prediction, target = (mask.copy() for mask in square((0, 0)))
    prediction[10:20, 20:25] = 1
    target[:, 15:30] = VOID
    _, record = evaluate([(prediction, target)], "--num-classes", 2, "--ignore", VOID, "--surface", "0px")
    assert (record["classes"][1]["nsd"], record["classes"][1]["hd95"]) == (1, 0)
    # A class that is known nowhere is in no mask.
    target[:, :] = np.where(target == 1, VOID, target)
    prediction[:, :10] = 0
    _, record = evaluate([(prediction, target)], "--num-classes", 2, "--ignore", VOID, "--surface", "0px")
    assert (record["classes"][1]["nsd"], record["classes"][1]["hd95"]) == (None, None)


# ---- as MONAI ----


@pytest.mark.parametrize("tolerance", [1, 2.5])
def test_it_is_that_of_monai(tolerance: float, tmp_path: Path, evaluate: Any) -> None:
    masks = blocks(8)
    options = ("--num-classes", 5, "--ignore", VOID, "--surface", f"{tolerance}px", "--boundary", "1px")
    result, record = evaluate(masks, *options)
    assert result.exit_code == 0, result.output
    found, expected = in_table(tmp_path, 5), by_monai(masks, 5, tolerance, ignored=(VOID,))
    both = ~np.isnan(expected)
    assert both.sum() > 40
    np.testing.assert_allclose(found[both], expected[both], rtol=5e-6, atol=1e-6)
    assert_means(record, found)


@pytest.mark.parametrize("order", ["", "turned"])
def test_the_spacing_is_that_of_the_header(order: str, tmp_path: Path, evaluate: Any) -> None:
    """Volumes are turned to one order of axes, and so is their spacing."""
    rng = np.random.default_rng(0)
    target = np.kron(rng.integers(0, 3, (4, 3, 5)), np.ones((4, 4, 4), int)).astype(np.uint8)
    prediction = np.where(rng.random(target.shape) < 0.02, 2 - target, np.roll(target, 1, 2)).astype(np.uint8)
    affine = np.diag([*SIZES, 1])
    if order:  # first axis up, 2 mm; second to the right, 3 mm; third to the back, 0.5 mm
        affine = np.array([[0, 3, 0, 0], [0, 0, -0.5, 0], [2, 0, 0, 0], [0, 0, 0, 1.0]])
    options = ("--num-classes", 3, "--surface", "2mm", "--allow-missing")
    _, record = evaluate([(prediction, target)], *options, affine=affine)
    assert record["surface"] == {"tolerance": 2, "unit": "mm"}
    expected = by_monai([(prediction, target)], 3, 2, spacing=SIZES)
    np.testing.assert_allclose(in_table(tmp_path, 3), expected, rtol=5e-6, atol=1e-6)
    otherwise = by_monai([(prediction, target)], 3, 2, spacing=(3.0, 0.5, 2.0))
    assert np.abs(expected - otherwise)[..., 1].min() > 0.1


@pytest.mark.parametrize("shape", [(9, 10, 1), (1, 9, 10), (1, 1, 12), (1, 1, 1)])
def test_an_axis_of_length_1_makes_no_surface(shape: tuple[int, ...], tmp_path: Path, evaluate: Any) -> None:
    rng = np.random.default_rng(0)
    masks = [tuple(rng.integers(0, 2, shape, dtype=np.uint8).repeat(2, 1 if shape[1] > 1 else 2) for _ in range(2))]
    result, _ = evaluate(masks, "--num-classes", 2, "--surface", "1px", affine=np.diag([1, 1, 1, 1]))
    assert result.exit_code == 0, result.output
    flat = [tuple(mask.reshape([size for size in mask.shape if size > 1]) for mask in pair) for pair in masks]
    if flat[0][0].ndim == 2:
        np.testing.assert_allclose(in_table(tmp_path, 2), by_monai(flat, 2, 1), rtol=5e-6, atol=1e-6)


# ---- what is written ----


def test_it_is_printed_and_written(tmp_path: Path, evaluate: Any) -> None:
    result, record = evaluate(blocks(8), "--num-classes", 5, "--ignore", VOID, "--surface", "2px")
    assert max(map(len, result.stdout.partition("Worst images")[0].splitlines()[1:])) <= 80
    nsd, hd95 = (record["scores"][name] for name in ("nsd", "hd95"))
    assert re.search(rf"NSD at 2 px, mean over classes +{100 * nsd:.2f} ", result.stdout)
    assert re.search(rf"  HD95 in px, of the same classes +{hd95:.2f} ", result.stdout)
    for label, one in enumerate(record["classes"]):
        assert re.search(rf"\n  {label} +{100 * one['nsd']:.2f} +{one['hd95']:.2f} *\n", result.stdout)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<th>NSD</th><th>HD95, px</th>" in page
    assert f"surface Dice at 2 px, mean over classes; HD95 {hd95:.2f} px" in page
    for one in record["classes"]:
        assert f'<td data-v="{one["hd95"]:.6f}">{one["hd95"]:.2f}</td>' in page


def test_the_mean_says_which_class_it_leaves_out(tmp_path: Path, evaluate: Any) -> None:
    names = tmp_path / "names.txt"
    names.write_text("tumour\nbackground\n")
    masks = [tuple(1 - mask for mask in square((0, 3)))]
    result, record = evaluate(masks, "--classes", names, "--surface", "2px")
    assert record["scores"]["nsd"] == record["classes"][0]["nsd"] != record["classes"][1]["nsd"]
    said = "mean over classes without background (92 % of the pixels)"
    assert f"NSD at 2 px, {said}" in re.sub(r"\s+", " ", re.sub(r" {2,}\d+\.\d+", "", result.stdout))
    assert f"surface Dice at 2 px, {said}; HD95 3.00 px" in (tmp_path / "out" / "report.html").read_text()
    assert "nsd_tumour" in rows(tmp_path)[0]


def test_without_the_option_nothing_of_it_is_measured_nor_told(
    tmp_path: Path, evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "image_surfaces", None)
    monkeypatch.setattr(evaluation, "import_monai", None)
    result, record = evaluate(draw(3, 5), "--num-classes", 5, "--ignore", VOID)
    assert result.exit_code == 0, result.output
    assert record["surface"] is None
    assert not {"nsd", "hd95"} & (set(record["scores"]) | set(record["classes"][0]))
    assert not [name for name in rows(tmp_path)[0] if name.startswith(("nsd", "hd95"))]
    for text in (result.stdout, (tmp_path / "out" / "report.html").read_text()):
        assert "NSD" not in text
        assert "HD95" not in text


def test_without_the_option_monai_is_not_imported(tmp_path: Path) -> None:
    folders = write(tmp_path, draw(2, 5))
    code = "import sys\nfrom lovasz.cli import main\ntry:\n    main()\nfinally:\n    print(*sys.modules, sep='\\n')"
    options = ("--num-classes", "5", "--ignore", str(VOID), "--out", str(tmp_path / "out"))
    command = [sys.executable, "-c", code, "evaluate", *map(str, folders), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "lovasz.study.score.surfaces" in done.stdout.split()
    assert "monai" not in done.stdout.split()


# ---- intervals ----


def test_means_of_images_that_are_drawn_again_are_those_of_their_rows(tmp_path: Path) -> None:
    """Counted by hand: each image is repeated as often as its group is drawn."""
    pairs, tolerance = pairing.pair(*write(tmp_path, blocks(9))), Tolerance(1, "px")
    surfaces = evaluation.evaluate(
        pairs, tuple("abcde"), frozenset({VOID}), 1, Event(), lambda *_: None, Ranks(), tolerance=tolerance
    ).surfaces
    groups, rng = np.array([0, 0, 1, 2, 3, 3, 3, 4, 5]), np.random.default_rng(1)
    times = rng.integers(0, 3, (20, 6))
    scored, held = surface_means(surfaces, groups, 6, 1)
    values = np.stack([surfaces[image] for image in range(9)])
    expected = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of means of nothing
        for drawn in times:
            classes = np.nanmean(values.repeat(drawn[groups], axis=0), axis=0)
            expected.append([*np.nanmean(np.delete(classes, 1, axis=0), axis=0), *classes.ravel()])
    np.testing.assert_allclose(scored(torch.from_numpy(times).double()).numpy(), expected, rtol=1e-9)
    holds = [len(set(groups[~np.isnan(values[:, label, 0])])) for label in range(5)]
    assert held.tolist() == [6, 6, *np.repeat(holds, 2)]


def test_their_intervals_are_printed_and_written(tmp_path: Path, evaluate: Any) -> None:
    result, record = evaluate(blocks(8), "--num-classes", 5, "--ignore", VOID, "--surface", "2px")
    assert result.exit_code == 0, result.output
    means, scores = record["intervals"]["means"], record["scores"]
    for name in ("nsd", "hd95"):
        assert means[name]["low"] < scores[name] < means[name]["high"]
        ends = record["classes"][2]["intervals"][name]
        assert ends["low"] < record["classes"][2][name] < ends["high"]
    low, high = (f"{means['hd95'][end]:.2f}" for end in ("low", "high"))
    assert re.search(rf"HD95 in px, mean over classes +{scores['hd95']:.2f} +{low} to {high}", result.stdout)
    assert re.search(rf"NSD, mean over classes +{100 * scores['nsd']:.2f} ", result.stdout)
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"HD95 {scores['hd95']:.2f} px ({low} to {high})" in page


# ---- refused ----


@pytest.mark.parametrize("text", ["2", "mm", "-1mm", "2 mm", "2cm", "nanmm", "infpx", "1e1px", "2.mm", ""])
def test_another_tolerance_is_refused(text: str, evaluate: Any) -> None:
    result, _ = evaluate(draw(1, 5), "--num-classes", 5, "--surface", text)
    said = "--surface must be a distance of at least 0 with its unit, as 2mm or 3px, got"
    assert_refused(result, f"{said} {text}".rstrip())


@pytest.mark.parametrize("kind", ["png", "npy"])
def test_millimetres_need_a_spacing(kind: str, tmp_path: Path, evaluate: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(evaluation, "read_image", None)
    if kind == "png":
        write(tmp_path, draw(2, 5))
        (tmp_path / "targets" / "00.png").write_bytes(b"")
    result, record = evaluate(() if kind == "png" else draw(2, 5), "--num-classes", 5, "--surface", "2mm")
    file = tmp_path / "targets" / f"00.{kind}"
    said = f"--surface in mm needs targets with a voxel spacing, NIfTI volumes, and {file} has none; expected a "
    assert_refused(result, f"{said}tolerance in pixels, as 2px")
    assert record is None


@pytest.mark.parametrize(("unit", "told"), [("micron", "µm"), ("meter", "m")])
def test_a_spacing_in_another_unit_is_refused(unit: str, told: str, tmp_path: Path, evaluate: Any) -> None:
    masks = [square((0, 0, 0), (24, 25, 26))]
    options = ("--num-classes", 2, "--surface", "2mm")
    result, _ = evaluate(masks, *options, affine=np.diag([*SIZES, 1]), unit=unit)
    assert_refused(
        result, f"{tmp_path / 'targets' / '00.nii'}: has a voxel spacing of 2 x 3 x 0.5 {told}; expected mm"
    )


def test_pixels_do_not_use_a_spacing_and_say_so(tmp_path: Path, evaluate: Any) -> None:
    masks = [square((3, 0, 0), (24, 25, 26))] * 2
    options = ("--num-classes", 2, "--surface", "3px")
    result, record = evaluate(masks, *options, affine=np.diag([*SIZES, 1]), unit="micron")
    assert record["classes"][1]["hd95"] == 3
    (said,) = record["warnings"]
    assert said == (
        f"The voxels of 2 targets are not cubes ({tmp_path / 'targets' / '00.nii'}: 2 x 3 x 0.5), and "
        "--surface 3px does not use their spacing: NSD and HD95 are in voxels along every axis."
    )
    assert f"Warning: {said}" in result.stdout
    _, record = evaluate(masks, *options, affine=np.diag([2, 2, 2, 1]))
    assert record["warnings"] == []


def test_a_line_has_no_surface(tmp_path: Path, evaluate: Any) -> None:
    line = np.zeros(9, np.uint8)
    result, record = evaluate([(line, line)], "--num-classes", 2, "--surface", "1px")
    assert result.exit_code == 1
    (problem,) = record["left_out"]["mismatched"]
    has = f"{tmp_path / 'targets' / '00.npy'} has the shape (9,); a surface needs at least two axes"
    assert problem["message"] == has


# ---- with other options ----


def test_labels_are_mapped_first(tmp_path: Path, evaluate: Any) -> None:
    masks = blocks(4)
    stored = [tuple(np.where(mask < 5, 10 * mask, mask) for mask in pair) for pair in masks]
    names = ",".join(f"{10 * label}:{label}" for label in range(5)) + ",77:void"
    _, record = evaluate(stored, "--num-classes", 5, "--ignore", VOID, "--map", names, "--surface", "1px")
    found, expected = in_table(tmp_path, 5), by_monai(masks, 5, 1, ignored=(VOID,))
    np.testing.assert_allclose(np.where(np.isnan(expected), np.nan, found), expected, rtol=5e-6, atol=1e-6)
    assert_means(record, found)


def test_scores_are_decided_first(tmp_path: Path, evaluate: Any) -> None:
    rng = np.random.default_rng(0)
    masks = [(rng.random((3, 12, 13), dtype=np.float32), rng.integers(0, 3, (12, 13))) for _ in range(3)]
    scores = [(np.log(logits), target) for logits, target in masks]
    evaluate(scores, "--num-classes", 3, "--scores", "logits", "--surface", "1px")
    decided = [(logits.argmax(0), target) for logits, target in masks]
    np.testing.assert_allclose(in_table(tmp_path, 3), by_monai(decided, 3, 1), rtol=5e-6, atol=1e-6)


def test_a_class_that_is_ignored_has_no_surface(tmp_path: Path, evaluate: Any) -> None:
    masks = [(p % 5, np.where(t == VOID, 0, t)) for p, t in blocks(6)]
    _, record = evaluate(masks, "--num-classes", 5, "--ignore", 0, "--surface", "1px")
    found, expected = in_table(tmp_path, 5), by_monai(masks, 5, 1, ignored=(0,))
    assert np.isnan(found[:, 0]).all()
    expected[:, 0] = np.nan
    np.testing.assert_allclose(np.where(np.isnan(expected), np.nan, found), expected, rtol=5e-6, atol=1e-6)
    assert record["classes"][0]["nsd"] is None


@pytest.mark.parametrize("kind", [np.uint16, np.int64, np.int8])
def test_every_type_of_label_is_measured_alike(kind: Any, tmp_path: Path, evaluate: Any) -> None:
    void, masks = np.iinfo(kind).max, blocks(3)
    stored = [tuple(np.where(mask == VOID, void, mask.astype(kind)) for mask in pair) for pair in masks]
    evaluate(stored, "--num-classes", 5, "--ignore", void, "--surface", "1px")
    found, expected = in_table(tmp_path, 5), by_monai(masks, 5, 1, ignored=(VOID,))
    np.testing.assert_allclose(np.where(np.isnan(expected), np.nan, found), expected, rtol=5e-6, atol=1e-6)


def test_the_last_of_256_classes_has_a_surface(evaluate: Any) -> None:
    _, record = evaluate([tuple(255 * mask for mask in square((0, 3)))], "--num-classes", 256, "--surface", "3px")
    assert (record["classes"][255]["nsd"], record["classes"][255]["hd95"]) == (1, 3)


def test_files_that_are_left_out_have_no_row(tmp_path: Path) -> None:
    masks = blocks(20)
    predictions, targets = write(tmp_path, masks)
    (predictions / "03.png").write_bytes(b"no picture")
    arguments = (predictions, targets, "--num-classes", 5, "--ignore", VOID, "--surface", "1px", "--allow-missing")
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    kept = [masks[index] for index in range(20) if index != 3]
    assert [row["name"] for row in rows(tmp_path)] == [f"{index:02}" for index in range(20) if index != 3]
    found, expected = in_table(tmp_path, 5), by_monai(kept, 5, 1, ignored=(VOID,))
    np.testing.assert_allclose(np.where(np.isnan(expected), np.nan, found), expected, rtol=5e-6, atol=1e-6)


def test_other_predictions_are_compared_without_surfaces(
    tmp_path: Path, evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, calls = evaluation.image_surfaces, []
    monkeypatch.setattr(evaluation, "image_surfaces", lambda *given: calls.append(1) or measured(*given))
    others = write(tmp_path / "others", blocks(4))[0]
    result, _ = evaluate(blocks(4), "--num-classes", 5, "--ignore", VOID, "--surface", "1px", "--against", others)
    assert result.exit_code == 0, result.output
    assert len(calls) == 4
