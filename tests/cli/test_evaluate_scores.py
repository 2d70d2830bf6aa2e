"""``lovasz evaluate --scores``: what is read, how it is decided, and what is refused."""

import csv
import functools
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from lovasz.cli.app import app
from lovasz.study.io.score_files import logit, open_scores
from lovasz.study.score import fitting
from lovasz.study.score.deciding import Decision
from tests.cli.commands import assert_refused
from tests.cli.scored import SHAPE, evaluate, evaluate_list, make, make_files, softmax


def ious(pairs: list[tuple[Any, Any]], classes: int) -> list[float]:
    p, t = (np.concatenate([one[side].ravel() for one in pairs]) for side in (0, 1))
    p, t = p[t != 255], t[t != 255]
    return [((p == c) & (t == c)).sum() / ((p == c) | (t == c)).sum() for c in range(classes)]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    return functools.partial(evaluate, tmp_path)


def iou_of(record: Any) -> list[float]:
    return [one["iou"] for one in record["classes"]]


def test_class_axis_kind_and_workers_change_nothing_and_masks_say_the_same(tmp_path: Path, run: Any) -> None:
    pairs = make(tmp_path, 3)
    expected = ious([(x.argmax(0), t) for x, t in pairs], 3)
    found = []
    for kind, last, workers in (("logits", 0, 1), ("logits", 1, 2), ("probabilities", 0, 2)):
        for image, (x, _) in enumerate(pairs):
            values = x if kind == "logits" else softmax(x)
            np.savez(tmp_path / "s" / f"{image}.npz", np.moveaxis(values, 0, -1) if last else values)
        found.append(run("--scores", kind, "--decide", "usual", "--workers", workers))
        assert iou_of(found[-1]) == pytest.approx(expected)
    assert found[0]["thresholds"] == found[1]["thresholds"]
    rows = (tmp_path / "out" / "curves.csv").read_text().splitlines()
    assert 3 * 200 < len(rows) < 3 * 400
    again = run(scores="out/masks", out="again")
    assert iou_of(again) == iou_of(found[-1])
    probs = np.concatenate([softmax(x).reshape(3, -1)[:, t.ravel() != 255] for x, t in pairs], 1)
    truth = np.concatenate([t[t != 255] for _, t in pairs])
    for c, one in enumerate(found[0]["thresholds"]):
        order = np.argsort(-probs[c])
        positive = truth[order] == c
        precision = positive.cumsum() / np.arange(1, len(order) + 1)
        assert one["average_precision"] == pytest.approx(precision[positive].mean(), abs=2e-3)
        tp, all_ = positive.cumsum(), positive.sum()
        assert one["best_iou"] == pytest.approx((tp / (all_ + np.arange(1, len(order) + 1) - tp)).max(), abs=5e-3)
        assert one["usual_iou"] == pytest.approx(expected[c])


@pytest.mark.parametrize(("kind", "most"), [(np.uint8, 255), (np.uint16, 65535)])
def test_grey_maps_and_thresholds(tmp_path: Path, run: Any, kind: Any, most: int) -> None:
    pairs = make(tmp_path, 2)
    maps = [(np.rint(most * softmax(x)[1]).astype(kind), t) for x, t in pairs]
    for image, (grey, _) in enumerate(maps):
        Image.fromarray(grey).save(tmp_path / "s" / f"{image}.png")
    for threshold in (0.5, 0.2):
        record = run("--scores", "probabilities", "--threshold", threshold, classes=2)
        assert iou_of(record) == pytest.approx(ious([((g / most > threshold) * 1, t) for g, t in maps], 2))
    best = run("--scores", "probabilities", "--threshold", "best", classes=2)
    assert best["thresholds"][0]["best_iou"] == pytest.approx(iou_of(best)[1], abs=1e-6)
    assert "chosen on the same images: the score is optimistic" in best["decided"]


