"""The operators and their place in PyTorch: opcheck, compile, autocast, scaling, grad modes."""

import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import lovasz
from lovasz._kernels import cpu, operators, plain
from lovasz._math import binning
from tests.core.cases import FORMS, LOSSES, MODULES, random
from tests.core.kernels import apply_with, count_with
from tests.core.oracle import gradient

MODES = ("auto", 256, None)


def operands(form, requires_grad=False):
    logits, target = random(form, (2, 3, 40))
    mask = torch.rand(target.flatten(2 if form != "softmax" else 1).shape) < 0.8
    return logits.requires_grad_(requires_grad), target, mask


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("per_image", [False, True])
def test_opcheck(form, per_image):
    logits, target, mask = operands(form)
    labels = 3 if form == "softmax" else 2
    torch.library.opcheck(torch.ops.lovasz.labels.default, (target, mask, [255], labels))
    args = (logits, target, mask, [255, -1], form, None)
    torch.library.opcheck(torch.ops.lovasz.count.default, (*args, 64, per_image, None, None))
    table, _, _ = torch.ops.lovasz.count(*args, 64, per_image, None, None)
    coefficients = torch.rand(table.shape[:2], dtype=torch.float64)
    weighing = (table, form, coefficients, torch.float32, 1.0, 1.0)
    torch.library.opcheck(torch.ops.lovasz.weigh.default, weighing)
    _, weights = torch.ops.lovasz.weigh(*weighing)
    for grad, ce_grad in ((torch.rand(()), torch.rand(())), (torch.rand(()), None), (None, None)):
        ce = (None, 0.1) if form == "softmax" and ce_grad is not None else (None, None)
        torch.library.opcheck(torch.ops.lovasz.apply.default, (*args, weights, grad, *ce, ce_grad))


@pytest.mark.parametrize("bins", MODES)
@pytest.mark.parametrize("form", FORMS)
def test_compiles_without_a_graph_break(form, bins):
    torch._dynamo.reset()
    logits, target = random(form, (2, 3, 8, 9))
    target[0, ..., 0, :4] = 255
    mask = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.7

    def step(x, target, mask):
        return LOSSES[form](
            x, target, ignore_index=[255, 254], mask=mask, classes="present", bins=bins, per_image=True
        )

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    eager_x, compiled_x = (logits.clone().requires_grad_() for _ in range(2))
    a, b = step(eager_x, target, mask), compiled(compiled_x, target, mask)
    a.backward()
    b.backward()
    assert_close(b, a)
    assert_close(compiled_x.grad, eager_x.grad)


@pytest.mark.parametrize("bins", MODES)
def test_compiles_where_a_default_device_is_set(bins):
    torch._dynamo.reset()
    logits, target = random("softmax", (1, 3, 40, 60))  # more pixels than are summed in one block
    x, y = (logits.clone().requires_grad_() for _ in range(2))
    with torch.device("cpu"):
        compiled = torch.compile(
            lambda x: lovasz.lovasz_softmax(x, target, bins=bins), fullgraph=True, backend="aot_eager"
        )(x)
    expected = lovasz.lovasz_softmax(y, target, bins=bins)
    assert_close(compiled, expected)
    assert_close(gradient(compiled, x), gradient(expected, y))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's own, when Inductor is imported
def test_compiles_with_inductor_and_dynamic_shapes():
    torch._dynamo.reset()
    loss = torch.compile(
        lambda x, t: lovasz.lovasz_cross_entropy(x, t, ignore_index=255, bins=256), fullgraph=True, dynamic=True
    )
    for size in (8, 12):
        logits, target = random("softmax", (2, 3, size, size))
        target[0, 0] = 255
        x, y = (logits.clone().requires_grad_() for _ in range(2))
        loss(x, target).backward()
        lovasz.lovasz_cross_entropy(y, target, ignore_index=255, bins=256).backward()
        assert_close(x.grad, y.grad)


@pytest.mark.parametrize("bins", MODES)
def test_a_bad_label_is_reported_from_compiled_code_too(bins):
    torch._dynamo.reset()
    logits, target = random("softmax", (2, 3, 8, 8))
    target[0, 0, 0] = 17
    loss = torch.compile(lambda x, t: lovasz.lovasz_softmax(x, t, bins=bins), fullgraph=True, backend="eager")
    with pytest.raises(ValueError, match=r"17 \(1x\)"):
        loss(logits, target)


@pytest.mark.parametrize("bins", MODES)
@pytest.mark.parametrize("form", FORMS)
def test_autocast_gives_float32_as_cross_entropy_does(form, bins):
    logits, target = random(form, (2, 3, 8, 8))
    x = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert F.cross_entropy(x, torch.zeros(2, 8, 8, dtype=torch.long)).dtype == torch.float32
        value = LOSSES[form](x, target, bins=bins)
    assert value.dtype == torch.float32
    value.backward()
    assert x.grad.dtype == torch.bfloat16
    assert_close(value.detach(), LOSSES[form](x.detach().float(), target, bins=bins))


