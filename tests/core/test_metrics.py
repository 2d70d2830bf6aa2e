"""The metrics against plain Python on small maps, torchmetrics, their properties and messages."""

from __future__ import annotations

import copy
import math
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

from lovasz.boundaries import boundary_counts
from lovasz.decisions import DatasetDecision
from lovasz.metrics import (
    ConfusionMatrix,
    DiceScore,
    ImageJaccardIndex,
    JaccardCurve,
    JaccardIndex,
    PixelAccuracy,
)
from tests.core.processes import run

WORST = range(10, 101, 10)
NAN = math.nan

# Every public metric and average: 4 classes, two labels ignored, in the cases' range or outside.
METRICS: dict[str, Callable[..., Metric]] = {
    "confusion": ConfusionMatrix,
    "iou": JaccardIndex,
    "iou per class": lambda c, **kw: JaccardIndex(c, average="none", **kw),
    "dice": DiceScore,
    "dice per class": lambda c, **kw: DiceScore(c, average="none", **kw),
    "accuracy": PixelAccuracy,
    "image": ImageJaccardIndex,
    "class": lambda c, **kw: ImageJaccardIndex(c, average="class", **kw),
    "per class": lambda c, **kw: ImageJaccardIndex(c, average="none", **kw),
    "image, worst": lambda c, **kw: ImageJaccardIndex(c, worst=WORST, **kw),
    "class, worst": lambda c, **kw: ImageJaccardIndex(c, average="class", worst=WORST, **kw),
    "image, lowest 30 %": lambda c, **kw: ImageJaccardIndex(c, worst=30, **kw),
}
every_metric = pytest.mark.parametrize("name", METRICS)


def assert_same_bits(actual: Tensor, expected: Tensor) -> None:
    assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


# ---- the definition, in sets of pixels ----


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else NAN


def mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return ratio(math.fsum(known), len(known))


