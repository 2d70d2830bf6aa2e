"""The exact mode against the definition: brute force over sets, IoU at one-hot predictions, subgradients."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from lovasz import lovasz_softmax
from lovasz._math import jaccard
from tests.core.cases import lovasz_hinge, lovasz_sigmoid
from tests.core.oracle import best_order, choquet, jaccard_loss_of_set, lovasz_by_definition, one_hot_iou

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def exact(value, expected):
    assert_close(value, torch.as_tensor(expected, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("P", range(1, 9))
@pytest.mark.parametrize("form", ["sigmoid", "hinge"])
def test_binary_equals_the_definition_for_every_number_of_foreground_pixels(form, P):
    loss = {"sigmoid": lovasz_sigmoid, "hinge": lovasz_hinge}[form]
    generator = torch.Generator().manual_seed(P)
    for G in range(P + 1):
        for _ in range(5):
            logits = 2 * torch.randn(P, dtype=torch.float64, generator=generator)
            target = (torch.randperm(P, generator=generator) < G).long()
            expected = lovasz_by_definition(logits[None], target[None], form)[0]
            exact(loss(logits, target, bins=None), expected)


@pytest.mark.parametrize("P", range(1, 9))
@pytest.mark.parametrize("C", [1, 2, 3, 5])
def test_softmax_equals_the_definition_with_classes_absent_and_pixels_void(P, C):
    generator = torch.Generator().manual_seed(10 * P + C)
    for _ in range(6):
        logits = 2 * torch.randn(P, C, dtype=torch.float64, generator=generator)
        target = torch.randint(-1, C, (P,), generator=generator)
        per_class = lovasz_by_definition(logits.t(), target, "softmax")
        present = [per_class[c] for c in range(C) if (target == c).any()]
        mean = sum(present) / len(present) if present else 0.0
        exact(lovasz_softmax(logits, target, ignore_index=-1, bins=None), mean)
        every = sum(per_class) / C
        exact(lovasz_softmax(logits, target, ignore_index=-1, bins=None, classes="all"), every)


@pytest.mark.parametrize("P", range(1, 7))
def test_the_choquet_integral_is_the_lovasz_extension(P):
    """The largest value over all orders of the pixels: the extension of a submodular function."""
    generator = torch.Generator().manual_seed(P)
    for G in range(P + 1):
        errors = torch.rand(P, dtype=torch.float64, generator=generator).tolist()
        foreground = frozenset(range(G))
        exact(torch.tensor(choquet(errors, foreground), dtype=torch.float64), best_order(errors, foreground))


@pytest.mark.parametrize("G", range(5))
def test_the_increments_are_those_of_the_set_function(G):
    B = 4
    for k, j in itertools.product(range(G + 1), range(B + 1)):
        foreground = frozenset(range(G))
        wrong = frozenset(range(k)) | frozenset(range(G, G + j))
        here = jaccard_loss_of_set(wrong, foreground)
        w_f, w_b = jaccard.increments(torch.tensor(k), torch.tensor(j), torch.tensor(G))
        exact(jaccard.set_loss(torch.tensor(k), torch.tensor(j), torch.tensor(G)), here)
        exact(w_b, jaccard_loss_of_set(wrong | {G + j}, foreground) - here)
        if k < G:
            exact(w_f, jaccard_loss_of_set(wrong | {k}, foreground) - here)


@pytest.mark.parametrize("num_classes", [2, 3, 7, 21, 150])
def test_at_one_hot_predictions_the_loss_is_one_minus_iou(num_classes):
    generator = torch.Generator().manual_seed(num_classes)
    shape = (2, 12, 12)
    preds = torch.randint(0, num_classes, shape, generator=generator)
    target = torch.randint(0, num_classes, shape, generator=generator)
    logits = 1e4 * torch.nn.functional.one_hot(preds, num_classes).movedim(-1, 1).double()
    per_class = lovasz_softmax(logits, target, bins=None, reduction="none")
    for c in range(num_classes):
        if (target == c).any():
            exact(per_class[c], 1 - one_hot_iou(preds, target, c))
        else:
            assert per_class[c].isnan()


@pytest.mark.parametrize("form", ["sigmoid", "hinge"])
def test_without_foreground_the_loss_is_the_largest_error(form):
    logits = torch.tensor([-3.0, 0.5, 1.5, -0.2], dtype=torch.float64, requires_grad=True)
    loss = {"sigmoid": lovasz_sigmoid, "hinge": lovasz_hinge}[form]
    value = loss(logits, torch.zeros(4, dtype=torch.long), bins=None)
    exact(value.detach(), 1.5 + 1 if form == "hinge" else torch.sigmoid(torch.tensor(1.5).double()))
    value.backward()
    assert logits.grad is not None
    assert_close(logits.grad != 0, torch.tensor([False, False, True, False]))


@pytest.mark.parametrize("loss", [lovasz_softmax, lovasz_sigmoid, lovasz_hinge])
def test_gradcheck_in_float64(loss):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 2, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    shape = (2, 2, 4) if loss is lovasz_softmax else (2, 3, 2, 4)
    target = torch.randint(0, 2, shape, generator=generator)
    for per_image in (False, True):
        assert torch.autograd.gradcheck(lambda x, p=per_image: loss(x, target, bins=None, per_image=p), logits)


def test_a_tie_gives_a_subgradient():
    """At all errors equal, any valid gradient g has loss(y) >= loss(x) + <g, y - x> in the errors."""
    target = torch.tensor([1, 1, 0, 0, 0, 0])
    x = torch.full((6,), 0.25, dtype=torch.float64, requires_grad=True)
    for bins in (None, 64, 16384):
        # In the hinge the error is affine in the logits, so the loss is convex in them around x.
        (g,) = torch.autograd.grad(lovasz_hinge(x, target, bins=bins), x)
        here = lovasz_hinge(x.detach(), target, bins=None)
        for seed in range(50):
            d = 0.3 * torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
            there = lovasz_hinge(x.detach() + d, target, bins=None)
            assert there >= here + (g * d).sum() - 1e-12


def test_second_derivatives_exist_when_sorting():
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 3, (2, 5))
    assert torch.autograd.gradgradcheck(lambda x: lovasz_softmax(x, target, bins=None), x)
