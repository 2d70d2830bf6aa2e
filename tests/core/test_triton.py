"""The Triton kernels: in the interpreter, on the CPU, or on a GPU; `make triton` runs them where there is none."""

import importlib

import pytest
import torch
from torch.testing import assert_close

import lovasz
from lovasz._inputs import arguments
from lovasz._kernels import gpu, operators, plain
from tests.core import cases
from tests.core.cases import CASES, FORMS, LOSSES, name, random
from tests.core.coarse import problem
from tests.core.kernels import INTERPRETED, apply_with, count_with, near, step, weigh_with

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if not (INTERPRETED or DEVICE == "cuda"):
    pytest.skip("needs TRITON_INTERPRET=1 or a GPU", allow_module_level=True)
_triton = importlib.import_module("lovasz._kernels.triton.kernel")
on_gpu = pytest.mark.skipif(DEVICE != "cuda", reason="needs a GPU")


def on_device(*tensors):
    return [t if t is None else t.to(DEVICE) for t in tensors]


def agree(found, expected, logits):
    """To rounding; on a GPU nearly."""
    if DEVICE == "cuda":
        near(found, expected)
        return
    tight = {"rtol": 1e-12, "atol": 1e-12} if logits.dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    half = logits.dtype in (torch.bfloat16, torch.float16)
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if i < 2:
            assert_close(a, b, rtol=0, atol=0)
        else:
            assert_close(a, b, **(tight if i < 5 or not half else {"rtol": 1e-2, "atol": 1e-3}), equal_nan=True)


@pytest.mark.parametrize(
    "size", ["a quarter", "aligned corners", "one place", "volumes, aligned", "sequences", "nearest"]
)
@pytest.mark.parametrize("form", FORMS)
def test_labels_finer_than_the_logits(form, size, monkeypatch):
    """Over strips, the last of which is smaller; per image, with all images of a strip in their own rows."""
    monkeypatch.setattr("lovasz._kernels.strips.STRIP", 2500)
    logits, target, mask, mode, corners = problem(form, size, torch.float64)
    pixels = cases.view(*on_device(logits, target, mask), form, mode, corners)
    fused = (None, 0.1 if form == "softmax" else 0.0)
    for per_image in (False, True):
        args = (*pixels[:3], [255], form, 64, per_image, fused, pixels.interpolation)
        found, expected = step(_triton, *args), step(plain, *args)
        agree(found, expected, logits)
        assert found[-1].stride() == expected[-1].stride()


#: Every case in float32; every fifth in the others too.
TYPES = [(case, torch.float32) for case in CASES]
TYPES += [(case, dtype) for case in CASES[::5] for dtype in (torch.float64, torch.bfloat16)]


@pytest.mark.parametrize(("case", "dtype"), TYPES, ids=lambda v: name(v) if hasattr(v, "form") else str(v))
def test_every_case_is_as_by_plain_pytorch(case, dtype):
    x, t, m, _ = cases.view(case.logits.to(dtype), case.target, case.arguments.get("mask"), case.form)
    ignore = arguments.parse_ignore_index(case.arguments.get("ignore_index", -100))
    args = (ignore, case.form, 64, case.arguments.get("per_image", False))
    expected = step(plain, *on_device(x, t, m), *args)
    agree(step(_triton, *on_device(x, t, m), *args), expected, x)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"tile.MOST_CLASSES": 4},
        {"tile.TILE": 64},
        {"count.MOST_PIXELS": 100},
        {"count.COPIES_BYTES": 0},
        {"tile.FURTHEST": 0},
    ],
)
def test_no_setting_changes_what_is_counted(monkeypatch, setting, smoothing):
    """Classes in several goes, small tiles, pixels in several goes, one copy of the counters."""
    logits, target = on_device(*random("softmax", (3, 21, 97), 60, 3.0))
    target[0, :9] = 255
    logits[1, :, 5], logits[1, 2, 7], logits[2, 1, 3] = torch.nan, torch.inf, -torch.inf
    weight = torch.rand(21, generator=torch.Generator().manual_seed(0)).to(DEVICE) + 0.1
    for name_, value in setting.items():
        monkeypatch.setattr(f"lovasz._kernels.triton.{name_}", value)
    for per_image in (False, True):
        args = (logits, target, None, [255], "softmax", 128, per_image, (weight, smoothing))
        agree(step(_triton, *args), step(plain, *args), logits)


