"""Failures of other implementations, one test each, named after what went wrong there."""

import copy
import functools
import inspect

import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics.segmentation import MeanIoU

import lovasz
from benchmarks import published, regimes
from lovasz import berman
from lovasz._inputs.labels import canonical_target
from lovasz._kernels import plain
from lovasz.metrics import ImageJaccardIndex, JaccardIndex
from tests.core import cases
from tests.core.cases import FORMS, LOSSES, MODULES, random
from tests.core.kernels import apply_with, count_with
from tests.core.oracle import lovasz_by_definition

every_form = pytest.mark.parametrize("form", FORMS)
#: None sorts, as "auto" does with so few pixels (tests/core/test_counting.py); 4096 counts them to half a bin.
every_mode = pytest.mark.parametrize("bins", [4096, None])
HALF_A_BIN = {"softmax": 5e-4, "sigmoid": 5e-4, "hinge": 5e-3}
VOID = 255


def tolerance(form, bins):
    return HALF_A_BIN[form] if bins == 4096 else 1e-5


def value_and_gradient(form, logits, target, **arguments):
    """The loss and its gradient, both finite, the loss a scalar of the graph."""
    x = logits.detach().requires_grad_()
    loss = LOSSES[form](x, target, **arguments)
    assert isinstance(loss, torch.Tensor)
    assert loss.ndim == 0
    assert loss.dtype == logits.dtype
    (grad,) = torch.autograd.grad(loss, x)
    assert grad.dtype == logits.dtype
    assert loss.isfinite()
    assert grad.isfinite().all()
    return loss.detach(), grad


def by_definition(form, logits, target, void=(), classes=None):
    """Mean over the classes that take part, all pixels one set, from logits (N, C, *), as float64."""
    x = logits.movedim(1, 0).flatten(1)
    labels = (target if form == "softmax" else target.movedim(1, 0)).long()
    labels = labels.flatten() if form == "softmax" else labels.flatten(1)
    labels = torch.where(torch.isin(labels, torch.tensor(void, dtype=torch.long)), -1, labels)
    losses = lovasz_by_definition(x, labels, form)
    if classes is None:
        present = form == "softmax"
        classes = [c for c in range(len(x)) if not present or (labels == c).any()]
    return torch.tensor([losses[c] for c in classes], dtype=torch.float64).mean()


def assert_value(actual, expected, form, bins):
    atol = tolerance(form, bins)
    assert_close(actual.double(), expected, rtol=atol, atol=atol)


# ---- nothing to learn from ----


@every_form
@every_mode
@pytest.mark.parametrize("per_image", [False, True])
def test_all_void_batch_returned_an_empty_tensor(form, bins, per_image):
    """Berman's file and its copies: no scalar, so `backward` raised in the middle of a training."""
    logits, target = random(form, (2, 3, 4, 5))
    void = torch.full_like(target, VOID)
    loss, grad = value_and_gradient(form, logits, void, ignore_index=VOID, bins=bins, per_image=per_image)
    assert_close(loss, torch.tensor(0.0))
    assert_close(grad, torch.zeros_like(logits))
    mask = torch.zeros_like(target, dtype=torch.bool)
    loss, grad = value_and_gradient(form, logits, target, mask=mask, bins=bins, per_image=per_image)
    assert_close(loss, torch.tensor(0.0))
    assert_close(grad, torch.zeros_like(logits))


@every_mode
def test_all_void_batch_was_nan_beside_the_cross_entropy(bins):
    """`F.cross_entropy` is 0 / 0 there, and so is its sum with anything."""
    logits, target = random("softmax", (2, 3, 4, 5))
    x = logits.requires_grad_()
    loss = lovasz.lovasz_cross_entropy(x, torch.full_like(target, VOID), ignore_index=VOID, bins=bins)
    assert_close(loss, torch.tensor(0.0))
    (grad,) = torch.autograd.grad(loss, x)
    assert_close(grad, torch.zeros_like(x))