def lowest_mean(values: list[float], q: int) -> float:
    known = sorted(value for value in values if not math.isnan(value))
    return mean(known[: max(1, len(known) * q // 100)])


def by_definition(name: str, preds: Tensor, target: Tensor, num_classes: int, void: set) -> Any:
    """The metric called `name`, from sets of (image, pixel); `void` holds labels to leave out."""
    images = [
        [(p, t) for p, t in zip(ps, ts, strict=True) if t not in void]
        for ps, ts in zip(preds.flatten(1).tolist(), target.flatten(1).tolist(), strict=True)
    ]
    everything = [pair for image in images for pair in image]

    def sets(pairs: list, c: int) -> tuple[set[int], set[int]]:
        predicted = {i for i, (p, _) in enumerate(pairs) if p == c}
        return predicted, {i for i, (_, t) in enumerate(pairs) if t == c}

    def iou(pairs: list, c: int) -> float:
        if c in void:
            return NAN
        predicted, labelled = sets(pairs, c)
        return ratio(len(predicted & labelled), len(predicted | labelled))

    def dice(pairs: list, c: int) -> float:
        if c in void:
            return NAN
        predicted, labelled = sets(pairs, c)
        return ratio(2 * len(predicted & labelled), len(predicted) + len(labelled))

    classes = range(num_classes)
    # scores[n][c], NaN where image n has no pixel labelled c
    scores = [[iou(im, c) if sets(im, c)[1] else NAN for c in classes] for im in images]
    per_image = [mean(row) for row in scores]
    per_class = [[row[c] for row in scores] for c in classes]
    return {
        "confusion": lambda: [[everything.count((p, t)) for p in classes] for t in classes],
        "iou": lambda: mean([iou(everything, c) for c in classes]),
        "iou per class": lambda: [iou(everything, c) for c in classes],
        "dice": lambda: mean([dice(everything, c) for c in classes]),
        "dice per class": lambda: [dice(everything, c) for c in classes],
        "accuracy": lambda: ratio(sum(p == t for p, t in everything), len(everything)),
        "image": lambda: mean(per_image),
        "class": lambda: mean([mean(column) for column in per_class]),
        "per class": lambda: [mean(column) for column in per_class],
        "image, worst": lambda: mean([lowest_mean(per_image, q) for q in WORST]),
        "class, worst": lambda: mean([mean([lowest_mean(column, q) for column in per_class]) for q in WORST]),
        "image, lowest 30 %": lambda: lowest_mean(per_image, 30),
    }[name]()


def example(
    seed: int, images: int = 5, num_classes: int = 4, labels: tuple[int, ...] = (0, 1, 3, 7, 255)
) -> tuple[Tensor, Tensor]:
    """Maps whose images hold different classes; by default class 2 is never labelled."""
    generator = torch.Generator().manual_seed(seed)
    preds = torch.randint(num_classes, (images, 3, 4), generator=generator)
    target = torch.tensor(labels)[torch.randint(len(labels), (images, 3, 4), generator=generator)]
    low = torch.randint(2, (images, 1, 1), generator=generator).bool()
    target = torch.where(low & (target > 1), labels[-1], target)
    agree = torch.rand(preds.shape, generator=generator) < 0.4
    return torch.where(agree & (target < num_classes), target, preds), target


@every_metric
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_definition(name: str, seed: int) -> None:
    preds, target = example(seed, images=1 + 3 * seed)
    metric = METRICS[name](4, ignore_index=[7, 255])
    expected = by_definition(name, preds, target, 4, {7, 255})
    dtype = torch.int64 if name == "confusion" else torch.float32
    assert_close(metric(preds, target), torch.tensor(expected, dtype=dtype), equal_nan=True)


@every_metric
def test_a_label_among_the_classes_can_be_ignored(name: str) -> None:
    preds, target = example(1, labels=(0, 1, 2, 3))
    expected = torch.tensor(by_definition(name, preds, target, 4, {0}))
    assert_close(METRICS[name](4, ignore_index=0)(preds, target), expected, equal_nan=True)


@every_metric
def test_mask_leaves_out_what_ignoring_leaves_out(name: str) -> None:
    preds, target = example(2)
    clean = target.where(target < 4, 3)
    masked = METRICS[name](4)
    masked.update(preds, clean, mask=target < 4)
    assert_same_bits(masked.compute(), METRICS[name](4, ignore_index=[7, 255])(preds, target))
    both = METRICS[name](4, ignore_index=(7, 255))
    mask = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    both.update(preds, target, mask=mask)
    expected = METRICS[name](4, ignore_index=255)(preds, target.where(mask & (target != 7), 255))
    assert_same_bits(both.compute(), expected)


# ---- by hand ----


def test_worst_case_counts_images_by_hand() -> None:
    # Two classes; image n predicts n of its 10 pixels rightly as class 0, the rest as class 1.
    preds = torch.tensor([[0] * n + [1] * (10 - n) for n in range(10, -1, -1)])
    target = torch.zeros_like(preds)
    target[0] = 1  # one image of class 1 alone, all of it predicted 0: 0 in class 1
    iou = torch.tensor([0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0])  # in its own class
    for average, q, expected in [
        ("image", 100, iou.mean()),
        ("image", 1, 0.0),  # at least one image
        ("image", 27, 0.0),  # 2.97 of 11 images are 2: 0 and 0
        ("image", 28, 0.1 / 3),  # 3.08 are 3: 0, 0 and 0.1
        ("class", 100, 0.45 / 2),  # class 0: ten images, 0 .. 0.9; class 1: its one image, 0
        ("class", 20, 0.05 / 2),
        ("class", 29, 0.05 / 2),  # 2.9 of the ten images that hold class 0; of all 11, 3
    ]:
        metric = ImageJaccardIndex(2, average=average, worst=q)
        assert_close(metric(preds, target), torch.as_tensor(expected), atol=1e-7, rtol=1e-6)


def test_q_percent_is_exact_for_every_number_of_images() -> None:
    # floor(n q / 100) in whole numbers: in floats 0.29 * 100 is 28.999..., one image short.
    scores = torch.arange(100)
    preds = (torch.arange(99) >= scores[:, None]).long()  # image n: n of 99 pixels right
    metric = ImageJaccardIndex(2, worst=29)
    assert_close(metric(preds, torch.zeros_like(preds)), torch.tensor(14 / 99))


def test_a_false_alarm_in_an_image_without_the_class_has_no_score_of_its_own() -> None:
    preds, target = torch.tensor([[0, 0, 0, 1]]), torch.tensor([[0, 0, 0, 0]])
    assert_close(ImageJaccardIndex(2)(preds, target), torch.tensor(0.75))
    assert_close(JaccardIndex(2)(preds, target), torch.tensor(0.375))


# ---- peers ----


@pytest.mark.parametrize("ignore_index", [None, 0, 255])
def test_dataset_iou_is_torchmetrics_jaccard_index(ignore_index: int | None) -> None:
    labels = (0, 1, 2, 3) if ignore_index is None else (0, 1, 2, 3, ignore_index)
    ours = JaccardIndex(4, ignore_index=-100 if ignore_index is None else ignore_index)
    theirs = MulticlassJaccardIndex(4, ignore_index=ignore_index)
    for seed in range(3):
        preds, target = example(seed, labels=labels)
        ours.update(preds, target)
        theirs.update(preds, target)
    assert_close(ours.compute(), theirs.compute())


def test_torchmetrics_mean_iou_averages_pairs_of_image_and_class() -> None:
    # Two 8 x 8 images. The first has one pixel of class 1, missed; the second is right.
    target = torch.zeros(2, 8, 8, dtype=torch.long)
    target[0, 0, 0] = 1
    target[1, :4] = 1
    preds = target.clone()
    preds[0, 0, 0] = 0
    peer = MeanIoU(num_classes=2, input_format="index")
    peer.update(preds, target)
    pairs = (63 / 64 + 0 + 1 + 1) / 4
    assert_close(peer.compute(), torch.tensor(pairs))  # 0.746
    assert_close(JaccardIndex(2)(preds, target), torch.tensor((95 / 96 + 32 / 33) / 2))  # 0.980
    assert_close(ImageJaccardIndex(2)(preds, target), torch.tensor(pairs))  # here mIoU^I, by name


def test_a_class_that_never_occurs_does_not_make_the_result_nan() -> None:
    preds, target = torch.tensor([[0, 1, 1]]), torch.tensor([[0, 0, 1]])
    for name, build in METRICS.items():
        if name != "confusion":
            few, many = build(2)(preds, target), build(5)(preds, target)
            absent = torch.full((3,), NAN)
            expected = few if few.ndim == 0 else torch.cat([few, absent])
            assert_close(many, expected, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}")


# ---- inputs ----


@pytest.mark.parametrize("size", [(), (3,), (3, 2), (2, 3, 2)], ids=len)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_scores_are_taken_at_their_largest(size: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(3, (4, *size), generator=generator)
    scores = torch.randn((4, 3, *size), generator=generator).to(dtype)
    expected = ConfusionMatrix(3)(scores.argmax(1), target)
    assert_close(ConfusionMatrix(3)(scores, target), expected)
    last = scores.movedim(1, -1).contiguous().movedim(-1, 1)  # channels last
    assert_close(ConfusionMatrix(3)(last, target), expected)
    if size:
        assert_close(ImageJaccardIndex(3)(scores, target), ImageJaccardIndex(3)(scores.argmax(1), target))


@pytest.mark.parametrize(
    "dtype",
    ["bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"],
)
def test_every_integer_dtype_counts_alike(dtype: str) -> None:
    preds, target = torch.tensor([[0, 1, 1, 1]]), torch.tensor([[0, 0, 1, 1]])
    cast = getattr(torch, dtype)
    for build in METRICS.values():
        actual = build(2)(preds.to(cast), target.to(cast))
        assert_same_bits(actual, build(2)(preds, target))


def test_strided_views_count_like_their_copies() -> None:
    preds, target = example(3)
    p, t = preds.transpose(1, 2)[:, ::2], target.transpose(1, 2)[:, ::2]
    for build in METRICS.values():
        metric = build(4, ignore_index=[7, 255])
        again = build(4, ignore_index=[7, 255])
        assert_same_bits(metric(p, t), again(p.contiguous(), t.contiguous()))


def test_a_label_of_156_is_not_ignored_as_minus_100() -> None:
    # In uint8 arithmetic 156 == -100.
    with pytest.raises(ValueError, match=r"156"):
        ConfusionMatrix(3)(torch.tensor([0]), torch.tensor([156], dtype=torch.uint8))


def test_a_uint64_label_does_not_wrap_into_an_ignored_one() -> None:
    target = torch.tensor([2**64 - 100, 0], dtype=torch.uint64)
    with pytest.raises(ValueError, match="target"):
        ConfusionMatrix(3)(torch.tensor([0, 0]), target)


def test_predictions_at_void_pixels_may_be_anything() -> None:
    preds, target = torch.tensor([[0, -1, 255, 2**62]]), torch.tensor([[0, 9, 9, 9]])
    for name, build in METRICS.items():
        if "none" not in name:
            expected = build(2)(preds[:, :1], target[:, :1])
            assert_same_bits(build(2, ignore_index=9)(preds, target), expected)


@every_metric
@pytest.mark.parametrize("shape", [(0, 4), (2, 0), (0, 0)])
def test_nothing_to_count_is_nan(name: str, shape: tuple[int, int]) -> None:
    empty = torch.zeros(shape, dtype=torch.long)
    actual = METRICS[name](3)(empty, empty)
    assert_nothing(name, actual)


@every_metric
def test_all_ignored_is_nan(name: str) -> None:
    metric = METRICS[name](3, ignore_index=9)
    assert_nothing(name, metric(torch.zeros(2, 4).long(), torch.full((2, 4), 9)))
    metric = METRICS[name](3)
    metric.update(*[torch.zeros(2, 4).long()] * 2, mask=torch.zeros(2, 4).bool())
    assert_nothing(name, metric.compute())


def assert_nothing(name: str, actual: Tensor) -> None:
    if name == "confusion":
        assert_close(actual, torch.zeros(3, 3, dtype=torch.int64))
    else:
        shape = (3,) if "per class" in name else ()
        assert_close(actual, torch.full(shape, NAN), equal_nan=True)


@every_metric
def test_a_void_image_among_others_has_no_rank(name: str) -> None:
    preds, target = example(4)
    metric, with_void = (METRICS[name](4, ignore_index=[7, 255]) for _ in range(2))
    metric.update(preds, target)
    with_void.update(torch.cat([preds, preds[:1]]), torch.cat([target, torch.full((1, 3, 4), 7)]))
    assert_same_bits(with_void.compute(), metric.compute())


# ---- messages ----

ZEROS = torch.zeros(2, 4, dtype=torch.long)


@pytest.mark.parametrize(
    ("preds", "target", "mask", "words"),
    [
        pytest.param(ZEROS, ZEROS + 7, None, [r"\b7\b", r"\b8(x|\b)"], id="label"),
        pytest.param(ZEROS, ZEROS - 1, None, [r"-1\b", r"\b8(x|\b)"], id="label -1"),
        pytest.param(ZEROS + 5, ZEROS, None, [r"preds", r"\b5\b", r"\b8\b", "0 to 2"], id="pred"),
        pytest.param(ZEROS - 2, ZEROS, None, [r"preds", r"-2\b", r"\b8\b"], id="pred -2"),
        pytest.param((ZEROS - 5).to(torch.uint64), ZEROS, None, [str(2**64 - 5), r"\b8\b"], id="pred uint64"),
        pytest.param(ZEROS[:, :3], ZEROS, None, [r"\(2, 4\)", r"\(2, 3\)"], id="shape"),
        pytest.param(torch.zeros(2, 4), ZEROS, None, ["scores", r"\(2, 3, 4\)", r"got \(2, 4\)"], id="float"),
        pytest.param(torch.zeros(2, 2, 4), ZEROS, None, [r"\(2, 3, 4\)", r"got \(2, 2, 4\)"], id="channels"),
        pytest.param(ZEROS, ZEROS, ZEROS[:, :2] > 0, [r"mask", r"\(2, 2\)"], id="mask shape"),
        pytest.param(ZEROS, ZEROS, ZEROS, ["mask", "bool", "int64"], id="mask dtype"),
        pytest.param(ZEROS, ZEROS.float(), None, ["target", "float32"], id="float target"),
    ],
)
@pytest.mark.parametrize("metric", [ConfusionMatrix(3), ImageJaccardIndex(3)], ids=["all", "image"])
def test_messages(metric: Metric, preds: Tensor, target: Tensor, mask: Tensor | None, words: list[str]) -> None:
    with pytest.raises((ValueError, TypeError)) as error:
        metric.update(preds, target, mask=mask)
    for word in words:
        assert re.search(word, str(error.value)), f"{word} not in: {error.value}"


def test_number_of_wrong_predictions_leaves_out_the_ignored() -> None:
    preds, target = torch.tensor([5, 5, 5, 0]), torch.tensor([9, 1, 1, 1])
    with pytest.raises(ValueError, match="5 at 2 pixels"):
        ConfusionMatrix(3, ignore_index=9)(preds, target)


def test_a_single_number_is_no_map() -> None:
    with pytest.raises(ValueError, match=r"\(N, \*\)"):
        ConfusionMatrix(3)(torch.tensor(1), torch.tensor(1))


def test_images_need_pixels() -> None:
    with pytest.raises(ValueError, match=r"got \(4,\).*preds\[None\]"):
        ImageJaccardIndex(3)(ZEROS[0], ZEROS[0])


def test_a_point_cloud_has_points_for_pixels() -> None:
    preds, target = torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 1])
    assert_close(JaccardIndex(2)(preds, target), torch.tensor((1 / 2 + 2 / 3) / 2))
    assert_close(JaccardIndex(2)(torch.eye(2)[preds], target), torch.tensor(7 / 12))
    assert_close(ImageJaccardIndex(2)(preds[None], target[None]), torch.tensor(7 / 12))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: JaccardIndex(3, average="macro"), "'mean', 'none', got 'macro'"),
        (lambda: DiceScore(3, average="micro"), "'mean', 'none', got 'micro'"),
        (lambda: ImageJaccardIndex(3, average="mean"), "'image', 'class', 'none', got 'mean'"),
        (lambda: ImageJaccardIndex(3, worst=0), "1 to 100, got 0"),
        (lambda: ImageJaccardIndex(3, worst=[10, 101]), "got .10, 101."),
        (lambda: ImageJaccardIndex(3, worst=[]), "1 to 100"),
        (lambda: ImageJaccardIndex(3, worst=[0.5]), "1 to 100"),
        (lambda: PixelAccuracy(0), "num_classes must be an integer of at least 1, got 0"),
        (lambda: PixelAccuracy(True), "num_classes must be an integer of at least 1, got True"),
        (lambda: PixelAccuracy(3.0), "num_classes must be an integer of at least 1, got 3.0"),
    ],
)
def test_wrong_arguments(build: Callable[[], Metric], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()


def test_a_number_of_classes_may_be_an_integer_of_numpy() -> None:
    """As `1 + labels.max()` is."""
    given = np.int64(3)
    builds: list[Callable[..., Any]] = [*METRICS.values(), JaccardCurve, DatasetDecision]
    for build in builds:
        assert type(build(given).num_classes) is int
    preds = torch.zeros(1, 4, 4, dtype=torch.int64)
    assert_close(boundary_counts(preds, preds, given), boundary_counts(preds, preds, 3))


def test_a_failed_update_leaves_the_counts() -> None:
    for build in METRICS.values():
        metric = build(3)
        metric.update(ZEROS, ZEROS)
        with pytest.raises(ValueError, match="7"):
            metric.update(ZEROS, ZEROS + 7)
        assert_same_bits(metric.compute(), build(3)(ZEROS, ZEROS))


# ---- exact ----


def test_counts_are_exact_beyond_float32() -> None:
    n = 2**24 + 3  # float32 stops counting at 2^24
    preds, target = torch.ones(1, n, dtype=torch.bool), torch.ones(1, n, dtype=torch.bool)
    target[0, :2] = False
    confusion = ConfusionMatrix(2)
    image = ImageJaccardIndex(2, average="none")
    for metric in (confusion, image):
        metric.update(preds, target)
    assert_close(confusion.compute(), torch.tensor([[0, 2], [0, n - 2]]))
    assert_close(image.counts[0], torch.tensor([[[0, 2, 0], [n - 2, n - 2, n]]]))


def test_counts_are_exact_beyond_int32() -> None:
    metric = PixelAccuracy(2)
    metric.confusion = torch.tensor([[2**53, 1], [2**31, 2**40]])
    metric.update(ZEROS, ZEROS)
    assert_close(metric.confusion, torch.tensor([[2**53 + 8, 1], [2**31, 2**40]]))
    metric = JaccardIndex(2, average="none")
    metric.confusion = torch.tensor([[2**33, 2**31], [2**31, 2**33]])
    metric.update(ZEROS[:0], ZEROS[:0])
    assert_close(metric.compute(), torch.tensor([2 / 3, 2 / 3]))


maps = st.builds(example, st.integers(0, 2**31), st.integers(1, 12))


@settings(deadline=None, max_examples=25)
@given(maps, st.data())
def test_batches_in_any_division_and_order_give_the_same_bits(
    pair: tuple[Tensor, Tensor], data: st.DataObject
) -> None:
    preds, target = pair
    order = torch.tensor(data.draw(st.permutations(range(len(preds)))))
    sizes = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5).map(tuple))
    cuts = [min(sum(sizes[: i + 1]), len(preds)) for i in range(len(sizes))]
    for name, build in METRICS.items():
        whole, parts, forwarded = (build(4, ignore_index=[7, 255]) for _ in range(3))
        whole.update(preds, target)
        merged = build(4, ignore_index=[7, 255])
        for p, t in zip(preds[order].tensor_split(cuts), target[order].tensor_split(cuts), strict=True):
            parts.update(p, t)
            forwarded(p, t)
            shard = build(4, ignore_index=[7, 255])
            shard.update(p, t)
            merged.merge_state(shard)
        for other in (parts, forwarded, merged):
            assert_same_bits(other.compute(), whole.compute())
        assert name  # named in a failure's report


