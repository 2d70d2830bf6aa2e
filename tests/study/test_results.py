"""What a comparison adds up to, and the tables for other programs."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lovasz.study.data.iou import iou_per_class
from lovasz.study.data.parts import TEST
from lovasz.study.summary.compare import summarise
from lovasz.study.summary.durations import duration, said_of_time
from lovasz.study.summary.results import write_csv, write_json
from tests.study.made_up import LOSSES, made_up


def test_summary_adds_seeds_up() -> None:
    comparison = made_up()
    assert comparison.losses == list(LOSSES)
    assert comparison.seeds == [0, 1, 2]
    for summary in comparison.summaries:
        runs = [comparison.runs[summary.loss, seed] for seed in range(3)]
        scores = [run.test_miou for run in runs]
        assert summary.scores == scores
        assert summary.mean == pytest.approx(np.mean(scores))
        assert summary.spread == pytest.approx(np.std(scores, ddof=1))
        assert summary.seconds_per_step == 0.03
        assert summary.loss_share == pytest.approx(1 / 3)
        assert summary.loss_mib == 12.5
    difference = comparison.differences[1]
    assert (difference.loss, difference.baseline) == ("ce>lovasz", "ce")


def test_a_network_that_is_hardly_trained_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = made_up()
    best = max(summary.mean for summary in comparison.summaries)
    assert best > 25
    assert not any("hardly trained" in sentence for sentence in comparison.verdict)
    monkeypatch.setattr("lovasz.study.summary.compare.HARDLY_TRAINED", best)
    assert made_up().verdict == comparison.verdict
    monkeypatch.setattr("lovasz.study.summary.compare.HARDLY_TRAINED", best + 1)
    assert made_up().verdict == [
        *comparison.verdict,
        f"The network is hardly trained: the best mean test mIoU is {best:.1f} %, below {best + 1:.0f} %. Train "
        "for longer or with another learning rate before relying on any difference.",
    ]


def test_second_mean_over_the_large_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made_up().over_large == ""  # the tiny scene has none of them
    monkeypatch.setattr("lovasz.study.summary.compare.LARGE_CLASS", 25)
    comparison = made_up()
    large = [index for index, pixels in enumerate(comparison.data.parts[TEST].pixels) if pixels >= 25]
    assert comparison.large == large
    assert 0 < len(large) < 4
    for summary in comparison.summaries:
        iou = [iou_per_class(comparison.runs[summary.loss, seed].test_counts) for seed in range(3)]
        expected = [100 * float(classes[large].mean()) for classes in iou]
        assert summary.large_scores == pytest.approx(expected)
        assert summary.large_mean == pytest.approx(np.mean(expected))
    said = f"{len(large)} classes with at least 25 test pixels"
    assert all(f"Over the {said}: " in entry for entry in comparison.verdict[:2])

    write_csv(comparison, tmp_path / "results.csv")
    write_json(comparison, tmp_path / "results.json")
    record = json.loads((tmp_path / "results.json").read_text())
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row, run in zip(rows, record["runs"], strict=True):
        assert float(row["test_miou_large"]) == run["test_miou_large"]
    assert record["large_differences"][0]["mean"] == pytest.approx(comparison.large_differences[0].mean)
    assert record["data"]["large_classes"] == [comparison.data.class_names[index] for index in large]


def test_classes_that_never_occur_are_null(tmp_path: Path) -> None:
    comparison = made_up()
    counts = np.array([[5, 0, 0, 0], [5, 0, 0, 0], [0] * 4, [0] * 4])
    runs = [replace(run, tested=replace(run.tested, counts=counts)) for run in comparison.runs.values()]
    comparison = summarise(comparison.data, comparison.config, runs)
    write_csv(comparison, tmp_path / "results.csv")
    write_json(comparison, tmp_path / "results.json")
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["runs"][0]["test_iou"] == [0.5, 0.0, None, None]


def test_csv_holds_one_line_a_run(tmp_path: Path) -> None:
    comparison = made_up()
    write_csv(comparison, tmp_path / "results.csv")
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["loss"], int(row["seed"])) for row in rows] == list(comparison.runs)
    for row, run in zip(rows, comparison.runs.values(), strict=True):
        assert float(row["seconds"]) == 10.0
        assert 100 * float(row["test_miou"]) == pytest.approx(run.test_miou)
        ious = [float(row[f"iou {name}"]) for name in comparison.data.class_names]
        assert np.mean(ious) == pytest.approx(float(row["test_miou"]))


def test_time_is_told_by_part_and_older_runs_are_left_out(tmp_path: Path) -> None:
    comparison = made_up(("ce", "lovasz"), 2)
    runs = list(comparison.runs.values())
    assert said_of_time(runs) == (
        "4 runs took 40 s: training steps 40 %, validation 30 %, fitting of decisions 20 %, test part 5 %, "
        "the rest (reading training images, keeping states) 5 %."
    )
    old = [replace(run, seconds=None) for run in runs]
    assert said_of_time([runs[0], *old[1:]]).startswith("1 of 4 runs took 10 s: ")
    assert said_of_time(runs[:1]).startswith("1 run took 10 s: ")
    assert said_of_time(old) == ""
    assert [duration(seconds) for seconds in (0.4, 119, 121, 7000, 7300)] == [
        "0 s",
        "119 s",
        "2 min",
        "117 min",
        "2.0 h",
    ]
    older = summarise(comparison.data, comparison.config, old)
    write_csv(older, tmp_path / "results.csv")
    write_json(older, tmp_path / "results.json")
    record = json.loads((tmp_path / "results.json").read_text())
    assert (record["seconds"], record["runs"][0]["seconds"]) == ({}, None)
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        assert [row["seconds"] for row in csv.DictReader(file)] == 4 * [""]


def test_json_holds_everything(tmp_path: Path) -> None:
    comparison = made_up(lr=(0.01, 0.02))
    write_json(comparison, tmp_path / "results.json")
    record = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert record["verdict"] == comparison.verdict
    assert [summary["loss"] for summary in record["summaries"]] == list(LOSSES)
    assert [difference["baseline"] for difference in record["differences"]] == ["ce", "ce"]
    assert len(record["runs"]) == 9
    assert record["runs"][0]["seconds"]["validation"] == 3.0
    assert record["seconds"] == {name: 9 * seconds for name, seconds in record["runs"][0]["seconds"].items()}
    assert record["runs"][0]["curve"][-1]["step"] == 40
    assert record["data"]["test_pixels"] == comparison.data.parts[TEST].pixels
    assert record["config"]["lr"] == [0.01, 0.02]
    assert record["learning_rates_tried"]["ce"] == {str(lr): miou for lr, miou in comparison.tried["ce"].items()}
