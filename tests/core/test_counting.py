"""Counting against sorting: every kernel on every case, its tables, its bound, its bits, its accuracy."""

import functools

import pytest
import torch
from torch.testing import assert_close

import lovasz
from benchmarks import accuracy, regimes
from lovasz._inputs import arguments, layouts
from lovasz._inputs.labels import canonical_target, num_labels
from lovasz._kernels import plain
from lovasz._math import binning, jaccard, sorting
from tests.core import cases
from tests.core.cases import CASES, FORMS, LOSSES, name, random
from tests.core.kernels import KERNELS, apply_with, count_with
from tests.core.oracle import gradient


@pytest.fixture(params=KERNELS, ids=lambda kernel: kernel.__name__)
def kernel(request):
    return request.param


def split(case):
    """What goes to `count`, and what goes to its `loss` and `bound`."""
    counting = {k: v for k, v in case.arguments.items() if k in ("ignore_index", "mask", "per_image")}
    return counting, {k: v for k, v in case.arguments.items() if k not in counting}


def canonical(case):
    x, t, m, _ = cases.view(case.logits, case.target, case.arguments.get("mask"), case.form)
    ignore = arguments.parse_ignore_index(case.arguments.get("ignore_index", -100))
    return x, t, m, ignore, case.form


#: Few; a number that no part of the map divides; about the default of the softmax; that of the hinge.
@pytest.mark.parametrize("bins", [16, 333, 8192, 65536])
@pytest.mark.parametrize("case", CASES, ids=name)
def test_the_loss_is_within_its_certified_bound(case, bins):
    exact = LOSSES[case.form](case.logits.double(), case.target, **case.arguments, bins=None)
    counted = LOSSES[case.form](case.logits, case.target, **case.arguments, bins=bins)
    counting, reducing = split(case)
    counts = cases.count(case.logits, case.target, form=case.form, bins=bins, **counting)
    assert_close(counts.loss(**reducing), counted)
    bound = counts.bound(**reducing)
    assert (counted.double() - exact).abs() <= bound.double() + 6e-8 * exact, (counted, exact, bound)


@pytest.mark.parametrize("case", CASES, ids=name)
def test_a_kernel_counts_the_pixels_of_the_definition(kernel, case):
    x, t, m, ignore, form = canonical(case)
    bins, per_image = 128, case.arguments.get("per_image", False)
    table, pixels, _ = count_with(kernel, x, t, m, ignore, form, bins, per_image)
    x, t, m = layouts.flat(x, t, m)
    labels = canonical_target(t, m, ignore, num_labels(form, x.shape[1]))
    errors, foreground, valid = sorting.errors(x.float(), labels, form)
    slots = binning.index(errors, bins, form)
    N, C, _ = x.shape
    expected = torch.zeros(N, C, 2, bins + 1, dtype=torch.int64)
    for n in range(N):
        for c in range(C):
            for side in (0, 1):
                chosen = valid[n, c] & (foreground[n, c] == bool(side))
                expected[n, c, side] = slots[n, c][chosen].bincount(minlength=bins + 1)
    assert_close(table, expected if per_image else expected.sum(0, keepdim=True))
    assert_close(pixels, torch.stack(jaccard.pixels(table)))


