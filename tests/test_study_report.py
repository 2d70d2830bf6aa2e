"""What a comparison adds up to, and the files that tell it."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from lovasz.study.charts import forest
from lovasz.study.compare import Comparison, plan, summarise
from lovasz.study.iou import confusion, iou_per_class
from lovasz.study.report import write_report
from lovasz.study.results import write_csv, write_json
from lovasz.study.split import TEST, VAL
from lovasz.study.store import Run
from tests.tiny_scene import tiny_scene

LOSSES = ("ce", "lovasz", "ce>lovasz")


def made_up(losses: tuple[str, ...] = LOSSES, seeds: int = 3) -> Comparison:
    """Runs whose predictions are the truth with some pixels drawn anew."""
    scene, runs = tiny_scene(), []
    generator = np.random.default_rng(0)
    for settings in plan(scene, losses, seeds, steps=4, lr=0.01, accelerator="cpu", threads=1):
        drawn = generator.integers(4, size=scene.split.shape)
        wrong = generator.random(scene.split.shape) < 0.3
        prediction = np.where(wrong, drawn, scene.target.clamp_min(0).numpy()).astype(np.uint8)
        preds = torch.from_numpy(prediction).long()
        runs.append(
            Run(
                settings=settings,
                curve=[(2, float(generator.random())), (4, float(generator.random()))],
                val_counts=confusion(preds, scene.target_of(VAL), 4).tolist(),
                test_counts=confusion(preds, scene.target_of(TEST), 4).tolist(),
                step_seconds=[0.02, 0.04, 0.03],
                loss_seconds=[0.01, 0.01, 0.01],
                diverged=False,
                prediction=prediction,
            )
        )
    return summarise(scene, runs)


class Page(HTMLParser):
    """Collects a page's text, everything it would load, and tags left open."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "br", "line", "path", "circle"):
            self.open.append(tag)
        if tag != "a":
            self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "path", "circle"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page_of(comparison: Comparison, folder: Path) -> tuple[str, Page]:
    write_report(comparison, folder / "report.html")
    source = (folder / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(source)
    assert page.open == []
    return source, page


def test_report_loads_nothing(tmp_path: Path) -> None:
    source, page = page_of(made_up(), tmp_path)
    assert page.loads
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in source
    assert "@import" not in source


def test_report_tells_every_loss_class_and_number(tmp_path: Path) -> None:
    comparison = made_up()
    source, page = page_of(comparison, tmp_path)
    text = " ".join(" ".join(page.text).split())
    for summary in comparison.summaries:
        assert summary.loss in text
        assert f"{summary.mean:.1f}" in text
    for name, pixels in zip(comparison.scene.class_names, comparison.scene.pixels(TEST), strict=True):
        assert f"{name} {pixels} test pixels" in text
    for sentence in comparison.verdict:
        assert sentence in text
    for said in (comparison.scene.credit, comparison.scene.licence, "berman2018lovasz"):
        assert said in text
    for package, version in comparison.versions.items():
        assert package in text
        assert version in text
    assert page.tags.count("img") == 1 + 2 * len(LOSSES)
    assert "prefers-color-scheme: dark" in source
    assert "ce&gt;lovasz" in source
    assert "ce>lovasz<" not in source


def test_second_mean_over_the_large_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made_up().over_large == ""  # the tiny scene has none of them
    monkeypatch.setattr("lovasz.study.compare.LARGE_CLASS", 25)
    comparison = made_up()
    large = [index for index, pixels in enumerate(comparison.scene.pixels(TEST)) if pixels >= 25]
    assert comparison.large == large
    assert 0 < len(large) < 4
    for summary in comparison.summaries:
        iou = [iou_per_class(torch.tensor(comparison.runs[summary.loss, seed].test_counts)) for seed in range(3)]
        expected = [100 * float(classes[large].mean()) for classes in iou]
        assert summary.large_scores == pytest.approx(expected)
        assert summary.large_mean == pytest.approx(np.mean(expected))
    said = f"{len(large)} classes with at least 25 test pixels"
    assert all(f"Over the {said}: " in entry for entry in comparison.verdict[:2])
    _, page = page_of(comparison, tmp_path)
    text = " ".join(" ".join(page.text).split())
    assert said in text
    assert text.count(f"mean of {len(large)}") == 2
    assert f"{comparison.summaries[1].large_mean:.1f}" in text

    write_csv(comparison, tmp_path / "results.csv")
    write_json(comparison, tmp_path / "results.json")
    record = json.loads((tmp_path / "results.json").read_text())
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row, run in zip(rows, record["runs"], strict=True):
        assert float(row["test_miou_large"]) == run["test_miou_large"]
    assert record["large_differences"][0]["mean"] == pytest.approx(comparison.large_differences[0].mean)
    assert record["scene"]["large_classes"] == [comparison.scene.class_names[index] for index in large]


def test_wide_interval_is_clipped_and_its_numbers_stay(tmp_path: Path) -> None:
    comparison = made_up(("ce", "lovasz"), 2)
    difference = replace(comparison.differences[0], values=(1.0, 3.0), mean=2.0, low=-60.0, high=64.0)
    comparison = replace(comparison, differences=[difference])
    (row,) = forest(comparison, 360).rows
    assert row["clipped"] == (True, True)
    assert 0 < row["interval"][0] < row["mean"] < row["interval"][1] < 360
    _, page = page_of(comparison, tmp_path)
    assert "−60.0 to +64.0" in " ".join(page.text)
    assert "Arrows" in " ".join(page.text)


def test_links_and_the_switch_of_the_loss(tmp_path: Path) -> None:
    comparison = made_up(("ce", "ce>lovasz"))
    scene = replace(comparison.scene, credit="A & B. doi:10.1/X", licence_url="https://example.org/")
    source, _ = page_of(replace(comparison, scene=scene), tmp_path)
    for link in ("https://doi.org/10.1/X", "https://example.org/", "https://arxiv.org/abs/1705.08790"):
        assert f'<a href="{link}">' in source
    assert "A &amp; B." in source
    assert "ce&gt;lovasz switches" in source
    assert "ce&gt;lovasz switches" not in page_of(made_up(("ce", "lovasz")), tmp_path)[0]


@pytest.mark.parametrize(("losses", "seeds"), [(("ce",), 1), (("ce",), 2), (LOSSES, 1)])
def test_report_of_one_loss_or_one_seed(losses: tuple[str, ...], seeds: int, tmp_path: Path) -> None:
    comparison = made_up(losses, seeds)
    _, page = page_of(comparison, tmp_path)
    text = " ".join(page.text)
    assert ("95 % interval of" in text) == (len(losses) > 1 and seeds > 1)
    assert "nan" not in re.findall(r"[a-z]+", text.lower())


def broken(run: Run) -> Run:
    """A run that learned nothing and saw two of four classes."""
    counts = [[5, 0, 0, 0], [5, 0, 0, 0], [0] * 4, [0] * 4]
    curve = [(2, float("nan")), (4, float("nan"))]
    return replace(run, diverged=True, curve=curve, test_counts=counts)


def empty(run: Run) -> Run:
    """A run without a single test pixel, so that its mIoU is not a number."""
    return replace(broken(run), test_counts=[[0] * 4] * 4)


@pytest.mark.parametrize("damage", [broken, empty])
def test_classes_and_scores_that_are_not_numbers(damage: Callable[[Run], Run], tmp_path: Path) -> None:
    comparison = made_up()
    comparison = summarise(comparison.scene, [damage(run) for run in comparison.runs.values()])
    _, page = page_of(comparison, tmp_path)
    text = " ".join(page.text)
    assert "diverged" in text
    assert "nan" not in re.findall(r"[a-z]+", text.lower())
    write_csv(comparison, tmp_path / "results.csv")
    write_json(comparison, tmp_path / "results.json")
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["runs"][0]["test_iou"][2:] == [None, None]


def test_csv_holds_one_line_a_run(tmp_path: Path) -> None:
    comparison = made_up()
    write_csv(comparison, tmp_path / "results.csv")
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["loss"], int(row["seed"])) for row in rows] == list(comparison.runs)
    for row, run in zip(rows, comparison.runs.values(), strict=True):
        assert 100 * float(row["test_miou"]) == pytest.approx(run.test_miou)
        ious = [float(row[f"iou {name}"]) for name in comparison.scene.class_names]
        assert np.mean(ious) == pytest.approx(float(row["test_miou"]))


def test_json_holds_everything(tmp_path: Path) -> None:
    comparison = made_up()
    write_json(comparison, tmp_path / "results.json")
    record = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert record["verdict"] == comparison.verdict
    assert [summary["loss"] for summary in record["summaries"]] == list(LOSSES)
    assert [difference["baseline"] for difference in record["differences"]] == ["ce", "ce"]
    assert len(record["runs"]) == 9
    assert record["scene"]["test_pixels"] == comparison.scene.pixels(TEST)


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
    difference = comparison.differences[1]
    assert (difference.loss, difference.baseline) == ("ce>lovasz", "ce")
