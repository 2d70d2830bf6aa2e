"""Which metrics share a state: in a MetricCollection of any torchmetrics, in merging and in loading."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from torchmetrics import Metric, MetricCollection

from lovasz.metrics import (
    BoundaryJaccardIndex,
    ConfusionMatrix,
    DiceScore,
    ImageBoundaryJaccardIndex,
    ImageJaccardIndex,
    JaccardIndex,
    PixelAccuracy,
)

KINDS = (
    ConfusionMatrix,
    JaccardIndex,
    DiceScore,
    PixelAccuracy,
    BoundaryJaccardIndex,
    ImageBoundaryJaccardIndex,
    ImageJaccardIndex,
)
every_kind = pytest.mark.parametrize("kind", KINDS)

# Arguments that change the counts: those of one metric, those of the other, and what the message says.
COUNTED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "classes": ({"num_classes": 3}, {"num_classes": 4}, "num_classes must be 3 .* got 4"),
    "ignore_index": (
        {"ignore_index": 255},
        {"ignore_index": [0, 255]},
        r"ignore_index .* \[255\] .* got \[0, 255\]",
    ),
    # torch.allclose calls these equal: they differ by less than 1e-5 of themselves.
    "large labels": ({"ignore_index": 200_000}, {"ignore_index": 200_001}, "ignore_index .* got .200001."),
    "upsample": ({"upsample": "bilinear"}, {"upsample": "nearest"}, "upsample must be 'bilinear' .* got 'nearest'"),
    "no upsample": ({}, {"upsample": "nearest"}, "upsample must be None .* got 'nearest'"),
    "align_corners": (
        {"upsample": "bilinear"},
        {"upsample": "bilinear", "align_corners": True},
        "align_corners must be False .* got True",
    ),
}
every_counted = pytest.mark.parametrize("name", COUNTED)


def build(kind: type[Metric], num_classes: int = 3, **kwargs: Any) -> Metric:
    return kind(num_classes, **kwargs)


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 4, 4, generator=generator), torch.randint(3, (2, 4, 4), generator=generator)


def first_states_equal(one: Metric, two: Metric) -> bool:
    """The rule of torchmetrics 1.6.0 and 1.6.1: the first state decides, whatever the others are."""
    if one._defaults.keys() != two._defaults.keys():
        return False
    one, two = copy.deepcopy(one), copy.deepcopy(two)
    for metric in (one, two):
        metric._defaults = dict(list(metric._defaults.items())[:1])
    return MetricCollection._equal_metric_states(one, two)


RULES: dict[str, Callable[[Metric, Metric], bool]] = {
    "installed": MetricCollection._equal_metric_states,
    "first state": first_states_equal,
}
every_rule = pytest.mark.parametrize("rule", RULES)


@every_rule
@every_kind
@every_counted
def test_a_collection_never_updates_as_one_what_counts_differently(
    name: str, kind: type[Metric], rule: str
) -> None:
    one, two = (build(kind, **arguments) for arguments in COUNTED[name][:2])
    assert not RULES[rule](one, two)
    for metric in (one, two):  # nothing counted yet: all states but one are equal
        metric.update(torch.zeros(0, metric.num_classes, 2, 2), torch.zeros(0, 2, 2, dtype=torch.long))
    assert not RULES[rule](one, two)


@every_rule
def test_a_collection_updates_as_one_what_counts_alike(rule: str) -> None:
    for kinds in (KINDS[:-1], KINDS[-1:] * 2):
        metrics = [build(kind, ignore_index=[255, 7, 7][:: 1 - 2 * i]) for i, kind in enumerate(kinds[:2])]
        for metric in metrics:
            metric.update(*batch())
        assert RULES[rule](*metrics)


def test_collection_of_metrics_that_interpolate_differently() -> None:
    # Nearest and bilinear agree on the first batch, not on the second: the scores of one pixel decide.
    coarse = torch.tensor([[[[0.0, 0.0]], [[1.0, 1.0]]], [[[0.0, 3.0]], [[1.0, 1.0]]]])
    target = torch.ones(1, 1, 8, dtype=torch.long)
    modes = ("nearest", "bilinear")
    collection = MetricCollection({mode: JaccardIndex(2, upsample=mode) for mode in modes})
    alone = {mode: JaccardIndex(2, upsample=mode) for mode in modes}
    for scores in coarse:
        collection.update(scores[None], target)
        for metric in alone.values():
            metric.update(scores[None], target)
    values = collection.compute()
    for mode in modes:
        assert_close(values[mode], alone[mode].compute())
    assert values["nearest"] != values["bilinear"]


# ---- merging ----


@every_kind
@every_counted
def test_metrics_that_count_differently_do_not_merge(name: str, kind: type[Metric]) -> None:
    first, second, words = COUNTED[name]
    one, two = build(kind, **first), build(kind, **second)
    one.update(*([torch.zeros(1, 2, 2, dtype=torch.long)] * 2 if not one.upsample else batch()))
    expected = one.compute()
    for incoming in (two, two.metric_state):
        with pytest.raises(ValueError, match=words) as error:
            one.merge_state(incoming)
        assert "\n" not in str(error.value)
    assert_close(one.compute(), expected, equal_nan=True)


@pytest.mark.parametrize(
    ("one", "two", "words"),
    [
        (JaccardIndex(2), DiceScore(2), "the same class, JaccardIndex, got DiceScore"),
        (ConfusionMatrix(2), PixelAccuracy(2), "the same class, ConfusionMatrix, got PixelAccuracy"),
        (JaccardIndex(2), JaccardIndex(2, average="none"), "average must be 'mean' .* got 'none'"),
        (DiceScore(2, average="none"), DiceScore(2), "average must be 'none' .* got 'mean'"),
        (ImageJaccardIndex(2), ImageJaccardIndex(2, average="class"), "average must be 'image' .* got 'class'"),
        (ImageJaccardIndex(2), ImageJaccardIndex(2, empty="zero"), "empty must be 'skip' .* got 'zero'"),
        (ImageJaccardIndex(2), ImageJaccardIndex(2, worst=10), r"worst must be \[100\] .* got \[10\]"),
    ],
)
def test_metrics_that_compute_differently_do_not_merge(one: Metric, two: Metric, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        one.merge_state(two)
    assert "\n" not in str(error.value)


def test_scores_of_images_without_the_class_are_no_part_of_another_rule() -> None:
    skip, one = ImageJaccardIndex(3), ImageJaccardIndex(3, empty="one")
    for rule in RULES.values():
        assert not rule(skip, one)
    for metric in (skip, one):
        metric.update(*batch())
    with pytest.raises(ValueError, match="empty must be 'skip' as in this metric, got 'one'"):
        skip.merge_state(one.metric_state)
    one.persistent(True)
    with pytest.raises(ValueError, match="empty must be 'skip' as in this metric, got 'one'"):
        skip.load_state_dict(one.state_dict())


def test_metrics_merge_whatever_the_order_of_the_ignored_labels() -> None:
    one, two, both = (JaccardIndex(3, ignore_index=labels) for labels in ([1, 255], (255, 1, 1), [1, 255]))
    for seed, metric in enumerate((one, two)):
        metric.update(*batch(seed))
        both.update(*batch(seed))
    one.merge_state(two)
    assert_close(one.compute(), both.compute())


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"confusion": torch.zeros(2, 2)},
        {"settings": torch.tensor([300])},
        {"settings": torch.tensor([0])},
        {"settings": "?"},
        {"settings": torch.tensor(3)},
        {"settings": torch.tensor(list(b"[1]"))},
    ],
    ids=str,
)
def test_a_state_without_readable_settings_does_not_merge(state: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a state of JaccardIndex must hold its settings, confusion, got") as error:
        JaccardIndex(2).merge_state(state)
    assert "\n" not in str(error.value)


# ---- loading ----


@every_kind
@every_counted
def test_a_metric_loads_no_state_that_was_counted_differently(name: str, kind: type[Metric]) -> None:
    first, second, words = COUNTED[name]
    saved, metric = build(kind, **first), build(kind, **second)
    saved.persistent(True)
    words = words.split(" ")[0]
    with pytest.raises(ValueError, match=f"{words} must be"):
        torch.nn.ModuleDict({"metric": metric}).load_state_dict(torch.nn.ModuleDict({"metric": saved}).state_dict())


def test_a_state_that_is_loaded_is_the_one_that_is_computed() -> None:
    labels = torch.tensor([0, 1])
    wrong, right = JaccardIndex(2), JaccardIndex(2)
    for metric, preds in ((wrong, labels.flip(0)), (right, labels)):
        metric.persistent(True)
        metric.update(preds, labels)
        metric.compute()
    wrong.load_state_dict(right.state_dict())
    assert wrong.compute() == 1
    fresh = JaccardIndex(2)
    fresh.persistent(True)
    fresh.load_state_dict(right.state_dict())
    assert fresh.compute() == 1  # without a warning that nothing was added


def test_a_state_whose_images_were_put_together_is_merged() -> None:
    images = torch.tensor([[0, 1], [1, 1]])
    one, other = ImageJaccardIndex(2), ImageJaccardIndex(2)
    one.update(images, images)
    for _ in range(2):
        other.update(images, images.flip(0))
    state = dict(other.metric_state)
    state["counts"] = torch.cat(state["counts"])
    one.merge_state(state)
    assert sum(map(len, one.counts)) == 6


@pytest.mark.parametrize("metric", [JaccardIndex(3, ignore_index=0), ImageJaccardIndex(3, worst=[50, 100])])
def test_another_default_device_changes_no_score(metric: Metric) -> None:
    labels = torch.tensor([[0, 1, 2], [1, 1, 2]])
    metric.update(labels, labels.flip(0))
    expected = metric.compute()
    metric._computed = None
    torch.set_default_device("meta")
    try:
        found = metric.compute()
    finally:
        torch.set_default_device(None)
    assert_close(found, expected)
