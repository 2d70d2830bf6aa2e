"""Boundary IoU against its definition, pixel by pixel, and against erosions, as in the published evaluation."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchmetrics import Metric

from lovasz.boundaries import boundary_counts, boundary_distance
from lovasz.metrics import BoundaryJaccardIndex, ImageBoundaryJaccardIndex, ImageJaccardIndex, JaccardIndex
from lovasz.scores import EMPTY, image_iou, iou
from tests.core.processes import run

VOID = 255
CLASSES = 3


def region(labels: Tensor, void: Tensor, c: int, distance: int) -> set[tuple[int, ...]]:
    """The boundary region of a class in one image, by looking at every pixel around each of its pixels."""
    found = set()
    for pixel in itertools.product(*map(range, labels.shape)):
        if void[pixel] or labels[pixel] != c:
            continue
        for step in itertools.product(range(-distance, distance + 1), repeat=labels.ndim):
            near = tuple(p + s for p, s in zip(pixel, step, strict=True))
            outside = any(not 0 <= p < size for p, size in zip(near, labels.shape, strict=True))
            if outside or (not void[near] and labels[near] != c):
                found.add(pixel)
                break
    return found


def by_definition(preds: Tensor, target: Tensor, distance: int) -> Tensor:
    """Pixels of the regions of each class in each image: intersection, label, prediction."""
    table = torch.zeros(len(target), CLASSES, 3, dtype=torch.int64)
    for image, (p, t) in enumerate(zip(preds, target, strict=True)):
        for c in range(CLASSES):
            labelled, predicted = (region(side, t == VOID, c, distance) for side in (t, p))
            table[image, c] = torch.tensor([len(labelled & predicted), len(labelled), len(predicted)])
    return table


def example(shape: tuple[int, ...], void: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Blocks of labels with some pixels void, and a prediction that is partly another; void in it means nothing."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(CLASSES, (shape[0], *(-(-size // 3) for size in shape[1:])), generator=generator)
    for axis, size in enumerate(shape[1:], 1):
        blocks = blocks.repeat_interleave(3, axis).narrow(axis, 0, size)
    target = blocks.clone()
    preds = torch.where(torch.rand(shape, generator=generator) < 0.2, blocks.roll(1, -1), blocks)
    ignored = torch.rand(shape, generator=generator) < void
    target[ignored] = VOID
    preds[ignored] = torch.tensor([0, -7, 99])[torch.randint(3, (int(ignored.sum()),), generator=generator)]
    return preds, target


SHAPES = [(2, 9, 11), (1, 12, 7), (1, 3, 3), (1, 1, 9), (1, 4, 1)]
# Windows that fit, that fit once (d = 1 in 3 x 3, d = 3 in 12 x 7), and that are larger than the image; few in
# volumes, where the definition looks at (2 d + 1)^3 pixels for each.
CASES = [*itertools.product(SHAPES, (1, 2, 3, 5, 40)), *itertools.product([(2, 6, 7, 8)], (1, 2, 3))]


@pytest.mark.parametrize(("shape", "distance"), CASES, ids=str)
@pytest.mark.parametrize("void", [0.0, 0.15, 0.9, 1.0])
def test_the_counts_are_those_of_the_definition(shape: tuple[int, ...], distance: int, void: float) -> None:
    preds, target = example(shape, void)
    found = boundary_counts(preds, target, CLASSES, width=distance, mask=target != VOID)
    assert found.tolist() == by_definition(preds, target, distance).tolist()
    if distance == 1 and shape == SHAPES[0] and void < 0.5:  # neither all nor nothing lies on a boundary
        whole = boundary_counts(preds, target, CLASSES, width=40, mask=target != VOID)
        assert 0 < found[..., 1].sum() < whole[..., 1].sum()


@pytest.mark.parametrize("distance", [1, 2, 4, 7])
def test_regions_are_what_erosions_take_away(distance: int) -> None:
    """The published evaluation erodes with a square of 3 x 3, d times, with nothing outside the image."""
    scipy = pytest.importorskip("scipy.ndimage")
    preds, target = example((1, 31, 40), seed=3)
    sides = []
    for c, side in itertools.product(range(CLASSES), (target, preds)):
        mask = (side[0] == c).numpy()
        eroded = scipy.binary_erosion(mask, np.ones((3, 3)), iterations=distance, border_value=0)
        sides.append(mask & ~eroded)
    expected = [
        [int((g & p).sum()), int(g.sum()), int(p.sum())] for g, p in zip(sides[::2], sides[1::2], strict=True)
    ]
    assert boundary_counts(preds, target, CLASSES, width=distance)[0].tolist() == expected


def test_what_is_ignored_neither_makes_nor_hides_a_boundary() -> None:
    row = torch.tensor([[0, 0, 0, 0, 0, 0, 0, VOID, 1, 1, 1]]).expand(11, 11)[None]
    near = boundary_counts(row.clamp(max=1), row, 2, width=1, mask=row != VOID)
    edge = 2 * 7 + 9  # two rows and the column on the left; no column beside the void one
    assert near[0].tolist() == [[edge, edge, edge], [15, 15, 15]]  # of class 1: 2 * 3 + 9
    far = boundary_counts(row.clamp(max=1), row, 2, width=2, mask=row != VOID)
    assert far[0, 0, 1] == 4 * 7 + 7 * 2 + 7  # but class 1 on the other side of it is seen from one column


def test_of_many_classes_and_of_every_type_the_counts_are_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    preds, target = torch.randint(3, (2, 1, 12, 13), generator=generator).repeat_interleave(3, -1)
    expected = boundary_counts(preds, target, 3, width=1)[0].tolist()
    for num_classes in (255, 256, 32767, 32768):
        lowest = num_classes - 3
        found = boundary_counts(preds + lowest, target + lowest, num_classes, width=1)
        assert found[0, lowest:].tolist() == expected
        assert not found[0, :lowest].any()
    for kind in (torch.uint8, torch.int16, torch.int32):
        assert boundary_counts(preds.to(kind), target.to(kind), 3, width=1)[0].tolist() == expected
    two = boundary_counts(preds > 0, target > 0, 2, width=1)
    assert two.tolist() == boundary_counts((preds > 0).long(), (target > 0).long(), 2, width=1).tolist()


def test_a_volume_of_one_slice_is_a_picture() -> None:
    preds, target = example((1, 9, 10))
    expected = boundary_counts(preds, target, CLASSES, width=0.1)
    for axis in (1, 2, 3):
        assert_close(boundary_counts(preds.unsqueeze(axis), target.unsqueeze(axis), CLASSES, width=0.1), expected)


def test_the_distance_is_a_fraction_of_the_diagonal() -> None:
    assert boundary_distance(0.02, (480, 640)) == 16
    assert boundary_distance(0.02, (30, 40)) == 1
    assert boundary_distance(0.001, (4, 4)) == 1  # at least
    assert boundary_distance(0.5, (6, 2, 3)) == round(0.5 * 7)
    assert boundary_distance(0.1, (1, 30, 40)) == 5
    assert boundary_distance(7, (4, 4)) == 7


@pytest.mark.parametrize(
    ("width", "error", "words"),
    [
        (0.0, ValueError, "a float above 0 and below 1 .* got 0.0"),
        (1.0, ValueError, "or an int of at least 1 .* got 1.0"),
        (math.nan, ValueError, "got nan"),
        (0, ValueError, "got 0"),
        (True, TypeError, "width must be a float .* got True"),
        ("5px", TypeError, "got '5px'"),
    ],
)
def test_another_width_is_refused(width: Any, error: type[Exception], words: str) -> None:
    for build in (BoundaryJaccardIndex, ImageBoundaryJaccardIndex):
        with pytest.raises(error, match=words):
            build(2, width=width)
    with pytest.raises(error, match=words):
        boundary_distance(width, (4, 4))


def test_what_the_counts_refuse() -> None:
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    for preds, target, words in [
        (labels, labels[:, :2], r"got preds \(1, 4, 4\) and target \(1, 2, 4\)"),
        (labels[0], labels[0], r"\(N, H, W\) or \(N, D, H, W\)"),
        (labels + 3, labels, "preds must hold classes 0 to 2 where a pixel counts, got 3"),
        (labels, labels - 1, "target must hold classes 0 to 2 .* got -1"),
    ]:
        with pytest.raises(ValueError, match=words):
            boundary_counts(preds, target, 3)
    with pytest.raises(ValueError, match=r"mask must be bool, \(1, 4, 4\) as target, got torch.uint8"):
        boundary_counts(labels, labels, 3, mask=torch.ones(1, 4, 4, dtype=torch.uint8))
    with pytest.raises(TypeError, match=r"preds must hold class indices, .* got torch.float32"):
        boundary_counts(labels.float(), labels, 3)
    with pytest.raises(ValueError, match=r"at least two axes .* got the shape"):
        boundary_distance(0.02, (4,))


# ---- the metrics ----


@pytest.mark.parametrize("shape", [(4, 13, 17), (3, 6, 7, 8)], ids=str)
def test_the_metrics_divide_the_counts(shape: tuple[int, ...]) -> None:
    preds, target = example(shape, void=0.1)
    counts = by_definition(preds, target, 2)
    options = {"width": 2, "ignore_index": VOID}
    per_class = BoundaryJaccardIndex(CLASSES, average="none", **options)(preds, target)
    assert_close(per_class.double(), iou(counts.sum(0)), atol=1e-6, rtol=0)
    assert_close(BoundaryJaccardIndex(CLASSES, **options)(preds, target), per_class.nanmean())
    for empty in EMPTY:
        images = ImageBoundaryJaccardIndex(CLASSES, empty=empty, **options)(preds, target)
        assert_close(images.double(), image_iou(counts, empty).nanmean(1).nanmean(), atol=1e-6, rtol=0)


def test_the_width_is_a_fraction_of_each_batch_s_diagonal() -> None:
    preds, target = example((1, 60, 80), seed=1)
    metrics = BoundaryJaccardIndex(CLASSES), BoundaryJaccardIndex(CLASSES, width=2)  # the diagonal is 100
    assert metrics[0](preds, target) == metrics[1](preds, target)
    assert metrics[0](preds[..., :9], target[..., :9]) != metrics[1](preds[..., :9], target[..., :9])


def test_a_region_as_wide_as_the_image_is_iou() -> None:
    preds, target = example((3, 13, 17), void=0.1)
    for plain, boundary in ((JaccardIndex, BoundaryJaccardIndex), (ImageJaccardIndex, ImageBoundaryJaccardIndex)):
        expected = plain(CLASSES, ignore_index=VOID)(preds, target)
        assert boundary(CLASSES, width=17, ignore_index=VOID)(preds, target) == expected


def test_a_mask_leaves_out_what_ignoring_leaves_out() -> None:
    preds, target = example((3, 13, 17), void=0.1)
    expected = BoundaryJaccardIndex(CLASSES, width=2, ignore_index=VOID)(preds, target)
    masked = BoundaryJaccardIndex(CLASSES, width=2)(preds, target.clamp(max=2), mask=target != VOID)
    assert masked == expected


def test_a_class_that_is_ignored_has_no_score() -> None:
    preds, target = example((3, 13, 17))
    scores = BoundaryJaccardIndex(CLASSES, width=2, average="none", ignore_index=0)(preds, target)
    assert scores.isnan().tolist() == [True, False, False]
    valid = target > 0
    assert_close(scores[1:].double(), iou(boundary_counts(preds, target, 3, width=2, mask=valid).sum(0))[1:],
                 atol=1e-6, rtol=0)  # fmt: skip


def test_scores_of_lower_resolution_are_upsampled() -> None:
    target = example((2, 12, 14))[1]
    coarse = torch.randn(2, CLASSES, 6, 7, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, size=(12, 14), mode="bilinear")
    found = BoundaryJaccardIndex(CLASSES, width=1, upsample="bilinear")(coarse, target)
    assert found == BoundaryJaccardIndex(CLASSES, width=1)(fine.argmax(1), target)


BUILT = {
    "data set": lambda **kw: BoundaryJaccardIndex(CLASSES, ignore_index=VOID, **{"width": 2, **kw}),
    "image": lambda **kw: ImageBoundaryJaccardIndex(CLASSES, ignore_index=VOID, **{"width": 2, **kw}),
}
every_metric = pytest.mark.parametrize("name", BUILT)


@every_metric
def test_in_any_batches_and_merged_the_result_is_the_same_number(name: str) -> None:
    preds, target = example((6, 13, 17), void=0.1)
    expected, streamed, merged = BUILT[name](), BUILT[name](), [BUILT[name](), BUILT[name]()]
    expected.update(preds, target)
    for first, last in ((0, 1), (1, 4), (4, 6)):
        streamed.update(preds[first:last], target[first:last])
        merged[first == 1].update(preds[first:last], target[first:last])
    merged[0].merge_state(merged[1])
    assert streamed.compute() == merged[0].compute() == expected.compute()


@every_metric
def test_nothing_counted_is_nan(name: str) -> None:
    metric: Metric = BUILT[name]()
    metric.update(torch.zeros(1, 4, 4, dtype=torch.long), torch.full((1, 4, 4), VOID))
    assert metric.compute().isnan()


@every_metric
def test_another_width_does_not_merge(name: str) -> None:
    one, two = BUILT[name](), BUILT[name](width=0.02)
    for metric in (one, two):
        metric.update(*example((1, 4, 4)))
    with pytest.raises(ValueError, match=r"width must be 2 as in this metric, got 0\.02"):
        one.merge_state(two)


@every_metric
def test_a_batch_of_rows_has_no_boundary(name: str) -> None:
    rows = torch.zeros(2, 16, dtype=torch.long)
    with pytest.raises(ValueError, match=r"must be \(N, H, W\) or \(N, D, H, W\)"):
        BUILT[name]().update(rows, rows)


@every_metric
def test_it_is_drawn(name: str) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    metric = BUILT[name](average="none")
    metric.update(*example((2, 13, 17)))
    _, axes = metric.plot()
    assert [float(line.get_ydata()[0]) for line in axes.lines] == pytest.approx(metric.compute().tolist())


def work(rank: int, world: int) -> list[float]:
    """The scores of both metrics over all processes, of which each counts every n-th image."""
    preds, target = example((5, 13, 17), void=0.1)
    results = []
    for build in BUILT.values():
        metric = build()
        metric.update(preds[rank::world], target[rank::world])
        results.append(float(metric.compute()))
    return results


def test_processes_find_what_one_finds(tmp_path: Path) -> None:
    assert run(work, 2, tmp_path) == [work(0, 1)] * 2


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_labels_of_any_integer_type_are_counted(dtype: torch.dtype) -> None:
    labels = torch.zeros(1, 7, 7, dtype=torch.long)
    labels[0, 2:5, 2:5] = 1
    expected = boundary_counts(labels, labels.flip(1), 2, width=1)
    assert torch.equal(boundary_counts(labels.to(dtype), labels.flip(1).to(dtype), 2, width=1), expected)
