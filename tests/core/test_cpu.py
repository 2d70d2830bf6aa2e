"""The compiled kernels: their exponential, fused cross-entropy, threads, processes, memory, and their absence."""

import ast
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import lovasz
from lovasz._inputs import layouts
from lovasz._kernels import cpu, plain
from lovasz._math import binning, jaccard
from tests.core import cases
from tests.core.cases import FORMS, LOSSES, random
from tests.core.kernels import COMPILED, INTERPRETED, KERNELS, OTHERS, apply_with, count_with, weigh_with
from tests.core.oracle import gradient

ROOT = Path(__file__).parents[2]
needs_compiled = pytest.mark.skipif(not COMPILED, reason="the extension is not installed")


@pytest.fixture(params=KERNELS, ids=lambda kernel: kernel.__name__)
def kernel(request):
    return request.param


@pytest.fixture(params=COMPILED, ids=lambda kernel: kernel.__name__)
def compiled(request):
    return request.param


def threads(number):
    """Runs a block with so many threads of PyTorch's."""

    class Context:
        def __enter__(self):
            self.before = torch.get_num_threads()
            torch.set_num_threads(number)

        def __exit__(self, *_):
            torch.set_num_threads(self.before)

    return Context()


# ---- the exponential ----


def test_the_exponential_is_within_2_ulp_over_the_whole_range(compiled):
    """Every 1009th float32 there is, and the neighbourhoods of the ends; infinities and NaN are kept."""
    codes = torch.arange(-(2**31), 2**31, 1009, dtype=torch.int64).to(torch.int32)
    x = torch.cat((codes.view(torch.float32), torch.linspace(-104, -87, 50001), torch.linspace(88, 89, 5001)))
    found = torch.empty_like(x)
    cpu._compiled.exponential(compiled.name, cpu._array(x), cpu._array(found))
    exact = x.double().exp()
    assert (found.isnan() == x.isnan()).all()
    number = ~x.isnan()
    overflow = exact.float().isinf() & number
    assert (found[overflow] == torch.inf).all()
    number &= ~overflow
    found, exact = found[number].double(), exact[number]
    exponent = exact.clamp(min=2.0**-126).log2().floor()
    ulp = torch.exp2(exponent - 23)
    assert ((found - exact).abs() <= 2 * ulp).all(), ((found - exact).abs() / ulp).max()


# ---- weigh ----


@pytest.mark.parametrize("other", OTHERS, ids=lambda kernel: kernel.__name__)
@pytest.mark.parametrize("bins", [16, 333, 512, 8192])
@pytest.mark.parametrize("form", ["softmax", "hinge"])
def test_a_kernel_weighs_as_the_formula_says(other, form, bins):
    generator = torch.Generator().manual_seed(bins)
    table = torch.randint(0, 1000, (2, 4, 2, bins + 1), generator=generator)
    table[0, 0] *= torch.rand(2, bins + 1, generator=generator) < 0.05  # mostly empty
    table[0, 1, 1] = 0  # no foreground
    table[0, 2] = 0  # no pixel
    table[0, 3, 0, bins // 2] = 2**40  # past every float
    table[..., -1] = 0
    table[1, 1, 1, -1] = 1  # an error that is no number
    table[1, 2, 0, -1] = 1
    coefficients = torch.rand(2, 4, generator=generator).double()
    coefficients[1, 2] = 0
    expected_losses, expected = weigh_with(plain, table, form, coefficients, torch.float64)
    assert expected_losses.isnan().tolist() == [[False] * 4, [False, True, False, False]]
    for dtype, rtol in ((torch.float64, 1e-13), (torch.float32, 1e-6)):
        losses, found = weigh_with(other, table, form, coefficients, dtype)
        assert found.dtype == dtype
        assert_close(losses, expected_losses, rtol=1e-13, atol=1e-15, equal_nan=True)
        assert_close(found.double(), expected, rtol=rtol, atol=0, equal_nan=True)


# ---- cross-entropy in the same passes ----

#: None, where a term is left out; some; all, where the label counts for nothing.
SMOOTHING = [0.0, 0.1, 1.0]
#: Planar memory and a last vector that is not full; classes last; one class; more classes than a tile of pixels.
CE_SHAPES = [(2, 5, 13, 19), (700, 3), (1, 1, 6, 6), (2, 150, 9, 7)]
#: Of many classes, which take seconds in Triton's interpreter, nothing and all that there is to read.
FUSED = [
    (shape, weighted, smoothing)
    for shape in CE_SHAPES
    for weighted in (False, True)
    for smoothing in SMOOTHING
    if shape[1] < 150 or (weighted, smoothing) in ((False, 0.0), (True, 0.1))
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("shape", "weighted", "smoothing"), FUSED, ids=str)
def test_a_kernel_adds_the_cross_entropy_of_pytorch(kernel, shape, dtype, weighted, smoothing):
    logits, target = random("softmax", shape, 31)
    target.view(-1)[::7] = 255
    logits = logits.to(dtype)
    C = shape[1]
    weight = torch.rand(C, generator=torch.Generator().manual_seed(1)).double() + 0.1 if weighted else None
    x, t, *_ = layouts.softmax_pixels(logits, target, None)
    fused = (weight, smoothing)
    table, _, sums = count_with(kernel, x, t, None, [255], "softmax", 64, False, *fused)
    exact = logits.double().requires_grad_()
    ce = F.cross_entropy(exact, target, weight, ignore_index=255, reduction="sum", label_smoothing=smoothing)
    w = torch.ones(C).double() if weight is None else weight
    tight = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 2e-6, "atol": 1e-6}
    assert_close(sums, torch.stack((ce.detach(), w[target[target != 255]].sum())), **tight)

    weights = torch.zeros(table.shape, dtype=plain.compute_dtype(x))
    found = apply_with(kernel, x, t, None, [255], "softmax", weights, None, torch.tensor(0.7), *fused)
    expected = layouts.softmax_pixels(0.7 * gradient(ce, exact), target, None).logits
    near = {"rtol": 1e-2, "atol": 1e-6} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-6}
    assert_close(found.double(), expected, **near)
    assert (found.movedim(1, -1)[t == 255] == 0).all()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("bins", [256, None])
