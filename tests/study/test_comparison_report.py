"""The report of a comparison: what it says, what it draws, and how large it may be."""

import base64
import html
import io
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lovasz.study.data.parts import TEST
from lovasz.study.report.charts import curves, forest
from lovasz.study.report.report import write_report
from lovasz.study.summary.compare import Comparison, summarise
from lovasz.study.summary.stats import signed
from lovasz.study.train.store import Run
from tests.study.made_up import LOSSES, made_up, pictures

VOID_TAGS = ("meta", "link", "img", "br", "line", "path", "circle", "rect", "input")


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
        if tag not in VOID_TAGS:
            self.open.append(tag)
        if tag != "a":
            self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID_TAGS:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text.append(data)

    def said(self) -> str:
        """Returns the text with single spaces."""
        return " ".join(" ".join(self.text).split())


def page_of(comparison: Comparison, folder: Path) -> tuple[str, Page]:
    write_report(comparison, folder / "report.html")
    source = (folder / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(source)
    assert page.open == []
    return source, page


def decoded(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))


def test_report_loads_nothing(tmp_path: Path) -> None:
    source, page = page_of(made_up(), tmp_path)
    assert page.loads
    assert all(
        load.startswith(("data:image/png;base64,", "data:image/jpeg;base64,", "data:,")) for load in page.loads
    )
    assert not {"iframe", "object"} & set(page.tags)
    assert "url(" not in source
    assert "@import" not in source


def test_report_tells_every_loss_class_and_number(tmp_path: Path) -> None:
    comparison = made_up()
    data = comparison.data
    source, page = page_of(comparison, tmp_path)
    text = page.said()
    for summary in comparison.summaries:
        assert summary.loss in text
        assert f"{summary.mean:.1f}" in text
        assert f"{100 * summary.loss_share:.1f} %" in text
        assert f"{summary.loss_mib:.1f}" in text
    for name, pixels in zip(data.class_names, data.parts[TEST].pixels, strict=True):
        assert re.search(rf"\d {name} [+−][\d.]+ ([\d.–]+ ){{3}}{pixels} ", text), name
    for sentence in comparison.verdict:
        assert sentence in text
    assert "9 runs took 90 s: training steps 40 %, validation 30 %" in text
    for said in (
        *data.notes,
        data.credit,
        data.licence,
        "berman2018lovasz",
        "arXiv:1705.08790",
        "schedule: cosine",
    ):
        assert said in text
    for package, version in comparison.versions.items():
        assert f"{package} {version}" in text
    # Image and truth, then prediction and errors of every loss.
    assert page.tags.count("img") == 2 + 2 * len(LOSSES)
    assert "prefers-color-scheme: dark" in source
    assert "ce&gt;lovasz" in source
    assert "ce>lovasz<" not in source
    assert source.count("voxel") == 0


def test_share_of_the_small_classes_in_the_gain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "come from" not in page_of(made_up(), tmp_path)[1].said()  # the tiny scene has none but small ones
    monkeypatch.setattr("lovasz.study.summary.compare.LARGE_CLASS", 25)
    comparison = made_up()
    small = [label for label in range(4) if label not in comparison.large]
    assert 0 < len(small) < 4
    one, first = comparison.summaries[2], comparison.summaries[0]
    assert one.mean > comparison.summaries[1].mean
    part = sum(one.classes[label] - first.classes[label] for label in small) / 4
    said = f"Of the {one.mean - first.mean:+.1f} points in the mean, {part:+.1f} come".replace("-", "−")
    text = page_of(comparison, tmp_path)[1].said()
    assert said in text.replace("comes", "come")
    assert text.count("few") >= len(small)
    assert text.count(f"mean of {len(comparison.large)}") == 2


def test_wide_interval_is_clipped_and_its_numbers_stay(tmp_path: Path) -> None:
    comparison = made_up(("ce", "lovasz"), 2)
    difference = replace(comparison.differences[0], values=(1.0, 3.0), mean=2.0, low=-60.0, high=64.0)
    comparison = replace(comparison, differences=[difference])
    (row,) = forest(comparison, 360).rows
    assert row["clipped"] == (True, True)
    assert 0 < row["interval"][0] < row["mean"] < row["interval"][1] < 360
    _, page = page_of(comparison, tmp_path)
    assert "−60.0 to +64.0" in page.said()
    assert "Arrows" in page.said()


