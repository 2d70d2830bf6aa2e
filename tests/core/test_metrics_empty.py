"""Classes that an image does not hold, and ignored classes: the scores by plain Python and by torchmetrics."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchmetrics.classification import MulticlassF1Score, MulticlassJaccardIndex

from lovasz import lovasz_softmax
from lovasz.metrics import DiceScore, ImageJaccardIndex, JaccardIndex, PixelAccuracy
from lovasz.scores import EMPTY, image_iou

NAN = math.nan

G = torch.tensor([[0, 0, 1, 1], [0, 2, 2, 1], [0, 2, 2, 1], [0, 0, 0, 1]])[None]
Q = G.clone()
Q[0, 1, 2], Q[0, 3, 3] = 1, 0


def plainly(
    preds: Tensor, target: Tensor, num_classes: int, empty: str, void: tuple[int, ...]
) -> list[list[float]]:
    """The score of each class in each image, counted pixel by pixel."""
    table = []
    for p, t in zip(preds.flatten(1).tolist(), target.flatten(1).tolist(), strict=True):
        pairs = [(a, b) for a, b in zip(p, t, strict=True) if b not in void]
        row = []
        for c in range(num_classes):
            both = sum(a == b == c for a, b in pairs)
            either = sum(c in pair for pair in pairs)
            if c in void or not pairs:
                row.append(NAN)
            elif any(b == c for _, b in pairs):
                row.append(both / either)
            elif either:  # a false alarm
                row.append({"skip": NAN, "zero": 0.0, "one": 0.0}[empty])
            else:
                row.append({"skip": NAN, "zero": NAN, "one": 1.0}[empty])
        table.append(row)
    return table


def mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else NAN


def drawn() -> tuple[Tensor, Tensor]:
    """Ten images that hold few of five classes; one with nothing that counts, one right in everything."""
    generator = torch.Generator().manual_seed(3)
    target = torch.randint(5, (10, 1, 1), generator=generator).expand(10, 4, 5).clone()
    target[torch.rand(target.shape, generator=generator) < 0.2] = 1
    target[torch.rand(target.shape, generator=generator) < 0.2] = 255
    preds = target.where(target < 5, 0)
    preds[torch.rand(target.shape, generator=generator) < 0.1] = 2
    target[4] = 255
    preds[5] = target[5].where(target[5] < 5, 0)
    return preds, target


@pytest.mark.parametrize("empty", EMPTY)
@pytest.mark.parametrize("void", [(255,), (1, 255), (255, 2)], ids=str)
def test_images_without_the_class_score_as_empty_says(empty: Any, void: tuple[int, ...]) -> None:
    preds, target = drawn()
    table = plainly(preds, target, 5, empty, void)
    columns = [mean(column) for column in zip(*table, strict=True)]
    options: Any = {"num_classes": 5, "ignore_index": void, "empty": empty}
    expected = {"image": mean([mean(row) for row in table]), "class": mean(columns), "none": columns}
    for average, value in expected.items():
        found = ImageJaccardIndex(**options, average=average)(preds, target)
        assert_close(found, torch.tensor(value), equal_nan=True)
    lowest = [sorted(x for x in column if not math.isnan(x)) for column in zip(*table, strict=True)]
    worst = [mean(column[: max(1, len(column) * 30 // 100)]) for column in lowest]
    found = ImageJaccardIndex(**options, average="none", worst=30)(preds, target)
    assert_close(found, torch.tensor(worst), equal_nan=True)


def test_a_false_alarm_and_a_correct_absence_by_hand() -> None:
    preds, target = torch.tensor([[0, 0, 0, 1]]), torch.zeros(1, 4, dtype=torch.long)
    for empty, expected in (("skip", [0.75, NAN, NAN]), ("zero", [0.75, 0, NAN]), ("one", [0.75, 0, 1])):
        found = ImageJaccardIndex(3, average="none", empty=empty)(preds, target)
        assert_close(found, torch.tensor(expected), equal_nan=True)
    counts = torch.tensor([[[3, 4, 3], [0, 0, 1], [0, 0, 0]], [[0, 0, 0]] * 3])
    assert_close(image_iou(counts, "one")[1], torch.full((3,), NAN).double(), equal_nan=True)


def test_another_word_is_refused() -> None:
    with pytest.raises(ValueError, match="empty must be one of 'skip', 'zero', 'one', got 'nan'"):
        ImageJaccardIndex(3, empty="nan")  # type: ignore[arg-type]


# ---- classes that are ignored ----


def test_an_ignored_class_is_left_out_of_the_mean() -> None:
    # Nine pixels count: class 1 has 4 of 6, class 2 has 3 of 4.
    assert_close(JaccardIndex(3, ignore_index=0)(Q, G), torch.tensor((4 / 6 + 3 / 4) / 2))
    found = JaccardIndex(3, average="none", ignore_index=0)(Q, G)
    assert_close(found, torch.tensor([NAN, 4 / 6, 3 / 4]), equal_nan=True)
    found = DiceScore(3, average="none", ignore_index=0)(Q, G)
    assert_close(found, torch.tensor([NAN, 8 / 10, 6 / 7]), equal_nan=True)
    assert_close(PixelAccuracy(3, ignore_index=0)(Q, G), torch.tensor(7 / 9))
    for empty in EMPTY:
        found = ImageJaccardIndex(3, ignore_index=0, empty=empty)(Q, G)  # type: ignore[arg-type]
        assert_close(found, torch.tensor((4 / 6 + 3 / 4) / 2))


@pytest.mark.parametrize("ignored", [0, 1, 2, 3])
def test_ignoring_a_class_gives_what_torchmetrics_gives(ignored: int) -> None:
    generator = torch.Generator().manual_seed(ignored)
    preds, target = torch.randint(4, (2, 3, 8, 9), generator=generator)
    assert_close(
        JaccardIndex(4, ignore_index=ignored)(preds, target),
        MulticlassJaccardIndex(4, ignore_index=ignored)(preds, target),
    )
    theirs = MulticlassF1Score(4, average="none", ignore_index=ignored)(preds, target)
    ours = DiceScore(4, average="none", ignore_index=ignored)(preds, target)
    kept = [c for c in range(4) if c != ignored]
    assert ours[ignored].isnan()
    assert_close(ours[kept], theirs[kept])


def test_every_class_ignored_is_nan() -> None:
    assert JaccardIndex(3, ignore_index=[0, 1, 2])(Q, G).isnan()


def test_an_ignored_class_has_no_part_in_the_loss_of_the_classes_present() -> None:
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    each = lovasz_softmax(logits, G, ignore_index=0, reduction="none", bins=None)
    assert_close(lovasz_softmax(logits, G, ignore_index=0, bins=None), each[[1, 2]].mean())
    # "all" and a list name the classes that take part, held or not: with no foreground, the largest error.
    counted = logits.softmax(1)[0, 0][G[0] != 0]
    assert_close(lovasz_softmax(logits, G, ignore_index=0, classes=[0], bins=None), counted.max())