@every_form
@every_mode
def test_one_void_image_broke_per_image(form, bins):
    """Berman's file added an empty tensor to the losses of the other images."""
    logits, target = random(form, (3, 3, 4, 5), 1)
    target[1] = VOID
    arguments = {"ignore_index": VOID, "per_image": True, "bins": bins}
    loss, grad = value_and_gradient(form, logits, target, **arguments)
    others = [by_definition(form, logits[n : n + 1], target[n : n + 1]) for n in (0, 2)]
    assert_value(loss, torch.stack(others).mean(), form, bins)
    assert_close(grad[1], torch.zeros_like(grad[1]))
    assert (grad[[0, 2]] != 0).any()
    rest, rest_grad = value_and_gradient(form, logits[::2], target[::2], **arguments)
    assert_close(loss, rest)
    assert_close(grad[::2], rest_grad)


@every_form
@every_mode
@pytest.mark.parametrize("per_image", [False, True])
def test_exactly_one_valid_pixel_raised(form, bins, per_image):
    """Berman's file squeezed the list of one valid pixel away."""
    logits, target = random(form, (2, 3, 4, 5), 2)
    target, label = torch.full_like(target, VOID), 1
    target[(1, 2, 3) if form == "softmax" else (1, 0, 2, 3)] = label
    loss, grad = value_and_gradient(form, logits, target, ignore_index=VOID, bins=bins, per_image=per_image)
    if form == "softmax":
        expected = 1 - logits[1, :, 2, 3].double().softmax(0)[label]
    else:
        x = logits[1, 0, 2, 3].double()
        expected = (-x).sigmoid() if form == "sigmoid" else (1 - x).relu()
    assert_value(loss, expected, form, bins)
    pixel = torch.zeros_like(grad, dtype=torch.bool)
    pixel[1, :, 2, 3] = True
    assert_close(grad[~pixel], torch.zeros_like(grad[~pixel]))
    assert (grad[pixel] != 0).any()


@every_form
@every_mode
def test_no_present_class_returned_a_python_number(form, bins):
    """Berman's file and SMP returned 0, which has no `backward`."""
    logits, _ = random(form, (2, 3, 4, 5))
    background = torch.zeros(2, 3, 4, 5, dtype=torch.long)
    arguments = {"classes": "present"}
    if form == "softmax":  # a class that is absent can only be asked for by name; its weight may be nothing
        background = background[:, 0]
        arguments = {"classes": "present", "weight": torch.tensor([0.0, 1.0, 1.0])}
    loss, grad = value_and_gradient(form, logits, background, bins=bins, **arguments)
    assert_close(loss, torch.tensor(0.0))
    assert_close(grad, torch.zeros_like(logits))


# ---- which classes ----


@every_form
@every_mode
def test_classes_present_was_compared_by_identity(form, bins):
    """Berman's `classes is 'present'` held for one string object only, and "all" was computed for others."""
    logits, target = random(form, (2, 4, 4, 5), 3)
    target = target.where(target != 3, 0)
    if form != "softmax":
        target[:, 3] = 0
    computed = "".join(["pre", "sent"])
    assert computed is not "present"  # noqa: F632
    loss, _ = value_and_gradient(form, logits, target, classes=computed, bins=bins)
    assert_value(loss, by_definition(form, logits, target, classes=[0, 1, 2]), form, bins)
    loss, _ = value_and_gradient(form, logits, target, classes="all", bins=bins)
    assert_value(loss, by_definition(form, logits, target, classes=range(4)), form, bins)
    with pytest.raises(ValueError, match="classes must be one of 'present', 'all'"):
        LOSSES[form](logits, target, classes="Present", bins=bins)


@pytest.mark.parametrize("form", ["sigmoid", "hinge"])
@every_mode
@pytest.mark.parametrize("axis", ["in both", "in logits", "none"])
def test_one_class_with_the_default_raised_or_trained_the_background(form, bins, axis):
    """Berman's file raised; catalyst, SegLossOdyssey and PaddleSeg took class 0 for the foreground."""
    logits, target = random(form, (3, 1, 4, 5), 4)
    given = {
        "in both": (logits, target),
        "in logits": (logits, target[:, 0]),
        "none": (logits[:, 0], target[:, 0]),
    }[axis]
    loss, grad = value_and_gradient(form, *given, bins=bins, channels=axis != "none")
    assert_value(loss, by_definition(form, logits, target), form, bins)
    grad = grad.view_as(target)
    assert (grad[target == 1] <= 0).all()
    assert (grad[target == 0] >= 0).all()
    assert (grad[target == 1] < 0).any()
    assert (grad[target == 0] > 0).any()