@settings(deadline=None, max_examples=25)
@given(maps, st.integers(0, 2**31))
def test_order_of_the_pixels_does_not_matter(pair: tuple[Tensor, Tensor], seed: int) -> None:
    preds, target = (x.flatten(1) for x in pair)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    for build in METRICS.values():
        shuffled = build(4, ignore_index=[7, 255])(preds[:, order], target[:, order])
        assert_same_bits(shuffled, build(4, ignore_index=[7, 255])(preds, target))


@settings(deadline=None, max_examples=25)
@given(maps, st.permutations(range(4)))
def test_names_of_the_classes_do_not_matter(pair: tuple[Tensor, Tensor], order: list[int]) -> None:
    preds, target = pair
    names = torch.tensor([*order, *range(4, 256)])
    for name, build in METRICS.items():
        actual = build(4, ignore_index=[7, 255])(names[preds], names[target])
        expected = build(4, ignore_index=[7, 255])(preds, target)
        if name == "confusion":
            actual = actual[order][:, order]
        elif expected.ndim:
            actual = actual[order]
        assert_close(actual, expected, equal_nan=True)


@settings(deadline=None, max_examples=25)
@given(maps)
def test_bounds(pair: tuple[Tensor, Tensor]) -> None:
    kwargs = {"ignore_index": [7, 255]}
    values = {name: build(4, **kwargs)(*pair) for name, build in METRICS.items()}
    for name, value in values.items():
        if name != "confusion":
            known = value[~value.isnan()]
            assert ((known >= 0) & (known <= 1)).all(), name
    assert not values["iou"] > values["dice"]  # IoU = Dice / (2 - Dice)
    assert not values["image, worst"] > values["image"] + 1e-6
    right = pair[1].where(pair[1] < 4, 0)
    for name, build in METRICS.items():
        if name != "confusion":
            best = build(4, **kwargs)(right, pair[1])
            assert_close(best[~best.isnan()], torch.ones_like(best[~best.isnan()]))


