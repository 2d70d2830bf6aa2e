"""Binary cross-entropy and a Lovász loss in the same passes: against the two apart, by every kernel."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

import lovasz
from tests.core.cases import CASES, LOSSES, name, random
from tests.core.coarse import problem
from tests.core.kernels import KERNELS, apply_with, count_with
from tests.core.processes import run

BINARY = [case for case in CASES if case.form != "softmax" and case.arguments.get("reduction") != "none"]
FORMS = ("sigmoid", "hinge")


def both(logits: Tensor, target: Tensor, **arguments: object) -> Tensor:
    """The loss, where axis 1 is that of channels."""
    return lovasz.lovasz_binary_cross_entropy(logits, target, **{"channels": logits.ndim > 1, **arguments})


def by_pytorch(x: Tensor, t: Tensor, **given: object) -> Tensor:
    """The weighted mean, or sum, of PyTorch's over the pixels that count, of points (P, C) or (N, C, *)."""
    ignored = given.get("ignore_index", -100)
    valid = given.get("mask", torch.ones_like(t, dtype=torch.bool)).clone()
    for label in ignored if isinstance(ignored, list) else [ignored]:
        valid &= t != label
    channel = [1, -1, *(1 for _ in x.shape[2:])]
    weight = given.get("weight", torch.ones(x.shape[1])).to(x).view(channel).expand_as(x)
    positive = given.get("pos_weight")
    loss = F.binary_cross_entropy_with_logits(
        x[valid],
        t[valid].to(x),
        weight[valid],
        reduction="sum",
        pos_weight=None if positive is None else positive.to(x).view(channel).expand_as(x)[valid],
    )
    if given.get("reduction", "mean") == "sum":
        return loss
    return loss / weight[valid].sum() if valid.any() else loss


@pytest.mark.parametrize("bins", [None, 4096])
@pytest.mark.parametrize("case", BINARY, ids=name)
def test_it_is_the_sum_of_the_two(case, bins):
    """In float64, values and gradients, of every layout, mask, void label, weight and reduction."""
    x = case.logits.double().requires_grad_()
    factors = {"lovasz_weight": 0.3, "bce_weight": 1.7}
    found = both(x, case.target, form=case.form, bins=bins, **case.arguments, **factors)
    (gradient,) = torch.autograd.grad(found, x)
    alone = LOSSES[case.form](x, case.target, bins=bins, **case.arguments)
    expected = 0.3 * alone + 1.7 * by_pytorch(x, case.target, **case.arguments)
    assert_close(found, expected, rtol=1e-12, atol=1e-12)
    (wanted,) = torch.autograd.grad(expected, x)
    assert_close(gradient, wanted, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("bins", [None, 1024])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", ["(C,)", "(C, 1, 1)", "()"])
def test_weights_of_foreground_are_those_of_pytorch(form, bins, shape):
    logits, target = random(form, (3, 2, 9, 11), 7)
    positive = {"(C,)": torch.tensor([3.0, 0.25]), "()": torch.tensor(2.5)}.get(shape)
    if positive is None:
        positive = torch.tensor([3.0, 0.25]).view(2, 1, 1)
    weight = torch.tensor([0.5, 2.0])
    x = logits.double().requires_grad_()
    for given in ({}, {"weight": weight}):
        found = both(x, target, form=form, bins=bins, pos_weight=positive, **given)
        spread = positive.reshape(-1).expand(2)
        expected = LOSSES[form](x, target, bins=bins, **given) + by_pytorch(x, target, pos_weight=spread, **given)
        assert_close(found, expected, rtol=1e-6, atol=1e-7)
        grads = [torch.autograd.grad(one, x)[0] for one in (found, expected)]
        assert_close(*grads, rtol=1e-5, atol=1e-9)
    plain = F.binary_cross_entropy_with_logits(x, target.double(), pos_weight=positive.double().view(-1, 1, 1))
    assert_close(both(x, target, form=form, bins=bins, pos_weight=positive, lovasz_weight=0.0), plain)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.__name__)