def with_both(comparison: Comparison, low: float, high: float) -> Comparison:
    """The same with this interval over seeds and images for every loss."""
    return replace(comparison, both=[replace(row, low=low, high=high) for row in comparison.both])


def test_both_sources_of_chance_have_a_column_and_a_line(tmp_path: Path) -> None:
    comparison = made_up(data=pictures(4, images=8))
    source, page = page_of(comparison, tmp_path)
    section = source.partition('<section id="differences">')[2].partition("</section>")[0]
    for row, both in zip(comparison.differences, comparison.both, strict=True):
        assert both.low is not None
        assert both.high is not None
        cells = re.findall(r"<td[^>]*>([^<]*)</td>", section.partition(f"<td>{html.escape(row.loss)}</td>")[2])
        assert cells[1] == f"{signed(row.low or 0)} to {signed(row.high or 0)}"
        assert cells[2] == f"{signed(both.low)} to {signed(both.high)}"
    assert section.count('class="both"') == 2 * len(comparison.both)
    assert "Thin line: 95 % interval over seeds and test images." in page.said()
    assert "covers which 8 images the test part holds" in page.said()
    for row in forest(with_both(comparison, -90.0, 20.0), 720).rows:
        assert row["both"][0] <= row["interval"][0]
        assert row["clipped"][0]
    clipped = page_of(with_both(comparison, -90.0, 20.0), tmp_path)[1]
    assert "−90.0 to +20.0" in clipped.said()
    assert "Arrows" in clipped.said()


def test_curves_of_other_validations_have_their_mean_where_they_meet() -> None:
    comparison = made_up(("ce", "lovasz"), 2)
    runs = dict(comparison.runs)
    whole = runs["ce", 0].curve
    runs["ce", 0] = replace(runs["ce", 0], curve=whole[1::2])
    runs["lovasz", 1] = replace(runs["lovasz", 1], curve=whole[-1:])
    lines = curves(replace(comparison, runs=runs), 720).lines
    assert [line.path.count(" L") + 1 for line in lines[:3]] == [10, 20, 10]
    # A curve of one point is seen.
    assert [line.path.endswith(" h10") for line in lines[3:]] == [False, True, True]


@pytest.mark.parametrize(("images", "seeds"), [(1, 3), (4, 3), (8, 1)])
def test_one_seed_or_few_images_show_no_interval_over_both(images: int, seeds: int, tmp_path: Path) -> None:
    source, page = page_of(made_up(("ce", "lovasz"), seeds, pictures(4, images)), tmp_path)
    assert "seeds and images" not in page.said()
    assert 'class="both"' not in source
    assert ("Fewer than 5 test images allow no interval" in page.said()) == (seeds > 1)


def test_the_highest_mean_and_what_the_intervals_support_are_marked(tmp_path: Path) -> None:
    comparison = made_up(("ce", "lovasz", "dice", "ce+dice"), 4)
    ends = [(1.0, 3.0), (-1.0, 3.0), (-3.0, -1.0)]
    differences = [
        replace(row, mean=(low + high) / 2, low=low, high=high)
        for row, (low, high) in zip(comparison.differences, ends, strict=True)
    ]
    summaries = [
        replace(row, mean=mean) for row, mean in zip(comparison.summaries, (50, 52.0, 51.0, 48), strict=True)
    ]
    source, page = page_of(replace(comparison, differences=differences, summaries=summaries), tmp_path)
    rows = source.partition('<section id="losses">')[2].partition("</section>")[0].split("<tr>")[2:]
    marks = [re.findall(r'<span class="mark[^"]*">(\w+)</span>', row) for row in rows]
    assert marks == [[], ["highest", "higher"], ["open"], ["lower"]]
    assert "leaves out 0; open: it includes 0" in page.said()
    assert "wide intervals" not in page.said()
    assert 'class="mark' not in page_of(made_up(("ce",), 2), tmp_path)[0]


def test_two_seeds_say_why_their_intervals_are_wide(tmp_path: Path) -> None:
    text = page_of(made_up(("ce", "lovasz"), 2), tmp_path)[1].said()
    assert text.count("with 1 degree of freedom Student's t is 12.7 standard errors") == 2  # verdict, differences