@pytest.mark.parametrize("bins", MODES)
def test_grad_scaler_steps_and_skips_overflow(bins):
    logits, target = random("softmax", (2, 3, 8, 8))
    parameter = torch.nn.Parameter(logits.clone())
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(lovasz.lovasz_softmax(parameter, target, bins=bins)).backward()
    scaler.step(optimizer)
    scaler.update()
    plain = logits.clone().requires_grad_()
    lovasz.lovasz_softmax(plain, target, bins=bins).backward()
    assert_close(parameter.detach(), logits - plain.grad)

    before = parameter.detach().clone()
    optimizer.zero_grad()
    overflow = torch.where(torch.zeros_like(parameter) == 0, parameter * float("inf"), parameter)
    scaler.scale(lovasz.lovasz_softmax(overflow, target, bins=bins)).backward()
    scaler.step(optimizer)
    scaler.update()
    assert_close(parameter.detach(), before)
    assert scaler.get_scale() == 512.0


@pytest.mark.parametrize("bins", MODES)
@pytest.mark.parametrize("form", FORMS)
def test_no_grad_and_inference_mode(form, bins):
    logits, target = random(form, (2, 3, 8, 8))
    expected = LOSSES[form](logits, target, bins=bins)
    x = logits.clone().requires_grad_()
    with torch.no_grad():
        value = LOSSES[form](x, target, bins=bins)
        assert not value.requires_grad
        assert_close(value, expected)
    with torch.inference_mode():
        assert_close(LOSSES[form](logits.clone(), target.clone(), bins=bins), expected)


@pytest.mark.parametrize("form", FORMS)
def test_a_second_backward_says_what_to_do(form):
    logits, target = random(form, (2, 3, 8, 8))
    x = logits.requires_grad_()
    (grad,) = torch.autograd.grad(LOSSES[form](x, target, bins=64), x, create_graph=True)
    with pytest.raises(RuntimeError, match="pass bins=None to sort"):
        grad.sum().backward()
    exact = LOSSES[form](x, target, bins=None)
    (grad,) = torch.autograd.grad(exact, x, create_graph=True)
    grad.square().sum().backward()
    assert x.grad.isfinite().all()


def forward_mode(loss, x):
    with torch.autograd.forward_ad.dual_level():
        tangent = torch.autograd.forward_ad.unpack_dual(
            loss(torch.autograd.forward_ad.make_dual(x, torch.ones_like(x)))
        ).tangent
        return tangent.clone()