@every_mode
def test_a_softmax_over_one_class_hid_the_foreground(bins):
    """One channel has no softmax to learn from: a label of 1 is refused, not turned into background."""
    logits, target = random("sigmoid", (3, 1, 4, 5), 4)
    with pytest.raises(ValueError, match="a binary task has two classes, or one channel and a sigmoid"):
        lovasz.lovasz_softmax(logits, target[:, 0], bins=bins)


@every_mode
def test_class_indices_were_sorted_in_place_of_the_foreground(bins):
    """In kornia before 0.9.0: 0.023 at 19 classes where 0.947 is right, with a passing gradient check."""
    logits, target = random("softmax", (1, 19, 8, 12), 5, scale=1.0)
    loss, _ = value_and_gradient("softmax", logits, target, bins=bins)
    assert_value(loss, by_definition("softmax", logits, target), "softmax", bins)
    assert loss > 0.7


@every_mode
def test_class_weights_were_not_normalised(bins):
    """In kornia and mmsegmentation the weights scaled the loss with their sum and with the classes present."""
    logits, target = random("softmax", (1, 4, 4, 5), 6)
    target = target.where(target != 3, 0)
    weight = torch.tensor([1.0, 2.0, 5.0, 100.0])
    each = [by_definition("softmax", logits, target, classes=[c]) for c in range(3)]
    expected = sum(w * value for w, value in zip((1, 2, 5), each, strict=True)) / 8
    for scaled in (weight, 10 * weight):
        loss, _ = value_and_gradient("softmax", logits, target, weight=scaled, bins=bins)
        assert_value(loss, expected, "softmax", bins)


@pytest.mark.parametrize("form", ["sigmoid", "hinge"])
@every_mode
def test_multilabel_was_flattened_into_one_set(form, bins):
    """SMP and Pointcept: one Jaccard index over all channels, in which the large ones drown the small."""
    logits, target = random(form, (2, 3, 4, 5), 7)
    target[:, 0], target[:, 2] = 1, 0
    target[0, 2, 0, 0] = 1
    loss, _ = value_and_gradient(form, logits, target, bins=bins)
    each = [by_definition(form, logits[:, c : c + 1], target[:, c : c + 1]) for c in range(3)]
    assert_value(loss, torch.stack(each).mean(), form, bins)
    one_set = by_definition(form, logits.reshape(1, 1, -1), target.reshape(1, 1, -1))
    assert (loss - one_set).abs() > 0.02
    per_channel = LOSSES[form](logits, target, reduction="none", bins=bins)
    assert_close(per_channel.double(), torch.stack(each), rtol=0, atol=tolerance(form, bins))


# ---- labels ----


@every_form
@every_mode
@pytest.mark.parametrize("label", [7, 255, -1, -100])
def test_labels_out_of_range_were_kept_as_background(form, bins, label):
    """Most implementations: a forgotten `ignore_index` trained every class against the void."""
    logits, target = random(form, (2, 3, 4, 5), 8)
    target.view(-1)[:4] = label
    with pytest.raises(ValueError, match=rf"got 4 other: {label} \(4x\)"):
        LOSSES[form](logits, target, ignore_index=254, bins=bins)
    if label == -100:
        return
    with pytest.raises(ValueError, match=rf"got 4 other: {label} \(4x\)"):
        LOSSES[form](logits, target, bins=bins)


@every_form
@every_mode
def test_label_minus_one_trained_the_last_class(form, bins):
    """Pointcept: -1 indexed the classes from the end."""
    logits, target = random(form, (2, 3, 4, 5), 9)
    if form == "softmax":  # certain and right in one row, so that the smallest errors have a weight
        logits[:, :, 0] = 60.0 * F.one_hot(target[:, 0], 3).movedim(-1, 1)
    target.view(-1)[::3] = -1
    with pytest.raises(ValueError, match=r"other: -1 "):
        LOSSES[form](logits, target, bins=bins)
    loss, grad = value_and_gradient(form, logits, target, ignore_index=-1, bins=bins)
    assert_value(loss, by_definition(form, logits, target, void=[-1]), form, bins)
    void = (target == -1) if form != "softmax" else (target == -1)[:, None].expand_as(grad)
    assert_close(grad[void], torch.zeros_like(grad[void]))


