"""The page of an evaluation: what it says, what it shows, and how large it gets."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from lovasz.study.io.class_colours import NEUTRAL
from lovasz.study.io.classes import Classes
from lovasz.study.report import gallery
from lovasz.study.report.evaluation_report import MATRIX, write_report
from lovasz.study.report.page import percent
from lovasz.study.score.scores import score
from lovasz.study.summary.evaluation_results import Outcome
from tests.study.evaluated import NAMES, blobs, count, report
from tests.study.masks import VOID


class Page(HTMLParser):
    """A page's text, everything it would load, and tags left open."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text, self.loads, self.open = "", [""], ["nothing"]
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br", "link", "input"):
            self.open.append(tag)
        if tag != "a":
            self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_says_what_was_counted(tmp_path: Path) -> None:
    path = report(tmp_path, blobs(9, 5), NAMES, photos=True)
    source = path.read_text(encoding="utf-8")
    page = Page(source)
    assert page.open == ["nothing"]
    assert all(not load or load.startswith("data:") for load in page.loads)
    assert "http" not in re.sub(r'href="https://arxiv.org[^"]*"', "", source)
    assert "car <&> van" in page.text
    assert "9 images" in page.text
    assert "lovasz evaluate a b" in page.text
    assert "@inproceedings{wang2023revisiting," in page.text
    assert "{{The lovasz developers}}" in page.text
    assert "no photo: " in page.text  # that of 08 is broken
    assert page.text.count("photo") >= 5
    # Nothing was left out, so that nothing warns but of the class that is nowhere.
    body = re.sub(r"<style>.*</style>", "", source, flags=re.DOTALL)
    assert re.findall(r'<div class="warning".*?<p>(.*?)</p>\s*</div>', body, flags=re.DOTALL) == [
        "No target holds class 5 (absent), nor is it predicted where a pixel counts: no IoU, and the mean is over "
        "5 classes."
    ]
    path = report(tmp_path / "five", blobs(9, 5), NAMES[:5])
    assert "warning" not in re.sub(r"<style>.*</style>", "", path.read_text(), flags=re.DOTALL)


def test_the_page_stays_small_with_many_classes_and_images(tmp_path: Path) -> None:
    """Each of 300 classes confused with each, noise that no PNG makes small: less than 5 MB all the same."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 254, (40, 300, 300), dtype=np.uint8)
    masks = [(np.roll(target, 7, 1), target) for target in targets]
    names = tuple(f"a class with quite a long name {index}" for index in range(300))
    path = report(tmp_path, masks, names, worst=100)
    assert path.stat().st_size < 5e6
    source = path.read_text(encoding="utf-8")
    assert f"the {MATRIX} classes with most pixels of 300" in source
    assert 2 < source.count("<li data-tags=") < 40


def test_the_gallery_shows_the_worst_and_the_worst_of_each_class(tmp_path: Path) -> None:
    masks = blobs(12, 5)
    masks[7] = (np.where(masks[7][1] == VOID, VOID, 4), np.where(masks[7][1] == VOID, VOID, 3))
    masks[7] = tuple(mask.astype(np.uint8) for mask in masks[7])
    source = report(tmp_path, masks, NAMES, worst=2).read_text(encoding="utf-8")
    names = re.findall(r'<li data-tags="([\d ]*)" data-text="(\d+)"', source)
    assert names[0] == ("3 4", "07")
    assert 2 <= len(names) <= 2 + 5
    assert len({name for _, name in names}) == len(names)
    path = report(tmp_path / "none", masks, NAMES, worst=0)
    assert "data-gallery" not in re.sub(r"<script>.*</script>", "", path.read_text(), flags=re.DOTALL)


def test_a_background_is_grey_and_errors_are_of_the_other_class(tmp_path: Path) -> None:
    """It was pure red beside a green foreground, and missed and invented pixels had one colour."""
    names = ("background", "thing")
    source = report(tmp_path, blobs(4, 2), names).read_text(encoding="utf-8")
    assert f'background:{NEUTRAL}"></span><span class="number">0</span> background' in source
    assert source.count("<figcaption>errors, of thing</figcaption>") == source.count("<li data-tags=")
    text = Page(source).text
    assert "missed (dark)" in text
    assert "invented (striped)" in text
    assert "another error" not in text
    found = count(tmp_path / "predictions", tmp_path / "targets", names)
    outcome = Outcome(found, score(found), False, "")
    given = write_report(
        outcome, Classes(names, ("#123456", "#abcdef")), {}, 2, tmp_path / "given.html"
    ).read_text()
    assert "background:#123456" in given
    assert NEUTRAL not in given


def test_without_a_background_errors_are_of_the_class_with_most(tmp_path: Path) -> None:
    masks = blobs(9, 5)
    source = report(tmp_path, masks, NAMES).read_text(encoding="utf-8")
    shown = re.findall(r'data-text="(\d+)">.*?<figcaption>errors, of (.*?)</figcaption>', source, re.DOTALL)
    for image, name in shown:
        prediction, target = masks[int(image)]
        wrong = (prediction != target) & (target != VOID)
        errors = [int((wrong & ((prediction == label) | (target == label))).sum()) for label in range(6)]
        assert html.unescape(name) == NAMES[int(np.argmax(errors))]
    assert len(shown) > 2
    assert "another error (grey): between other classes" in Page(source).text


def test_a_map_tells_classes_void_and_errors_apart() -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[:, 30:] = 2
    labels[:10, :10] = 3  # void: one beyond the classes
    source, numbers = gallery._classes(labels, ["#000000", "#00ff00", "#0000ff"])
    assert source.startswith("data:image/png;base64,")
    assert [label for label, _, _ in numbers] == [0, 2]
    (_, left, top), (_, right, _) = numbers
    assert left < 50 < right
    assert 10 < top < 90


def test_a_share_that_is_none_is_a_dash() -> None:
    assert (percent(float("nan")), percent(0.12345), percent(1, 0)) == ("–", "12.35", "100")
