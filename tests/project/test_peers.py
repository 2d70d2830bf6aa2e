"""The same numbers as kornia, torchmetrics and the published formulation, where they are right."""

import kornia
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from torchmetrics.classification import BinaryJaccardIndex, MulticlassJaccardIndex, MultilabelJaccardIndex

import lovasz
from benchmarks import published
from lovasz import berman
from lovasz.metrics import JaccardIndex
from tests.core.cases import random

#: "auto" sorts the small maps and counts the large ones, more than its table has bins.
MODES = {
    "sorted": (None, 24, 1e-6, 1e-5),
    "auto, sorted": ("auto", 24, 1e-6, 1e-5),
    "auto, counted": ("auto", 190, 2e-5, 5e-3),
}
every_mode = pytest.mark.parametrize(("bins", "side", "rtol", "gradient_rtol"), MODES.values(), ids=MODES)


def value_and_gradient(loss, logits):
    """The gradient in float64."""
    x = logits.detach().requires_grad_()
    value = loss(x)
    (grad,) = torch.autograd.grad(value, x)
    return value.detach(), grad.double()


def assert_same(ours, theirs, logits, rtol, gradient_rtol):
    """Values, and gradients by the norm of their difference; theirs in float64, to keep their digits."""
    value, grad = value_and_gradient(ours, logits)
    other, other_grad = value_and_gradient(theirs, logits.double())
    assert_close(value, other.to(value.dtype), rtol=rtol, atol=1e-6)
    assert other_grad.norm() > 0
    assert_close((grad - other_grad).norm() / other_grad.norm(), torch.tensor(0.0).double(), rtol=0,
                 atol=gradient_rtol)  # fmt: skip


def shape(C, side):
    return (2, C, side, side - 3)


# ---- kornia ----


def test_kornia_is_the_version_that_was_repaired():
    """Releases before 0.9.0 compute another function."""
    assert kornia.__version__ == "0.9.0"


@every_mode
@pytest.mark.parametrize("C", [2, 19])
def test_kornia_softmax_is_every_class_image_by_image(bins, side, rtol, gradient_rtol, C):
    logits, target = random("softmax", shape(C, side), C)
    if side < 100:  # a class without pixels takes part in both, with its one largest error if sorted
        target = target.where(target != C - 1, 0)

    def ours(x):
        return lovasz.lovasz_softmax(x, target, classes="all", per_image=True, bins=bins)

    def theirs(x):
        return kornia.losses.lovasz_softmax_loss(x, target)

    assert_same(ours, theirs, logits, rtol, gradient_rtol)


@every_mode
def test_kornia_hinge_is_image_by_image(bins, side, rtol, gradient_rtol):
    side = 2 * side if side > 100 else side  # the hinge has four times as many bins
    logits, target = random("hinge", shape(1, side), 1)

    def ours(x):
        return lovasz.lovasz_hinge(x, target, per_image=True, bins=bins)

    def theirs(x):
        return kornia.losses.lovasz_hinge_loss(x, target[:, 0])

    assert_same(ours, theirs, logits, rtol, gradient_rtol)


@every_mode
def test_kornia_modules(bins, side, rtol, gradient_rtol):
    logits, target = random("softmax", shape(4, side), 2)
    ours = lovasz.LovaszSoftmaxLoss(classes="all", per_image=True, bins=bins)
    theirs = kornia.losses.LovaszSoftmaxLoss()
    assert_same(lambda x: ours(x, target), lambda x: theirs(x, target), logits, rtol, gradient_rtol)


# ---- the published formulation ----


@every_mode
@pytest.mark.parametrize("C", [2, 19])
def test_published_softmax(bins, side, rtol, gradient_rtol, C):
    logits, target = random("softmax", shape(C, side), C + 1)
    target = target.where(target != C - 1, 0)  # a class without pixels takes no part
    target[:, 1::4] = 255

    def ours(x):
        return lovasz.lovasz_softmax(x, target, ignore_index=255, bins=bins)

    def theirs(x):
        return published.lovasz_softmax(x, target, ignore_index=255)

    assert_same(ours, theirs, logits, rtol, gradient_rtol)
    probas = berman.lovasz_softmax(logits.softmax(1), target, ignore=255)
    assert_close(probas, theirs(logits), rtol=2e-5, atol=1e-6)


@every_mode
@pytest.mark.parametrize("form", ["sigmoid", "hinge"])
def test_published_binary_losses(bins, side, rtol, gradient_rtol, form):
    side = 2 * side if form == "hinge" and side > 100 else side
    logits, target = random(form, shape(1, side), 3)
    ours, theirs = (getattr(module, f"lovasz_{form}") for module in (lovasz, published))
    assert_same(lambda x: ours(x, target, bins=bins), lambda x: theirs(x, target), logits, rtol, gradient_rtol)