def test_links_and_the_switch_of_the_loss(tmp_path: Path) -> None:
    comparison = made_up(("ce", "ce>lovasz"))
    data = replace(comparison.data, credit="A & B. doi:10.1/X", licence_url="https://example.org/")
    source, _ = page_of(replace(comparison, data=data), tmp_path)
    for link in ("https://doi.org/10.1/X", "https://example.org/", "https://arxiv.org/abs/1705.08790"):
        assert f'<a href="{link}">' in source
    assert "A &amp; B." in source
    assert "ce&gt;lovasz switches" in source
    assert "ce&gt;lovasz switches" not in page_of(made_up(("ce", "lovasz")), tmp_path)[0]
    own = replace(comparison.data, credit="")
    assert "Licence" not in page_of(replace(comparison, data=own), tmp_path)[1].said()


@pytest.mark.parametrize(("losses", "seeds"), [(("ce",), 1), (("ce",), 2), (LOSSES, 1)])
def test_report_of_one_loss_or_one_seed(losses: tuple[str, ...], seeds: int, tmp_path: Path) -> None:
    comparison = made_up(losses, seeds)
    _, page = page_of(comparison, tmp_path)
    text = page.said()
    assert ("95 % interval of" in text) == (len(losses) > 1 and seeds > 1)
    assert ("gained" in text) == (len(losses) > 1)
    assert "nan" not in re.findall(r"[a-z]+", text.lower())


def broken(run: Run) -> Run:
    """A run that learned nothing and saw two of four classes."""
    counts = np.array([[5, 0, 0, 0], [5, 0, 0, 0], [0] * 4, [0] * 4])
    tested = replace(run.tested, counts=counts, curves=np.full_like(run.tested.curves, np.nan))
    curve = [point._replace(miou=math.nan, loss=math.nan) for point in run.curve]
    return replace(run, diverged=True, curve=curve, tested=tested)


def empty(run: Run) -> Run:
    """A run without a single test pixel, so that its mIoU is not a number."""
    tested = broken(run).tested
    return replace(broken(run), tested=replace(tested, counts=0 * tested.counts, images=0 * tested.images))


@pytest.mark.parametrize("damage", [broken, empty])
def test_classes_and_scores_that_are_not_numbers(damage: Callable[[Run], Run], tmp_path: Path) -> None:
    comparison = made_up()
    runs = [damage(run) for run in comparison.runs.values()]
    for some in (runs, [*list(comparison.runs.values())[:3], *runs[3:]]):
        comparison = summarise(comparison.data, comparison.config, some)
        _, page = page_of(comparison, tmp_path)
        assert "diverged" in page.said()
        assert "nan" not in re.findall(r"[a-z]+", page.said().lower())


def test_learning_rates_that_were_tried(tmp_path: Path) -> None:
    comparison = made_up(("ce", "lovasz"), lr=(0.02, 0.005))
    text = page_of(comparison, tmp_path)[1].said()
    for loss in ("ce", "lovasz"):
        numbers = " ".join(f"{comparison.tried[loss][lr]:.1f}" for lr in (0.02, 0.005))
        assert f"{loss} {numbers} 0.02" in text
    assert "learning rate 0.02, falling to 0 along a cosine" in text
    runs = [
        replace(run, settings=replace(run.settings, lr=0.005)) if loss == "lovasz" else run
        for (loss, _), run in comparison.runs.items()
    ]
    text = page_of(summarise(comparison.data, comparison.config, runs, comparison.tried), tmp_path)[1].said()
    assert "learning rate 0.02 of ce, 0.005 of lovasz, falling" in text
    assert "Learning rates tried" not in page_of(made_up(), tmp_path)[1].said()


def test_of_a_volume_one_slice_is_shown(tmp_path: Path) -> None:
    comparison = made_up(("ce", "lovasz"), 1, pictures(3, 2, ((16, 12, 8),)))
    text = page_of(comparison, tmp_path)[1].said()
    assert "one slice is shown" in text
    assert "pixel" not in text.replace("of a pixel", "").lower()


def test_a_large_report_stays_below_5_mb(tmp_path: Path) -> None:
    losses = ("ce", "weighted-ce", "dice", "ce+dice", "lovasz", "ce+lovasz", "ce>lovasz")
    comparison = made_up(losses, 1, pictures(150, 26, ((128, 160), (160, 128))))
    source, _ = page_of(comparison, tmp_path)
    assert 500_000 < len(source.encode()) < 5_000_000
    assert len(re.findall('<li data-tags="', source)) > 5
    assert source.count("<option value=") > 150
