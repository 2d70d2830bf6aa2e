"""Metrics of one channel of scores, and of labels that overlap: in sets, against torchmetrics, and refusals."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryJaccardIndex, MultilabelF1Score
from torchmetrics.classification import MultilabelJaccardIndex as Peer

from lovasz.metrics import (
    BoundaryJaccardIndex,
    ConfusionMatrix,
    DiceScore,
    ImageBoundaryJaccardIndex,
    ImageJaccardIndex,
    JaccardIndex,
    MultilabelDiceScore,
    MultilabelImageJaccardIndex,
    MultilabelJaccardIndex,
    PixelAccuracy,
)
from tests.core.processes import run

ONE_CHANNEL = (
    ConfusionMatrix, JaccardIndex, DiceScore, PixelAccuracy, ImageJaccardIndex, BoundaryJaccardIndex,
    ImageBoundaryJaccardIndex,
)  # fmt: skip
OVERLAPPING = (MultilabelJaccardIndex, MultilabelDiceScore, MultilabelImageJaccardIndex)


def example(seed: int, images: int = 6, labels: int = 3) -> tuple[Tensor, Tensor]:
    """Logits (N, C, 5, 7) and 0, 1 or 255; the last image has no foreground, the second no pixel that counts."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, labels, 5, 7, generator=generator)
    target = (torch.rand(logits.shape, generator=generator) < 0.3).long()
    target[torch.rand(logits.shape, generator=generator) < 0.1] = 255
    target[-1].clamp_(max=0)
    target[1] = 255
    return logits, target


def by_definition(preds: Tensor, target: Tensor, empty: str = "skip") -> tuple[list[float], list[list[float]]]:
    """The IoU of each label over the data set, and of each image and label, from sets of pixels."""
    whole, each = [], [[math.nan] * preds.shape[1] for _ in preds]
    for c in range(preds.shape[1]):
        found, truth = set(), set()
        for n in range(len(preds)):
            pairs = zip(preds[n, c].flatten().tolist(), target[n, c].flatten().tolist(), strict=True)
            counted = [(i, p, t) for i, (p, t) in enumerate(pairs) if t != 255]
            p, t = {(n, i) for i, p, _ in counted if p}, {(n, i) for i, _, t in counted if t}
            found, truth = found | p, truth | t
            if t:
                each[n][c] = len(p & t) / len(p | t)
            elif p and empty != "skip":
                each[n][c] = 0.0
            elif counted and empty == "one":
                each[n][c] = 1.0
        whole.append(len(found & truth) / len(found | truth) if found | truth else math.nan)
    return whole, each


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["logits", "probabilities", "bool", "uint8"])
def test_overlapping_labels_are_those_of_sets(kind: str, seed: int) -> None:
    logits, target = example(seed)
    preds = {"logits": logits, "probabilities": logits.sigmoid()}.get(kind)
    threshold = {"logits": 0.0, "probabilities": 0.5}.get(kind)
    if preds is None:
        preds = (logits > 0).to(getattr(torch, kind))
    whole, _ = by_definition(logits > 0, target)
    metric = MultilabelJaccardIndex(3, threshold=threshold, average="none", ignore_index=255)
    for n in range(0, 6, 2):
        metric.update(preds[n : n + 2], target[n : n + 2])
    assert_close(metric.compute(), torch.tensor(whole))
    mean = MultilabelJaccardIndex(3, threshold=threshold, ignore_index=255)(preds, target)
    assert_close(mean, torch.tensor(whole).mean())
    dice = MultilabelDiceScore(3, threshold=threshold, average="none", ignore_index=255)(preds, target)
    assert_close(dice, 2 * torch.tensor(whole) / (1 + torch.tensor(whole)))