@pytest.mark.parametrize(
    "derivative",
    [
        forward_mode,
        lambda loss, x: torch.func.jvp(loss, (x,), (torch.ones_like(x),))[1],
        lambda loss, x: torch.func.jacfwd(loss)(x).sum(),
    ],
    ids=["forward mode", "jvp", "jacfwd"],
)
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # PyTorch's own, in forward mode
@pytest.mark.parametrize("form", FORMS)
def test_a_derivative_that_goes_forward_says_what_to_do(form, derivative):
    logits, target = random(form, (2, 3, 4, 4))
    with pytest.raises(RuntimeError, match="no forward-mode derivative when they count; pass bins=None to sort"):
        derivative(lambda x: LOSSES[form](x, target, bins=64), logits)
    x = logits.clone().requires_grad_()
    LOSSES[form](x, target, bins=None).backward()
    found = derivative(lambda x: LOSSES[form](x, target, bins=None), logits)
    assert_close(found, x.grad.sum(), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # vmap goes batch by batch
@pytest.mark.parametrize("bins", [64, None])
@pytest.mark.parametrize("form", FORMS)
def test_transforms_of_torch_func(form, bins):
    """Gradients, and one loss for each of several batches, with their gradients."""
    logits, target = random(form, (3, 2, 3, 4, 4) if form == "softmax" else (3, 2, 3, 16))
    if form == "softmax":
        logits, target = logits.reshape(3, 2, 3, 4, 4), torch.randint(0, 3, (3, 2, 4, 4))
    else:
        logits, target = logits[..., None], target[..., None]
    x = logits.clone().requires_grad_()
    expected = torch.stack([LOSSES[form](a, b, bins=bins) for a, b in zip(x, target, strict=True)])
    expected.sum().backward()

    def loss(a, b):
        return LOSSES[form](a, b, bins=bins)

    assert_close(torch.func.grad(loss)(logits[0], target[0]), x.grad[0], rtol=0, atol=0)
    assert_close(torch.vmap(loss)(logits, target), expected.detach())
    assert_close(torch.vmap(torch.func.grad(loss))(logits, target), x.grad)


def test_a_graph_that_is_kept_can_be_used_twice():
    logits, target = random("softmax", (2, 3, 8, 8))
    x = logits.requires_grad_()
    loss = lovasz.lovasz_softmax(x, target, bins=64)
    (first,) = torch.autograd.grad(loss, x, retain_graph=True)
    (second,) = torch.autograd.grad(loss, x)
    assert_close(second, first, rtol=0, atol=0)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(loss, x)


def test_logits_changed_in_place_before_backward_are_noticed():
    logits, target = random("softmax", (2, 3, 8, 8))
    x = logits.requires_grad_() * 1
    loss = lovasz.lovasz_softmax(x, target, bins=64)
    x.mul_(2)
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()


@pytest.mark.parametrize("layout", ["planar", "channels_last", "points"])
def test_the_gradient_keeps_the_layout_of_the_logits(layout):
    logits, target = random("softmax", (2, 3, 16, 16))
    if layout == "channels_last":
        logits = logits.contiguous(memory_format=torch.channels_last)
    if layout == "points":
        logits, target = logits.movedim(1, -1).reshape(-1, 3), target.flatten()
    x = logits.requires_grad_()
    lovasz.lovasz_softmax(x, target, bins=64).backward()
    assert x.grad.stride() == logits.stride()


def test_logits_inside_a_graph_get_the_gradient_of_the_chain():
    logits, target = random("softmax", (2, 3, 8, 8))
    w = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    lovasz.lovasz_softmax(logits.double() * w, target, bins=65536).backward()
    exact = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    lovasz.lovasz_softmax(logits.double() * exact, target, bins=None).backward()
    assert_close(w.grad, exact.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_modules_survive_copying_pickling_and_saving(module):
    forms = {"LovaszSigmoidLoss": "sigmoid", "LovaszBinaryCrossEntropyLoss": "sigmoid", "LovaszHingeLoss": "hinge"}
    form = forms.get(module.__name__, "softmax")
    logits, target = random(form, (2, 3, 8, 8))
    channels = {} if form == "softmax" else {"channels": True}
    loss = module(weight=torch.tensor([1.0, 2.0, 3.0]), ignore_index=[255, 254], bins=128, **channels)
    expected = loss(logits, target)
    buffer = io.BytesIO()
    torch.save(loss, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), loaded):
        assert_close(other(logits, target), expected, rtol=0, atol=0)
    assert list(loss.state_dict()) == ["weight"]
    assert loss.double().weight.dtype == torch.float64


def test_the_kernels_that_serve_are_those_that_info_lists():
    (device, kernel, reason), (gpu, on_gpu, _), (other, everywhere, _) = operators.kernels()
    chosen, why = cpu.select()
    assert (device, gpu, other, everywhere) == ("cpu", "cuda", "any other", "PyTorch")
    assert on_gpu == ", ".join([*operators.gpu_kernel.loads, "PyTorch"])
    assert kernel == ("PyTorch" if chosen is None else f"C++, {chosen}")
    assert reason == why
    for name in ("count", "weigh", "apply"):
        keys = torch._C._dispatch_dump(f"lovasz::{name}")
        assert "CompositeExplicitAutograd" in keys
        assert "\nCUDA: " in keys
        assert ("\nCPU: " in keys) == (chosen is not None)


@pytest.mark.skipif(not cpu.names(), reason="needs the compiled kernel")
def test_the_scale_of_the_hinge_is_one_number():
    assert cpu._compiled.HINGE_SCALE == binning.HINGE_SCALE


def test_off_the_cpu_nothing_waits_for_the_device(monkeypatch):
    """The path of an accelerator, on meta tensors: reading one number back would raise."""
    monkeypatch.setattr(plain, "canonical_target", lambda target, *args: target.long())
    for form in FORMS:
        target = torch.zeros((2, 40) if form == "softmax" else (2, 3, 40), dtype=torch.uint8, device="meta")
        logits = torch.zeros(2, 3, 40, device="meta")
        table, _, _ = count_with(plain, logits, target, None, [255], form, 64, False)
        assert table.shape == (1, 3, 2, 65)
        weights = torch.zeros(1, 3, 2, 65, dtype=torch.float64, device="meta")
        assert apply_with(plain, logits, target, None, [255], form, weights).shape == logits.shape
        arguments = {"ignore_index": 255, "classes": [0, 2], "bins": 64}
        loss = LOSSES[form](logits[..., None], target[..., None], **arguments)
        assert loss.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("form", FORMS)
def test_cuda_agrees_with_the_cpu_and_never_waits(form):
    logits, target = random(form, (2, 3, 64, 65))
    x, y = logits.clone().requires_grad_(), logits.cuda().requires_grad_()
    expected = LOSSES[form](x, target, bins=4096)
    expected.backward()
    t = target.cuda()
    try:
        torch.cuda.set_sync_debug_mode("error")
        found = LOSSES[form](y, t, bins=4096, classes=[0, 1])
        found = LOSSES[form](y, t, bins=4096)
        found.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_close(found.detach().cpu(), expected.detach(), rtol=1e-5, atol=1e-6)
    assert (y.grad.cpu() - x.grad).norm() <= 5e-3 * x.grad.norm()