def test_a_kernel_adds_the_binary_cross_entropy_of_pytorch(kernel, dtype, weighted, form):
    """Its sums and its gradient, beside counts and weights that it leaves alone, in planar and strided memory."""
    logits, target = random(form, (2, 3, 7, 41), 8, 6.0)
    target[0, 1, 2:4] = 255
    sides = torch.tensor([[1.0, 2.0], [0.5, 0.25], [3.0, 0.0]], dtype=torch.float64) if weighted else None
    x = logits.to(dtype)
    for pixels in (
        x,
        x.contiguous(memory_format=torch.channels_last),
        x.transpose(2, 3).contiguous().transpose(2, 3),
    ):
        counted = count_with(kernel, pixels, target, None, [255], form, 64, False, sides, 0.0)
        alone = count_with(kernel, pixels, target, None, [255], form, 64, False)
        assert_close(counted[:2], alone[:2], rtol=0, atol=0)
        exact = x.double().requires_grad_()
        valid = target != 255
        w = torch.ones(3, 2, dtype=torch.float64) if sides is None else sides
        each = w[torch.arange(3).view(3, 1, 1), target.clamp(max=1)]
        loss = F.binary_cross_entropy_with_logits(exact, (target == 1).double(), reduction="none")
        total = (each * loss)[valid].sum()
        tight = {"rtol": 1e-12, "atol": 0} if dtype == torch.float64 else {"rtol": 2e-6, "atol": 0}
        assert_close(counted.ce_sums[0], total.detach(), **tight)
        assert_close(counted.ce_sums[1], w[:, 0].view(3, 1, 1).expand_as(x)[valid].sum(), rtol=1e-12, atol=0)
        weights = torch.rand(1, 3, 2, 65, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        weights = weights.to(torch.float64 if dtype == torch.float64 else torch.float32)
        given = pixels, target, None, [255], form, weights
        found = apply_with(kernel, *given, torch.tensor(0.3), torch.tensor(0.7), sides, 0.0)
        without = apply_with(kernel, *given, torch.tensor(0.3))
        (gradient,) = torch.autograd.grad(0.7 * total, exact)
        loose = {torch.float64: 1e-7, torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}[dtype]
        assert_close(found.double(), without.double() + gradient, rtol=loose, atol=loose)
        assert (found[~valid] == 0).all()
        assert found.stride() == torch.empty_like(pixels).stride()


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.__name__)
def test_small_losses_keep_their_digits(kernel):
    """Of pixels that are sure and right the loss is e^-|x|, as small as that may be; of those that are not, |x|."""
    sure = torch.cat([torch.linspace(0, 4, 640), torch.linspace(4, 75, 160)])
    for x, label in ((sure, 1), (-sure, 0), (-sure, 1), (sure, 0)):
        right = x.double() * (1 if label else -1)  # PyTorch's own takes |x| from |x| and a little
        exact = (-right).relu() + (-right.abs()).exp().log1p()
        for i in range(0, len(sure), 16):
            few = x[i : i + 16].view(1, 1, 16)
            target = torch.full((1, 1, 16), label)
            sums = count_with(kernel, few, target, None, [], "sigmoid", 64, False, None, 0.0).ce_sums
            assert_close(sums[0], exact[i : i + 16].sum(), rtol=5e-7 if i < 640 else 3e-6, atol=0)


@pytest.mark.parametrize("bins", [None, 256])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_logit_that_is_not_finite_gives_nan(value, form, bins):
    """Also where the Lovász loss leaves its channel out; one that is void gives nothing."""
    logits, target = random(form, (2, 2, 5, 6), 9)
    logits[0, 1, 2, 3] = value
    for label in (0, 1):
        target[0, 1, 2, 3] = label
        for classes in ("all", [0]):
            x = logits.clone().requires_grad_()
            loss = both(x, target, form=form, bins=bins, classes=classes)
            assert not loss.isfinite()
            (gradient,) = torch.autograd.grad(loss, x)
            assert bins is None or not gradient[0, 1, 2, 3].isfinite()
            assert gradient[1, 0].isfinite().all()
    target[0, 1, 2, 3] = -100
    x = logits.clone().requires_grad_()
    loss = both(x, target, form=form, bins=bins)
    assert loss.isfinite()
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", ["a quarter", "aligned corners", "volumes, aligned", "sequences", "nearest"])
def test_labels_finer_than_the_logits(form, size):
    logits, target, mask, mode, corners = problem(form, size, torch.float64)
    axes = {"align_corners": corners} if mode not in ("nearest",) else {}
    given = {"form": form, "mask": mask, "ignore_index": 255, "pos_weight": torch.tensor(3.0), "bins": 512}
    x = logits.clone().requires_grad_()
    found = both(x, target, upsample=mode, align_corners=corners, **given)
    fine = F.interpolate(x, target.shape[2:], mode=mode, **axes)
    expected = both(fine, target, **given)
    assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert_close(torch.autograd.grad(found, x)[0], torch.autograd.grad(expected, x)[0], rtol=1e-7, atol=1e-12)


# ---- targets ----


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_floating_target_of_whole_numbers_is_its_labels(dtype):
    logits, target = random("sigmoid", (2, 3, 5, 7), 10)
    target[0, :, 0] = -100
    expected = both(logits, target)
    assert_close(both(logits, target.to(dtype)), expected, rtol=0, atol=0)
    assert_close(both(logits, target, ignore_index=[-100, 255]), expected, rtol=0, atol=0)
    one = lovasz.lovasz_binary_cross_entropy(logits[:, :1], target[:, 0].to(dtype))
    assert_close(one, both(logits[:, :1], target[:, :1]), rtol=0, atol=0)


def test_what_is_no_label_is_refused_by_name():
    logits, target = random("sigmoid", (2, 3, 5, 7), 11)
    for value, message in [
        (0.25, r"got 0\.25 \(2x\): soft targets have no place"),
        (torch.nan, r"got nan \(2x\)"),
        (torch.inf, r"got inf \(2x\)"),
        (1e12, r"got 1e\+12 \(2x\)"),
        (2.0, r"target must hold classes 0 to 1 .* got 2 other: 2 \(2x\)"),
    ]:
        wrong = target.float()
        wrong[0, 1, 2, 3:5] = value
        with pytest.raises(ValueError, match=message):
            both(logits, wrong)
    with pytest.raises(ValueError, match="target must not require a gradient"):
        both(logits, target.float().requires_grad_())