# ---- torchmetrics' protocol ----


def test_merging_after_compute_is_seen() -> None:
    for build in METRICS.values():
        one, two, both = build(4), build(4), build(4)
        for seed, metric in ((0, one), (1, two)):
            pair = example(seed, labels=(0, 1, 2, 3))
            metric.update(*pair)
            both.update(*pair)
        one.compute()
        one.merge_state(two.metric_state)
        assert_same_bits(one.compute(), both.compute())


def test_collection_counts_once() -> None:
    collection = MetricCollection({k.replace(" ", "_"): b(4) for k, b in METRICS.items()})
    for seed in range(3):
        collection.update(*example(seed, labels=(0, 1, 2, 3)))
    assert len(collection.compute_groups) == 2  # confusion tables, and tables per image
    values = collection.compute()
    for name, build in METRICS.items():
        alone = build(4)
        for seed in range(3):
            alone.update(*example(seed, labels=(0, 1, 2, 3)))
        assert_same_bits(values[name.replace(" ", "_")], alone.compute())


@pytest.mark.parametrize("kind", [JaccardIndex, ImageJaccardIndex])
def test_collection_keeps_metrics_apart_that_ignore_different_labels(kind: type[Metric]) -> None:
    # The first batch holds no label 1, so that the two count the same until the second.
    batches = [(ZEROS, ZEROS), (ZEROS, 1 - ZEROS)]
    build = {"all": lambda: kind(2), "some": lambda: kind(2, ignore_index=1)}
    collection = MetricCollection({name: make() for name, make in build.items()})
    for batch in batches:
        collection.update(*batch)
    values = collection.compute()
    for name, make in build.items():
        alone = make()
        for batch in batches:
            alone.update(*batch)
        assert_same_bits(values[name], alone.compute())
    assert values["all"] < values["some"]