@pytest.mark.parametrize("form", ["sigmoid", "hinge"])
def test_binary_pixels_in_several_goes(monkeypatch, form):
    logits, target = on_device(*random(form, (3, 2, 97), 61))
    monkeypatch.setattr("lovasz._kernels.triton.count.MOST_PIXELS", 100)
    agree(step(_triton, logits, target, None, [], form), step(plain, logits, target, None, [], form), logits)
    sides = torch.tensor([[1.0, 3.0], [0.5, 0.25]], device=DEVICE)
    target[1, 0, 5:9], logits[0, 1, 3], logits[2, 0, 4] = 255, torch.nan, torch.inf
    for weights in (None, sides):
        args = (logits, target, None, [255], form, 64, True, (weights, 0.0))
        agree(step(_triton, *args), step(plain, *args), logits)


@pytest.mark.parametrize("form", FORMS)
def test_all_errors_equal(form):
    """One bin for all pixels, in which every program wants to count."""
    logits, target = on_device(torch.zeros(2, 3, 5000), random(form, (2, 3, 5000), 62)[1])
    expected = step(plain, logits, target, None, [], form)
    agree(step(_triton, logits, target, None, [], form), expected, logits)


def test_more_classes_than_a_tile_holds_and_one():
    for shape in ((1, 300, 40), (2, 1, 33), (1, 257, 20)):
        logits, target = on_device(*random("softmax", shape, 63))
        args = (logits, target, None, [], "softmax", 64, False, (None, 0.1))
        agree(step(_triton, *args), step(plain, *args), logits)


def test_class_last_and_strided_memory_give_the_bits_of_planar_memory():
    logits, target = on_device(*random("softmax", (2, 5, 12, 10), 64))
    expected = step(_triton, logits, target, None, [], "softmax")
    last = logits.contiguous(memory_format=torch.channels_last)
    wide = torch.empty(2, 5, 12, 20, device=DEVICE)[..., ::2].copy_(logits)
    crop = torch.empty(2, 5, 14, 13, device=DEVICE)[..., 1:13, 2:12].copy_(logits)
    for x in (last, wide, crop):
        found = step(_triton, x, target, None, [], "softmax")
        assert found[-1].stride() == torch.empty_like(x).stride()
        if DEVICE == "cuda":  # whose threads add the classes in another order there
            agree(found, expected, x)
            continue
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b, rtol=0, atol=0)


def test_weights_of_any_strides_are_read_as_they_are():
    logits, target = on_device(*random("softmax", (2, 5, 97), 69))
    for weight in (torch.arange(1.0, 11)[::2], torch.full((1,), 3.0).expand(5)):
        args = (logits, target, None, [], "softmax", 64, True, (weight.to(DEVICE), 0.1))
        agree(step(_triton, *args), step(plain, *args), logits)
    table = count_with(plain, logits, target, None, [], "softmax", 64, True)[0]
    coefficients = torch.rand(5, 2, dtype=torch.float64, device=DEVICE).t()
    mixed = table.transpose(0, 1).contiguous().transpose(0, 1)
    expected = weigh_with(plain, table, "softmax", coefficients, torch.float32)
    found = weigh_with(_triton, mixed, "softmax", coefficients, torch.float32)
    assert_close(found, expected, rtol=1e-5, atol=1e-7)
    weights = expected[1].transpose(0, 1).contiguous().transpose(0, 1)
    again = apply_with(_triton, logits, target, None, [], "softmax", weights)
    assert_close(again, apply_with(plain, logits, target, None, [], "softmax", weights), rtol=1e-4, atol=1e-6)