@every_mode
def test_label_156_of_a_uint8_target_was_ignored(bins):
    """In uint8 the default of -100 wraps around to 156, and a comparison in that type drops the class."""
    generator = torch.Generator().manual_seed(10)
    logits = torch.randn(1, 160, 4, 5, generator=generator)
    target = torch.tensor([3, 156, 156, 159, 0]).repeat(1, 4, 1)
    loss, grad = value_and_gradient("softmax", logits, target.byte(), bins=bins)
    assert_value(loss, by_definition("softmax", logits, target), "softmax", bins)
    expected, expected_grad = value_and_gradient("softmax", logits, target, bins=bins)
    assert_close(loss, expected)
    assert_close(grad, expected_grad)
    assert (grad[0, 156][target[0] == 156] < 0).all()


@every_form
@every_mode
def test_label_minus_one_of_an_int8_target_was_ignored(form, bins):
    """The same the other way: in int8 255 wraps around to -1."""
    logits, target = random(form, (2, 3, 4, 5), 11)
    target.view(-1)[0] = -1
    with pytest.raises(ValueError, match=r"other: -1 \(1x\)"):
        LOSSES[form](logits, target.to(torch.int8), ignore_index=255, bins=bins)


# ---- what the arguments say ----


@pytest.mark.parametrize("flag", ["from_logits", "logits", "apply_softmax", "mode"])
def test_from_logits_was_accepted_and_ignored(flag):
    """SMP: `from_logits=False` changed nothing. There is no such flag here, in any signature."""
    logits, target = random("softmax", (1, 3, 4, 5))
    for loss in (*LOSSES.values(), lovasz.lovasz_cross_entropy):
        assert all(p.kind is not p.VAR_KEYWORD for p in inspect.signature(loss).parameters.values())
        with pytest.raises(TypeError, match=flag):
            loss(logits, target=target, **{flag: False} if flag != "logits" else {"logits": logits})
    for module in MODULES:
        assert all(p.kind is not p.VAR_KEYWORD for p in inspect.signature(module).parameters.values())
        with pytest.raises(TypeError, match=flag):
            module(**{flag: False})


@every_mode
def test_an_argument_called_logits_got_no_softmax(bins):
    """pytorch-toolbelt and catalyst: differences to the scores themselves, whatever their offset."""
    logits, target = random("softmax", (2, 4, 4, 5), 12)
    loss, grad = value_and_gradient("softmax", logits, target, bins=bins)
    assert_value(loss, by_definition("softmax", logits, target), "softmax", bins)
    shifted, shifted_grad = value_and_gradient("softmax", logits + 3.0, target, bins=bins)
    assert_close(shifted, loss, rtol=0, atol=tolerance("softmax", bins))
    assert_close(grad.sum(1), torch.zeros_like(grad.sum(1)), rtol=0, atol=1e-6)
    if bins is None:
        assert_close(shifted_grad, grad, rtol=1e-4, atol=1e-6)
    probas = berman.lovasz_softmax(logits.softmax(1), target)
    assert_close(loss, probas, rtol=0, atol=tolerance("softmax", bins))


@every_mode
def test_a_sigmoid_of_logits_was_forgotten(bins):
    """The same for one class: the error of a pixel is a probability, at most 1."""
    logits, target = random("sigmoid", (2, 1, 4, 5), 13, scale=20.0)
    loss, _ = value_and_gradient("sigmoid", logits, target, bins=bins)
    assert_value(loss, by_definition("sigmoid", logits, target), "sigmoid", bins)
    assert loss <= 1


# ---- memory layouts and dtypes ----