@every_metric
def test_pickle_copy_reset_and_dtypes(name: str) -> None:
    preds, target = example(5)
    metric = METRICS[name](4, ignore_index=[7, 255])
    metric.update(preds, target)
    expected = metric.clone().compute()
    parent = torch.nn.ModuleDict({"metric": metric})
    for change in (
        lambda: metric.set_dtype(torch.float16),
        metric.half,
        metric.bfloat16,
        parent.half,
        parent.double,
        lambda: parent.to(torch.float16),
        lambda: metric.to("cpu"),
    ):
        change()
        for state in metric.metric_state.values():
            for tensor in state if isinstance(state, list) else [state]:
                assert tensor.dtype == torch.int64
    for other in (pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric)):
        assert_same_bits(other.compute(), expected)
        other.update(preds, target)  # still works
    saved = METRICS[name](4, ignore_index=[7, 255])
    saved.persistent(True)
    metric.persistent(True)
    saved.load_state_dict(metric.state_dict())
    saved._update_count = 1  # torchmetrics does not save it
    assert_same_bits(saved.compute(), expected)
    metric.reset()
    assert_same_bits(metric(preds, target), expected)


def test_merging_a_collection_of_empty_metrics_is_empty() -> None:
    for name, build in METRICS.items():
        one, two = build(3), build(3)
        one.merge_state(two)
        assert_nothing(name, one.compute())


