"""Labels finer than the logits: the losses, counts and metrics are those of the interpolated logits."""

import itertools

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close

import lovasz
from lovasz import metrics
from lovasz._inputs import layouts
from lovasz._kernels import plain as spec
from lovasz._math import interpolation
from tests.core import cases
from tests.core.cases import FORMS, LOSSES, random
from tests.core.coarse import SIZES, plain, problem, whole
from tests.core.kernels import COMPILED, apply_with, count_with, weigh_with

sizes = pytest.mark.parametrize("size", list(SIZES))


@pytest.fixture(params=[spec, *COMPILED], ids=lambda kernel: kernel.__name__)
def kernel(request):
    return request.param


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


@sizes
@pytest.mark.parametrize("bins", [512, None])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_value_and_gradient_are_those_of_interpolated_logits(form, per_image, bins, size):
    """In float64 to 1e-12, whether it counts or sorts: the same pixels fall into the same bins."""
    logits, target, mask, mode, corners = problem(form, size, torch.float64)
    arguments = {"ignore_index": 255, "mask": mask, "per_image": per_image, "bins": bins}
    x, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found = LOSSES[form](x, target, upsample=mode, align_corners=corners, **arguments)
    expected = plain(form, y, target, mode, corners, **arguments)
    assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert_close(gradient(found, x), gradient(expected, y), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("size", ["an eighth", "large, odd ratios", "large volumes"])
@pytest.mark.parametrize("form", FORMS)
def test_float32_is_near_float64(form, size):
    """The value to 1e-5; the gradient too, or to twice what interpolation in float32 makes of it.

    Either moves pixels over the edge of a bin, where the weight is another.
    """
    logits, target, _, mode, corners = problem(form, size)
    arguments = {"ignore_index": 255, "bins": "auto"}
    x, y, z = (
        logits.to(dtype, copy=True).requires_grad_() for dtype in (torch.float32, torch.float64, torch.float32)
    )
    found = LOSSES[form](x, target, upsample=mode, align_corners=corners, **arguments)
    expected = plain(form, y, target, mode, corners, **arguments)
    assert_close(found.double(), expected, rtol=1e-5, atol=0)
    usual = gradient(plain(form, z, target, mode, corners, **arguments), z)
    a, b = gradient(found, x), gradient(expected, y)
    assert (a - b).norm() <= max(1e-5 * b.norm(), 2 * (usual - b).norm())


@sizes
def test_cross_entropy_in_the_same_passes(size):
    logits, target, mask, mode, corners = problem("softmax", size, torch.float64)
    weight = torch.tensor([0.5, 1.0, 2.0, 1.5, 0.1], dtype=torch.float64)
    arguments = {"ignore_index": 255, "mask": mask, "weight": weight, "label_smoothing": 0.1, "lovasz_weight": 0.7}
    for bins in (128, None):
        x, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        found = lovasz.lovasz_cross_entropy(x, target, upsample=mode, align_corners=corners, bins=bins, **arguments)
        fine = whole(y, target.shape[1:], mode, corners)
        expected = lovasz.lovasz_cross_entropy(fine, target, bins=bins, **arguments)
        assert_close(found, expected, rtol=1e-12, atol=1e-14)
        assert_close(gradient(found, x), gradient(expected, y), rtol=1e-12, atol=1e-14)


#: Every size in float64 and float32, some in half precision.
TYPES = [(size, dtype) for size in sizes.args[1] for dtype in (torch.float64, torch.float32)]
HALF = (torch.bfloat16, torch.float16)
TYPES += [(size, dtype) for size in ("odd sizes, odd ratios", "volumes") for dtype in HALF]


@pytest.mark.parametrize(("size", "dtype"), TYPES, ids=lambda value: str(value).removeprefix("torch."))
@pytest.mark.parametrize("form", FORMS)
def test_a_kernel_interpolates_as_pytorch(kernel, form, dtype, size, monkeypatch):
    """Its table and gradient against plain interpolation in float64, for weights that mean nothing; in parts."""
    monkeypatch.setitem(spec.CHUNK, "cpu", 800)  # so small that there are several in every case
    logits, target, mask, mode, corners = problem(form, size, dtype)
    if logits.ndim == 4:  # classes last, and images that are not next to each other
        logits = logits.contiguous(memory_format=torch.channels_last)
        logits = torch.cat((logits, logits))[::2].contiguous(memory_format=torch.channels_last)
        logits = logits.repeat_interleave(2, 0)[::2]
    pixels = cases.view(logits, target, mask, form, mode, corners)
    fine = whole(logits.double(), target.shape[-logits.ndim + 2 :], mode, corners)
    bins, ignore = 32, [255]
    for per_image in (False, True):
        x, t, m, how = pixels
        table, numbers, _ = count_with(kernel, x, t, m, ignore, form, bins, per_image, None, None, how)
        expected, same, _ = count_with(spec, fine, target, mask, ignore, form, bins, per_image)
        assert_close(numbers, same)
        # In float32 a few pixels lie so near the edge of a bin that rounding moves them.
        assert (table - expected).abs().sum() <= (0 if dtype == torch.float64 else 2 + target.numel() // 500)
        weights = torch.rand(table.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        weights = weights.cumsum(-1) / bins  # a step to the next bin is a small one
        found = apply_with(
            kernel,
            x,
            t,
            m,
            ignore,
            form,
            weights.to(spec.compute_dtype(x)),
            torch.tensor(0.3),
            None,
            None,
            None,
            how,
        )
        assert (found.dtype, found.stride()) == (logits.dtype, torch.empty_like(logits).stride())
        leaf = logits.double().requires_grad_()
        fine_leaf = whole(leaf, target.shape[-logits.ndim + 2 :], mode, corners)
        g = apply_with(spec, fine_leaf.detach(), target, mask, ignore, form, weights, torch.tensor(0.3))
        (correct,) = torch.autograd.grad(fine_leaf, leaf, g)
        tolerance = {torch.float64: 1e-12, torch.float32: 1e-3, torch.bfloat16: 1e-2, torch.float16: 2e-3}[dtype]
        assert (found.double() - correct).norm() <= tolerance * correct.norm()


@pytest.mark.parametrize("size", ["an eighth", "large volumes"])  # for several threads, and several strips
@pytest.mark.parametrize("form", FORMS)
def test_any_number_of_threads_gives_the_same_bits(kernel, form, size, monkeypatch):
    monkeypatch.setitem(spec.CHUNK, "cpu", 2**16)
    logits, target, mask, mode, corners = problem(form, size)
    x, t, m, how = cases.view(logits, target, mask, form, mode, corners)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 5) if kernel is spec else (1, 2, 3, 5, 2):
            torch.set_num_threads(threads)
            table, _, _ = count_with(kernel, x, t, m, [255], form, 64, False, None, None, how)
            _, weights = weigh_with(
                kernel, table, form, torch.ones(1, x.shape[1], dtype=torch.float64), torch.float32
            )
            found.append((table, apply_with(kernel, x, t, m, [255], form, weights, None, None, None, None, how)))
    finally:
        torch.set_num_threads(before)
    for table, g in found[1:]:
        assert torch.equal(table, found[0][0])
        assert torch.equal(g, found[0][1])


def test_layouts_of_the_binary_losses():
    """With a channel axis or without, a target with one or without: the same loss; a mask for all channels."""
    logits, target = random("sigmoid", (2, 1, 6, 5))
    fine = target.repeat_interleave(3, 2).repeat_interleave(2, 3)
    expected = lovasz.lovasz_sigmoid(whole(logits, (18, 10), "bilinear", False), fine, bins=64)
    for x, t in ((logits, fine), (logits, fine[:, 0]), (logits[:, 0], fine[:, 0])):
        for mask in (None, torch.ones_like(t, dtype=torch.bool)):
            assert_close(lovasz.lovasz_sigmoid(x, t, mask=mask, bins=64, upsample="bilinear"), expected)
    assert_close(lovasz.lovasz_sigmoid(logits[:, 0], fine[:, 0], bins=64, upsample="nearest", channels=False),
                 lovasz.lovasz_sigmoid(whole(logits, (18, 10), "nearest", False), fine, bins=64))  # fmt: skip
    three, target = random("sigmoid", (2, 3, 4, 4))
    fine = target.repeat_interleave(2, 2).repeat_interleave(2, 3)
    mask = torch.rand(2, 8, 8) < 0.5
    found = lovasz.lovasz_sigmoid(three, fine, mask=mask, bins=64, upsample="bilinear")
    expected = lovasz.lovasz_sigmoid(
        whole(three, (8, 8), "bilinear", False), fine, mask=mask, bins=64, channels=True
    )
    assert_close(found, expected)
    row = logits[:, :, :1]  # an image of one row is an image
    fine = target[:, 0, :1].repeat_interleave(2, 2)[..., :5].repeat_interleave(2, 2)
    found = lovasz.lovasz_sigmoid(row[:, 0], fine, bins=64, upsample="bilinear")
    whole_row = whole(row, (1, 10), "bilinear", False)[:, 0]
    assert_close(found, lovasz.lovasz_sigmoid(whole_row, fine, bins=64, channels=False))


def test_equal_sizes_are_the_plain_loss():
    logits, target = random("softmax", (2, 3, 6, 5))
    for mode in ("nearest", "bilinear"):
        assert layouts.softmax_pixels(logits, target, None, mode).interpolation is None
        assert lovasz.lovasz_softmax(logits, target, upsample=mode) == lovasz.lovasz_softmax(logits, target)


@pytest.mark.parametrize("form", FORMS)
def test_counts_and_the_losses_of_counts(form):
    logits, target, mask, mode, corners = problem(form, "a quarter")
    arguments = {"ignore_index": 255, "mask": mask}
    finer = {"upsample": mode, "align_corners": corners}
    counts = cases.count(logits, target, form=form, bins=64, **arguments, **finer)
    fine = whole(logits, target.shape[-2:], mode, corners)
    assert torch.equal(counts.table, cases.count(fine, target, form=form, bins=64, **arguments).table)
    x, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found = LOSSES[form](x, target, counts=counts, **arguments, **finer)
    expected = LOSSES[form](y, target, bins=64, **arguments, **finer)
    assert_close(found, expected)
    assert_close(gradient(found, x), gradient(expected, y))


@pytest.mark.parametrize(
    ("size", "fine", "corners"), [(4, 8, False), (41, 321, False), (33, 99, True), (8, 56, True), (5, 5, False)]
)
def test_an_infinite_logit_reaches_the_pixels_that_take_of_it(size, fine, corners):
    """-inf everywhere rules a class out, also where a pixel lies at one place and takes nothing of the next."""
    logits, target = random("softmax", (1, 3, size, 4))
    logits[:, 2] = -torch.inf
    target = torch.randint(0, 2, (1, fine, 9))
    finer = {"upsample": "bilinear", "align_corners": corners}
    for bins in (64, None):
        two = lovasz.lovasz_softmax(logits[:, :2], target, bins=bins, **finer)
        x = logits.clone().requires_grad_()
        found = lovasz.lovasz_softmax(x, target, bins=bins, **finer)
        assert_close(found, two)
        assert gradient(found, x).isfinite().all()
    confusion = metrics.ConfusionMatrix(3, **finer)(logits, target)
    assert not confusion[:, 2].any()
    logits[0, 1, 2, 2] = torch.nan
    for bins in (64, None):
        x = logits.clone().requires_grad_()
        found = lovasz.lovasz_softmax(x, target, bins=bins, **finer)
        assert found.isnan()
        assert gradient(found, x).isnan().any()


@pytest.mark.parametrize("corners", [False, True])
def test_no_pixel_is_a_rounding_away_from_a_place(corners):
    for size, wanted in itertools.product(range(1, 60), (60, 97, 193, 321, 385, 700, 1024)):
        weight = interpolation.axis(size, wanted, "corners" if corners else "linear").weight
        assert ((weight == 0) | ((weight > 1e-4) & (weight < 1 - 1e-4))).all(), (size, wanted)


def test_all_ignored_and_empty():
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = lovasz.lovasz_softmax(x, torch.full((2, 8, 8), 255), ignore_index=255, bins=64, upsample="bilinear")
    assert loss == 0
    assert not gradient(loss, x).any()
    for shape, fine in (((0, 3, 4, 4), (0, 8, 8)), ((2, 3, 0, 4), (2, 0, 8))):
        x = torch.randn(shape, requires_grad=True)
        for bins in (64, None):
            loss = lovasz.lovasz_softmax(x, torch.zeros(fine, dtype=torch.long), bins=bins, upsample="bilinear")
            assert loss == 0
            assert gradient(loss, x).shape == shape


@pytest.mark.parametrize(
    ("logits", "target", "arguments", "said"),
    [
        ((2, 3, 4, 4), (2, 8, 8), {}, r'got \(2, 8, 8\); .* upsample="bilinear"'),
        ((2, 3, 4, 4, 4), (2, 8, 8, 4), {}, 'upsample="trilinear"'),
        ((2, 3, 8, 8), (2, 4, 4), {"upsample": "bilinear"}, r"as fine as logits .* got \(4, 4\) .* \(8, 8\)"),
        ((2, 3, 4, 8), (2, 8, 4), {"upsample": "nearest"}, "upsample does not reduce them"),
        ((2, 3, 4, 4), (2, 8, 8), {"upsample": "bicubic"}, "upsample must be one of 'nearest', .* got 'bicubic'"),
        ((2, 3, 4, 4), (2, 8, 8), {"upsample": "trilinear"}, r"needs logits with 3 spatial axes.* \(2, 3, 4, 4\)"),
        ((2, 3, 4, 4, 4), (2, 8, 8, 8), {"upsample": "bilinear"}, "needs logits with 2 spatial axes"),
        ((9, 3), (18,), {"upsample": "nearest"}, r"one to three spatial axes got \(9, 3\)"),
        ((2, 3, 4, 4), (2, 4, 4), {"align_corners": True}, "it needs upsample"),
        ((2, 3, 4, 4), (2, 8, 8), {"upsample": "nearest", "align_corners": True}, 'got "nearest"'),
        ((2, 3, 4, 4), (5,), {"upsample": "bilinear"}, r"\(2, 4, 4\), got \(5,\)"),
        ((2, 3, 4, 4), (3, 8, 8), {"upsample": "bilinear"}, r"\(2, 8, 8\), got \(3, 8, 8\)"),
        ((2, 3, 0, 4), (2, 8, 8), {"upsample": "bilinear"}, "logits must not be empty"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(logits, target, arguments, said):
    with pytest.raises(ValueError, match=said):
        lovasz.lovasz_softmax(torch.zeros(logits), torch.zeros(target, dtype=torch.long), **arguments)


def test_the_hint_for_binary_logits_is_one_that_works():
    for shape, fine in (((2, 4, 4), (2, 8, 8)), ((2, 4, 4), (2, 4, 8)), ((2, 1, 4, 4), (2, 8, 8))):
        logits, target = torch.zeros(shape), torch.zeros(fine, dtype=torch.long)
        with pytest.raises(ValueError, match='upsample="bilinear"'):
            lovasz.lovasz_sigmoid(logits, target)
        lovasz.lovasz_sigmoid(logits, target, upsample="bilinear")


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_another_default_device_changes_nothing(mode):
    """While it is set, and afterwards, where what was computed of a size is kept."""
    logits, target = random("softmax", (1, 3, 6, 5))
    target = target.repeat_interleave(2, 1).repeat_interleave(2, 2)
    weight = torch.tensor([1.0, 2.0, 3.0])
    metric = metrics.JaccardIndex(3, upsample=mode)

    def measured():
        metric.reset()
        metric.update(logits, target)
        found = [metric.compute()]
        for bins in (64, None):
            x = logits.clone().requires_grad_()
            loss = lovasz.lovasz_softmax(x, target, bins=bins, upsample=mode, classes=[0, 2], weight=weight)
            found += [loss, gradient(loss, x)]
        return [value.detach() for value in found]

    expected = measured()
    assert 0 < expected[0] < 1
    interpolation.axis.cache_clear()
    with torch.device("meta"):
        inside = measured()
    for found in (inside, measured()):
        assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["fake tensors", "inference"])
@pytest.mark.parametrize("bins", [64, None])
def test_what_is_cached_outlives_the_mode_it_was_made_in(bins, mode):
    """Fake tensors in the cache crashed the process; those of inference mode were none that autograd takes."""
    logits, target = random("softmax", (1, 3, 5, 6), 7)
    target = target.repeat_interleave(2, 1).repeat_interleave(2, 2)

    def step():
        x = logits.clone().requires_grad_()
        loss = lovasz.lovasz_softmax(x, target, bins=bins, upsample="bilinear")
        return loss.detach(), gradient(loss, x)

    expected = step()
    interpolation.axis.cache_clear()
    if mode == "inference":
        with torch.inference_mode():
            found = lovasz.lovasz_softmax(logits, target, bins=bins, upsample="bilinear")
        assert_close(found, expected[0], rtol=0, atol=0)
    else:
        with FakeTensorMode() as fakes:
            fake = [fakes.from_tensor(one) for one in (logits, target)]
            for _ in range(2):
                assert lovasz.lovasz_softmax(*fake, bins=bins, upsample="bilinear").shape == ()
    assert_close(step(), expected, rtol=0, atol=0)
    with FakeTensorMode() as fakes:  # nor do real ones in the cache go with fakes
        fake = [fakes.from_tensor(one) for one in (logits, target)]
        assert lovasz.lovasz_softmax(*fake, bins=bins, upsample="bilinear").shape == ()


def test_metrics_of_different_resolutions_do_not_merge():
    a, b = metrics.JaccardIndex(2, upsample="bilinear"), metrics.JaccardIndex(2)
    a.update(torch.zeros(1, 2, 2, 2), torch.zeros(1, 4, 4, dtype=torch.long))
    b.update(torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="upsample must be None as in this metric, got 'bilinear'"):
        b.merge_state(a)
    assert b.confusion.sum() == 4


def test_modules_and_metrics_check_before_there_are_logits():
    for make in (lovasz.LovaszSoftmaxLoss, lambda **given: metrics.JaccardIndex(3, **given)):
        with pytest.raises(ValueError, match="upsample must be one of"):
            make(upsample="bicubic")
        with pytest.raises(ValueError, match="it needs upsample"):
            make(align_corners=True)
        with pytest.raises(TypeError, match="align_corners must be a bool, got 1"):
            make(upsample="bilinear", align_corners=1)


@sizes
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_metrics_take_the_class_of_the_interpolated_scores(size, dtype, monkeypatch):
    monkeypatch.setattr(interpolation, "STRIP", 700)
    logits, target, mask, mode, corners = problem("softmax", size, dtype)
    fine = whole(logits.float(), target.shape[1:], mode, corners)
    for metric in (metrics.ConfusionMatrix, metrics.ImageJaccardIndex):
        found = metric(5, ignore_index=255, upsample=mode, align_corners=corners)
        expected = metric(5, ignore_index=255)
        found.update(logits, target, mask=mask)
        expected.update(fine, target, mask=mask)
        # Of two scores that differ by a rounding either may be the larger.
        tolerance = 1 if metric is metrics.ConfusionMatrix else 1e-3
        assert_close(found.compute(), expected.compute(), rtol=0, atol=tolerance)


def test_metrics_of_different_resolutions_in_one_collection():
    """The first batch does not tell them apart: taken for one, they would be one in the second."""
    from torchmetrics import MetricCollection

    modes = {mode: metrics.JaccardIndex(2, upsample=mode) for mode in ("nearest", "bilinear")}
    both = MetricCollection(dict(modes))
    both.update(torch.zeros(1, 2, 2, 2), torch.zeros(1, 8, 8, dtype=torch.long))
    logits, target = random("softmax", (1, 2, 4, 4))
    target = target.repeat_interleave(2, 1).repeat_interleave(2, 2)
    both.update(logits, target)
    found = both.compute()
    assert found["nearest"] != found["bilinear"]


def test_predictions_are_not_interpolated():
    metric = metrics.JaccardIndex(3, upsample="nearest")
    with pytest.raises(TypeError, match="preds must be floating scores"):
        metric.update(torch.zeros(1, 4, 4, dtype=torch.long), torch.zeros(1, 8, 8, dtype=torch.long))
    with pytest.raises(ValueError, match='upsample="bilinear"'):
        metrics.JaccardIndex(3).update(torch.zeros(1, 3, 4, 4), torch.zeros(1, 8, 8, dtype=torch.long))


# opcheck of PyTorch 2.14 reads the gradients of what it has computed itself
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("form", FORMS)
def test_opcheck_and_compile(form):
    logits, target, mask, mode, corners = problem(form, "a quarter")
    args = (*cases.view(logits, target, mask, form, mode, corners)[:3], [255], form, "linear")
    torch.library.opcheck(torch.ops.lovasz.count.default, (*args, 64, False, None, None))
    table, _, _ = torch.ops.lovasz.count(*args, 64, False, None, None)
    coefficients = torch.ones(table.shape[:2], dtype=torch.float64)
    _, weights = torch.ops.lovasz.weigh(table, form, coefficients, torch.float32, 1.0, 1.0)
    torch.library.opcheck(torch.ops.lovasz.apply.default, (*args, weights, torch.rand(()), None, None, None))

    torch._dynamo.reset()
    for bins in (64, None):

        def step(x, bins=bins):
            return LOSSES[form](x, target, ignore_index=255, mask=mask, bins=bins, upsample=mode)

        x, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        found = torch.compile(step, fullgraph=True, backend="aot_eager")(x)
        assert_close(found, step(y))
        assert_close(gradient(found, x), gradient(step(y), y))


def test_parts_are_few_and_even():
    """Several images, or a part of one; nothing is left out, and the last part is no crumb."""

    def sizes(*args):
        found = list(interpolation.parts(*args))
        places = [(n, p) for images, part in found for n in range(args[0])[images] for p in range(args[1])[part]]
        assert sorted(places) == [(n, p) for n in range(args[0]) for p in range(args[1])]
        return [(images.stop - images.start, part.stop - part.start) for images, part in found]

    assert sizes(8, 512, 21 * 512, 2**24, 8) == [(3, 512), (3, 512), (2, 512)]
    assert sizes(1, 512, 21 * 512, 2**22, 8) == [(1, 256), (1, 256)]
    assert sizes(2, 3, 1, 1, 8) == [(1, 1)] * 6
    assert sizes(0, 3, 1, 1, 8) == sizes(2, 0, 1, 1, 8) == []