@pytest.mark.parametrize("kind", [np.uint8, np.float16, np.float32, np.float64])
def test_a_probability_at_the_threshold_is_told_apart(kind: Any) -> None:
    """Above a threshold that was given; of a fitted one it is reached, as in the curve."""
    values = np.arange(256) / 255 if kind == np.uint8 else np.linspace(0, 1, 101).astype(kind).astype(np.float64)
    logits = torch.from_numpy(logit(values))[None, None, :, None]
    for threshold in values.tolist():
        for reached, expected in ((False, values > threshold), (True, values >= threshold)):
            found = Decision("threshold", 1, threshold, reached).labels(logits)
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("rule", [("--threshold", "best"), ("--decide", "dataset")])
def test_a_fitted_threshold_of_zero_takes_every_pixel(rule: tuple[str, str], tmp_path: Path, run: Any) -> None:
    for image, (_, target) in enumerate(make(tmp_path, 2)):
        np.save(tmp_path / "s" / f"{image}.npy", np.where(target == 0, 1e-3, 0).astype(np.float32))
    record = run("--scores", "probabilities", *rule, classes=2)
    assert "at least 0," in record["decided"]
    assert record["classes"][1]["recall"] == 1
    assert record["classes"][1]["iou"] == pytest.approx(record["thresholds"][0]["best_iou"])


def test_the_rule_of_a_data_set_is_fitted_on_other_images(tmp_path: Path, run: Any) -> None:
    from lovasz.decisions import DatasetDecision

    other, pairs = make(tmp_path / "o", 3, seed=1), make(tmp_path, 3)
    for folder, some in ((tmp_path / "o", other), (tmp_path, pairs)):
        for image, (x, _) in enumerate(some):
            np.save(folder / "s" / f"{image}.npy", x)
    record = run("--scores", "logits", "--decide", "dataset", "--fit", tmp_path / "o" / "s", tmp_path / "o" / "t")
    rule = DatasetDecision(3, ignore_index=255)
    rule.fit([(torch.from_numpy(x)[None], torch.from_numpy(t)[None]) for x, t in other])
    assert iou_of(record) == pytest.approx(
        ious([(rule(torch.from_numpy(x)[None])[0].numpy(), t) for x, t in pairs], 3)
    )
    assert "optimistic" not in record["decided"]
    assert "optimistic" in run("--scores", "logits", "--decide", "dataset")["decided"]


@pytest.mark.parametrize(
    ("array", "kind", "said"),
    [
        (np.full((3, *SHAPE), np.nan, np.float32), "logits", "not finite in float32"),
        (np.full((3, *SHAPE), 2, np.float32), "probabilities", "expected probabilities from 0 to 1"),
        (np.full((3, *SHAPE), 0.5, np.float32), "probabilities", "do not sum to 1 within 0.001"),
        (np.zeros(SHAPE, np.uint8), "logits", "expected scores of floating point"),
        (np.zeros((4, *SHAPE), np.float32), "logits", "expected scores of 3 classes"),
    ],
)
def test_what_is_no_score_is_named(tmp_path: Path, run: Any, array: Any, kind: str, said: str) -> None:
    make(tmp_path, 3, images=1)
    np.save(tmp_path / "s" / "0.npy", array)
    output = run("--scores", kind, code=1).stdout
    assert said in output
    assert "0.npy" in output


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [0.35, 0.4, 0.499])
def test_the_usual_decision_is_that_of_the_stored_probabilities(kind: Any, value: float, tmp_path: Path) -> None:
    """Neighbours may have one logarithm in float32; of equal ones the first class is taken."""
    values = np.full((3, 12, 10), kind(value))
    values[1, ::2] = np.nextafter(kind(value), kind(1))
    values[2] = 1 - 2 * value
    np.save(tmp_path / "a.npy", values)
    with open_scores(tmp_path / "a.npy", 400, "probabilities") as scores:
        logits = scores.logits(3, False, (12, 10))
    assert logits.dtype == np.float32
    found = Decision("usual", 3).labels(torch.from_numpy(logits)[None, :, :, None])
    np.testing.assert_array_equal(found.reshape(12, 10), values.argmax(0))