def test_lovasz_cross_entropy_is_the_sum_of_the_two(reduction, bins):
    logits, target = random("softmax", (2, 5, 33, 31), 32)
    target[0, :3] = 255
    logits[0, :, 0, 0] = torch.nan  # void pixels may hold anything
    weight = torch.rand(5, generator=torch.Generator().manual_seed(2)) + 0.1
    args = {"ignore_index": 255, "weight": weight, "reduction": reduction}
    factors = {"ce_weight": 0.3, "lovasz_weight": 1.7, "label_smoothing": 0.2}
    x, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    both = lovasz.lovasz_cross_entropy(x, target, bins=bins, **args, **factors)
    finite = torch.where((target == 255)[:, None], 0.0, y)
    ce = F.cross_entropy(finite, target, label_smoothing=0.2, **args)
    apart = 0.3 * ce + 1.7 * lovasz.lovasz_softmax(y, target, bins=bins, **args)
    assert_close(both, apart)
    assert_close(gradient(both, x), gradient(apart, y), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_fused_loss_keeps_the_digits_of_confident_pixels_and_far_logits(kernel, smoothing):
    """No less exact than PyTorch's float32: logits of 3e4, and offsets that a log-sum-exp alone would keep."""
    for offset, scale in ((4096.0, 2.0), (0.0, 3e4), (-1e4, 20.0)):
        logits, target = random("softmax", (1, 7, 5000), 33, scale)
        logits = logits + offset
        exact = F.cross_entropy(logits.double(), target, reduction="sum", label_smoothing=smoothing)
        usual = F.cross_entropy(logits, target, reduction="sum", label_smoothing=smoothing)
        _, _, sums = count_with(kernel, logits, target, None, [], "softmax", 64, False, None, smoothing)
        assert (sums[0] - exact).abs() <= 2 * (usual.double() - exact).abs() + 1e-6 * exact


# ---- a kernel may be at most as wrong as plain code ----


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("offset", [0.0, 4096.0])
def test_a_compiled_gradient_is_as_exact_as_plain_code(compiled, form, offset):
    logits, target = random(form, (1, 6, 20000), 34, scale=4.0)
    logits = logits + (offset if form == "softmax" else 0)
    table, _, _ = count_with(plain, logits.double(), target, None, [], form, 4096, False)
    _, weights = weigh_with(plain, table, form, torch.ones(1, 6, dtype=torch.float64), torch.float32)
    exact = apply_with(plain, logits.double(), target, None, [], form, weights)
    usual = (apply_with(plain, logits, target, None, [], form, weights).double() - exact).norm()
    found = (apply_with(compiled, logits, target, None, [], form, weights).double() - exact).norm()
    assert found <= 1.5 * usual + 1e-7 * exact.norm()


#: Shapes that fit no vector and no tile: of few classes, of many, of one pixel more than a power of 2. And the
#: scale of the logits, for a network half trained and a confident one.
HALF = (((2, 5, 13, 19), 2.0), ((1, 123, 252), 20.0), ((257, 3), 20.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("weighted", "smoothing"), [(False, 0.0), (True, 0.1)], ids=["usual", "weighted, smoothed"]
)
def test_the_fused_cross_entropy_of_half_precision_is_as_exact_as_plain_code(kernel, dtype, weighted, smoothing):
    """Value and gradient, against float64."""
    for shape, scale in HALF:
        logits, target = random("softmax", shape, 35, scale)
        target.view(-1)[::7] = 255
        x, C = logits.to(dtype), shape[1]
        generator = torch.Generator().manual_seed(1)
        weight = torch.randint(1, 9, (C,), generator=generator).double() / 4 if weighted else None  # exact in half
        arguments = {"ignore_index": 255, "label_smoothing": smoothing}

        exact, usual = x.double().requires_grad_(), x.clone().requires_grad_()
        expected = F.cross_entropy(exact, target, weight, **arguments)
        plainly = F.cross_entropy(usual, target, None if weight is None else weight.to(dtype), **arguments)
        right, theirs = gradient(expected, exact), gradient(plainly, usual)

        pixels, labels, *_ = layouts.softmax_pixels(x, target, None)
        fused = (weight, smoothing)
        table, _, (total, weights) = count_with(kernel, pixels, labels, None, [255], "softmax", 64, False, *fused)
        assert abs(total.double() / weights - expected) <= abs(plainly.double() - expected) + 1e-6 * expected

        none = torch.zeros(table.shape, dtype=plain.compute_dtype(x))
        # Triton's interpreter cuts the digits off that a bfloat16 has not: there PyTorch rounds, as a GPU does.
        read = pixels.float() if "triton" in kernel.__name__ and INTERPRETED else pixels
        found = apply_with(kernel, read, labels, None, [255], "softmax", none, None, 1 / weights, *fused)
        assert found.dtype == read.dtype
        found = found.to(dtype)
        right, theirs = (layouts.softmax_pixels(g, target, None).logits for g in (right, theirs))
        assert (found.double() - right).norm() <= (theirs - right).norm()


# ---- layouts, dtypes and labels ----

INTEGERS = [
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_every_integer_target_counts_alike(kernel, form, dtype):
    logits, target = random(form, (2, 3, 333), 35)
    target.view(-1)[::5] = 100
    expected = count_with(kernel, logits, target, None, [100], form, 64, False)
    found = count_with(kernel, logits, target.to(dtype), None, [100, 101], form, 64, False)
    assert_close(found, expected, rtol=0, atol=0)


def test_labels_beyond_int64_are_neither_classes_nor_ignored(kernel):
    target = torch.tensor([[0, 2**64 - 1, 1]], dtype=torch.uint64)
    for ignore in ([], [-1], [2**63 - 1]):
        with pytest.raises(ValueError, match=r"9223372036854775807 \(1x\)"):
            count_with(kernel, torch.zeros(1, 2, 3), target, None, ignore, "softmax", 64, False)


@pytest.mark.parametrize("label", [-7, -1, 4])
@pytest.mark.parametrize("number", [1, 5, 4000])
def test_labels_out_of_range_are_counted_and_named(kernel, number, label):
    logits, target = random("softmax", (3, 4, 2000), 36)
    target.view(-1)[:number] = label
    with pytest.raises(ValueError, match=rf"got {number} other: {label} \({number}x\)"):
        count_with(kernel, logits, target, None, [255], "softmax", 64, False)
    mask = torch.ones(target.shape, dtype=torch.bool)
    mask.view(-1)[:number] = False
    assert count_with(kernel, logits, target, mask, [255], "softmax", 64, False)[1][0, 0, 0] == 6000 - number


@pytest.mark.parametrize("label", [-1, 2])
@pytest.mark.parametrize("form", ["sigmoid", "hinge"])
def test_binary_labels_out_of_range_are_counted_and_named(kernel, form, label):
    logits, target = random(form, (2, 3, 100), 36)
    target[1, 2, 3:5] = label
    with pytest.raises(ValueError, match=rf"got 2 other: {label} \(2x\)"):
        count_with(kernel, logits, target, None, [255], form, 64, False)


@needs_compiled
@pytest.mark.parametrize("form", FORMS)
def test_apply_reads_nothing_out_of_bounds_for_labels_out_of_range(compiled, form):
    logits, target = random(form, (2, 3, 500), 37)
    target.view(-1)[::3] = 2**40
    target.view(-1)[::4] = -(2**40)
    grad = apply_with(compiled, logits, target, None, [], form, torch.rand(1, 3, 2, 65))
    assert grad.isfinite().all()


def strided(form):
    """Views of one larger tensor: batch, classes and pixels in steps, channels last, expanded, reversed axes."""
    C = 4
    logits, target = random(form, (4, 2 * C, 12, 10), 38)
    target = target % 2 if form != "softmax" else target % C
    yield "every other image", logits[::2, :C], target[::2] if form == "softmax" else target[::2, :C]
    yield "every other class", logits[:, ::2], target if form == "softmax" else target[:, ::2]
    yield (
        "every other column",
        logits[:, :C, :, ::2],
        target[..., ::2] if form == "softmax" else target[:, :C, :, ::2],
    )
    yield "a crop", logits[:, :C, 2:9, 1:8], target[..., 2:9, 1:8] if form == "softmax" else target[:, :C, 2:9, 1:8]
    last = logits[:, :C].contiguous(memory_format=torch.channels_last)
    whole = target if form == "softmax" else target[:, :C]
    yield "channels last", last, whole
    yield "channels last, crop", last[:, :, 3:, :7], whole[..., 3:, :7]
    yield "transposed", logits[:, :C].transpose(2, 3), whole.transpose(-1, -2).contiguous()
    yield "expanded", logits[:1, :C].expand(3, -1, -1, -1), whole[:1].expand(3, *(-1,) * (whole.ndim - 1))
    volume = logits[:, :C].unflatten(2, (3, 4))
    yield "a volume, cropped twice", volume[:, :, 1:, 1:3, 2:], whole.unflatten(-2, (3, 4))[..., 1:, 1:3, 2:]


@pytest.mark.parametrize("form", FORMS)
def test_views_give_what_their_copies_give(form):
    for reason, logits, target in strided(form):
        x, y = (
            logits.clone(memory_format=torch.contiguous_format).requires_grad_(),
            logits.detach().requires_grad_(),
        )
        expected = LOSSES[form](x, target.contiguous(), bins=64)
        found = LOSSES[form](y, target, bins=64)
        assert_close(found, expected, rtol=0, atol=0, msg=reason)
        assert_close(gradient(found, y), gradient(expected, x), rtol=0, atol=0, msg=reason)
        pixels = cases.view(logits, target, None, form)
        assert pixels.logits.data_ptr() == logits.data_ptr(), reason  # no copy on the way to the kernel
        assert pixels.target.data_ptr() == target.data_ptr(), reason


def test_class_last_memory_gives_the_bits_of_planar_memory(compiled):
    for shape in ((1, 21, 70, 61), (2, 150, 33, 31), (3, 2, 16, 16)):
        logits, target = random("softmax", shape, 39)
        x, t = logits.flatten(2), target.flatten(1)
        y = logits.contiguous(memory_format=torch.channels_last).flatten(2)
        tables = [count_with(compiled, v, t, None, [], "softmax", 128, False, None, 0.1) for v in (x, y)]
        assert_close(tables[1], tables[0], rtol=0, atol=0)
        coefficients = torch.ones(1, shape[1], dtype=torch.float64)
        _, weights = weigh_with(compiled, tables[0][0], "softmax", coefficients, torch.float32)
        fused = (torch.ones(()), torch.ones(()), None, 0.1)
        grads = [apply_with(compiled, v, t, None, [], "softmax", weights, *fused) for v in (x, y)]
        assert grads[1].stride() == y.stride()
        assert_close(grads[1], grads[0], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_too_large_for_a_cache_are_the_same(compiled, dtype):
    """From 4 MiB on they are written past the caches: same bits as image by image."""
    logits, target = random("softmax", (16, 11, 110, 151), 40)
    for x in (
        logits.to(dtype).flatten(2),
        logits.to(dtype).contiguous(memory_format=torch.channels_last).flatten(2),
    ):
        t = target.flatten(1)
        weights = torch.rand(1, 11, 2, 65, generator=torch.Generator().manual_seed(0))
        whole = apply_with(compiled, x, t, None, [], "softmax", weights)
        assert whole.numel() * whole.element_size() >= 2**22
        for n in range(0, 16, 5):
            alone = apply_with(compiled, x[n : n + 1], t[n : n + 1], None, [], "softmax", weights)
            assert_close(whole[n : n + 1], alone, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_and_rounded_as_pytorch_does(compiled, dtype):
    """Every number of the type: read, as a hinge's error, and written, as its gradient."""
    every = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype)
    x = every[every.isfinite()][None, None]
    target = torch.zeros(1, 1, x.numel(), dtype=torch.uint8)
    found = count_with(compiled, x, target, None, [], "hinge", 4096, False)[0]
    assert_close(found, count_with(compiled, x.float(), target, None, [], "hinge", 4096, False)[0], rtol=0, atol=0)
    weights = torch.rand(1, 1, 2, 65, generator=torch.Generator().manual_seed(0)) * 1e-4
    weights[..., :20] *= 1e-4  # subnormal in float16
    assert_close(
        apply_with(compiled, x, target, None, [], "hinge", weights),
        apply_with(compiled, x.float(), target, None, [], "hinge", weights).to(dtype),
        rtol=0,
        atol=0,
    )


# ---- threads and processes ----


@pytest.mark.parametrize("per_image", [False, True])
def test_any_number_of_threads_gives_the_same_bits_in_large_inputs(compiled, per_image):
    logits, target = random("softmax", (5, 7, 211, 199), 41)
    results = []
    for number in (1, 2, 3, 8):
        with threads(number):
            x, t = logits.flatten(2), target.flatten(1)
            counted = count_with(compiled, x, t, None, [], "softmax", 256, per_image, None, 0.1)
            coefficients = torch.ones(counted[0].shape[:2], dtype=torch.float64)
            losses, weights = weigh_with(compiled, counted[0], "softmax", coefficients, torch.float32)
            grad = apply_with(
                compiled, x, t, None, [], "softmax", weights, torch.ones(()), torch.ones(()), None, 0.1
            )
            results.append((*counted, losses, weights, grad))
    for result in results[1:]:
        assert_close(result, results[0], rtol=0, atol=0)


def test_several_python_threads_may_call_at_once():
    inputs = [random("softmax", (1, 5, 200, 200 + i), i) for i in range(4)]
    expected = [lovasz.lovasz_cross_entropy(*pair) for pair in inputs]
    wrong = []

    def work(i):
        for _ in range(20):
            if not torch.equal(lovasz.lovasz_cross_entropy(*inputs[i]), expected[i]):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


FORK = """
import os, sys, torch, lovasz
torch.manual_seed(0)
logits, target = torch.randn(2, 5, 300, 300), torch.randint(0, 5, (2, 300, 300))
before = lovasz.lovasz_softmax(logits, target)  # the threads are there now
child = os.fork()
if child == 0:
    again = [lovasz.lovasz_softmax(logits, target) for _ in range(3)]
    os._exit(0 if all(torch.equal(a, before) for a in again) else 1)
_, status = os.waitpid(child, 0)
assert torch.equal(lovasz.lovasz_softmax(logits, target), before)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@needs_compiled
def test_a_forked_process_does_not_hang():
    """The compiled kernel: plain PyTorch waits for ever there, in its own parallel operations."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK], cwd=ROOT, timeout=300, check=False,
        env={**os.environ, "LOVASZ_CPU_KERNEL": cpu.names()[0]},
    )  # fmt: skip
    assert done.returncode == 0


# ---- which kernel ----


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


SAY = "from lovasz._kernels import operators; print(*operators.kernels()[0], sep=' | ')"


@needs_compiled
def test_the_environment_chooses_the_kernel():
    for name in cpu.names():
        assert run(SAY, LOVASZ_CPU_KERNEL=name).stdout == f"cpu | C++, {name} | LOVASZ_CPU_KERNEL\n"
    assert run(SAY, LOVASZ_CPU_KERNEL="off").stdout == "cpu | PyTorch | LOVASZ_CPU_KERNEL is off\n"
    refused = run(SAY, LOVASZ_CPU_KERNEL="avx1024")
    assert refused.returncode != 0
    assert "LOVASZ_CPU_KERNEL must be off or one of" in refused.stderr
    assert "got 'avx1024'" in refused.stderr


def test_without_the_extension_pytorch_serves_and_says_why():
    absent = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "lovasz._kernels._compiled":
            raise ImportError("libm.so.7: no such file")
sys.meta_path.insert(0, Absent())
import torch, lovasz
print(lovasz.lovasz_softmax(torch.zeros(300, 2), torch.zeros(300, dtype=torch.long), bins=64).item())
"""
    done = run(absent + SAY)
    value, said = done.stdout.splitlines()
    assert_close(float(value), 0.5, rtol=0.05, atol=0)  # 64 bins
    assert said.startswith("cpu | PyTorch | the compiled kernel is not installed")
    assert said.endswith("libm.so.7: no such file")


def test_the_stub_is_that_of_the_extension(compiled):
    """`python -m nanobind.stubgen -m lovasz._kernels._compiled -o src/lovasz/_kernels/_compiled.pyi` makes it."""
    stub = ast.parse((Path(lovasz.__file__).parent / "_kernels" / "_compiled.pyi").read_text())
    stated = {f.name: [a.arg for a in f.args.args] for f in stub.body if isinstance(f, ast.FunctionDef)}
    found = {}
    for name, function in vars(cpu._compiled).items():
        if hasattr(function, "__nb_signature__"):
            signature = function.__nb_signature__[0][0].partition("(")[2]
            found[name] = re.findall(r"(?:^|, )(\w+): ", signature)
    assert stated == found
    assert len(found) == 5


def test_the_extension_refuses_what_does_not_fit(compiled):
    """Whatever reaches it: no memory is touched that is not there."""
    call, array = cpu._compiled, cpu._array
    x, t = torch.zeros(2, 3, 5), torch.zeros(2, 5, dtype=torch.long)
    table, pixels = torch.zeros(1, 3, 2, 17, dtype=torch.int64), torch.zeros(2, 1, 3, dtype=torch.int64)

    def count(x=x, t=t, table=table, pixels=pixels, name=compiled.name, steps=15, threads=1, axes=(None, None)):
        call.count(
            name, array(x), array(t), None, [], 0, steps, False, None, [], threads, array(table), array(pixels),
            *(None if one is None else array(one) for one in axes),
        )  # fmt: skip

    count()
    fine = torch.zeros(2, 10, dtype=torch.long)
    lower, weight = torch.arange(10).int() // 2, torch.full((10,), 0.5, dtype=torch.float64)
    weight[-2:] = 0
    count(t=fine, axes=(lower, weight))
    skips, beyond, one, negative = lower.clone(), lower.clone(), weight.clone(), weight.clone()
    skips[0], beyond[-1], one[0], negative[0] = 2, 5, 1.0, -0.1
    for axes in (
        (lower, None), (lower[:9], weight[:9]), (lower, weight[:9]), (skips, weight), (beyond, weight),
        (lower, one), (lower, negative), (lower, torch.full_like(weight, 0.5)), (lower.long(), weight),
        (lower, weight.float()),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            count(t=fine, axes=axes)
    for wrong in (
        {"x": torch.zeros(2, 3, 6)}, {"t": torch.zeros(3, 5, dtype=torch.long)},
        {"table": table[:, :2].contiguous()}, {"pixels": pixels[:, :, :2].contiguous()},
        {"name": "none"}, {"steps": 17}, {"steps": 0}, {"threads": 0},
        {"x": torch.zeros(2, 3, 5, dtype=torch.long)}, {"t": torch.zeros(2, 5)}, {"x": torch.zeros(2, 3)},
        {"table": table.float()}, {"table": table.movedim(1, 0)},
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            count(**wrong)


def test_the_slots_of_the_bin_map_are_those_of_the_definition(compiled):
    """Over a fine grid of errors: the compiled map and `binning.index` differ at most by their rounding."""
    for form, logits in (("sigmoid", torch.linspace(-30, 30, 200001)), ("hinge", torch.linspace(-3, 300, 200001))):
        for bins in (16, 333, 8192, 65536):
            x, t = logits[None, None], torch.zeros(1, 1, logits.numel(), dtype=torch.uint8)
            found = count_with(compiled, x, t, None, [], form, bins, False)[0][0, 0, 0, :-1]
            m = logits.double().sigmoid() if form == "sigmoid" else (1 + logits.double()).relu()
            expected = binning.index(m, bins, form).long().bincount(minlength=bins)
            shifted = (found.cumsum(0) - expected.cumsum(0)).abs()
            assert shifted.max() <= 1 + 2e-6 * bins * logits.numel() / 10, (form, bins, shifted.max())
            assert_close(
                jaccard.pixels(count_with(compiled, x, t, None, [], form, bins, False)[0])[0].item(), len(logits)
            )