@every_form
@every_mode
@pytest.mark.parametrize("layout", ["transposed", "every second", "channels last", "expanded"])
def test_non_contiguous_input_raised(form, bins, layout):
    """Berman's file and mmsegmentation call `view` on what a crop or a transposition returned."""
    logits, target = random(form, (2, 3, 6, 8), 14)
    logits, target = {
        "transposed": lambda: (logits.transpose(2, 3), target.transpose(-1, -2)),
        "every second": lambda: (logits[..., ::2, 1::2], target[..., ::2, 1::2]),
        "channels last": lambda: (logits.contiguous(memory_format=torch.channels_last), target),
        "expanded": lambda: (logits[:1].expand(3, -1, -1, -1), target[:1].expand(3, *target.shape[1:])),
    }[layout]()
    assert not logits.is_contiguous()
    loss, grad = value_and_gradient(form, logits, target, bins=bins)
    assert_value(loss, by_definition(form, logits, target), form, bins)
    same, same_grad = value_and_gradient(form, logits.contiguous(), target.contiguous(), bins=bins)
    assert_close(loss, same)
    assert_close(grad, same_grad)


#: Logits of each type with labels of the usual one, and the other way round: they are read apart.
DTYPES = [(dtype, torch.int64) for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)]
DTYPES += [(torch.float32, labels) for labels in (torch.uint8, torch.bool)]


@every_form
@every_mode
@pytest.mark.parametrize(("dtype", "labels"), DTYPES, ids=str)
def test_a_dtype_raised_or_was_changed(form, bins, dtype, labels):
    """float64, half or bool raised (Berman, SMP, mmsegmentation, Pointcept); superpoint forced float32."""
    logits, target = random(form, (2, 2, 4, 5), 15)
    logits = logits.to(dtype)
    loss, grad = value_and_gradient(form, logits, target.to(labels), bins=bins)
    expected = by_definition(form, logits, target).to(dtype)
    atol = 1e-12 if dtype == torch.float64 and bins != 4096 else tolerance(form, bins)
    assert_close(loss, expected, rtol=max(atol, torch.finfo(dtype).eps), atol=atol)
    assert (grad != 0).any()


@every_form
@pytest.mark.parametrize("bins", ["auto", None])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_was_nan_past_65504_foreground_pixels(form, bins, dtype):
    """torch-pointcloud counted in the dtype of the logits: float16 ends there, bfloat16 at 256."""
    P, G = 80_000, 70_000
    generator = torch.Generator().manual_seed(16)
    foreground = torch.arange(P) < G
    logits = torch.randn(P, 2, generator=generator) + torch.stack((~foreground, foreground), 1)
    target = foreground.long()
    if form != "softmax":
        logits = logits[:, 1] - logits[:, 0]
    logits = logits.to(dtype)
    loss, grad = value_and_gradient(form, logits, target, bins=bins)
    expected, expected_grad = value_and_gradient(form, logits.double(), target, bins=None)
    assert_close(loss, expected.to(dtype))
    # A weight is about 1 / P: float16 holds it as a multiple of 6e-8 only.
    step = 6e-8 if dtype == torch.float16 else 0.0
    assert_close(grad.double(), expected_grad, rtol=2e-2, atol=step + 1e-7)
    assert (grad != 0).any()


@every_form
def test_counts_stopped_at_two_to_the_24(form):
    """A float32 that counts pixels stays at 2^24; the same pixels repeated are the same loss."""
    logits, target = random(form, (1, 3, 4, 5), 17)
    counts = cases.count(logits, target, form=form)
    many = counts
    for _ in range(24):
        many = many + many
    assert int(many.pixels()[0].max()) == 20 * 2**24
    assert_close(many.loss(), counts.loss())
    weights = many.weights() * 2**24
    assert_close(weights.sum(), counts.weights().sum(), rtol=0.2, atol=0)
    assert (many + counts).pixels()[0].max() == 20 * 2**24 + 20