def test_nothing_to_count():
    for shape in ((0, 3, 4), (2, 3, 0)):
        for form in FORMS:
            target = torch.zeros(
                shape if form != "softmax" else (shape[0], shape[2]), dtype=torch.long, device=DEVICE
            )
            for per_image in (False, True):
                found = step(_triton, torch.zeros(shape, device=DEVICE), target, None, [], form, 64, per_image)
                assert found[0].sum() == 0
                assert len(found[0]) == (shape[0] if per_image else 1)
            assert found[-1].shape == shape


# ---- on a GPU ----


@on_gpu
@pytest.mark.parametrize("form", FORMS)
def test_cuda_graphs_capture_a_step(form):
    logits, target = on_device(*random(form, (2, 3, 64, 65), 65))
    x = logits.clone().requires_grad_()

    def run():
        x.grad = None
        LOSSES[form](x, target, bins=4096).backward()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    x.grad = None
    with torch.cuda.graph(graph):
        run()
    other = torch.randn_like(logits)
    with torch.no_grad():
        x.copy_(other)
    graph.replay()
    y = other.clone().requires_grad_()
    LOSSES[form](y, target, bins=4096).backward()
    assert_close(x.grad, y.grad, rtol=0, atol=0)


@on_gpu
@pytest.mark.parametrize("form", FORMS)
def test_a_hundred_steps_have_the_same_bits(form):
    logits, target = on_device(*random(form, (4, 7, 128, 128), 66))
    first = step(_triton, logits.flatten(2), target.flatten(1 if form == "softmax" else 2), None, [], form, 4096)
    for _ in range(99):
        again = step(
            _triton, logits.flatten(2), target.flatten(1 if form == "softmax" else 2), None, [], form, 4096
        )
        assert all(map(torch.equal, again, first))


@on_gpu
def test_another_stream_and_another_device():
    logits, target = on_device(*random("softmax", (2, 3, 64, 65), 67))
    expected = lovasz.lovasz_cross_entropy(logits, target, bins=4096)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        assert_close(lovasz.lovasz_cross_entropy(logits, target, bins=4096), expected, rtol=0, atol=0)
    torch.cuda.synchronize()
    for device in range(1, torch.cuda.device_count()):
        found = lovasz.lovasz_cross_entropy(logits.to(device), target.to(device), bins=4096)
        assert_close(found.cpu(), expected.cpu(), rtol=0, atol=0)


@on_gpu
def test_more_than_2_to_the_31_logits():
    logits = torch.zeros(1, 3, 2**30, dtype=torch.bfloat16, device="cuda").requires_grad_()
    target = torch.zeros(1, 2**30, dtype=torch.uint8, device="cuda")
    target[0, -1] = 2
    loss = lovasz.lovasz_softmax(logits, target)
    loss.backward()
    # Every probability is 1/3: 2/3 is the largest error in both classes, where the foreground is all of J. The only
    # pixel of class 2 has its whole weight, half of the mean, times the derivative of the softmax.
    assert_close(loss.item(), 2 / 3, rtol=4e-3, atol=0)  # an ulp of bfloat16
    assert_close(logits.grad[0, :, -1].tolist(), [1 / 18, 1 / 18, -1 / 9], rtol=1e-2, atol=0)
    share = 1 / (2**30 - 1) / 2
    for pixel in (0, 2**30 - 2):  # one of as many pixels of class 0
        expected = [-2 / 9 * share, 1 / 9 * share, 1 / 9 * share]
        assert_close(logits.grad[0, :, pixel].tolist(), expected, rtol=1e-2, atol=0)


@on_gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_triton_serves_where_it_is_asked_for():
    """Its first use is a check, which synchronises."""
    try:
        torch.cuda.set_sync_debug_mode("error")
        assert gpu.Kernel({"triton": lambda: _triton}).on(torch.device("cuda", 0)) is _triton
        assert torch.cuda.get_sync_debug_mode() == 2
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_gpu
def test_cuda_is_not_left_to_plain_pytorch():
    logits, target = on_device(*random("softmax", (2, 3, 64, 65), 68))
    assert operators.gpu_kernel.on(logits.device) is not plain
    exact = lovasz.lovasz_softmax(logits.double(), target, bins=None)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert_close(lovasz.lovasz_softmax(logits, target, bins=65536).double(), exact, rtol=1e-4, atol=0)