@every_mode
def test_published_softmax_plus_cross_entropy(bins, side, rtol, gradient_rtol):
    logits, target = random("softmax", shape(5, side), 4)

    def ours(x):
        return lovasz.lovasz_cross_entropy(x, target, lovasz_weight=0.7, ce_weight=0.3, bins=bins)

    def theirs(x):
        return 0.3 * F.cross_entropy(x, target) + 0.7 * published.lovasz_softmax(x, target)

    assert_same(ours, theirs, logits, rtol, gradient_rtol)


# ---- torchmetrics ----


def predictions(C, seed):
    """Predictions right at most pixels, labels of which the last class is absent; both hold the others."""
    logits, target = random("softmax", (3, C, 11, 13), seed)
    preds = logits[:, : C - 1].argmax(1)
    return preds, target.where(target != C - 1, 0)


@pytest.mark.parametrize("bins", ["auto", None, 16, 1000])
@pytest.mark.parametrize("C", [2, 3, 8, 21])
@pytest.mark.parametrize("ignore_index", [None, 255])
def test_one_hot_logits_lose_one_minus_the_iou_of_torchmetrics(C, ignore_index, bins):
    preds, target = predictions(C, C)
    if ignore_index is not None:
        target[:, ::3] = ignore_index
    logits = 200.0 * F.one_hot(preds, C).movedim(-1, 1) - 100.0
    metric = MulticlassJaccardIndex(C, average="none", ignore_index=ignore_index)
    iou = metric(preds, target)
    arguments = {"ignore_index": -100 if ignore_index is None else ignore_index, "bins": bins}
    per_class = lovasz.lovasz_softmax(logits, target, reduction="none", **arguments)
    assert_close(per_class[:-1], 1 - iou[:-1])
    assert per_class[-1].isnan()
    assert_close(lovasz.lovasz_softmax(logits, target, **arguments), 1 - iou[:-1].mean())


@pytest.mark.parametrize("bins", ["auto", None, 1000])
def test_certain_sigmoids_lose_one_minus_the_iou_of_torchmetrics(bins):
    logits, target = random("sigmoid", (3, 4, 11, 13), 5)
    sure = 200.0 * (logits > 0) - 100.0
    metric = MultilabelJaccardIndex(4, average="none")
    iou = metric((logits > 0).long(), target)
    assert_close(lovasz.lovasz_sigmoid(sure, target, channels=True, reduction="none", bins=bins), 1 - iou)
    binary = BinaryJaccardIndex()((logits[:, 0] > 0).long(), target[:, 0])
    assert_close(lovasz.lovasz_sigmoid(sure[:, 0], target[:, 0], channels=False, bins=bins), 1 - binary)


@pytest.mark.parametrize("bins", ["auto", None, 1000])
def test_scores_at_the_margin_lose_twice_one_minus_the_iou_in_the_hinge(bins):
    logits, target = random("hinge", (3, 11, 13, 1), 6)
    margin = torch.where(logits > 0, 1.0, -1.0)
    iou = BinaryJaccardIndex()((logits > 0).long(), target)
    assert_close(lovasz.lovasz_hinge(margin[..., 0], target[..., 0], channels=False, bins=bins), 2 * (1 - iou))


@pytest.mark.parametrize("ignore_index", [None, 255, 0])
def test_jaccard_index_is_that_of_torchmetrics(ignore_index):
    preds, target = predictions(6, 7)
    if ignore_index == 255:
        target[:, ::3] = ignore_index
    theirs = MulticlassJaccardIndex(6, average="none", ignore_index=ignore_index)
    ours = JaccardIndex(6, average="none", ignore_index=[] if ignore_index is None else ignore_index)
    for p, t in zip(preds, target, strict=True):
        theirs.update(p, t)
        ours.update(p, t)
    here = [c for c in range(5) if c != ignore_index]  # an ignored class and an absent one are theirs to define
    assert_close(ours.compute()[here], theirs.compute()[here])
    mean = MulticlassJaccardIndex(6, average="macro", ignore_index=ignore_index)
    if ignore_index != 0:
        assert_close(JaccardIndex(6, ignore_index=ours.ignore_index)(preds, target), mean(preds, target))
    of_berman = berman.iou(preds, target, 5, ignore=ignore_index)
    assert_close(torch.tensor(of_berman).float() / 100, theirs.compute()[here])