def test_differences_of_float32_lost_the_digits_of_the_gradient():
    """All of them: neighbouring 1 - I / U cancel, 27 % of the gradient's size off at 2^24 pixels."""
    logits, target = regimes.binary(regimes.REGIMES[-1], seed=0)
    assert logits.numel() == 2**22

    def gradient(loss, dtype=torch.float32, **arguments):
        x = logits.to(dtype).requires_grad_()
        (grad,) = torch.autograd.grad(loss(x, target.view_as(x), **arguments), x)
        return grad.double()

    exact = gradient(lovasz.lovasz_sigmoid, torch.float64, bins=None)
    published_error = (gradient(published.lovasz_sigmoid) - exact).norm() / exact.norm()
    assert published_error > 2e-3
    for bins, bound in (("auto", 2e-3), (None, 1e-5)):
        error = (gradient(lovasz.lovasz_sigmoid, bins=bins) - exact).norm() / exact.norm()
        assert error < bound, (bins, error)


# ---- compilers and devices ----


@every_form
@every_mode
def test_fullgraph_compile_broke(form, bins):
    """Berman, SMP, Pointcept, superpoint: a branch on the data in every class."""
    logits, target = random(form, (2, 3, 4, 5), 18)
    target.view(-1)[:5] = VOID
    mask = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.7
    arguments = {"ignore_index": VOID, "mask": mask, "classes": "present", "bins": bins}
    expected, expected_grad = value_and_gradient(form, logits, target, **arguments)
    torch._dynamo.reset()
    compiled = torch.compile(LOSSES[form], fullgraph=True, backend="aot_eager")
    x = logits.requires_grad_()
    loss = compiled(x, target, **arguments)
    assert_close(loss, expected)
    assert_close(torch.autograd.grad(loss, x)[0], expected_grad)


def operations(form, C, bins):
    """How often each ATen operator runs in a forward and a backward pass, inside the kernels as well."""
    logits, target = random(form, (2, C, 8, 9), 19)
    logits.requires_grad_()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        LOSSES[form](logits, target, bins=bins).backward()
    return {event.key: event.count for event in profile.key_averages()}


@every_form
@every_mode
def test_a_sort_and_a_synchronisation_per_class(form, bins):
    """Berman's file and most others: a loop over the classes, with `if fg.sum() == 0` in it."""
    two, many = (operations(form, C, bins) for C in (2, 23))
    for name in ("aten::item", "aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero", "aten::sort"):
        assert two.get(name, 0) == many.get(name, 0), name
    assert two.get("aten::sort", 0) == (0 if bins == 4096 else 1)
    assert two.get("aten::nonzero", 0) == 0


class PretendsCUDA(TorchFunctionMode):
    """Tensors that lie on the CPU say they are on a CUDA device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func == torch.Tensor.device.__get__:
            return torch.device("cuda")
        assert func not in (torch.tensor, torch.as_tensor), "copying numbers to a device waits for it"
        kwargs = dict(kwargs or {})
        if "device" in kwargs:
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


def flat(function, *args):
    """A function of `kernels` on the arguments of the operator's schema."""
    *pixels, interpolation = args[:6]
    if function is count_with:
        bins, per_image, class_weights, smoothing = args[6:]
        return count_with(plain, *pixels, bins, per_image, class_weights, smoothing, interpolation)
    weights, grad, class_weights, smoothing, ce_grad = args[6:]
    return apply_with(plain, *pixels, weights, grad, ce_grad, class_weights, smoothing, interpolation)


class NoSynchronisation(TorchDispatchMode):
    """Refuses the operators for which a host waits for its device, inside the kernels of the library too."""

    WAITS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "bincount", "unique")
    KERNELS = {  # noqa: RUF012
        "labels": canonical_target,
        "count": functools.partial(flat, count_with),
        "weigh": plain.weigh,
        "apply": functools.partial(flat, apply_with),
    }

    def __init__(self):
        super().__init__()
        self.kernels = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        namespace, name = func.name().split("::")
        if namespace == "lovasz":
            self.kernels.append(name)
            with self, PretendsCUDA():
                return self.KERNELS[name](*args, **(kwargs or {}))
        assert not any(name.removeprefix("_").startswith(w.removeprefix("_")) for w in self.WAITS), name
        assert not (name.startswith("index.") and any(i is not None and i.dtype == torch.bool for i in args[1]))
        return func(*args, **(kwargs or {}))