@pytest.mark.parametrize(("given", "error", "message"), [
    ({"form": "softmax"}, ValueError, "form must be one of 'sigmoid', 'hinge', got 'softmax'"),
    ({"reduction": "none"}, ValueError, "reduction must be one of 'mean', 'sum', got 'none'"),
    ({"pos_weight": 3.0}, TypeError, r"pos_weight must be a floating-point tensor of shape \(2,\), got float"),
    ({"pos_weight": torch.ones(3)}, ValueError, r"pos_weight must have shape \(2,\), got \(3,\)"),
    ({"pos_weight": torch.ones(1, 2)}, ValueError, r"pos_weight must have shape \(2,\), got \(1, 2\)"),
    ({"pos_weight": torch.ones(2, dtype=torch.int64)}, TypeError, "pos_weight must be a floating-point tensor"),
    ({"pos_weight": torch.ones(2).requires_grad_()}, ValueError, "pos_weight must not require a gradient"),
    ({"weight": torch.ones(3)}, ValueError, r"weight must have shape \(2,\), got \(3,\)"),
    ({"channels": None}, ValueError, "channels must say what axis 1 of logits"),
])  # fmt: skip
def test_arguments_that_do_not_fit_are_named(given, error, message):
    with pytest.raises(error, match=message):
        both(torch.zeros(2, 2, 4, 4), torch.zeros(2, 2, 4, 4), **given)


# ---- where it is used ----


@pytest.mark.parametrize("form", FORMS)
def test_the_module_is_the_function(form):
    logits, target = random(form, (2, 2, 5, 6), 12)
    positive = torch.tensor([3.0, 0.5])
    given = {"form": form, "lovasz_weight": 0.5, "bce_weight": 2.0, "channels": True, "bins": 128}
    module = lovasz.LovaszBinaryCrossEntropyLoss(pos_weight=positive, **given)
    found = module(logits, target.float())
    assert_close(found, both(logits, target, pos_weight=positive, **given), rtol=0, atol=0)
    assert "lovasz_weight=0.5" in repr(module)
    assert set(module.state_dict()) == {"pos_weight"}
    with pytest.raises(ValueError, match="form must be"):
        lovasz.LovaszBinaryCrossEntropyLoss(form="softmax")


@pytest.mark.filterwarnings("ignore")
def test_it_compiles_without_a_break():
    logits, target = random("sigmoid", (2, 2, 5, 6), 13)

    def loss(x, t):
        return lovasz.lovasz_binary_cross_entropy(x, t, bins=64, channels=True, pos_weight=torch.tensor(3.0))

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    x, y = (logits.clone().requires_grad_() for _ in range(2))
    found, expected = compiled(x, target.float()), loss(y, target.float())
    assert_close(found, expected)
    assert_close(torch.autograd.grad(found, x)[0], torch.autograd.grad(expected, y)[0])


@pytest.mark.parametrize("bins", [None, 256])
def test_autocast_and_half_precision_give_the_dtypes_of_pytorch(bins):
    logits, target = random("sigmoid", (2, 1, 8, 8), 14)
    x = logits.to(torch.bfloat16).requires_grad_()
    assert lovasz.lovasz_binary_cross_entropy(x, target.float(), bins=bins).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        loss = lovasz.lovasz_binary_cross_entropy(x, target.float(), bins=bins)
    assert loss.dtype == torch.float32
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.dtype == torch.bfloat16


def test_it_has_a_second_derivative_where_it_sorts():
    logits, target = random("sigmoid", (1, 2, 6), 15)
    x = logits.double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda v: both(v, target, bins=None, lovasz_weight=0.0), (x,))
    assert torch.autograd.gradcheck(lambda v: both(v, target, bins=None, pos_weight=torch.tensor(2.0)), (x,))


def _of_all(rank, world):
    found = []
    for form in FORMS:
        logits, target = random(form, (4, 2, 9, 8), 16)
        target[0, 0, :3], target[1, 1] = -100, -100
        given = {
            "form": form,
            "bins": 256,
            "pos_weight": torch.tensor([3.0, 0.5]),
            "weight": torch.tensor([1.0, 2.0]),
        }
        for reduction in ("mean", "sum"):
            whole = logits.clone().requires_grad_()
            expected = both(whole, target, reduction=reduction, **given)
            (gradient,) = torch.autograd.grad(expected, whole)
            part = slice(0, 1) if rank == 0 else slice(1, 4)
            x = logits[part].clone().requires_grad_()
            loss = both(x, target[part], group="world", average_gradients=False, reduction=reduction, **given)
            (own,) = torch.autograd.grad(loss, x)
            assert_close(own, gradient[part], rtol=1e-5, atol=1e-9)
            assert_close(loss, expected, rtol=1e-6, atol=1e-7)
            found.append(loss.item())
    return found


def test_processes_have_the_loss_of_all_their_pixels(tmp_path):
    first, second = run(_of_all, 2, tmp_path)
    assert first == second
