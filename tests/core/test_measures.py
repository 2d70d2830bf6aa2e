"""The measures other than the Jaccard index: their sets, extensions and kernels, and which are submodular."""

import copy
import functools
import itertools
import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import lovasz
from lovasz import FBeta, Tversky, measures
from lovasz._inputs import arguments
from lovasz._kernels import plain
from lovasz._math import binning, jaccard
from tests.core import cases
from tests.core.cases import FORMS, LOSSES, random
from tests.core.kernels import KERNELS, OTHERS, weigh_with
from tests.core.oracle import jaccard_loss_of_set, lovasz_by_definition, tversky_loss_of_set

MEASURES = [
    "jaccard",
    "dice",
    Tversky(0.3, 0.7),
    Tversky(0.7, 0.05),
    Tversky(2.0, 1.0),
    Tversky(0.5, 3.0),
    FBeta(2.0),
]
SIZES = [(G, others) for G in range(5) for others in range(5) if G + others]


def weights_of(measure):
    index = arguments.parse_measure(measure)
    return index.alpha, index.beta


def sets(number):
    return [frozenset(s) for size in range(number + 1) for s in itertools.combinations(range(number), size)]


def set_losses(G, others, alpha, beta):
    foreground = frozenset(range(G))
    return {s: tversky_loss_of_set(s, foreground, alpha, beta) for s in sets(G + others)}


def is_submodular(losses, number):
    """f(A + x) - f(A) >= f(A + y + x) - f(A + y) for all sets A and pixels x, y outside of it."""
    return all(
        losses[a | {x}] - losses[a] >= losses[a | {y, x}] - losses[a | {y}] - 1e-12
        for a in losses
        for x, y in itertools.permutations(set(range(number)) - a, 2)
    )


@pytest.mark.parametrize("measure", MEASURES, ids=str)
def test_the_closed_forms_are_the_differences_of_the_definition(measure):
    index = arguments.parse_measure(measure)
    for G, others in SIZES:
        losses = set_losses(G, others, index.alpha, index.beta)
        for wrong, here in losses.items():
            k, j = len([i for i in wrong if i < G]), len([i for i in wrong if i >= G])
            numbers = [torch.tensor(n) for n in (k, j, G)]
            assert_close(jaccard.set_loss(*numbers, index).item(), here, rtol=1e-12, atol=1e-15)
            w_f, w_b = (w.item() for w in jaccard.increments(*numbers, index))
            if k < G:
                more = losses[wrong | {next(i for i in range(G) if i not in wrong)}]
                assert_close(w_f, more - here, rtol=1e-12, atol=1e-15)
            if j < others:
                more = losses[wrong | {next(i for i in range(G, G + others) if i not in wrong)}]
                assert_close(w_b, more - here, rtol=1e-12, atol=1e-15)


def test_the_family_holds_the_jaccard_index_dice_and_f_beta():
    for G, others in SIZES:
        foreground = frozenset(range(G))
        for s in sets(G + others):
            assert_close(tversky_loss_of_set(s, foreground, 1, 1), jaccard_loss_of_set(s, foreground))
            missed, false = len(s & foreground), len(s - foreground)
            hits = G - missed
            for beta in (0.5, 1.0, 2.0):
                both = (1 + beta**2) * hits + beta**2 * missed + false
                expected = 1 - (1 + beta**2) * hits / both if both else 0.0
                found = tversky_loss_of_set(s, foreground, *weights_of(FBeta(beta)))
                assert_close(found, expected, rtol=1e-12, atol=1e-15)
    assert FBeta(1.0).tversky == Tversky(0.5, 0.5) == measures.NAMED["dice"]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("beta", [0.05, 0.5, 0.9, 1.0, 1.1, 4.0])
def test_submodular_from_beta_1_on(alpha, beta):
    """By brute force over all sets of at most 4 foreground and 4 background pixels."""
    found = all(is_submodular(set_losses(G, others, alpha, beta), G + others) for G, others in SIZES)
    assert found == (beta >= 1) == Tversky(alpha, beta).submodular


def test_no_f_score_is_submodular():
    for beta in (0.1, 0.5, 1.0, 2.0, 10.0):
        losses = set_losses(3, 3, *weights_of(FBeta(beta)))
        assert is_submodular(losses, 6) == FBeta(beta).submodular == FBeta(beta).tversky.submodular
    assert measures.JACCARD.submodular
    assert not measures.NAMED["dice"].submodular


def extension(errors, G, measure):
    """The loss of errors as probabilities: of the first G pixels 1 - p, of the others p."""
    errors = torch.tensor(errors, dtype=torch.float64)
    foreground = torch.arange(len(errors)) < G
    logits = torch.where(foreground, 1 - errors, errors).logit()[None, None]
    return lovasz.lovasz_sigmoid(logits, foreground[None, None].long(), bins=None, measure=measure).item()