@every_form
@every_mode
@pytest.mark.parametrize("per_image", [False, True])
def test_the_host_waited_for_the_device(form, bins, per_image):
    """Berman's file and most others: `nonzero`, `if fg.sum()`. On CUDA even the check of labels must not."""
    logits, target = random(form, (2, 4, 6, 7), 20)
    target.view(-1)[:5] = VOID
    mask = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.7
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
    for classes in ("present", "all", [0, 2]):
        arguments = {"ignore_index": [VOID, -1], "mask": mask, "classes": classes, "weight": weight}
        arguments |= {"bins": bins, "per_image": per_image}
        expected = value_and_gradient(form, logits, target, **arguments)
        x = logits.detach().requires_grad_()
        with NoSynchronisation() as watch, PretendsCUDA():
            loss = LOSSES[form](x, target, **arguments)
            loss.backward()
        counted = ["count", "weigh", "apply"]
        assert watch.kernels == (counted if bins == 4096 else ["labels"])
        assert_close((loss.detach(), x.grad), expected)


def test_a_watch_that_sees_nothing_would_prove_nothing():
    """The watch of the test above does refuse what a host waits for."""
    x = torch.arange(3.0)
    for wait in (lambda: x.sum().item(), lambda: bool(x.any()), lambda: x[x > 1], lambda: x.nonzero()):
        with pytest.raises(AssertionError), NoSynchronisation():
            wait()


# ---- metrics ----


def two_images():
    """One image of class 0 alone, predicted but for one pixel; one of both classes, predicted."""
    target = torch.zeros(2, 10, 10, dtype=torch.long)
    target[1, 5:] = 1
    preds = target.clone()
    preds[0, 0, 0] = 1
    return preds, target


def test_mean_iou_averaged_over_pairs_of_image_and_class():
    """In torchmetrics' MeanIoU one stray pixel in an image without the class costs a quarter of the score."""
    preds, target = two_images()
    dataset, image = JaccardIndex(2), ImageJaccardIndex(2)
    for metric in (dataset, image):
        metric.update(preds[:1], target[:1])
        metric.update(preds[1:], target[1:])
    assert_close(dataset.compute(), torch.tensor((149 / 150 + 50 / 51) / 2))
    assert_close(image.compute(), torch.tensor((99 / 100 + 1) / 2))
    theirs = MeanIoU(num_classes=2, input_format="index")
    assert_close(theirs(preds, target), torch.tensor((0.99 + 0 + 1 + 1) / 4))


def test_mean_iou_had_no_ignore_index():
    """The MeanIoU of torchmetrics cannot leave out void pixels: its users masked them by hand."""
    assert "ignore_index" not in inspect.signature(MeanIoU).parameters
    preds, target = two_images()
    void = target.clone()
    void[0, 0, 0], void[1, 9, 9] = 255, 254
    for metric in (JaccardIndex, ImageJaccardIndex):
        assert_close(metric(2, ignore_index=[254, 255])(preds, void), torch.tensor(1.0))
        masked = metric(2)
        masked.update(preds, target, mask=void < 2)
        assert_close(masked.compute(), torch.tensor(1.0))


def test_a_class_that_never_occurs_made_the_mean_nan():
    """JDTLosses' image, class and worst-case means: NaN as soon as a class is in no label."""
    preds, target = two_images()
    for metric in (
        JaccardIndex(5),
        *(ImageJaccardIndex(5, average=a, worst=w) for a in ("image", "class") for w in (100, [10, 50])),
    ):
        value = metric(preds, target)
        assert value.isfinite(), metric
        few = copy.deepcopy(metric)
        few.reset()
        assert_close(few(preds, target), value)
    per_class = JaccardIndex(3, average="none")(preds, target)
    assert_close(per_class, torch.tensor([149 / 150, 50 / 51, torch.nan]), equal_nan=True)


def test_the_loss_of_one_hot_predictions_was_not_one_minus_the_metric():
    """Losses and metrics of one library disagreed on what IoU is."""
    preds, target = two_images()
    logits = 200.0 * F.one_hot(preds, 2).movedim(-1, 1) - 100.0
    assert_close(lovasz.lovasz_softmax(logits, target), 1 - JaccardIndex(2)(preds, target))