def test_declared_properties() -> None:
    for build in METRICS.values():
        metric = build(2)
        assert metric.full_state_update is False
        assert metric.is_differentiable is False
        assert metric.higher_is_better is (None if type(metric) is ConfusionMatrix else True)
        assert all(reduce is not None for reduce in metric._reductions.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_bits() -> None:
    preds, target = example(6)
    for build in METRICS.values():
        metric = build(4, ignore_index=[7, 255]).to("cuda")
        actual = metric(preds.cuda(), target.cuda())
        assert actual.is_cuda
        assert_same_bits(actual.cpu(), build(4, ignore_index=[7, 255])(preds, target))


# ---- two processes ----

# Image numbers of each rank's batches: uneven batches, a rank without any (either one), nobody.
SHARES = [
    [[(0, 1, 2), (3,)], [(4, 5, 6, 7, 8)]],
    [[(8, 1), (0,), (5, 4)], [()]],
    [[(2, 3)], []],
    [[], [(0, 1, 2), (3, 4)]],
    [[], []],
]


def results(batches: list[tuple[int, ...]]) -> list[Tensor]:
    preds, target = example(7, images=9)
    values = []
    for build in METRICS.values():
        metric = build(4, ignore_index=[255, 7])
        for batch in batches:
            metric.update(preds[list(batch)], target[list(batch)])
        values.append(metric.compute())
        # Again: sharing must not have mixed the other's counts into this rank's own.
        metric.update(preds[:0], target[:0])
        values.append(metric.compute())
    return values


def work(rank: int, world: int) -> list[list[Tensor]]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # torchmetrics' own remark on the rank that has seen nothing
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        return [results(share[rank]) for share in SHARES]


def test_two_processes_give_the_bits_of_one(tmp_path: Path) -> None:
    ranks = run(work, 2, tmp_path)
    for i, share in enumerate(SHARES):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
            expected = results([*share[0], *share[1]])
        for rank in range(2):
            for actual, value in zip(ranks[rank][i], expected, strict=True):
                assert_same_bits(actual, value)


def test_monai_tensors_are_counted_as_plain_ones():
    MetaTensor = pytest.importorskip("monai.data").MetaTensor
    preds, target = torch.randint(0, 3, (2, 2, 5, 6))
    for metric in (JaccardIndex(3), ImageJaccardIndex(3)):
        metric.update(preds, target)
        expected = metric.compute()
        metric.reset()
        metric.update(MetaTensor(preds), MetaTensor(target))
        torch.testing.assert_close(metric.compute(), expected)
