"""What an evaluation counts, and that its scores are those of the metrics."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassJaccardIndex

from lovasz.metrics import ConfusionMatrix, DiceScore, ImageJaccardIndex, JaccardIndex, PixelAccuracy
from lovasz.scores import EMPTY
from lovasz.study.processes import Ranks
from lovasz.study.score import evaluation, images, rows, scores, tally
from lovasz.study.score.evaluation import Evaluation, evaluate
from lovasz.study.score.pairing import pair
from lovasz.study.score.tally import LabelError, confusion
from tests.core import processes
from tests.study.masks import VOID, draw, write

CLASSES = 5
NAMES = tuple(map(str, range(CLASSES)))


@pytest.fixture
def double() -> Iterator[None]:
    """Metrics return float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def run(folder: Path, images: int = 40, workers: int = 3, ranks: Ranks | None = None) -> Evaluation:
    """The evaluation of drawn masks."""
    if not (folder / "targets").exists():
        write(folder, draw(images, CLASSES))
    pairs = pair(folder / "predictions", folder / "targets")
    return evaluate(
        pairs, NAMES, frozenset({VOID}), workers, threading.Event(), lambda done, left_out: None, ranks or Ranks()
    )


# ---- one image ----


# Tables of one, two and four bytes; void inside, beside and far from the classes; in every type that holds both.
CASES = [
    (kind, void, num_classes)
    for kind in ("u1", "i1", "u2", "i2", "i4", "i8", "u8")
    for void in (3, 100, -1, -100, 65535)
    for num_classes in (3, 100, 300)
    if np.iinfo(kind).min <= void <= np.iinfo(kind).max and num_classes - 1 <= np.iinfo(kind).max
]


@pytest.mark.parametrize(("kind", "void", "num_classes"), CASES)
def test_pixels_are_counted_as_by_the_metric(kind: str, void: int, num_classes: int) -> None:
    info = np.iinfo(kind)
    rng = np.random.default_rng(0)
    target, prediction = rng.integers(0, num_classes, (2, 19, 23)).astype(kind)
    target[:5] = void
    prediction[:3] = info.max  # where nothing counts
    prediction[0] = info.min
    metric = ConfusionMatrix(num_classes, ignore_index=void)
    metric.update(torch.from_numpy(prediction.astype(np.int64)), torch.from_numpy(target.astype(np.int64)))
    found = confusion(prediction, np.asfortranarray(target), num_classes, {void})
    np.testing.assert_array_equal(found, metric.compute().numpy())
    assert found.sum() == ((target != void) & (target < num_classes)).sum()


