"""The charts and pictures of a report: what is placed where, and drawn how."""

import base64
import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lovasz import lovasz_softmax
from lovasz.study.data.parts import IGNORE_INDEX, TEST
from lovasz.study.report import changes
from lovasz.study.report.changes import changed_images
from lovasz.study.report.charts import gains, multiples
from lovasz.study.report.confusions import cells, confused, strokes
from lovasz.study.summary.compare import summarise
from lovasz.study.train.predict import evaluate
from tests.study.made_up import made_up, pictures


def decoded(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))


class Scores(nn.Module):
    """A network of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 1)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = 3 * self.layer(image)
        return logits


def test_gains_are_sorted_and_keep_every_seed() -> None:
    comparison = made_up(("ce", "lovasz"), 3, pictures(19))
    zero, rows = gains(comparison, comparison.summaries[1])
    known = [row.gain for row in rows if math.isfinite(row.gain)]
    assert known == sorted(known, reverse=True)
    assert sorted(row.label for row in rows) == list(range(19))
    for row in rows:
        assert row.gain == pytest.approx(
            comparison.summaries[1].classes[row.label] - comparison.summaries[0].classes[row.label], nan_ok=True
        )
        start, width = row.bar
        assert start == pytest.approx(zero) if row.gain > 0 else start + width == pytest.approx(zero)
        assert all(-1e-9 <= tick <= 100 + 1e-9 for tick in row.ticks)
        if math.isfinite(row.gain) and len(row.ticks) == 3:  # the bar ends at the mean of the seeds
            end = start + width if row.gain > 0 else start
            assert np.mean(row.ticks) == pytest.approx(end)


def test_area_under_a_curve_is_the_loss_of_its_class() -> None:
    torch.manual_seed(0)
    network, data = Scores(), pictures(5, 1, ((60, 80),))
    comparison = made_up(("ce",), 1, data)
    run = replace(comparison.runs["ce", 0], tested=evaluate(network.eval(), data, None))
    comparison = summarise(data, comparison.config, [run])
    image, target = data.parts[TEST].samples[0]
    with torch.inference_mode():
        logits = network(image[None])
    exact = lovasz_softmax(logits, target[None], ignore_index=IGNORE_INDEX, reduction="none", bins=None)
    for one in multiples(comparison, ["ce"]):
        assert one.areas == [pytest.approx(float(exact[one.label]), abs=2e-3)]


def test_confusion_in_cells_in_strokes_and_in_words() -> None:
    counts = np.array([[90, 0, 10, 0], [0, 0, 0, 0], [3, 3, 994, 0], [1, 0, 0, 1]])
    shades = [[shade for _, _, shade in row] for row in cells(counts)]
    assert shades == [[9, 0, 6, 0], [0, 0, 0, 0], [1, 1, 9, 0], [8, 0, 0, 8]]
    assert cells(counts)[0][2] == (10, 0.1, 6)
    drawn = strokes(counts)
    assert drawn["own s9"] == "M0 0.5h1M2 2.5h1"
    assert drawn["s1"] == "M0 2.5h2"
    first, *_, last = confused(counts)
    assert (first.label, first.prediction, first.pixels) == (0, 2, 10)
    assert (first.of_label, first.of_errors) == (0.1, 10 / 17)
    assert (last.label, last.prediction, last.pixels) == (3, 0, 1)


def test_images_that_changed_most_come_first() -> None:
    comparison = made_up(("ce", "lovasz"), 1, pictures(4, 9, ((20, 24), (24, 20))))
    items = changed_images(comparison)
    ranges = [item.range for item in items]
    assert len(items) == 9
    assert ranges == sorted(ranges, reverse=True)
    assert ranges[0] > ranges[-1]
    for item in items:
        before, after = item.views
        index = comparison.data.parts[TEST].names.index(item.name)
        target = comparison.data.parts[TEST].samples[index][1].numpy()
        ce, lovasz = (comparison.runs[loss, 0].tested.predictions[index] for loss in ("ce", "lovasz"))
        known = target >= 0
        gained = (ce[known] != target[known]) & (lovasz[known] == target[known])
        assert after.gained == pytest.approx(100 * gained.mean())
        assert after.change == pytest.approx(after.miou - before.miou)
        wanted = "gained1" if after.change > 0.05 else "lost1" if after.change < -0.05 else None
        assert [tag for tag in item.tags if not tag.isdigit()] == ([wanted] if wanted else [])
        assert set(np.unique(target[known]).astype(str)) == {tag for tag in item.tags if tag.isdigit()}
        assert decoded(item.truth.source).size == decoded(before.errors).size


def test_errors_read_without_colour() -> None:
    comparison = made_up(("ce", "lovasz"), 1)
    item = changed_images(comparison)[0]
    target = comparison.data.parts[TEST].samples[0][1].numpy()
    wrong = comparison.runs["ce", 0].tested.predictions[0] != target
    grey = np.array(decoded(item.views[0].errors).convert("RGBA").convert("LA"))
    scale = len(grey) // len(target)
    known = (target >= 0).repeat(scale, 0).repeat(scale, 1)
    wrong = wrong.repeat(scale, 0).repeat(scale, 1)
    assert grey[known & ~wrong, 0].min() > grey[known & wrong, 0].max() + 100
    assert (grey[known, 1] == 255).all()
    assert set(np.unique(grey[~known, 1])) == {0, 128}  # lines


def test_as_many_images_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = made_up(("ce", "lovasz"), 1, pictures(4, 6))
    whole = changed_images(comparison)
    monkeypatch.setattr(changes, "BUDGET", changes._size(whole[0]) * 2)
    fewer = changed_images(comparison)
    assert decoded(fewer[0].truth.source).size[0] < decoded(whole[0].truth.source).size[0]
    assert 0 < len(fewer) < 6
    assert sum(map(changes._size, fewer)) <= changes.BUDGET


def test_of_a_volume_the_slice_that_was_kept_is_drawn() -> None:
    comparison = made_up(("ce", "lovasz"), 1, pictures(3, 2, ((16, 12, 8),)))
    for item in changed_images(comparison):
        sizes = {decoded(source).size for source in (item.truth.source, item.views[1].errors)}
        assert sizes == {(12 * 20, 16 * 20)}
        assert decoded(item.image).size == (12, 16)
