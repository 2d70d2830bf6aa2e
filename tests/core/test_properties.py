"""What must hold for any input (Hypothesis): permutations, chunks, duplicates, convexity, range."""

from itertools import pairwise

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

import lovasz
from lovasz import Counts, lovasz_softmax
from lovasz._math import jaccard
from tests.core.cases import count, lovasz_hinge, lovasz_sigmoid
from tests.core.processes import run

MODES = (None, 64, 4096)
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=40, deadline=None)


def draw(seed, P, C, ignored=0.1, scale=2.0):
    """Logits (P, C) in float64 and a target with some void pixels, label -1."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(P, C, dtype=torch.float64, generator=generator)
    target = torch.randint(0, C, (P,), generator=generator)
    target[torch.rand(P, generator=generator) < ignored] = -1
    return logits, target, generator


@few
@given(seed=seeds, P=st.integers(1, 60), C=st.integers(1, 6), bins=st.sampled_from(MODES))
def test_the_order_of_pixels_does_not_matter(seed, P, C, bins):
    logits, target, generator = draw(seed, P, C)
    order = torch.randperm(P, generator=generator)
    a = lovasz_softmax(logits, target, ignore_index=-1, bins=bins)
    b = lovasz_softmax(logits[order], target[order], ignore_index=-1, bins=bins)
    assert_close(b, a, rtol=1e-12, atol=1e-12)


@few
@given(seed=seeds, P=st.integers(1, 60), C=st.integers(1, 6), bins=st.sampled_from(MODES))
def test_the_names_of_classes_do_not_matter(seed, P, C, bins):
    logits, target, generator = draw(seed, P, C)
    order = torch.randperm(C, generator=generator)
    renamed = torch.where(target < 0, target, order.argsort()[target.clamp(min=0)])
    a = lovasz_softmax(logits, target, ignore_index=-1, bins=bins, reduction="none")
    b = lovasz_softmax(logits[:, order], renamed, ignore_index=-1, bins=bins, reduction="none")
    assert_close(b, a[order], rtol=1e-9, atol=1e-9, equal_nan=True)


@few
@given(seed=seeds, P=st.integers(1, 40), C=st.integers(1, 5), bins=st.sampled_from(MODES))
def test_every_pixel_twice_is_the_same_loss(seed, P, C, bins):
    """J depends on ratios of numbers of pixels alone."""
    logits, target, _ = draw(seed, P, C)
    a = lovasz_softmax(logits, target, ignore_index=-1, bins=bins)
    b = lovasz_softmax(logits.repeat(2, 1), target.repeat(2), ignore_index=-1, bins=bins)
    assert_close(b, a, rtol=1e-12, atol=1e-12)


@few
@given(seed=seeds, P=st.integers(1, 60), C=st.integers(1, 6), bins=st.sampled_from(MODES),
       classes=st.sampled_from(["present", "all"]))  # fmt: skip
def test_the_loss_of_probabilities_lies_in_0_to_1(seed, P, C, bins, classes):
    logits, target, _ = draw(seed, P, C, scale=10.0)
    per_class = lovasz_softmax(logits, target, ignore_index=-1, bins=bins, classes=classes, reduction="none")
    kept = per_class[~per_class.isnan()]
    assert ((kept >= 0) & (kept <= 1 + 1e-12)).all()
    binary = lovasz_sigmoid(logits, (target[:, None] == torch.arange(C)).long(), bins=bins)
    assert 0 <= binary <= 1 + 1e-12


@few
@given(seed=seeds, P=st.integers(2, 40), t=st.floats(0, 1))
def test_the_hinge_is_convex_in_its_logits(seed, P, t):
    generator = torch.Generator().manual_seed(seed)
    x, y = (2 * torch.randn(P, dtype=torch.float64, generator=generator) for _ in range(2))
    target = torch.randint(0, 2, (P,), generator=generator)
    a, b, c = (lovasz_hinge(z, target, bins=None) for z in (x, y, t * x + (1 - t) * y))
    assert c <= t * a + (1 - t) * b + 1e-12


@few
@given(seed=seeds, P=st.integers(2, 40), t=st.floats(0, 1))
def test_the_loss_is_convex_in_the_probabilities(seed, P, t):
    generator = torch.Generator().manual_seed(seed)
    p, q = (torch.rand(P, 3, dtype=torch.float64, generator=generator) + 1e-9 for _ in range(2))
    p, q = p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True)
    target = torch.randint(0, 3, (P,), generator=generator)
    a, b, c = (lovasz_softmax(z.log(), target, bins=None) for z in (p, q, t * p + (1 - t) * q))
    assert c <= t * a + (1 - t) * b + 1e-9


@few
@given(seed=seeds, P=st.integers(1, 60), C=st.integers(1, 5), cuts=st.lists(st.integers(0, 60), max_size=4),
       form=st.sampled_from(["softmax", "sigmoid", "hinge"]))  # fmt: skip
def test_chunks_add_up_to_the_whole(seed, P, C, cuts, form):
    logits, target, _ = draw(seed, P, C)
    if form != "softmax":
        target = torch.where(target[:, None] < 0, -1, (target[:, None] == torch.arange(C)).long())
    whole = count(logits, target, form=form, ignore_index=-1, bins=256)
    ends = sorted({0, P, *(min(c, P) for c in cuts)})
    parts = [count(logits[a:b], target[a:b], form=form, ignore_index=-1, bins=256) for a, b in pairwise(ends)]
    total = sum(parts)
    assert_close(total.table, whole.table, rtol=0, atol=0)
    assert_close(total.loss(), whole.loss(), rtol=0, atol=0)
    assert_close(total.weights(), whole.weights(), rtol=0, atol=0)


@few
@given(seed=seeds, P=st.integers(1, 80), C=st.integers(1, 5), bins=st.sampled_from([16, 100, 4096]),
       form=st.sampled_from(["softmax", "sigmoid", "hinge"]), scale=st.sampled_from([0.1, 2.0, 20.0]))  # fmt: skip
def test_the_bound_is_never_exceeded(seed, P, C, bins, form, scale):
    logits, target, _ = draw(seed, P, C, scale=scale)
    if form != "softmax":
        target = torch.where(target[:, None] < 0, -1, (target[:, None] == torch.arange(C)).long())
    loss = {"softmax": lovasz_softmax, "sigmoid": lovasz_sigmoid, "hinge": lovasz_hinge}[form]
    single = logits.float()
    counts = count(single, target, form=form, ignore_index=-1, bins=bins)
    exact = loss(single.double(), target, ignore_index=-1, bins=None)
    counted = loss(single, target, ignore_index=-1, bins=bins)
    assert abs(counted.double() - exact) <= counts.bound().double() + 6e-8 * exact


@few
@given(seed=seeds, P=st.integers(1, 60), C=st.integers(2, 5), bins=st.sampled_from([16, 300]))
def test_the_weights_are_those_of_a_convex_combination(seed, P, C, bins):
    """Over all pixels of a class that has any, they are >= 0 and sum to J(everything) = 1."""
    logits, target, _ = draw(seed, P, C)
    counts = count(logits, target, ignore_index=-1, bins=bins)
    n = counts.table[..., :-1]
    weights = counts.weights()
    assert (weights >= 0).all()
    total = (weights * n).sum((-2, -1))
    valid, _ = counts.pixels()
    assert_close(total, (valid > 0).double(), rtol=1e-9, atol=1e-9)


def test_the_area_under_the_curve_is_the_loss():
    logits, target, _ = draw(0, 500, 4)
    counts = count(logits, target, ignore_index=-1, bins=4096)
    thresholds, curve = counts.curve()
    assert curve.shape == (1, 4, 4096)
    assert (curve.diff() <= 0).all()
    area = torch.trapezoid(curve, thresholds)[0]
    assert_close(area, counts.loss(reduction="none").double(), rtol=1e-3, atol=1e-3)


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that an operation made, beside views of a table."""

    def __init__(self, table):
        super().__init__()
        self.table, self.found = table.untyped_storage().data_ptr(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() != self.table:
                self.found = max(self.found, tensor.nbytes)
        return result


@pytest.mark.parametrize("per_image", [False, True])
def test_a_table_of_many_classes_is_worked_through_in_parts(per_image):
    """What is made on the way to a loss is smaller than the table, and so is all beside the weights for them."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 600, 5, 5, generator=generator)
    target = torch.randint(0, 600, (2, 5, 5), generator=generator)
    target[:, 0, 0] = 7
    counts = count(logits, target, bins=4096, per_image=per_image)
    row = counts.table[:, 7:8]
    for method in ("loss", "bound", "weights", "curve"):
        with Largest(counts.table) as largest:
            found = getattr(counts, method)(**({"reduction": "none"} if method in ("loss", "bound") else {}))
        alone = getattr(Counts(row, "softmax", per_image), method)(
            **({"reduction": "none", "classes": [0]} if method in ("loss", "bound") else {})
        )
        if method == "curve":
            found, alone = found[1], alone[1]
        if method in ("loss", "bound"):
            assert largest.found < counts.table.nbytes / 2
            one = found[..., 7:8]
            if method == "bound":  # the softmax was taken over all
                alone = jaccard.bounds(row, "softmax", num_classes=600).to(one.dtype).view_as(one)
            assert_close(one, alone, rtol=0, atol=0)
        else:
            assert largest.found <= counts.table.nbytes
            assert_close(found[:, 7:8], alone, rtol=0, atol=0)
    assert Counts(counts.table[:0], "softmax", True).weights().shape == (0, 600, 2, 4096)


def test_counts_of_different_kinds_do_not_add():
    logits, target, _ = draw(0, 20, 3)
    a = count(logits, target, ignore_index=-1, bins=64)
    with pytest.raises(ValueError, match="one kind"):
        a + count(logits, target, ignore_index=-1, bins=32)
    with pytest.raises(ValueError, match="hinge"):
        a + count(logits, (target[:, None] == torch.arange(3)).long(), form="hinge", bins=64)
    with pytest.raises(ValueError, match="per image"):
        a + count(logits, target, ignore_index=-1, bins=64, per_image=True)
    for wrong in (1, "0", None):
        with pytest.raises(TypeError):
            a + wrong
        with pytest.raises(TypeError):
            wrong + a


def test_counts_per_image_add_image_by_image():
    logits, target = torch.randn(5, 3, 8, 8), torch.randint(0, 3, (5, 8, 8))
    whole = count(logits, target, bins=64, per_image=True)
    parts = [count(logits[p], target[p], bins=64, per_image=True) for p in (slice(2), slice(2, 5))]
    assert_close((parts[0] + parts[1]).table, whole.table, rtol=0, atol=0)
    assert_close((parts[0] + parts[1]).loss(), lovasz_softmax(logits, target, bins=64, per_image=True))
    with pytest.raises(ValueError, match="per_image=False"):
        whole.all_reduce()


def table_of_both(rank, world):
    logits, target, _ = draw(5, 50, 3)
    part = slice(0, 13) if rank == 0 else slice(13, 50)
    return lovasz.count(logits[part], target[part], ignore_index=-1, bins=128).all_reduce().table.tolist()


def test_processes_add_up_to_the_whole(tmp_path):
    tables = run(table_of_both, 2, tmp_path)
    logits, target, _ = draw(5, 50, 3)
    whole = lovasz.count(logits, target, ignore_index=-1, bins=128).table.tolist()
    assert tables[0] == whole
    assert tables[1] == whole
