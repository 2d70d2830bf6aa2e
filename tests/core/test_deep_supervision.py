"""Outputs of several resolutions against the labels: by hand, with masks and lists of labels, and refusals."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import lovasz
from lovasz import DeepSupervisionLoss

CASES = [
    (lovasz.LovaszCrossEntropyLoss, {"label_smoothing": 0.1}),
    (lovasz.LovaszSoftmaxLoss, {"bins": 512}),
    (lovasz.LovaszBinaryCrossEntropyLoss, {"channels": True}),
    (lovasz.LovaszHingeLoss, {"channels": True}),
]


def batch(kind):
    """Outputs at the sides of the labels, a half and about a third of them; labels with void; a mask."""
    generator = torch.Generator().manual_seed(0)
    outputs = [torch.randn(2, 3, *size, generator=generator) for size in ((12, 16), (6, 8), (4, 5))]
    shape = (2, 12, 16) if kind in (lovasz.LovaszCrossEntropyLoss, lovasz.LovaszSoftmaxLoss) else (2, 3, 12, 16)
    target = torch.randint(3 if len(shape) == 3 else 2, shape, generator=generator)
    target[:, ..., :2] = 255
    return outputs, target, torch.rand(shape, generator=generator) < 0.8


@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 0.25], [3, 0, 2]])
@pytest.mark.parametrize(("kind", "given"), CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_it_is_the_weighted_sum_by_hand(kind, given, weights):
    outputs, target, mask = batch(kind)
    plain = kind(ignore_index=255, **given)
    loss = DeepSupervisionLoss(kind(ignore_index=255, upsample="bilinear", **given), weights)
    numbers = [4 / 7, 2 / 7, 1 / 7] if weights is None else weights
    for masks in ((), (mask,)):
        xs, ys = ([one.clone().requires_grad_() for one in outputs] for _ in range(2))
        found = loss(xs, target, *masks)
        fine = [F.interpolate(y, (12, 16), mode="bilinear") for y in ys]
        expected = sum(w * plain(y, target, *masks) for w, y in zip(numbers, fine, strict=True))
        assert_close(found, expected)
        expected.backward()
        found.backward()
        for x, y, w in zip(xs, ys, numbers, strict=True):
            if w:
                assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-7)
            else:
                assert x.grad is None


def test_labels_of_each_resolution_are_taken_as_they_are():
    """As nnU-Net's loader gives them: one for each output, reduced by the nearest."""
    outputs, target, mask = batch(lovasz.LovaszSoftmaxLoss)
    targets = [F.interpolate(target[:, None].float(), one.shape[2:])[:, 0].long() for one in outputs]
    masks = [F.interpolate(mask[:, None].float(), one.shape[2:])[:, 0].bool() for one in outputs]
    each = lovasz.LovaszSoftmaxLoss(ignore_index=255)
    loss = DeepSupervisionLoss(each, (0.5, 0.3, 0.2))
    rows = list(zip(outputs, targets, masks, (0.5, 0.3, 0.2), strict=True))
    assert_close(loss(outputs, targets), sum(w * each(x, t) for x, t, _, w in rows))
    assert_close(loss(tuple(outputs), targets, masks), sum(w * each(x, t, m) for x, t, m, w in rows))
    by_pytorch = DeepSupervisionLoss(torch.nn.CrossEntropyLoss(ignore_index=255), (0.5, 0.3, 0.2))
    expected = sum(w * F.cross_entropy(x, t, ignore_index=255) for x, t, _, w in rows)
    assert_close(by_pytorch(outputs, targets), expected)
    assert_close(DeepSupervisionLoss(lambda x, t: each(x, t), (1, 1, 1))(outputs, targets), loss.loss(*rows[0][:2])
                 + loss.loss(*rows[1][:2]) + loss.loss(*rows[2][:2]))  # fmt: skip


def test_one_output_is_the_loss_alone():
    outputs, target, mask = batch(lovasz.LovaszSoftmaxLoss)
    each = lovasz.LovaszSoftmaxLoss(ignore_index=255)
    for loss in (DeepSupervisionLoss(each), DeepSupervisionLoss(each, [0.7, 0.2, 0.1])):
        assert_close(loss(outputs[0], target, mask), each(outputs[0], target, mask), rtol=0, atol=0)
    assert_close(DeepSupervisionLoss(each)(outputs[:1], target), each(outputs[0], target), rtol=0, atol=0)


def test_it_moves_with_its_loss_and_shows_both():
    loss = DeepSupervisionLoss(lovasz.LovaszSoftmaxLoss(weight=torch.ones(3)), [1, 0.5])
    assert set(loss.state_dict()) == {"loss.weight"}
    assert "weights=[1.0, 0.5]" in repr(loss)
    assert "LovaszSoftmaxLoss(" in repr(loss)
    assert loss.to(torch.float64).loss.weight.dtype == torch.float64


@pytest.mark.filterwarnings("ignore")
def test_it_compiles_without_a_break():
    outputs, target, _ = batch(lovasz.LovaszSoftmaxLoss)
    loss = DeepSupervisionLoss(lovasz.LovaszCrossEntropyLoss(ignore_index=255, upsample="bilinear", bins=256))
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert_close(compiled(outputs, target), loss(outputs, target))


def test_what_does_not_fit_is_named():
    outputs, target, _ = batch(lovasz.LovaszSoftmaxLoss)
    each = lovasz.LovaszSoftmaxLoss(ignore_index=255)
    for weights in ([0, 0], [], [1, -1], [1, math.nan], [1, math.inf]):
        with pytest.raises(ValueError, match="weights must be finite numbers from 0 on, one of them above it, got"):
            DeepSupervisionLoss(each, weights)
    with pytest.raises(TypeError, match="loss must be a module or a function, got str"):
        DeepSupervisionLoss("lovasz")
    for outputs_, target_, error, message in [
        (outputs, [target], ValueError, "target must be one for each of 3 outputs, got 1"),
        (outputs[0], [target], TypeError, "target must be one tensor where outputs is one, got list"),
        ([], target, TypeError, "outputs must be logits, or a list or tuple of them that is not empty, got list"),
        ({"out": outputs[0]}, target, TypeError, "not empty, got dict"),
        (outputs, target, ValueError, 'for logits coarser than the labels: upsample="bilinear"'),
    ]:
        with pytest.raises(error, match=message):
            DeepSupervisionLoss(each)(outputs_, target_)
    with pytest.raises(ValueError, match="weights must be one for each of 3 outputs, got 2"):
        DeepSupervisionLoss(each, [1, 1])(outputs, target)