@pytest.mark.parametrize("case", CASES, ids=name)
def test_a_kernel_applies_weights_as_autograd_would(kernel, case):
    """The result is the gradient of Σ w(bin, side) · error, for weights that mean nothing."""
    x, t, m, ignore, form = canonical(case)
    bins, per_image = 64, case.arguments.get("per_image", False)
    N, C = x.shape[:2]
    generator = torch.Generator().manual_seed(0)
    rows = N if per_image else 1
    weights = torch.rand(rows, C, 2, bins + 1, dtype=torch.float64, generator=generator)
    found = apply_with(kernel, x, t, m, ignore, form, weights, torch.tensor(0.3))
    assert (found.dtype, found.shape) == (x.dtype, x.shape)
    x, t, m = layouts.flat(x, t, m)
    found = found.flatten(2)

    labels = canonical_target(t, m, ignore, num_labels(form, C))
    xd = x.double().requires_grad_()
    errors, foreground, valid = sorting.errors(xd, labels, form)
    slots = binning.index(sorting.errors(x.float(), labels, form)[0], bins, form).long()
    image = torch.arange(N)[:, None, None] if per_image else torch.zeros(1, 1, 1, dtype=torch.long)
    w = weights[image, torch.arange(C)[:, None], foreground.long(), slots]
    expected = 0.3 * gradient((errors * w * valid).sum(), xd)
    # Float32 softmax and sigmoid against float64: a few ulp of the largest term.
    assert_close(found.double(), expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_agrees_with_sorting_where_nothing_ties(form):
    logits, target = random(form, (2, 4, 40, 40), 7)
    exact, counted = logits.double().requires_grad_(), logits.clone().requires_grad_()
    expected = gradient(LOSSES[form](exact, target, bins=None), exact)
    found = gradient(LOSSES[form](counted, target, bins=65536), counted)
    assert (found - expected).norm() <= 2e-3 * expected.norm()


@pytest.mark.parametrize("form", FORMS)
def test_sorting_in_float32_agrees_with_float64(form):
    logits, target = random(form, (2, 4, 40, 40), 8)
    exact, single = logits.double().requires_grad_(), logits.clone().requires_grad_()
    a, b = LOSSES[form](exact, target, bins=None), LOSSES[form](single, target, bins=None)
    assert_close(b.double(), a, rtol=1e-6, atol=1e-7)
    g, h = gradient(a, exact), gradient(b, single)
    assert (g - h).norm() <= 1e-4 * g.norm()


@pytest.mark.parametrize("bins", [64, 4096, 16384])
@pytest.mark.parametrize("num_classes", [2, 19])
def test_one_hot_predictions_lose_nothing_to_the_bins(num_classes, bins):
    generator = torch.Generator().manual_seed(bins)
    preds = torch.randint(0, num_classes, (2, 16, 16), generator=generator)
    target = torch.randint(0, num_classes, (2, 16, 16), generator=generator)
    logits = 200.0 * torch.nn.functional.one_hot(preds, num_classes).movedim(-1, 1)
    exact = lovasz.lovasz_softmax(logits.double(), target, bins=None)
    assert_close(lovasz.lovasz_softmax(logits, target, bins=bins).double(), exact, rtol=1e-7, atol=0)


@pytest.mark.parametrize("bins", [64, 4096, 65536])
@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_hinge_errors_of_0_1_and_2_lose_nothing_to_the_bins(margin, bins):
    generator = torch.Generator().manual_seed(0)
    logits = margin * (2.0 * torch.randint(0, 2, (500,), generator=generator) - 1)
    target = torch.randint(0, 2, (500,), generator=generator)
    exact = lovasz.lovasz_hinge(logits.double(), target, bins=None)
    assert_close(lovasz.lovasz_hinge(logits, target, bins=bins).double(), exact, rtol=1e-7, atol=0)


@pytest.mark.parametrize("bins", [16, 17, 333, 4096, 65536])
@pytest.mark.parametrize("form", ["sigmoid", "hinge"])
def test_the_bin_map_is_what_grid_and_edges_say(form, bins):
    used = bins - bins % 15 if form == "hinge" else bins  # the rest stays empty
    points, ends = binning.grid(bins, form)[:used], binning.edges(bins, form)[: used + 1]
    assert (points.diff() >= 0).all()
    assert (ends.diff() >= 0).all()
    assert (ends[:-1] <= points).all()
    assert (points <= ends[1:]).all()
    assert (points == 0).any()
    assert (points == 1).any()
    assert_close(binning.index(points, bins, form).double(), binning.index(points.float(), bins, form).double())
    errors = torch.rand(20_000, dtype=torch.float64) * (1 if form == "sigmoid" else 50)
    i = binning.index(errors, bins, form).long()
    slack = 1e-12 * (1 + errors)
    assert ((ends[i] - slack <= errors) & (errors <= ends[i + 1] + slack)).all()
    assert binning.index(torch.tensor([float("nan")]), bins, form).item() == bins


def test_the_bound_covers_the_rounding_of_the_errors_themselves():
    """1 - p is 3e-8, and 0 by a difference in float32: more than the lowest of 65,536 bins is wide."""
    logits, target = torch.tensor([[17.3, 0.0]]), torch.tensor([0])
    exact = lovasz.lovasz_softmax(logits.double(), target, bins=None)
    counts = cases.count(logits, target, bins=65536)
    assert (counts.loss().double() - exact).abs() <= counts.bound().double()
    table = count_with(plain, logits.t()[None], target[None], None, [], "softmax", 65536, False).table[0]
    away = (jaccard.losses(table, "softmax")[0] - exact).abs()
    assert 1e-8 < away <= jaccard.bounds(table, "softmax", num_classes=2)[0]


def test_hinge_errors_beyond_the_last_bin_have_no_certificate():
    counts = cases.count(torch.tensor([1e30, 0.0]), torch.tensor([0, 1]), form="hinge", bins=64)
    assert counts.bound().isinf()
    assert counts.loss() < 1e30


@pytest.mark.parametrize("case", [c for c in CASES if c.target.numel() > 500], ids=name)
def test_any_number_of_threads_gives_the_same_bits(case):
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 4):
            torch.set_num_threads(threads)
            for bins in (None, 512):
                x = case.logits.detach().clone().requires_grad_()
                loss = LOSSES[case.form](x, case.target, **case.arguments, bins=bins)
                results.append((loss.detach(), *torch.autograd.grad(loss, x)))
    finally:
        torch.set_num_threads(before)
    for i, (loss, grad) in enumerate(results):
        assert_close(loss, results[i % 2][0], rtol=0, atol=0, equal_nan=True)
        assert_close(grad, results[i % 2][1], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("bins", ["auto", None])
def test_large_inputs_give_the_same_bits_on_any_number_of_threads(bins):
    """Large enough that a plain sum would be split differently among the threads."""
    before = torch.get_num_threads()
    logits, target = random("sigmoid", (1, 1, 2**20), 9)
    results = []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            x = logits.double().requires_grad_()
            loss = lovasz.lovasz_sigmoid(x, target, bins=bins)
            results.append((loss.detach(), *torch.autograd.grad(loss, x)))
    finally:
        torch.set_num_threads(before)
    for loss, grad in results:
        assert_close(loss, results[0][0], rtol=0, atol=0)
        assert_close(grad, results[0][1], rtol=0, atol=0)


@pytest.mark.parametrize("bins", [16, None])
def test_many_images_and_class_weights_give_the_same_bits_on_any_number_of_threads(bins):
    before = torch.get_num_threads()
    images, labels = random("sigmoid", (40000, 1, 2, 2), 13)
    logits, target = random("softmax", (1, 4, 301, 303), 14)
    weight = torch.rand(4, generator=torch.Generator().manual_seed(0))
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            per_image = {"per_image": True, "bins": bins}
            values = [
                lovasz.lovasz_sigmoid(images, labels, **per_image),
                lovasz.lovasz_sigmoid(images, labels, reduction="sum", **per_image),
                lovasz.lovasz_cross_entropy(logits, target, weight=weight, bins=bins),
            ]
            results.append(torch.stack(values))
    finally:
        torch.set_num_threads(before)
    for values in results:
        assert_close(values, results[0], rtol=0, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_images_in_one_call_are_as_images_one_by_one(form):
    """Chunks hold several images, parts of one, and tables larger than the images."""
    for shape, bins in (((5, 3, 40, 40), 64), ((300, 3, 2, 2), 4096), ((2, 3, 500, 400), 4096)):
        logits, target = random(form, shape, 15)
        x = logits.clone().requires_grad_()
        loss = LOSSES[form](x, target, per_image=True, bins=bins, reduction="none")
        loss.nansum().backward()
        for n in range(0, shape[0], max(1, shape[0] // 5)):
            y = logits[n : n + 1].clone().requires_grad_()
            alone = LOSSES[form](y, target[n : n + 1], bins=bins, reduction="none")
            alone.nansum().backward()
            assert_close(loss[n], alone, rtol=0, atol=0, equal_nan=True)
            assert_close(x.grad[n : n + 1], y.grad, rtol=0, atol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk", [1, 7, 64, 10**6])
def test_the_size_of_the_chunks_changes_no_bit(monkeypatch, form, chunk):
    logits, target = random(form, (3, 4, 9, 5), 10)
    whole = logits.clone().requires_grad_()
    loss = LOSSES[form](whole, target, bins=32)
    loss.backward()
    monkeypatch.setitem(plain.CHUNK, "cpu", chunk)
    part = logits.clone().requires_grad_()
    again = LOSSES[form](part, target, bins=32)
    again.backward()
    assert_close(again, loss, rtol=0, atol=0)
    assert_close(part.grad, whole.grad, rtol=0, atol=0)


def test_counts_past_2_to_the_24_stay_exact():
    """Float32 stops counting there: one more pixel must still change the union."""
    n = 2**24
    table = torch.zeros(1, 1, 2, 65, dtype=torch.int64)
    table[0, 0, 1, 0] = n  # foreground, right
    table[0, 0, 0, 63] = n  # background, wrong: J = n / 2n
    exact = n / (2 * n)
    assert_close(jaccard.losses(table, "sigmoid").item(), exact, rtol=1e-15, atol=0)
    table[0, 0, 0, 63] += 1
    more = (n + 1) / (2 * n + 1)
    assert more != exact
    assert_close(jaccard.losses(table, "sigmoid").item(), more, rtol=1e-15, atol=0)
    assert_close(jaccard.pixels(table)[0].item(), 2 * n + 1, rtol=0, atol=0)


def test_more_than_2_to_the_24_pixels_are_counted_exactly():
    P = 2**24 + 3
    logits = torch.zeros(1, dtype=torch.float16).expand(P)
    target = torch.zeros(1, dtype=torch.uint8).expand(P)
    valid, foreground = cases.count(logits, target, form="hinge", bins=64).pixels()
    assert (valid.item(), foreground.item()) == (P, 0)


@pytest.mark.parametrize("form", FORMS)
def test_auto_sorts_fewer_pixels_than_a_quarter_of_the_bins_and_counts_from_there(form):
    def step(logits, target, **arguments):
        x = logits.clone().requires_grad_()
        loss = LOSSES[form](x, target, **arguments)
        return loss.detach(), *torch.autograd.grad(loss, x)

    C = 3 if form == "softmax" else 1
    K = binning.default_bins(C, form)
    quarter = -(-K // 4)
    for pixels, mode, other in ((quarter - 1, None, K), (quarter, K, None)):
        logits, target = random(form, (1, C, pixels), 11)
        auto = step(logits, target)
        assert_close(auto, step(logits, target, bins=mode), rtol=0, atol=0)
        assert not torch.equal(auto[1], step(logits, target, bins=other)[1])
    images, targets = random(form, (K, C, 4), 12)
    per_image = step(images, targets, per_image=True)  # 4 pixels each: sorted
    assert_close(per_image, step(images, targets, per_image=True, bins=None), rtol=0, atol=0)


#: The accuracy that README promises: 2e-5 relative + 1e-7 for the loss and 5e-3 for the gradient; more where a
#: class has few pixels, ten of them or, as the rarest of the softmax's 19, some dozens; and the gradient of a
#: channel whose logits hardly differ, where many pixels share a bin.
#: Three seeds of each stage with one channel; one of 19 channels, which are as many draws, and of 2^22 pixels, of
#: whose stage there are three with 2^18: to sort these takes seconds each.
STAGES = [
    (form, regime, seed)
    for form in FORMS
    for regime in accuracy.stages(form)
    for seed in range(1 if form == "softmax" or regime.pixels == 2**22 else 3)
]


@pytest.mark.parametrize(("form", "regime", "seed"), STAGES, ids=lambda v: getattr(v, "name", str(v)))
def test_counting_at_the_default_bins_keeps_its_accuracy(form, regime, seed):
    logits, target = accuracy.inputs(form, regime, seed)
    loss, published = accuracy.LOSSES[form]
    large = regime.pixels == 2**22  # where float32 differences have lost digits
    exact = functools.partial(loss, bins=None)
    row = accuracy.measure(form, loss, exact, published if large else loss, regime.name, logits, target)
    dozens, ten = form == "softmax", "ten" in row.regime
    allowed = 2e-5 + (5e-7 if dozens else 1e-7) / row.exact_loss
    assert row.loss_error <= min(allowed, row.certified_bound), row
    alike = 0.15 if form == "sigmoid" else 0.05 if form == "hinge" else 1e-2
    kept = 5e-2 if ten else alike if "0.001" in row.regime else 1e-2 if dozens else 5e-3
    assert row.gradient_error <= kept, row
    if large:
        assert row.gradient_error <= row.published_gradient_error, row


@pytest.mark.parametrize("num_classes", [2, 3, 4, 5, 19, 150, 577])
@pytest.mark.parametrize("std", [0, 1e-4, 1e-3])
def test_the_loss_is_accurate_where_a_network_has_learned_nothing(num_classes, std):
    """All errors share a few bins there: half a bin off was 1e-4 of the loss."""
    generator = torch.Generator().manual_seed(13)
    logits = std * torch.randn(1, num_classes, 2**14, generator=generator)
    target = torch.randint(num_classes, (1, 2**14), generator=generator)
    expected = lovasz.lovasz_softmax(logits.double(), target, bins=None).float()
    assert_close(lovasz.lovasz_softmax(logits, target), expected, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("num_classes", [64, 150, 1000])
@pytest.mark.parametrize("at", [0, 0.5, 1])
@pytest.mark.parametrize("right", [True, False])
def test_small_probabilities_are_not_lost_beside_a_large_one(num_classes, at, right):
    """Of e^-17 each, a float32 sum that begins with 1 takes none: the loss was half of what it is, at class 0."""
    generator = torch.Generator().manual_seed(15)
    logits = -17 + 0.3 * torch.randn(4096, num_classes, generator=generator)
    sure = round(at * (num_classes - 1))
    logits[:, sure] = 0.3 * torch.randn(4096, generator=generator)
    target = torch.full((4096,), sure if right else (sure + 1) % num_classes)
    counts = lovasz.count(logits, target)
    exact = lovasz.lovasz_softmax(logits.double(), target, bins=None, classes="all", reduction="none")
    away = (counts.loss(classes="all", reduction="none").double() - exact).abs()
    assert (away <= counts.bound(classes="all", reduction="none")).all()
    found, double = logits.clone().requires_grad_(), logits.double().requires_grad_()
    lovasz.lovasz_softmax(found, target).backward()
    lovasz.lovasz_softmax(double, target, bins=None).backward()
    assert (found.grad - double.grad).norm() <= 0.06 * double.grad.norm()
    fused = lovasz.lovasz_cross_entropy(logits, target, lovasz_weight=0)
    expected = torch.nn.functional.cross_entropy(logits.double(), target)
    own = abs(torch.nn.functional.cross_entropy(logits, target) - expected)
    assert abs(fused - expected) <= own + 1e-7 + 1e-6 * expected


@pytest.mark.parametrize("num_classes", [64, 700])
def test_the_bound_holds_of_every_kernel_for_many_classes(kernel, num_classes):
    logits = torch.zeros(1, num_classes, 96)
    logits[:, 0] = 16.64
    for label in (0, num_classes - 1):
        target = torch.full((1, 96), label)
        exact = lovasz.lovasz_softmax(logits.double(), target, bins=None, classes="all", reduction="none")
        table = count_with(kernel, logits, target, None, [], "softmax", 8192, False).table[0]
        away = (jaccard.losses(table, "softmax") - exact).abs()
        assert (away <= jaccard.bounds(table, "softmax", num_classes=num_classes)).all()


@pytest.mark.parametrize("num_classes", [150, 1000])
def test_the_curve_is_certified_for_many_classes(num_classes):
    logits = torch.zeros(4096, num_classes)
    logits[:, 0] = 16.64
    target = torch.zeros(4096, dtype=torch.long)
    curve = lovasz.count(logits, target).threshold_curve()
    least, most = (bound[0] for bound in curve.bounds("recall"))
    true = (logits[:1].double().softmax(1)[0, 0] >= curve.thresholds).double()
    assert ((least <= true) & (true <= most)).all()


@pytest.mark.parametrize("std", [0, 1e-3])
def test_the_loss_of_a_channel_is_accurate_where_nothing_is_learned(std):
    generator = torch.Generator().manual_seed(14)
    logits = std * torch.randn(2**16, generator=generator)
    target = torch.randint(2, (2**16,), generator=generator)
    expected = lovasz.lovasz_sigmoid(logits.double(), target, bins=None).float()
    assert_close(lovasz.lovasz_sigmoid(logits, target), expected, rtol=2e-5, atol=1e-7)


def test_default_bins_are_the_least_with_the_uniform_error_on_the_grid():
    for classes in range(2, 578):
        bins = binning.default_bins(classes, "softmax")
        least = 16384 if classes <= 4 else 8192
        assert least <= bins < 1.125 * least
        away = (binning.grid(bins, "softmax").sqrt() - (1 - 1 / classes) ** 0.5).abs().min() * (bins - 1)
        assert away < 2**-6 + 1e-9, classes


def test_the_regimes_are_those_of_the_table():
    assert [r.pixels for r in regimes.REGIMES].count(2**18) == 6
    _, target = regimes.binary(next(r for r in regimes.REGIMES if r.name == "late, rare class"), 0)
    assert target.sum() == 133