# At the largest number of each type and beside it; of one row the width alone is as large.
SIZES = [(1, end + more) for end in (2**7, 2**8, 2**15, 2**16) for more in (-1, 0, 1)]
SIZES += [size[::-1] for size in SIZES] + [(2, 64), (16, 16), (3, 85), (2, 128), (128, 256), (181, 181), (256, 256)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_size_of_a_table_is_counted(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    rows, columns = (np.append(rng.integers(0, end, 99), [0, end - 1]) for end in (height, width))
    expected = np.zeros((height, width), np.int64)
    np.add.at(expected, (rows, columns), 1)
    np.testing.assert_array_equal(tally._table(rows, columns, height, width), expected)


@pytest.mark.parametrize(("num_classes", "ignored"), [(256, set()), (3, {0})])
def test_the_label_255_is_counted_where_no_target_is_above_0(num_classes: int, ignored: set[int]) -> None:
    prediction, target = np.array([[0, 255, 255]], np.uint8), np.zeros((1, 3), np.uint8)
    found = confusion(prediction, target, num_classes, ignored)
    assert found.sum() == (0 if ignored else 3)
    assert ignored or found[0, 255] == 2


def test_an_image_without_a_pixel_that_counts_counts_nothing() -> None:
    for void in (7, 65535):
        target = np.full((4, 4), void, np.uint16)
        assert not confusion(np.full((4, 4), 9999, np.uint16), target, 3, {void, 255}).any()


@pytest.mark.parametrize("bad", [5, 40, 300, 60000])
def test_labels_that_are_no_class_are_named_with_their_number(bad: int) -> None:
    target, prediction = np.zeros((2, 4, 6), np.uint16)
    target[0, :3] = bad
    with pytest.raises(LabelError, match=f"holds the label {bad} at 3 pixels; expected classes 0 to 4") as caught:
        confusion(prediction, target, 5, {7, 255})
    assert caught.value.in_target
    assert "ignored labels (7, 255)" in str(caught.value)
    target[0, :2], prediction[0] = 7, bad
    target[0, 2] = 0
    with pytest.raises(LabelError, match=f"holds the label {bad} at 4 pixels; .*where a pixel counts") as caught:
        confusion(prediction, target, 5, {7, 255})
    assert not caught.value.in_target


def test_many_bad_labels_are_not_all_listed() -> None:
    target = np.arange(-8, 2)
    with pytest.raises(LabelError, match=r"the label -8 at 1 pixel, .*the label -4 at 1 pixel and 3 other labels;"):
        confusion(np.zeros(10, int), target, 2, ())


# ---- all images ----


def test_every_score_is_that_of_the_metrics(tmp_path: Path, double: None) -> None:
    masks = draw(40, CLASSES)
    found = run(tmp_path)
    result = scores.score(found)
    options = {"num_classes": CLASSES, "ignore_index": VOID}
    worst = {"worst": scores.WORST}
    metrics = {
        "miou": JaccardIndex(**options),
        "dice": DiceScore(**options),
        "accuracy": PixelAccuracy(**options),
        "image_miou": ImageJaccardIndex(**options),
        "image_worst": ImageJaccardIndex(**options, **worst),
        "class_miou": ImageJaccardIndex(**options, average="class"),
        "class_worst": ImageJaccardIndex(**options, average="class", **worst),
    }
    each = {
        "iou": JaccardIndex(**options, average="none"),
        "dice": DiceScore(**options, average="none"),
        "image_iou": ImageJaccardIndex(**options, average="none"),
        "worst": ImageJaccardIndex(**options, average="none", **worst),
    }
    matrix = ConfusionMatrix(**options)
    images = []
    for prediction, target in masks:
        preds, labels = (torch.from_numpy(mask.astype(np.int64))[None] for mask in (prediction, target))
        for metric in (*metrics.values(), *each.values(), matrix):
            metric.update(preds, labels)
        one = ImageJaccardIndex(**options)
        images.append(one(preds, labels).item())
    torch.testing.assert_close(torch.from_numpy(found.confusion), matrix.compute())
    for name, metric in metrics.items():
        assert getattr(result, name) == pytest.approx(metric.compute().item(), abs=1e-14), name
    for name, metric in each.items():
        values = torch.tensor([getattr(one, name) for one in result.classes])
        torch.testing.assert_close(values, metric.compute(), rtol=0, atol=1e-14, equal_nan=True, msg=name)
    np.testing.assert_allclose(result.images, images, rtol=0, atol=1e-14)
    assert result.pixels == sum((target != VOID).sum() for _, target in masks)
    assert result.classes[1].images == sum((target == 1).any() for _, target in masks) < 40
    assert result.classes[4].images == 0
    assert result.lowest[4] == -1
    lowest = found.rows[result.lowest[1]]
    assert scores.image_iou(lowest[None])[0, 1] == min(
        scores.image_iou(found.rows[i][None])[0, 1] for i in range(0, 40, 3)
    )


def test_the_scores_are_those_of_torchmetrics(tmp_path: Path) -> None:
    found = scores.score(run(tmp_path))
    options = {"num_classes": CLASSES, "ignore_index": VOID}
    jaccard = MulticlassJaccardIndex(**options, average="none")
    f1 = MulticlassF1Score(**options, average="none")
    micro = MulticlassAccuracy(**options, average="micro")
    recall = MulticlassAccuracy(**options, average="none")
    for prediction, target in draw(40, CLASSES):
        prediction = np.where(target == VOID, 0, prediction)  # it wants classes at ignored pixels, too
        preds, labels = (torch.from_numpy(mask.astype(np.int64)) for mask in (prediction, target))
        for metric in (jaccard, f1, micro, recall):
            metric.update(preds, labels)
    seen = [one for one in found.classes if one.pixels]
    assert len(seen) == CLASSES - 1
    for index, one in enumerate(seen):
        assert one.iou == pytest.approx(jaccard.compute()[index].item(), abs=1e-6)
        assert one.dice == pytest.approx(f1.compute()[index].item(), abs=1e-6)
        assert one.recall == pytest.approx(recall.compute()[index].item(), abs=1e-6)
    assert found.accuracy == pytest.approx(micro.compute().item(), abs=1e-6)
    assert found.classes[4].iou == 0  # predicted, never labelled
    assert found.classes[4].precision == 0
    assert np.isnan(found.classes[4].recall)


def test_threads_and_chunks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(tmp_path, workers=1)
    monkeypatch.setattr(evaluation, "CHUNK", 1)
    monkeypatch.setattr(rows, "BUFFER", 1000)  # a few rows at a time
    monkeypatch.setattr(scores, "RANKED", 700)  # two classes at a time
    found = run(tmp_path, workers=7)
    np.testing.assert_array_equal(found.confusion, expected.confusion)
    one, other = scores.score(found), scores.score(expected)
    np.testing.assert_array_equal(one.images, other.images)
    assert repr(one.classes) == repr(other.classes)


@pytest.mark.parametrize("empty", EMPTY)
@pytest.mark.parametrize("ignored", [{VOID}, {VOID, 3}])
def test_classes_are_ranked_a_few_at_a_time(
    empty: str, ignored: set[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image may hold one class alone, of another few, or nothing that counts."""
    rng = np.random.default_rng(1)
    targets = [np.full((4, 5), label, np.uint8) for label in (*range(CLASSES), VOID)]
    write(tmp_path, [(rng.integers(0, 2, (4, 5)).astype(np.uint8), target) for target in targets])
    pairs = pair(tmp_path / "predictions", tmp_path / "targets")
    done = evaluate(pairs, NAMES, frozenset(ignored), 1, threading.Event(), lambda done, left_out: None, Ranks())
    expected = scores.score(done, empty)
    monkeypatch.setattr(scores, "RANKED", 1)  # one class at a time
    found = scores.score(done, empty)
    assert repr((found.classes, found.lowest)) == repr((expected.classes, expected.lowest))


def test_few_images_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: no thread is ahead of the results by more than three chunks each."""
    write(tmp_path, draw(60, CLASSES))
    pairs = pair(tmp_path / "predictions", tmp_path / "targets")
    monkeypatch.setattr(evaluation, "CHUNK", 1)
    started, most, done = 0, 0, 0
    lock = threading.Lock()
    opened = images.open_mask

    def counted(path: Path, *more: Any) -> Any:
        nonlocal started, most
        with lock:
            started += 1
            most = max(most, started - 2 * done)
        return opened(path, *more)

    def on_images(number: int, left_out: int) -> None:
        nonlocal done
        done += number

    monkeypatch.setattr(images, "open_mask", counted)
    evaluate(pairs, NAMES, frozenset({VOID}), 2, threading.Event(), on_images, Ranks())
    assert done == 60
    assert started == 120
    assert most <= 2 * (3 * 2 + 1)


def test_rows_are_kept_on_disk() -> None:
    kept = rows.Rows(5, 2)
    counts = np.arange(12).reshape(2, 2, 3)
    kept[4], kept[1] = counts[1], counts[0]
    assert [(places.tolist(), found.tolist()) for places, found in kept.blocks()] == [([1, 4], counts.tolist())]
    np.testing.assert_array_equal(kept[4], counts[1])
    assert not kept[0].any()
    assert not any(isinstance(value, np.ndarray) for value in vars(kept).values())


def test_rows_of_two_numbers_a_class_keep_every_bit() -> None:
    kept, values = rows.Rows(3, 2, fields=2), np.array([[0.1, np.nan], [-0.0, 1e300]])
    kept[2] = values.view(np.int64)
    ((places, found),) = kept.blocks()
    assert places.tolist() == [2]
    assert found.view(np.float64).tobytes() == kept[2].tobytes() == values.tobytes()


def _rank(rank: int, world: int, folder: Path) -> tuple[np.ndarray, int, list[list[int]]]:
    rows.BUFFER = 1000
    found = run(folder, ranks=Ranks(rank, world))
    counts = [c.tolist() for _, block in found.rows.blocks() for c in block]
    return found.confusion, found.counted, counts


def test_processes_count_what_one_counts(tmp_path: Path) -> None:
    expected = run(tmp_path, images=16)  # 6, 5 and 5 of them
    found = processes.run(_rank, 3, tmp_path, tmp_path)
    for confusion_matrix, counted, _ in found:
        np.testing.assert_array_equal(confusion_matrix, expected.confusion)
        assert counted == 16
    assert found[0][2] == [c.tolist() for _, block in expected.rows.blocks() for c in block]