def test_either_axis_may_be_the_classes(tmp_path: Path, run: Any) -> None:
    for place in ("s", "t"):
        (tmp_path / place).mkdir()
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "t" / "0.png")
    np.save(tmp_path / "s" / "0.npy", np.zeros((3, 3, 3), np.float32))
    assert "the first axis or the last" in run("--scores", "logits", code=1).stdout


def test_a_list_in_the_folder_of_other_images_is_not_those_images(tmp_path: Path) -> None:
    make_files(tmp_path, 3)
    make_files(tmp_path / "test", 3)
    options = ("--scores", "logits", "--decide", "dataset", "--fit", tmp_path / "s", tmp_path / "t")
    for where, code in (("../test/", 0), ("../", 2)):
        lines = [f"{image},{where}s/{image}.npy,{where}t/{image}.png" for image in range(6)]
        (tmp_path / "s" / "list.csv").write_text("\n".join(["name,prediction,target", *lines]))
        done = evaluate_list(tmp_path / "s", *options, code=code)
    assert "--fit must name other images" in done.stderr


def test_options_that_do_not_fit_are_refused(tmp_path: Path, run: Any) -> None:
    pairs = make(tmp_path, 3, images=1)
    np.save(tmp_path / "s" / "0.npy", pairs[0][0])
    assert "--scores logits or --scores probabilities" in run(code=1).stdout
    assert_refused(run("--decide", "image", code=2), "--decide needs --scores")
    assert_refused(run("--scores", "logits", "--threshold", "2", code=2), "from 0 to 1 or best, got 2")
    assert_refused(run("--scores", "logits", "--threshold", "0.5", code=2), "these have 3 channels")


@pytest.mark.parametrize("options", [(), ("--scores", "logits")])
def test_a_label_beyond_int64_is_refused(options: Any, tmp_path: Path, run: Any) -> None:
    pairs = make(tmp_path, 3, images=1)
    np.save(tmp_path / "s" / "0.npy", pairs[0][0] if options else pairs[0][0].argmax(0))
    refused = run(*options, "--ignore", 10**20, code=2)
    assert_refused(refused, f"--ignore must be a label from -2^63 to 2^63 - 1, got {10**20}")
    for label in (2**63 - 1, -(2**63)):
        run(*options, "--ignore", label)


def test_each_image_is_decided_by_itself(tmp_path: Path, run: Any) -> None:
    from lovasz.decisions import image_decision

    pairs = [(2 * x, t) for x, t in make(tmp_path, 2)]
    for image, (x, _) in enumerate(pairs):
        np.save(tmp_path / "s" / f"{image}.npy", x)
    record = run("--scores", "logits", "--decide", "image", classes=2)
    decided = [(image_decision(torch.from_numpy(x)[None])[0].numpy(), t) for x, t in pairs]
    assert iou_of(record) == pytest.approx(ious(decided, 2))
    assert record["decided"] == "Labels: the rule of highest expected IoU of each image."
    alone = [(x[1] - x[0], t) for x, t in pairs]
    for image, (x, _) in enumerate(alone):
        np.save(tmp_path / "s" / f"{image}.npy", x[None] if image % 2 else x)
    record = run("--scores", "logits", "--decide", "image", classes=2)
    decided = [(image_decision(torch.from_numpy(x)[None, None], form="sigmoid")[0, 0].numpy(), t) for x, t in alone]
    assert iou_of(record) == pytest.approx(ious(decided, 2))


