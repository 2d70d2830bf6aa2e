"""The ways out that messages name, followed: each gives the right value, and is named nowhere else."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lovasz import lovasz_hinge, lovasz_sigmoid, lovasz_softmax
from lovasz.metrics import (
    ConfusionMatrix,
    ImageJaccardIndex,
    JaccardIndex,
    MultilabelImageJaccardIndex,
    MultilabelJaccardIndex,
)

G = torch.tensor([[0, 0, 1, 1], [0, 2, 2, 1], [0, 2, 2, 1], [0, 0, 0, 1]])[None]
ONE_HOT = torch.nn.functional.one_hot(G).movedim(-1, 1)  # (1, 3, 4, 4)
Q = G.clone()
Q[0, 1, 2], Q[0, 3, 3] = 1, 0
Q_IOU = torch.tensor([7 / 8, 4 / 6, 3 / 4])


def refused(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises((ValueError, TypeError)) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def follow(said: str, pattern: str, **names: Tensor) -> Tensor:
    """What the expression that a message names gives."""
    (found,) = re.findall(pattern, said)
    return eval(found, {}, names)


# ---- channels last ----


@pytest.mark.parametrize("size", [(8, 6), (8, 8), (3, 5, 4)], ids=str)
def test_channels_last_logits_are_told_so_and_not_to_be_upsampled(size: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(3, (2, *size), generator=generator)
    logits = torch.randn(2, *size, 3, generator=generator)
    expected = lovasz_softmax(logits.movedim(-1, 1), target)
    said = refused(lovasz_softmax, logits, target)
    assert "upsample" not in said
    assert_close(lovasz_softmax(follow(said, r"logits\.movedim.*", logits=logits), target), expected)
    said = refused(JaccardIndex(3), logits, target)
    assert "upsample" not in said
    preds = follow(said, r"preds\.movedim.*", preds=logits)
    assert_close(JaccardIndex(3)(preds, target), JaccardIndex(3)(logits.argmax(-1), target))


@pytest.mark.parametrize("loss", [lovasz_sigmoid, lovasz_hinge])
def test_channels_last_binary_logits_are_told_so(loss: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(2, 8, 8, 1, generator=generator), torch.randint(2, (2, 8, 8), generator=generator)
    said = refused(loss, logits, target)
    assert "upsample" not in said
    found = loss(follow(said, r"logits\.movedim.*", logits=logits), target)
    assert_close(found, loss(logits[..., 0], target, channels=False))


def test_coarse_channels_last_logits_are_told_apart_by_their_factors() -> None:
    for size, fine in (((8, 8), (32, 32)), ((9, 7), (33, 27)), ((8, 4), (32, 16))):
        target = torch.zeros(2, *fine, dtype=torch.long)
        assert "movedim(-1, 1)" in refused(lovasz_softmax, torch.zeros(2, *size, 3), target)
        said = refused(lovasz_softmax, torch.zeros(2, 3, *size), target)
        assert said.endswith('upsample="bilinear"')
        lovasz_softmax(torch.zeros(2, 3, *size), target, upsample="bilinear")


def test_where_either_axis_may_be_that_of_the_channels_nothing_is_advised() -> None:
    said = refused(lovasz_softmax, torch.zeros(2, 8, 8, 8), torch.zeros(2, 16, 16, dtype=torch.long))
    assert said.endswith("got (2, 16, 16)")
    said = refused(lovasz_softmax, torch.zeros(2, 40, 3), torch.zeros(2, 80, dtype=torch.long))
    assert "upsample" not in said


# ---- floating targets ----


def test_argmax_is_advised_only_where_the_class_axis_is_longer_than_one() -> None:
    logits = 9.0 * (2 * ONE_HOT - 1)
    expected = lovasz_softmax(logits, G)
    for target, words in (
        (ONE_HOT.float(), r"target\.argmax\(1\)"),
        (G.float()[:, None], r"target\.squeeze\(1\)\.long\(\)"),
        (G.float(), r"target\.long\(\)"),
    ):
        said = refused(lovasz_softmax, logits, target)
        assert ("argmax" in said) == (target.shape[1] == 3)
        assert_close(lovasz_softmax(logits, follow(said, words, target=target)), expected)
        for metric in (ConfusionMatrix(3), ImageJaccardIndex(3)):
            for preds in (ONE_HOT.float(), G):
                said = refused(metric, preds, target)
                assert ("argmax" in said) == (target.shape[1] == 3)
                assert_close(follow(said, words, target=target), G)


def test_probabilities_of_the_foreground_are_thresholded() -> None:
    soft = torch.tensor([[[[0.2, 0.9], [0.6, 0.0]]]])  # (1, 1, 2, 2)
    hard = torch.tensor([[[0, 1], [1, 0]]])
    logits = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    said = refused(lovasz_sigmoid, logits, soft)
    assert "argmax" not in said
    found = lovasz_sigmoid(logits, follow(said, r"target > 0\.5", target=soft))
    assert_close(found, lovasz_sigmoid(logits, hard))
    said = refused(JaccardIndex(2), hard, soft)
    assert_close(follow(said, r"target\.squeeze\(1\) > 0\.5", target=soft).long(), hard)


def test_masks_of_several_channels_are_never_reduced_to_their_largest() -> None:
    masks = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]]).view(1, 2, 2, 1)  # the first pixel has both labels
    logits = torch.randn(1, 2, 2, 1, generator=torch.Generator().manual_seed(0))
    said = refused(lovasz_sigmoid, logits, masks)
    assert "argmax" not in said
    found = lovasz_sigmoid(logits, follow(said, r"target\.long\(\)", target=masks), channels=True)
    assert_close(found, lovasz_sigmoid(logits, masks.bool(), channels=True))


@pytest.mark.parametrize("axis", [1, -1])
def test_an_axis_of_length_one_is_squeezed(axis: int) -> None:
    logits, target = 9.0 * (2 * ONE_HOT - 1), G.unsqueeze(axis)
    said = refused(lovasz_softmax, logits, target)
    assert_close(
        lovasz_softmax(logits, follow(said, r"target\.squeeze.*", target=target)), lovasz_softmax(logits, G)
    )
    said = refused(JaccardIndex(3, average="none"), Q.unsqueeze(axis), G)
    preds = follow(said, r"preds\.squeeze.*", preds=Q.unsqueeze(axis))
    assert_close(JaccardIndex(3, average="none")(preds, G), Q_IOU)


# ---- several labels per pixel ----

MASKS = torch.tensor([[[[1, 1], [0, 1]], [[0, 1], [0, 0]], [[0, 0], [1, 0]]]])  # (1, 3, 2, 2), 0 and 1


@pytest.mark.parametrize("kind", [JaccardIndex, ImageJaccardIndex])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64], ids=str)
def test_several_labels_per_pixel_are_never_pooled(kind: Any, dtype: torch.dtype) -> None:
    preds, target = MASKS.to(dtype), MASKS.roll(-1, 1).to(dtype)
    said = refused(kind(3), preds, target)
    assert "several labels per pixel (multilabel)" in said
    assert str(dtype) in said
    assert "(1, 3, 2, 2)" in said
    assert "use MultilabelJaccardIndex" in said
    # Of channel 0: 1, 1, 0, 1 against 0, 1, 0, 0; the others have nothing in common.
    found = {JaccardIndex: MultilabelJaccardIndex, ImageJaccardIndex: MultilabelImageJaccardIndex}[kind](
        3, average="none"
    )(preds, target)
    assert_close(found, torch.tensor([1 / 3, 0.0, 0.0]))


def test_one_hot_labels_are_reduced_as_advised() -> None:
    preds = torch.nn.functional.one_hot(Q).movedim(-1, 1)
    for dtype in (torch.bool, torch.int64):
        said = refused(JaccardIndex(3, average="none"), preds.to(dtype), ONE_HOT.to(dtype))
        assert "pass int().argmax(1)" in said
        found = JaccardIndex(3, average="none")(preds.to(dtype).int().argmax(1), ONE_HOT.to(dtype).int().argmax(1))
        assert_close(found, Q_IOU)


def test_a_volume_whose_depth_is_the_number_of_classes_is_counted_flattened() -> None:
    said = refused(JaccardIndex(3), MASKS, MASKS)
    assert "pass flatten(1).long()" in said
    pair = MASKS.flatten(1), MASKS.flip(1).flatten(1)
    expected = torch.tensor([3 / 11, 1 / 9, math.nan])  # 12 voxels: TP 1, FP 4, FN 4, TN 3
    assert_close(JaccardIndex(3, average="none")(*pair), expected, equal_nan=True)
    # With any other class in it, it is no mask of 0 and 1.
    assert JaccardIndex(3)(MASKS + 1, MASKS + 1) == 1
    assert JaccardIndex(4)(MASKS, MASKS) == 1
    assert JaccardIndex(3)(torch.zeros_like(MASKS), torch.zeros_like(MASKS)) == 1


def test_ignored_pixels_do_not_hide_several_labels() -> None:
    target = MASKS.clone()
    target[..., 0, 0] = 255
    refused(JaccardIndex(3, ignore_index=255), MASKS, target)


def test_bool_holds_two_classes() -> None:
    binary = MASKS[0].bool()  # (3, 2, 2): three maps
    assert JaccardIndex(2)(binary, binary) == 1
    assert "multilabel" in refused(JaccardIndex(3), binary, binary)
    assert "multilabel" in refused(JaccardIndex(2), MASKS[:, :2].bool(), MASKS[:, :2].bool())


# ---- not finite ----


@pytest.mark.parametrize(
    ("bad", "words"), [(math.nan, "got NaN"), (math.inf, "got inf"), (-math.inf, "got -inf in every class")]
)
def test_scores_that_are_not_finite_are_named(bad: float, words: str) -> None:
    scores = ONE_HOT.float().clone()
    scores[0, :, 1, :2] = bad
    for metric in (JaccardIndex(3), ImageJaccardIndex(3)):
        said = refused(metric, scores, G)
        assert words in said
        assert "; 2 pixels have none" in said
        mask = torch.ones_like(G, dtype=torch.bool)
        mask[0, 1, :2] = False
        metric.update(scores, G, mask=mask)
        assert metric.compute() == 1
    refused(JaccardIndex(3, upsample="nearest"), scores, G.repeat_interleave(2, 1).repeat_interleave(2, 2))


def test_a_class_that_is_ruled_out_with_minus_infinity_is_never_predicted() -> None:
    scores = ONE_HOT.float().clone()
    scores[:, 0] = -math.inf
    assert_close(ConfusionMatrix(3)(scores, G)[:, 0], torch.zeros(3, dtype=torch.int64))


# ---- channels that the shapes do not tell ----


def test_signals_of_several_labels_are_not_told_to_be_upsampled_as_images() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, target = torch.randn(2, 3, 50, generator=generator), torch.randint(2, (2, 3, 100), generator=generator)
    said = refused(lovasz_sigmoid, logits, target)
    for what, found in (("(N, C, L) pass", 3), ("(N, H, W)", 1)):
        (channels, mode), *_ = re.findall(re.escape(what) + r' channels=(\w+), upsample="(\w+)"', said)
        options = {"channels": channels == "True", "upsample": mode, "reduction": "none"}
        assert lovasz_sigmoid(logits, target, **options).shape == (found,)
    assert 'upsample="linear"' in refused(lovasz_sigmoid, logits, target, channels=True)


def test_an_axis_of_length_one_in_the_target_is_squeezed() -> None:
    logits, target = torch.randn(2, 8, 8), torch.randint(2, (2, 1, 8, 8))
    said = refused(lovasz_sigmoid, logits, target)
    squeezed = follow(said, r"target\.squeeze.*", target=target)
    assert lovasz_sigmoid(logits, squeezed, channels=False).isfinite()