@pytest.mark.parametrize("measure", MEASURES, ids=str)
def test_convex_where_it_is_submodular(measure):
    """At the middle of two points at most their mean; for each of the others it is more somewhere."""
    generator, G, worst = torch.Generator().manual_seed(0), 3, -1.0
    for _ in range(200):
        a, b = torch.rand(2, 6, generator=generator).mul(0.98).add(0.01).double()
        middle = extension(((a + b) / 2).tolist(), G, measure)
        worst = max(worst, middle - (extension(a.tolist(), G, measure) + extension(b.tolist(), G, measure)) / 2)
    alpha, beta = weights_of(measure)
    assert (worst <= 1e-12) == Tversky(alpha, beta).submodular


@pytest.mark.parametrize("measure", MEASURES, ids=str)
@pytest.mark.parametrize("bins", [None, 64])
def test_one_hot_predictions_give_1_minus_the_measure(measure, bins):
    alpha, beta = weights_of(measure)
    for G, others in SIZES:
        foreground = frozenset(range(G))
        target = torch.tensor([int(i in foreground) for i in range(G + others)])
        for wrong in sets(G + others):
            predicted = foreground ^ wrong
            logits = torch.tensor([60.0 if i in predicted else -60.0 for i in range(G + others)])
            found = lovasz.lovasz_sigmoid(logits, target, bins=bins, measure=measure)
            expected = tversky_loss_of_set(wrong, foreground, alpha, beta)
            assert_close(found.item(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("measure", MEASURES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_sorting_is_the_integral_over_thresholds(form, measure):
    """The value against brute force over the thresholds, the gradient against its differences."""
    alpha, beta = weights_of(measure)
    logits, target = random(form, (1, 2, 7, 1), 3)
    x = logits.double().requires_grad_()
    losses = LOSSES[form](x, target, bins=None, classes="all", reduction="none", measure=measure)
    set_loss = functools.partial(tversky_loss_of_set, alpha=alpha, beta=beta)
    expected = lovasz_by_definition(logits[0, ..., 0], target[0, ..., 0], form, set_loss)
    assert_close(losses, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-14)
    assert torch.autograd.gradcheck(lambda x: LOSSES[form](x, target, bins=None, classes="all", measure=measure), x)


@pytest.mark.parametrize("measure", MEASURES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_counting_is_within_its_bound_and_near(form, measure):
    logits, target = random(form, (3, 4, 60, 50), 5)
    x, y = logits.clone().requires_grad_(), logits.double().requires_grad_()
    counted = LOSSES[form](x, target, measure=measure, bins=8192)
    exact = LOSSES[form](y, target, measure=measure, bins=None)
    counts = cases.count(logits, target, form=form, bins=8192)
    assert_close(counts.loss(measure=measure), counted.detach())
    assert abs(counted.detach().double() - exact.detach()) <= counts.bound(measure=measure).double() + 6e-8
    counted.backward()
    exact.backward()
    assert (x.grad - y.grad).norm() <= 5e-3 * y.grad.norm()
    thresholds, curve = counts.curve(measure)
    steps = thresholds.diff(append=thresholds[-1:])
    area = torch.where(steps.isfinite(), curve * steps, 0.0).sum(-1)  # beyond the last threshold there is nothing
    assert_close(area[0].mean().float(), counted.detach(), rtol=2e-3, atol=1e-4)


def some_table(bins, generator):
    """A table with a class without foreground, one with nothing, one with a NaN; the fifth is to take no part."""
    table = torch.randint(0, 9, (2, 6, 2, bins + 1), generator=generator)
    table *= torch.rand(table.shape, generator=generator) < 0.3
    table[..., -1] = 0
    table[0, 1, 1] = 0
    table[0, 2] = 0
    table[0, 3, 0, -1] = 1
    coefficients = torch.rand(2, 6, dtype=torch.float64, generator=generator)
    coefficients[:, 4] = 0
    return table, coefficients


def by_fractions(row, points, index):
    """The loss of one class and the weights of the bins that hold a pixel, layer by layer, in exact numbers."""
    a, b, G = Fraction(index.alpha), Fraction(index.beta), sum(row[1])

    def set_loss(k, j):
        return (a * j + b * k) / (G - k + a * j + b * k) if k + j else Fraction(0)

    loss, weights, k, j = Fraction(0), {}, 0, 0
    for i in reversed(range(len(points))):
        n_b, n_f = row[0][i], row[1][i]
        both = set_loss(k + n_f, j + n_b)
        loss += Fraction(points[i]) * (both - set_loss(k, j))
        if n_b:
            weights[0, i] = (set_loss(k, j + n_b) - set_loss(k, j) + both - set_loss(k + n_f, j)) / (2 * n_b)
        if n_f:
            weights[1, i] = (set_loss(k + n_f, j) - set_loss(k, j) + both - set_loss(k, j + n_b)) / (2 * n_f)
        k, j = k + n_f, j + n_b
    return loss, weights


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)
@pytest.mark.parametrize("measure", MEASURES, ids=str)
def test_a_kernel_weighs_as_the_mathematics(kernel, measure):
    """Against fractions: the loss is Σ error · growth of J, a weight the mean growth over both orders of a bin."""
    index = arguments.parse_measure(measure)
    for form in ("softmax", "hinge"):
        table, coefficients = some_table(16, torch.Generator().manual_seed(0))
        points = binning.grid(16, form).tolist()
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
            losses, found = weigh_with(kernel, table, form, coefficients, dtype, index)
            assert found.dtype == dtype
            for n, c in itertools.product(range(2), range(6)):
                if (n, c) == (0, 3):
                    assert losses[n, c].isnan()
                    assert found[n, c].isnan().all()
                    continue
                factor = coefficients[n, c].item()
                loss, weights = by_fractions(table[n, c].tolist(), points, index)
                assert_close(losses[n, c].item(), factor * float(loss), rtol=1e-12, atol=1e-15)
                assert weights or c == 2
                for (side, i), weight in weights.items():
                    assert_close(found[n, c, side, i].item(), factor * float(weight), rtol=tolerance, atol=1e-15)


@pytest.mark.parametrize("kernel", OTHERS, ids=lambda kernel: kernel.__name__)
@pytest.mark.parametrize("measure", MEASURES, ids=str)
def test_a_kernel_weighs_tables_of_several_blocks_as_plain_pytorch(kernel, measure):
    """The weights of empty bins too; bins that fill no block of a kernel, and those that fill two."""
    index, generator = arguments.parse_measure(measure), torch.Generator().manual_seed(0)
    for bins, form in ((16, "softmax"), (700, "softmax"), (1025, "hinge")):
        table, coefficients = some_table(bins, generator)
        expected = weigh_with(plain, table, form, coefficients, torch.float64, index)
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
            found = weigh_with(kernel, table, form, coefficients, dtype, index)
            for a, b in zip(found, expected, strict=True):
                assert_close(a.double(), b, rtol=tolerance, atol=1e-15, equal_nan=True)


def test_large_counts_do_not_cancel():
    """Beyond 2^24 pixels float32 stops counting: the weights against fractions."""
    G, k, j = 2**40 + 1, 2**40 - 3, 2**41 + 7
    for measure in (*MEASURES, Tversky(1e6, 1e-6), Tversky(1e-6, 1e-6)):
        index = arguments.parse_measure(measure)
        a, b = Fraction(index.alpha), Fraction(index.beta)

        def of(k, j, a=a, b=b):
            return (a * j + b * k) / (G + a * j - (1 - b) * k)

        found = jaccard.increments(torch.tensor(k), torch.tensor(j), torch.tensor(G), index)
        expected = (of(k + 1, j) - of(k, j), of(k, j + 1) - of(k, j))
        for w, exact in zip(found, expected, strict=True):
            assert_close(w.item(), float(exact), rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "hinge", "cross_entropy"])
def test_every_loss_takes_a_measure(name):
    function = getattr(lovasz, f"lovasz_{name}")
    module = getattr(lovasz, "Lovasz" + name.title().replace("_", "") + "Loss")
    logits, target = random("softmax", (2, 1, 9, 9)) if name == "hinge" else random("softmax", (2, 3, 9, 9))
    if name in ("sigmoid", "hinge"):
        logits, target = random(name, tuple(logits.shape))
    channels = {"channels": True} if name == "sigmoid" else {}
    values = {str(m): function(logits, target, bins=64, measure=m, **channels).item() for m in MEASURES}
    assert len(set(values.values())) == len(MEASURES)
    for measure in MEASURES:
        loss = module(bins=64, measure=measure, **channels)
        for one in (loss, copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
            assert one(logits, target).item() == values[str(measure)]
        assert f"measure={measure!r}" in repr(loss)


def test_what_is_no_measure_is_named():
    logits, target = random("softmax", (1, 2, 4))
    with pytest.raises(ValueError, match="measure must be one of 'jaccard', 'dice', got 'iou'"):
        lovasz.lovasz_softmax(logits, target, measure="iou")
    with pytest.raises(TypeError, match=r"lovasz.Tversky or lovasz.FBeta, got 0.5"):
        lovasz.LovaszSoftmaxLoss(measure=0.5)
    for make, said in (
        (lambda: Tversky(0, 1), r"alpha of Tversky must be from 1e-06 to 1e\+06, got 0"),
        (lambda: Tversky(1, float("nan")), r"beta of Tversky must be from 1e-06 to 1e\+06, got nan"),
        (lambda: Tversky(10**400, 1), "alpha of Tversky must be from"),
        (lambda: FBeta(-1), "beta of FBeta must be from 0.001 to 1000, got -1"),
    ):
        with pytest.raises(ValueError, match=said):
            make()
    assert Tversky(np.float32(0.5), np.int64(2)) == Tversky(0.5, 2.0)
    for make in (lambda: Tversky(True, 1), lambda: Tversky("1", 1), lambda: FBeta(None)):
        with pytest.raises(TypeError, match="must be a number"):
            make()