def test_the_report_draws_each_class_and_the_diagram_is_a_table(tmp_path: Path, run: Any) -> None:
    pairs = make(tmp_path, 3)
    for image, (x, _) in enumerate(pairs):
        np.save(tmp_path / "s" / f"{image}.npy", x)
    record = run("--scores", "logits")
    with (tmp_path / "out" / "calibration.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 15
    probs = np.concatenate([softmax(x).reshape(3, -1)[:, t.ravel() != 255] for x, t in pairs], 1)
    truth = np.concatenate([t[t != 255] for _, t in pairs])
    for row in rows:
        c, low, high = int(row["class"]), float(row["from"]), float(row["to"])
        inside = (probs[c] >= low) & (probs[c] < high)
        assert abs(int(row["pixels"]) - inside.sum()) <= 2
        if inside.sum() > 30:
            assert float(row["frequency"]) == pytest.approx((truth[inside] == c).mean(), abs=0.03)
            assert float(row["probability"]) == pytest.approx(probs[c][inside].mean(), abs=5e-3)
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('class="three"') == 3
    for c, one in enumerate(record["thresholds"]):
        (chart,) = re.findall(rf'aria-label="IoU of {c} over the threshold">(.*?)</svg>', page)
        x, y = map(float, re.search(r'cx="([\d.]+)" cy="([\d.]+)"', chart).groups())
        assert x == pytest.approx(100 * one["best_threshold"], abs=0.06)
        assert y == pytest.approx(100 * (1 - one["best_iou"]), abs=0.06)
    assert "Labels: the argmax." in page


def test_labels_in_grey_are_no_probabilities(tmp_path: Path, run: Any) -> None:
    for image, (_, target) in enumerate(make(tmp_path, 2)):
        Image.fromarray((target == 1).astype(np.uint8)).save(tmp_path / "s" / f"{image}.png")
    assert_refused(run("--scores", "probabilities", classes=2, code=2), "hold 0 and 1 alone")


def test_a_name_without_a_pair_ends_the_command_before_a_rule_is_fitted(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(tmp_path, 3)
    make_files(tmp_path / "o", 3)
    (tmp_path / "o" / "s" / "4.npy").unlink()
    options = ("--scores", "logits", "--decide", "dataset", "--fit", tmp_path / "o" / "s", tmp_path / "o" / "t")
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "read_scores", None)  # nothing is read
        refused = run(*options, code=2)
    assert_refused(refused, "--fit: ", "has no prediction of that name", "--allow-missing fits on the others")
    assert not (tmp_path / "out").exists()
    assert "chosen on 5 images of" in run(*options, "--allow-missing")["decided"]


def test_scores_are_not_mapped_whatever_their_names_say(tmp_path: Path) -> None:
    """It was said to be a mask of trainIds, and what to do then was refused."""
    scores = np.random.default_rng(0).normal(size=(19, 4, 5)).astype(np.float32)
    np.save(tmp_path / "x_gtFine_labelTrainIds.npy", scores)
    Image.fromarray(np.full((4, 5), 7, np.uint8)).save(tmp_path / "x_gtFine_labelIds.png")
    rows = "prediction,target\nx_gtFine_labelTrainIds.npy,x_gtFine_labelIds.png\n"
    (tmp_path / "list.csv").write_text(rows)
    options = ("--map", "cityscapes", "--scores", "logits", "--out", tmp_path / "o")
    done = CliRunner().invoke(app, ["evaluate", *map(str, (tmp_path / "list.csv", *options))])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "o" / "results.json").read_text())["scores"]["pixels"] == 20


@pytest.mark.parametrize(("ended_by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_fit_that_is_interrupted_ends_the_command(
    ended_by: int, code: int, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(tmp_path, 3)
    through = fitting.ScoredImages.__iter__

    def interrupted(images: Any) -> Any:
        os.kill(os.getpid(), ended_by)
        return through(images)

    monkeypatch.setattr(fitting.ScoredImages, "__iter__", interrupted)
    assert "ended at once" in run("--scores", "logits", "--decide", "dataset", code=code).output
    assert not (tmp_path / "out" / "results.json").exists()