@pytest.mark.parametrize("empty", ["skip", "zero", "one"])
def test_images_without_the_label_score_what_empty_says(empty: str) -> None:
    logits, target = example(4)
    logits[-1, 0] = -1  # empty and right in one label, false alarms in the others
    _, each = by_definition(logits > 0, target, empty)
    scores = torch.tensor(each, dtype=torch.float64)
    given = {"threshold": 0, "ignore_index": 255, "empty": empty}
    found = MultilabelImageJaccardIndex(3, average="none", **given)(logits, target)
    assert_close(found, scores.nanmean(0).float())
    found = MultilabelImageJaccardIndex(3, average="image", **given)(logits, target)
    assert_close(found, scores.nanmean(1).nanmean().float())
    lowest = MultilabelImageJaccardIndex(3, average="class", worst=40, **given)(logits, target)
    columns = [sorted(v for v in column.tolist() if v == v) for column in scores.t()]
    expected = [sum(c[: max(1, len(c) * 40 // 100)]) / max(1, len(c) * 40 // 100) for c in columns]
    assert_close(lowest, torch.tensor(expected).mean())


def test_they_are_those_of_torchmetrics() -> None:
    logits, target = example(5)
    target[1] = 0
    theirs = Peer(3, threshold=0.5, average="none", ignore_index=255)(logits.sigmoid(), target)
    ours = MultilabelJaccardIndex(3, threshold=0, average="none", ignore_index=255)(logits, target)
    assert_close(ours, theirs)
    theirs = MultilabelF1Score(3, threshold=0.5, average="none", ignore_index=255)(logits.sigmoid(), target)
    ours = MultilabelDiceScore(3, threshold=0, average="none", ignore_index=255)(logits, target)
    assert_close(ours, theirs)
    foreground = BinaryJaccardIndex(ignore_index=255)(logits[:, 0].sigmoid(), target[:, 0])
    assert_close(MultilabelJaccardIndex(1, threshold=0, ignore_index=255)(logits[:, :1], target[:, 0]), foreground)
    two = JaccardIndex(2, threshold=0, average="none", ignore_index=255)(logits[:, 0], target[:, 0])
    assert_close(two[1], foreground)


@pytest.mark.parametrize("metric", ONE_CHANNEL)
def test_one_channel_of_scores_makes_two_classes(metric: Any) -> None:
    logits, target = (one[:, 0] for one in example(6))
    expected = metric(2, ignore_index=255)((logits > 0).long(), target)
    for preds, threshold in ((logits, 0), (logits.sigmoid(), 0.5), (logits.double() + 3, 3.0)):
        for shaped in (preds, preds.unsqueeze(1)):
            assert_close(metric(2, threshold=threshold, ignore_index=255)(shaped, target), expected, equal_nan=True)
    labels = metric(2, threshold=0, ignore_index=255)((logits > 0).long(), target)  # labels stay as they are
    assert_close(labels, expected, equal_nan=True)
    assert "threshold" in metric.__doc__ or issubclass(metric, ConfusionMatrix)


@pytest.mark.parametrize("shape", ["(N, *)", "(N, 1, *)", "preds alone", "target alone", "(P,)", "(P, 1)"])
def test_axis_1_of_one_label_may_be_missing(shape: str) -> None:
    logits, target = (one[:, :1] for one in example(7))
    mask = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.7
    given = {"threshold": 0, "ignore_index": 255}
    expected = MultilabelJaccardIndex(1, **given)
    expected.update(logits, target, mask=mask)
    if shape == "(N, *)":
        logits, target, mask = logits[:, 0], target[:, 0], mask[:, 0]
    elif shape == "preds alone":
        target, mask = target[:, 0], mask[:, 0]
    elif shape == "target alone":
        logits = logits[:, 0]
    elif shape == "(P,)":
        logits, target, mask = logits.flatten(), target.flatten(), mask.flatten()
    elif shape == "(P, 1)":
        logits, target, mask = logits.reshape(-1, 1), target.reshape(-1, 1), mask.reshape(-1, 1)
    found = MultilabelJaccardIndex(1, **given)
    found.update(logits, target, mask=mask)
    assert_close(found.compute(), expected.compute())


def test_points_have_several_labels() -> None:
    logits, target = example(8)
    points = logits.movedim(1, -1).reshape(-1, 3), target.movedim(1, -1).reshape(-1, 3)
    given = {"threshold": 0, "ignore_index": 255, "average": "none"}
    assert_close(MultilabelJaccardIndex(3, **given)(*points), MultilabelJaccardIndex(3, **given)(logits, target))


@pytest.mark.parametrize("metric", OVERLAPPING)
def test_masks_leave_out_what_ignoring_leaves_out(metric: Any) -> None:
    logits, target = example(9)
    clean = target.where(target < 2, 1)
    expected = metric(3, threshold=0, ignore_index=255)(logits, target)
    masked = metric(3, threshold=0)
    masked.update(logits, clean, mask=target < 2)
    assert_close(masked.compute(), expected)
    shared = torch.rand(6, 5, 7, generator=torch.Generator().manual_seed(1)) < 0.5
    one = metric(3, threshold=0, ignore_index=255)
    one.update(logits, target, mask=shared)
    assert_close(
        one.compute(), metric(3, threshold=0, ignore_index=255)(logits, target.where(shared[:, None], 255))
    )


@pytest.mark.parametrize(("mode", "size"), [("bilinear", (11, 13)), ("nearest", (10, 14))])
def test_scores_of_lower_resolution(mode: str, size: tuple[int, int]) -> None:
    logits, _ = example(10)
    target = (torch.rand(6, 3, *size, generator=torch.Generator().manual_seed(2)) < 0.4).long()
    fine = F.interpolate(logits, size, mode=mode)
    for metric in OVERLAPPING:
        assert_close(metric(3, threshold=0, upsample=mode)(logits, target), metric(3)(fine > 0, target))
    one = JaccardIndex(2, threshold=0, upsample=mode)(logits[:, :1], target[:, 0])
    assert_close(one, JaccardIndex(2)((fine[:, 0] > 0).long(), target[:, 0]))


X, Y = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4, dtype=torch.long)


@pytest.mark.parametrize(("metric", "preds", "target", "message"), [
    (MultilabelJaccardIndex(3), X, Y, r"got torch\.float32; of scores build the metric with threshold=0"),
    (MultilabelJaccardIndex(3, threshold=0), X, Y[:, 0], r"\(N, C, \*\) of one shape, with C = 3, got"),
    (MultilabelJaccardIndex(3, threshold=0), X[:, :2], Y[:, :2], r"with C = 3, got \(2, 2, 4, 4\) and"),
    (MultilabelJaccardIndex(3, threshold=0), X, Y.repeat(1, 1, 2, 2), 'upsample="bilinear"'),
    (MultilabelJaccardIndex(3, threshold=0), X * torch.nan, Y, "numbers where a pixel counts, got NaN at 96"),
    (MultilabelJaccardIndex(3), Y + 2, Y, "hold 0 and 1 where a pixel counts, got 2, and 96 such pixels"),
    (MultilabelJaccardIndex(3), Y, Y + 2, "target must hold classes 0 to 1"),
    (JaccardIndex(2, threshold=0), X[:, :2], Y[:, 0], r"one channel of scores, \(N, 1, \*\) or \(N, \*\)"),
    (JaccardIndex(2), X[:, :1], Y[:, 0], "of one channel build the metric with threshold=0 for logits"),
    (JaccardIndex(2), X[:, 0], Y[:, 0], "of one channel build the metric with threshold=0 for logits"),
    (JaccardIndex(2, threshold=0), X[:, 0] * torch.nan, Y[:, 0], "got NaN at 32 pixels"),
])  # fmt: skip
def test_what_does_not_fit_is_named(metric: Any, preds: Tensor, target: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric.update(preds, target)
    with pytest.raises(TypeError, match="target must hold"):
        metric.update(preds, target.float())
    with pytest.raises(ValueError, match="mask must be bool"):
        MultilabelJaccardIndex(3).update(Y, Y, mask=Y[:, :2].bool())
    with pytest.raises(TypeError, match="to be upsampled"):
        MultilabelJaccardIndex(3, upsample="nearest").update(Y, Y)


@pytest.mark.parametrize("threshold", ["0", True, math.nan, math.inf])
def test_a_threshold_is_a_finite_number(threshold: Any) -> None:
    for metric in (*ONE_CHANNEL, *OVERLAPPING):
        with pytest.raises(ValueError, match="threshold must be a finite number or None"):
            metric(2, threshold=threshold)
    with pytest.raises(ValueError, match="num_classes must be 2, got 3; where labels overlap"):
        JaccardIndex(3, threshold=0)


def test_other_thresholds_are_other_metrics() -> None:
    """A collection never updates them as one, and a state of the one is not taken by the other."""
    logits, target = example(11)
    names = {"low": -0.5, "mid": 0, "high": 0.5}
    both = MetricCollection(
        {name: MultilabelJaccardIndex(3, threshold=t, ignore_index=255) for name, t in names.items()}
    )
    both.update(logits, target)
    both.update(logits, target)
    found = both.compute()
    for name, t in names.items():
        assert_close(found[name], MultilabelJaccardIndex(3, threshold=t, ignore_index=255)(logits, target))
    assert len({float(v) for v in found.values()}) == 3
    one, other = (MultilabelJaccardIndex(3, threshold=t, ignore_index=255) for t in (0, 0.5))
    one.update(logits, target)
    with pytest.raises(ValueError, match=r"threshold must be 0\.5 as in this metric, got 0"):
        other.merge_state(one)


def _of_all(rank: int, world: int) -> list[float]:
    logits, target = example(12, images=7)
    found = []
    for metric in OVERLAPPING:
        expected = metric(3, threshold=0, ignore_index=255)(logits, target)
        own = metric(3, threshold=0, ignore_index=255)
        part = slice(0, 2) if rank == 0 else slice(2, 7)
        own.update(logits[part], target[part])
        assert_close(own.compute(), expected)
        nothing = metric(3, threshold=0, ignore_index=255)
        if rank == 0:
            nothing.update(logits, target)
        assert_close(nothing.compute(), expected)
        found.append(expected.item())
    return found


def test_processes_share_their_counts(tmp_path: Any) -> None:
    first, second = run(_of_all, 2, tmp_path)
    assert first == second


@pytest.mark.parametrize(("number", "shape"), [(3, (100, 3)), (1, (100,))])
def test_points_are_no_images(number: int, shape: tuple[int, ...]) -> None:
    masks = torch.zeros(shape, dtype=torch.long)
    with pytest.raises(ValueError, match="for one point cloud pass preds"):
        MultilabelImageJaccardIndex(number).update(masks, masks)


def test_complex_numbers_are_refused() -> None:
    complex_, labels = torch.full((1, 4), 1 + 1j), torch.ones(1, 4, dtype=torch.long)
    for metric in (JaccardIndex(2), MultilabelJaccardIndex(1)):
        for preds, target in ((complex_, labels), (labels, complex_)):
            with pytest.raises(TypeError, match="must hold real numbers"):
                metric.update(preds, target)
