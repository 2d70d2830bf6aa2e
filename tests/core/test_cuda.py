"""The CUDA kernels, compiled for the CPU, and for GPUs where NVRTC is; what the driver is asked for."""

# ruff: noqa: N801, N802  (the names of the driver)

import contextlib
import ctypes
import importlib
import itertools
import math
import mmap
import subprocess
import sys
import textwrap
import types

import pytest
import torch
from torch.testing import assert_close

from lovasz._inputs import arguments
from lovasz._kernels import agreement, plain, remedies, trial
from lovasz._kernels.contract import Pixels
from lovasz._kernels.cuda import compiler, driver, records, shapes, source
from lovasz.measures import JACCARD, Tversky
from tests.core import cases
from tests.core.cases import CASES, FORMS, name, random
from tests.core.coarse import problem
from tests.core.cuda_on_cpu import HERE, ORDERS, OnCPU, built
from tests.core.kernels import EMULATED, apply_with, count_with, near, step

emulated = pytest.mark.skipif(not EMULATED, reason="needs a C++ compiler")


def agree(found, expected, logits):
    """Counts to the last one, all else to rounding."""
    tight = {"rtol": 1e-12, "atol": 1e-12} if logits.dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    half = logits.dtype in (torch.bfloat16, torch.float16)
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        near = {"rtol": 0, "atol": 0} if i < 2 else {"rtol": 1e-2, "atol": 1e-3} if half and i == 5 else tight
        assert_close(a, b, **near, equal_nan=True)
    assert found[-1].stride() == expected[-1].stride()


def check(args, kernel=None, fused=(None, None), per_image=(False, True)):
    """Compare a step with that of plain PyTorch."""
    for each in per_image:
        agree(
            step(kernel or OnCPU(), *args, per_image=each, fused=fused),
            step(plain, *args, per_image=each, fused=fused),
            args[0],
        )


# ---- on the CPU ----

#: Every case in float32, every eighth in the other types.
TYPES = [
    *((case, torch.float32) for case in CASES),
    *((case, dtype) for dtype in (torch.float64, torch.bfloat16, torch.float16) for case in CASES[::8]),
]


@emulated
@pytest.mark.parametrize(("case", "dtype"), TYPES, ids=lambda v: name(v) if hasattr(v, "form") else str(v))
def test_every_case_is_as_by_plain_pytorch(case, dtype):
    x, t, m, _ = cases.view(case.logits.to(dtype), case.target, case.arguments.get("mask"), case.form)
    ignore = arguments.parse_ignore_index(case.arguments.get("ignore_index", -100))
    args = (ignore, case.form, 64, case.arguments.get("per_image", False))
    agree(step(OnCPU(), x, t, m, *args), step(plain, x, t, m, *args), x)


#: One; all in registers; several threads for a pixel; more than a label of 8 bits; not in registers; not staged.
CLASSES = [1, 2, 20, 21, 150, 385, 2100]


@emulated
@pytest.mark.parametrize("last", [False, True], ids=["planar", "class last"])
@pytest.mark.parametrize("classes", CLASSES)
def test_any_number_of_classes_in_both_layouts(classes, last):
    logits, target = random("softmax", (2, classes, 70 if classes < 1000 else 20), 60, 3.0)
    target[0, :9] = 255 if classes < 255 else -1
    logits[1, :, 5], logits[1, classes // 2, 7], logits[0, 0, 13] = torch.nan, torch.inf, -torch.inf
    weight = torch.rand(classes, generator=torch.Generator().manual_seed(0)) + 0.1
    x = logits.movedim(1, -1).contiguous().movedim(-1, 1) if last else logits
    args = (x, target, None, [int(target[0, 0])], "softmax")
    check(args, fused=(weight, 0.1), per_image=(True,))


@emulated
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shared", [232448, 101376, 49152, 15000], ids=str)
def test_counters_that_fit_and_those_that_go_in_parts(form, shared):
    """Of 2048 bins eight classes, three, one, and a class in several parts; of 5 multiprocessors 1 to 10 ranges."""
    logits, target = random(form, (2, 5, 9000), 61)
    logits = logits.double()  # in float32 another rounding brings a pixel or two into the next bin
    logits[0, 1, 3] = torch.nan
    kernel = OnCPU(5, shared)
    fused = (None, 0.0)
    found = step(kernel, logits, target, None, [], form, 2048, False, fused)
    agree(found, step(plain, logits, target, None, [], form, 2048, False, fused), logits)
    counting = next(one for one in kernel.launches if one.kernel == "count")
    parts = counting.arguments[-1].parts
    assert (parts > 1) == (shared == 15000)
    assert (counting.arguments[-1].ranges > 1) == (parts == 1)  # where parts alone keep every multiprocessor busy


@emulated
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bins", [16, 1000, 65536])
def test_any_number_of_bins(form, bins):
    logits, target = random(form, (1, 2, 500), 62)
    logits = logits.double()
    args = (logits, target, None, [], form, bins)
    agree(step(OnCPU(), *args), step(plain, *args), logits)


@emulated
@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16]
)
def test_labels_of_every_type(dtype):
    for form in ("softmax", "sigmoid"):
        logits, target = random(form, (2, 2, 50), 63)
        ignored = [] if dtype == torch.bool else [77]
        if ignored:
            target.view(-1)[::7] = 77
        check((logits, target.to(dtype), torch.rand(target.shape) < 0.7, ignored, form), per_image=(False,))


@emulated
def test_several_ignored_labels_and_labels_that_are_no_class():
    logits, target = random("softmax", (2, 5, 50), 64)
    target[0, :9], target[1, 3:5] = -1, 255
    check((logits, target, None, [-1, 255], "softmax"))
    for form in FORMS:
        x, t = random(form, (2, 5, 50), 65)
        t.view(-1)[7:10] = 9
        with pytest.raises(ValueError, match=r"9 \(3x\)"):
            count_with(OnCPU(), x, t, None, [], form, 64, False)


@emulated
@pytest.mark.parametrize("form", FORMS)
def test_memory_of_any_strides(form):
    logits, target = random(form, (2, 5, 12, 10), 66)
    last = logits.contiguous(memory_format=torch.channels_last)
    wide = torch.empty(2, 5, 12, 20)[..., ::2].copy_(logits)
    crop = torch.empty(2, 5, 14, 13)[..., 1:13, 2:12].copy_(logits)
    masks = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.8
    turned = target.transpose(-1, -2).contiguous().transpose(-1, -2)
    for x, t in itertools.product((last, wide, crop), (target, turned)):
        check((x, t, masks, [], form), per_image=(True,))
    points = logits[0].flatten(1).t().contiguous().t()[None]
    labels = target[:1].flatten(1 if form == "softmax" else 2)
    check((points, labels, None, [], form), fused=(None, 0.0), per_image=(False,))


def at_the_end_of_memory(tensor, kept):
    """A copy whose last byte is the last of a page, with none behind it that may be read or written."""
    page = mmap.PAGESIZE
    size = tensor.untyped_storage().nbytes()
    whole = -(-size // page) * page
    memory = mmap.mmap(-1, whole + page)
    kept.append(memory)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + whole), page, 0) == 0
    flat = torch.frombuffer(memory, dtype=torch.uint8, count=size, offset=whole - size).view(tensor.dtype)
    return flat.as_strided(tensor.shape, tensor.stride()).copy_(tensor)


@emulated
@pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect")
@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_read_or_written_beyond_the_end(form, monkeypatch):
    """Of logits in both layouts, labels, mask and gradient: a process that does so is killed."""
    kept, empty_like = [], torch.empty_like
    for classes in (3, 40):
        logits, target = random(form, (2, classes, 4097), 70)
        mask = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.9
        t, m = (at_the_end_of_memory(one, kept) for one in (target, mask))
        for x in (logits, logits.movedim(1, -1).contiguous().movedim(-1, 1)):
            expected = step(plain, x, target, mask, [], form)
            monkeypatch.setattr(
                torch,
                "empty_like",
                lambda one, *args, **kw: at_the_end_of_memory(empty_like(one, *args, **kw), kept),
            )
            found = step(OnCPU(), at_the_end_of_memory(x, kept), t, m, [], form)
            monkeypatch.undo()
            assert (found[0] - expected[0]).abs().sum() <= 4  # by another rounding of the exponential
            assert_close(found[5], expected[5], rtol=1e-2, atol=1e-5)


@emulated
@pytest.mark.parametrize("form", FORMS)
def test_places_beyond_2_to_the_31(form):
    """Logits, labels and mask of which hardly any memory is touched."""
    far = 2**31 + 64
    logits = torch.empty(2 * far, dtype=torch.bfloat16).as_strided((1, 3, 40), (0, far // 2 + 8, 1))
    small, labels = random(form, (1, 3, 40), 67)
    logits.copy_(small)
    target = torch.empty(3 * far, dtype=torch.uint8)
    target = target.as_strided(labels.shape, (0, far // 32) if form == "softmax" else (0, far, 1)).copy_(labels)
    args = (target, None, [], form)
    found = step(OnCPU(), logits, *args)
    expected = step(plain, small.bfloat16(), labels, None, [], form)
    for a, b in zip(found[:5], expected[:5], strict=True):
        assert_close(a, b, rtol=1e-6, atol=1e-7)
    assert_close(found[5].float(), expected[5].float(), rtol=1e-2, atol=1e-4)


@emulated
@pytest.mark.parametrize(
    "size", ["a quarter", "aligned corners", "one place", "volumes, aligned", "sequences", "nearest"]
)
@pytest.mark.parametrize("form", FORMS)
def test_labels_finer_than_the_logits(form, size, monkeypatch):
    """Over strips, the last of which is smaller; per image, with all images of a strip in their own rows."""
    monkeypatch.setattr("lovasz._kernels.strips.STRIP", 2500)
    logits, target, mask, mode, corners = problem(form, size, torch.float64)
    pixels = cases.view(logits, target, mask, form, mode, corners)
    fused = (None, 0.1 if form == "softmax" else 0.0)
    for per_image in (False, True):
        args = (*pixels[:3], [255], form, 64, per_image, fused, pixels.interpolation)
        agree(step(OnCPU(), *args), step(plain, *args), logits)


@emulated
def test_probabilities_beyond_0_and_1_by_rounding_are_those():
    probs = torch.tensor([1.0, 1 + 2**-23, 0.0, -(2**-30)]).view(1, 1, 4)
    target = torch.tensor([1, 1, 0, 0]).view(1, 1, 4)
    table = count_with(OnCPU(), probs, target, None, [], "probs", 64, False)[0]
    assert table[0, 0, :, 0].tolist() == [2, 2]
    assert table.sum() == 4


@emulated
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_are_rounded_to_the_nearest_and_ties_to_even(dtype):
    """As PyTorch does: halfway between two numbers, subnormal ones, beyond the largest, infinities, NaN."""
    given = [
        1 + 2**-8,
        1 + 3 * 2**-8,
        1 + 2**-11,
        1 + 3 * 2**-11,
        65519.0,
        65520.0,
        3.4e38,
        2**-24,
        2**-25,
        3 * 2**-26,
    ]
    given += [
        6.1e-5,
        1e-40,
        math.inf,
        math.nan,
        *torch.rand(48, generator=torch.Generator().manual_seed(0)).tolist(),
    ]
    values = torch.cat((torch.tensor(given), torch.tensor([2**31 - 1], dtype=torch.int32).view(torch.float32)))
    probs = (torch.arange(len(values)) / 63).square().to(dtype).view(1, 1, -1)
    weights = torch.zeros(1, 1, 2, 65)
    weights[..., : len(values)] = values
    for target in (torch.zeros(1, 1, len(values)).long(), torch.ones(1, 1, len(values)).long()):
        args = (probs, target, None, [], "probs", weights)
        assert_close(apply_with(OnCPU(), *args), apply_with(plain, *args), rtol=0, atol=0, equal_nan=True)


@emulated
def test_the_kernel_agrees_as_it_must_at_its_first_use():
    assert agreement.difference(OnCPU(), torch.device("cpu")) == ""


@emulated
def test_nothing_to_count():
    for shape, form in itertools.product(((0, 3, 4), (2, 3, 0)), FORMS):
        target = torch.zeros(shape if form != "softmax" else (shape[0], shape[2]), dtype=torch.long)
        for per_image in (False, True):
            found = step(OnCPU(), torch.zeros(shape), target, None, [], form, 64, per_image)
            assert found[0].sum() == 0
            assert len(found[0]) == (shape[0] if per_image else 1)
        assert found[-1].shape == shape


# ---- races ----


@emulated
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("classes", [3, 150])
def test_no_order_of_threads_and_blocks_changes_a_bit(form, classes):
    logits, target = random(form, (2, classes, 3000 if classes == 3 else 100), 68)
    logits[0, 1, 3] = torch.nan
    for x in (logits, logits.movedim(1, -1).contiguous().movedim(-1, 1)):
        args = (x, target, None, [], form, 256, False, (None, 0.1 if form == "softmax" else 0.0))
        first = step(OnCPU(5, order=ORDERS[0]), *args)
        for order in ORDERS[1:]:
            for a, b in zip(step(OnCPU(5, order=order), *args), first, strict=True):
                assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@emulated
def test_no_order_changes_a_bit_of_a_gradient_of_fewer_logits():
    logits, target, mask, mode, corners = problem("softmax", "volumes")
    pixels = cases.view(logits, target, mask, "softmax", mode, corners)
    args = (*pixels[:3], [255], "softmax", 64, True, (None, 0.1), pixels.interpolation)
    first = step(OnCPU(order=ORDERS[0]), *args)
    for order in ORDERS[1:]:
        for a, b in zip(step(OnCPU(order=order), *args), first, strict=True):
            assert_close(a, b, rtol=0, atol=0)


RACES = {
    "no barrier": "at.of[threadIdx.x] = threadIdx.x; out[threadIdx.x] = at.of[(threadIdx.x + 1) % 8];",
    "what nobody has written": "out[threadIdx.x] = at.of[threadIdx.x];",
    "the last one wins": "at.of[0] = threadIdx.x; __syncthreads(); out[threadIdx.x] = at.of[0];",
}


@emulated
@pytest.mark.parametrize("race", [None, *RACES])
def test_the_stand_in_shows_races(race, tmp_path):
    right = "at.of[threadIdx.x] = threadIdx.x; __syncthreads(); out[threadIdx.x] = at.of[(threadIdx.x + 1) % 8];"
    run = toy(RACES.get(race, right))
    results = [run(order) for order in ORDERS]
    same = all(code == 0 and values == [1, 2, 3, 4, 5, 6, 7, 0] for code, values in results)
    assert same == (race is None)


@emulated
def test_the_stand_in_shows_a_thread_that_leaves_others_at_a_barrier():
    run = toy("if (threadIdx.x == 3) return; __syncthreads(); out[threadIdx.x] = 1;")
    assert [run(order)[0] for order in ORDERS] == [1, 1, 1]


@emulated
@pytest.mark.parametrize("at", ["-1", "4", "1000"])
def test_the_stand_in_shows_what_is_written_beyond_shared_memory(at):
    """Of 16 bytes of it, whose size the launch decides."""
    body = f"DYNAMIC_SHARED(int, more); more[threadIdx.x % 4] = 1; if (threadIdx.x == 3) more[{at}] = 1;"
    assert toy(body, 16)(0)[0] == 4
    assert toy(body.replace(f"[{at}]", "[0]"), 16)(0)[0] == 0


def toy(body, shared=0):
    """A kernel of 8 threads, as a function from an order to its code and what it wrote."""
    text = (
        f'#include "{HERE / "cuda_on_cpu.hpp"}"\nstruct Memory {{ int of[8]; }};\n'
        f"static void kernel(int* out) {{ SHARED(Memory, at); (void)at; {body} }}\n"
        'extern "C" int on_cpu_run(void** given, long long blocks, int threads, int shared, int order) {\n'
        "  const auto of_a_thread = [](void** given) { kernel(static_cast<int*>(given[0])); };\n"
        "  return on_cpu::run(blocks, threads, shared, order, of_a_thread, given);\n}\n"
    )
    function = built(text)

    def run(order):
        out = (ctypes.c_int * 8)()
        given = (ctypes.c_void_p * 1)(ctypes.addressof(out))
        return function(ctypes.addressof(given), 1, 8, shared, order), list(out)

    return run


# ---- how work is split ----


SIZES = [
    (16, 21, 8192, False),
    (8, 150, 8192, False),
    (64, 1, 65536, False),
    (16, 19, 8192, True),
    (16, 2, 16, False),
]


@pytest.mark.parametrize("shared", [49152, 65536, 101376, 166912, 232448])
@pytest.mark.parametrize(("images", "classes", "bins", "per_image"), SIZES)
@pytest.mark.parametrize("softmax", [False, True])
def test_every_counter_has_a_place_and_most_of_a_device_is_busy(images, classes, bins, per_image, shared, softmax):
    limits = records.Limits(132, shared)
    split = shapes.split(images, classes, 512 * 512, bins, per_image, softmax, limits)
    assert split.parts * split.slots >= 2 * (bins + 1) > (split.parts - 1) * split.slots
    assert split.parts == 1 or split.group == 1
    assert split.shared + shapes.RESERVED <= shared
    rows = images if per_image else 1
    bytes_of_a_range = 4 * 2 * (bins + 1) * rows * classes
    assert split.ranges == 1 or bytes_of_a_range * split.ranges <= shapes.COUNTED_BYTES
    blocks = rows * math.ceil(classes / split.group) * split.parts * split.ranges
    assert blocks / 132 / math.ceil(blocks / 132) > 0.7  # one block of so many registers at a time


@pytest.mark.parametrize(
    ("rows", "bins", "multiprocessors", "pieces"),
    [
        (1, 65536, 132, 16),
        (21, 8192, 132, 2),
        (150, 8192, 132, 1),
        (2, 65536, 16, 8),
        (0, 64, 132, 1),
        (1, 16, 1, 1),
    ],
)
def test_a_class_is_weighed_in_pieces_where_multiprocessors_are_free(rows, bins, multiprocessors, pieces):
    assert shapes.pieces(rows, bins, records.Limits(multiprocessors, 49152)) == pieces


@emulated
@pytest.mark.parametrize("measure", [JACCARD, Tversky(0.3, 0.7)], ids=["jaccard", "tversky"])
@pytest.mark.parametrize(("form", "bins"), [("softmax", 8200), ("hinge", 65536), ("sigmoid", 12291)])
def test_the_pieces_of_a_class_make_it_whole(form, bins, measure):
    """Few pixels and many; a class without foreground, one that takes no part, one with NaN; any order."""
    table = torch.randint(0, 50, (1, 6, 2, bins + 1), generator=torch.Generator().manual_seed(1))
    table[:, 0] *= torch.rand(2, bins + 1, generator=torch.Generator().manual_seed(2)) < 0.001
    table[:, :, :, bins] = 0
    table[0, 2, 1] = 0
    table[0, 4, 0, bins] = 1
    coefficients = torch.tensor([[0.3, 0.7, 1.0, 0.0, 0.5, 2.0]], dtype=torch.float64)
    args = (table, form, coefficients, torch.float64, measure.alpha, measure.beta)
    expected = plain.weigh(*args)
    for order in ORDERS:
        kernel = OnCPU(multiprocessors=132, order=order)
        found = kernel.weigh(*args)
        assert_close(found, expected, rtol=1e-12, atol=1e-300, equal_nan=True)
        assert [launch.blocks for launch in kernel.launches] == [6 * math.ceil(bins / shapes.LEAST_PIECE)]


def test_no_range_has_more_pixels_than_a_counter_holds():
    split = shapes.split(1, 2, 2**40, 8192, False, True, records.Limits(1, 49152))
    assert 2**40 / split.ranges <= 2**31 - 1 + split.tile


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("last", [False, True])
def test_tiles_fit_into_a_block(size, last):
    for classes in range(1, 5000):
        tile = shapes.tile(classes, size, last)
        assert tile.pixels * tile.slices in (2**i for i in range(5, 11))
        if tile.last:
            assert tile.pixels * (classes | 1) * size <= shapes.STAGE_BYTES
    assert not shapes.tile(4999, 8, True).last


# ---- compiling ----

COMMON = {
    "LOGIT": "bfloat16", "REAL": "float", "TARGET": "long long", "LABEL": "short", "CLASSES": 150, "PIXELS": 32,
    "SLICES": 8, "HELD": 24, "LAST": 1, "LAST_OUT": 1, "BLOCK": 256, "GROUP": 2, "ITEMS": 2, "SEVERAL_PARTS": 1,
    "CROSS_ENTROPY": 1, "FORM": "HINGE", "GRAD": "float", "CE_GRAD": "float", "WEIGHT": "float", "HINGE_BINS": 1,
}  # fmt: skip


def nvrtc():
    return pytest.importorskip("cuda.bindings.nvrtc", reason="needs cuda.bindings and NVRTC")


@pytest.mark.parametrize("architecture", [80, 90, 100])
@pytest.mark.parametrize("file", source.FILES)
def test_every_source_compiles_for_a_gpu(file, architecture, tmp_path, monkeypatch):
    nvrtc()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    text = source.source(file, COMMON)
    code = compiler.code(text, architecture)
    assert code.startswith(b"\x7fELF")
    monkeypatch.setattr(compiler, "compiled", lambda *_: pytest.fail("it is kept"))
    assert compiler.code(text, architecture) == code


def test_what_is_kept_is_whole_or_compiled_anew(tmp_path, monkeypatch):
    nvrtc()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    text = source.source("finer", COMMON)
    code = compiler.code(text, 90)
    (file,) = (tmp_path / "lovasz").iterdir()
    for damaged in (b"", file.read_bytes()[:-1], file.read_bytes()[:32]):
        file.write_bytes(damaged)
        assert compiler.code(text, 90) == code
        assert file.read_bytes()[32:] == code
    assert compiler.code(text, 80) != code
    assert len(list((tmp_path / "lovasz").iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    nvrtc()
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compiler.code(source.source("finer", COMMON), 90)


def test_without_a_home_nothing_is_kept(monkeypatch):
    nvrtc()

    def expanduser(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(compiler.Path, "expanduser", expanduser)
    assert compiler.folder() is None
    assert compiler.code(source.source("finer", COMMON), 90)


def test_a_file_that_cannot_be_put_in_its_place_is_not_left_behind(tmp_path, monkeypatch):
    def replace(*_):
        raise PermissionError("in use")

    monkeypatch.setattr(compiler.os, "replace", replace)
    compiler._write(tmp_path / "kept" / "a.bin", b"code")
    assert list((tmp_path / "kept").iterdir()) == []


def test_what_does_not_compile_says_why():
    nvrtc()
    with pytest.raises(
        RuntimeError, match=r"^NVRTC [\d.]+: NVRTC_ERROR_COMPILATION: .*error.*no_such_name"
    ) as found:
        compiler.compiled("no_such_name x;", ["--gpu-architecture=sm_90"])
    assert "no_such_name" in trial.named(found.value)  # of which a report has the first line


def test_a_gpu_newer_than_the_compiler_gets_code_that_its_driver_adapts():
    assert compiler._target(90, [75, 80, 90]) == "--gpu-architecture=sm_90"
    assert compiler._target(103, [75, 80, 90]) == "--gpu-architecture=compute_90"
    assert compiler._target(103, [90, 100, 101]) == "--gpu-architecture=compute_100"  # 101 is a board
    assert compiler._target(101, [90, 100, 101]) == "--gpu-architecture=sm_101"
    with pytest.raises(RuntimeError, match="sm_75 and later, not for sm_70"):
        compiler._target(70, [75, 80])
    nvrtc()
    assert (
        b".target sm_"
        in compiler.compiled('extern "C" __global__ void f() {}', ["--gpu-architecture=compute_80"])[0]
    )


def test_a_structure_of_another_size_does_not_compile(monkeypatch):
    if not EMULATED:
        pytest.skip("needs a C++ compiler")
    monkeypatch.setattr(records, "STRUCTURES", (records.Entropy,))
    text = records.declarations()
    assert built(text + 'extern "C" int on_cpu_run() { return 0; }')
    with pytest.raises(subprocess.CalledProcessError):
        built(text.replace("== 24", "== 32") + 'extern "C" int on_cpu_run() { return 0; }')


# ---- what the driver is asked for ----


class FakeDriver:
    """Stands in for `cuda.bindings.driver`: it keeps the calls, and the arguments as a kernel would see them."""

    class CUresult:
        CUDA_SUCCESS = 0

    class CUdevice_attribute:
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = "major"
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = "minor"
        CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = "multiprocessors"
        CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = "shared"

    class CUstreamCaptureMode:
        CU_STREAM_CAPTURE_MODE_RELAXED = "relaxed"

    class CUfunction_attribute:
        CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = "dynamic"
        CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES = "static"

    def __init__(self):
        self.loaded, self.launched, self.allowed, self.entered = [], [], [], []
        self.fail = None
        self.context, self.mode, self.version = 5, "global", 13020

    def cuDeviceGet(self, index):
        return 0, index

    def cuDeviceGetAttribute(self, attribute, device):
        return 0, {"major": 9, "minor": 0, "multiprocessors": 132, "shared": 232448}[attribute]

    def cuDriverGetVersion(self):
        return 0, self.version

    def cuCtxGetCurrent(self):
        return 0, self.context

    def cuDevicePrimaryCtxRetain(self, device):
        return 0, 100 + device

    def cuCtxSetCurrent(self, context):
        self.context = context
        self.entered.append(context)
        return (0,)

    def cuThreadExchangeStreamCaptureMode(self, mode):
        self.mode, before = mode, self.mode
        return 0, before

    def cuModuleLoadData(self, address):
        assert self.mode == "relaxed"
        if self.fail:
            return (types.SimpleNamespace(name=self.fail),)
        self.loaded.append(ctypes.string_at(address, 4))
        return 0, "module"

    def cuModuleGetFunction(self, module, kernel):
        assert self.mode == "relaxed"  # where loading is lazy it happens here
        return 0, (module, kernel)

    def cuFuncGetAttribute(self, attribute, function):
        return 0, 1024

    def cuFuncSetAttribute(self, function, attribute, value):
        assert self.mode == "relaxed"
        self.allowed.append((attribute, value))
        return (0,)

    def cuLaunchKernel(self, function, gx, gy, gz, bx, by, bz, shared, stream, arguments, extra):
        if self.fail:
            return (types.SimpleNamespace(name=self.fail),)
        (pointer,) = ctypes.cast(arguments, ctypes.POINTER(ctypes.c_void_p * 1)).contents
        given = ctypes.cast(pointer, ctypes.POINTER(records.Merging)).contents
        self.launched.append((function, (gx, gy, gz), (bx, by, bz), shared, stream, given.ranges, given.bins))
        return (0,)


@pytest.fixture
def fake(monkeypatch):
    one = FakeDriver()
    monkeypatch.setattr(driver, "_driver", lambda: one)
    monkeypatch.setattr(compiler, "version", lambda: (13, 0))
    monkeypatch.setattr(compiler, "code", lambda text, architecture: b"%d  " % architecture)
    monkeypatch.setattr(torch.cuda, "device", _Nothing)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: types.SimpleNamespace(cuda_stream=77))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    cached = driver._attribute, driver._context, driver._function
    for one_of_them in cached:
        one_of_them.cache_clear()
    yield one
    for one_of_them in cached:
        one_of_them.cache_clear()


class _Nothing:
    def __init__(self, device):
        pass

    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


def test_a_launch_goes_to_the_current_stream_with_its_arguments(fake):
    device = torch.device("cuda", 0)
    assert driver.limits(device) == records.Limits(132, 232448)
    launch = records.Launch("merge", "merge", {"BLOCK": 256}, 70, 4096, (records.Merging(ranges=5, bins=9),))
    for _ in range(2):
        driver.launch(launch, device)
    assert fake.launched == [(("module", b"merge"), (70, 1, 1), (256, 1, 1), 4096, 77, 5, 9)] * 2
    assert fake.loaded == [b"90  "]  # once
    assert fake.allowed == [("dynamic", 231424)]
    driver.launch(launch, torch.device("cuda"))  # the current one, which is another
    assert fake.loaded == [b"90  "] * 2


MERGE = records.Launch("merge", "merge", {"BLOCK": 256}, 1, 0, (records.Merging(),))


def test_a_thread_without_a_context_is_given_that_of_pytorch(fake):
    driver.launch(MERGE, torch.device("cuda", 2))
    assert fake.entered == []  # it had one
    fake.context = 0
    for _ in range(2):
        driver.launch(MERGE, torch.device("cuda", 2))
    assert fake.entered == [102]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("LAUNCH_OUT_OF_RESOURCES", "$"),
        ("ASSERT", r" \(of an operation before"),
        ("ILLEGAL_ADDRESS", r" \(of an op"),
    ],
)
def test_an_error_of_the_driver_names_the_call(fake, error, said):
    driver.launch(MERGE, torch.device("cuda", 0))
    fake.fail = f"CUDA_ERROR_{error}"
    with pytest.raises(RuntimeError, match=f"^cuLaunchKernel: CUDA_ERROR_{error}{said}"):
        driver.launch(MERGE, torch.device("cuda", 0))


def test_code_is_loaded_where_a_graph_is_captured(fake):
    """So the mode in which a capture takes it for an error is left for that long, and no longer."""
    driver.launch(MERGE, torch.device("cuda", 0))
    assert fake.mode == "global"
    fake.fail = "CUDA_ERROR_INVALID_IMAGE"
    with pytest.raises(RuntimeError, match=r"cuModuleLoadData: CUDA_ERROR_INVALID_IMAGE$"):
        driver.launch(MERGE, torch.device("cuda", 1))
    assert fake.mode == "global"


def test_code_finds_the_memory_that_pytorch_keeps_for_later(fake, monkeypatch):
    capturing, emptied = [False], []

    def empty_cache():
        emptied.append(True)
        fake.fail = None

    monkeypatch.setattr(torch.cuda, "empty_cache", empty_cache)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing[0])
    for fail, captures, raises in (
        ("CUDA_ERROR_OUT_OF_MEMORY", False, False),
        ("CUDA_ERROR_OUT_OF_MEMORY", True, True),
        ("CUDA_ERROR_INVALID_IMAGE", False, True),
    ):
        driver._function.cache_clear()
        fake.fail, capturing[0] = fail, captures
        emptied.clear()
        with pytest.raises(RuntimeError, match=fail) if raises else contextlib.nullcontext():
            driver.launch(MERGE, torch.device("cuda:0"))
        assert emptied == ([] if raises else [True])
        assert fake.mode == "global"


def test_a_compiler_newer_than_the_driver_is_said_to_be(fake):
    fake.version = 12080
    with pytest.raises(
        RuntimeError, match=r"^NVRTC compiles for CUDA 13\.0, the driver is for CUDA 12\.8$"
    ) as found:
        driver.launch(MERGE, torch.device("cuda", 0))
    assert remedies.remedy(found.value).startswith("update the NVIDIA driver")
    assert fake.loaded == []


# ---- on a GPU ----

on_gpu = pytest.mark.skipif(not torch.cuda.is_available() or bool(torch.version.hip), reason="needs an NVIDIA GPU")


def moved(tensors):
    return [t if t is None else t.cuda() for t in tensors]


@on_gpu
@pytest.mark.parametrize(("case", "dtype"), TYPES, ids=lambda v: name(v) if hasattr(v, "form") else str(v))
def test_every_case_on_a_gpu(case, dtype):
    x, t, m, _ = cases.view(case.logits.to(dtype), case.target, case.arguments.get("mask"), case.form)
    ignore = arguments.parse_ignore_index(case.arguments.get("ignore_index", -100))
    args = (ignore, case.form, 64, case.arguments.get("per_image", False))
    near([t.cpu() for t in step_on_gpu(x, t, m, *args)], step(plain, x, t, m, *args))


def step_on_gpu(x, t, m, ignore, form, bins=64, per_image=False, fused=(None, None), upsample=None):
    kernel = importlib.import_module("lovasz._kernels.cuda.kernel")
    weight = None if fused[0] is None else fused[0].cuda()
    return step(kernel, *moved((x, t, m)), ignore, form, bins, per_image, (weight, fused[1]), upsample)


@on_gpu
@pytest.mark.parametrize("last", [False, True], ids=["planar", "class last"])
@pytest.mark.parametrize("classes", CLASSES)
def test_any_number_of_classes_on_a_gpu(classes, last):
    logits, target = random("softmax", (2, classes, 9001 if classes < 1000 else 300), 60, 3.0)
    target[0, :9] = -1
    x = logits.movedim(1, -1).contiguous().movedim(-1, 1) if last else logits
    weight = torch.rand(classes, generator=torch.Generator().manual_seed(0)) + 0.1
    args = (x, target, None, [-1], "softmax", 8192, False, (weight, 0.1))
    near([t.cpu() for t in step_on_gpu(*args)], step(plain, *args))


@on_gpu
@pytest.mark.parametrize("form", FORMS)
def test_a_hundred_steps_on_a_gpu_have_the_same_bits(form):
    logits, target = random(form, (4, 7, 128 * 128), 66)
    first = step_on_gpu(logits, target, None, [], form, 4096, False, (None, 0.0))
    for _ in range(99):
        assert all(map(torch.equal, step_on_gpu(logits, target, None, [], form, 4096, False, (None, 0.0)), first))


@on_gpu
@pytest.mark.parametrize("form", FORMS)
def test_a_graph_captures_a_step_of_this_kernel(form):
    kernel = importlib.import_module("lovasz._kernels.cuda.kernel")
    logits, target = (t.cuda() for t in random(form, (2, 3, 4096), 65))
    pixels = Pixels(logits, target, None, [], form)

    def run():
        table = kernel.count(pixels, 4096, False).table
        coefficients = torch.full(table.shape[:2], 0.5, dtype=torch.float64, device="cuda")
        _, weights = kernel.weigh(table, form, coefficients, torch.float32, 1.0, 1.0)
        return kernel.apply(pixels, weights)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = run()
    logits.copy_(torch.randn_like(logits))
    graph.replay()
    assert_close(found, run(), rtol=0, atol=0)


#: The first use of a device, in a process of its own, in ways that have each failed other libraries.
FIRST_USES = {
    "the first backward, which autograd's own thread runs": """
        x = torch.randn(2, 5, 64, 64, device="cuda", requires_grad=True)
        lovasz.lovasz_softmax(x, target).backward()
    """,
    "a thread": """
        failed = []
        def run():
            try:
                x = torch.randn(2, 5, 64, 64, device="cuda", requires_grad=True)
                lovasz.lovasz_softmax(x, target).backward()
            except Exception as error:
                failed.append(error)
        for _ in range(2):
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        assert not failed, failed
    """,
    "a compiled step with CUDA graphs": """
        step = torch.compile(lambda x: lovasz.lovasz_softmax(x, target) * 2, mode="reduce-overhead")
        for _ in range(4):
            torch.compiler.cudagraph_mark_step_begin()
            x = torch.randn(2, 5, 64, 64, device="cuda", requires_grad=True)
            step(x).backward()
    """,
    "the same with labels that are finer": """
        step = torch.compile(
            lambda x: lovasz.lovasz_softmax(x, target, upsample="bilinear") * 2, mode="reduce-overhead"
        )
        for _ in range(4):
            torch.compiler.cudagraph_mark_step_begin()
            x = torch.randn(2, 5, 16, 16, device="cuda", requires_grad=True)
            step(x).backward()
    """,
}


@on_gpu
@pytest.mark.parametrize("way", FIRST_USES)
def test_the_first_use_in_a_process_on_a_gpu(way):
    code = (
        "import threading, torch, lovasz\nfrom lovasz._kernels import operators, plain\n"
        "target = torch.randint(5, (2, 64, 64), device='cuda')\n"
        f"{textwrap.dedent(FIRST_USES[way])}\ntorch.cuda.synchronize()\n"
        "assert operators.gpu_kernel.on(target.device) is not plain, operators.gpu_kernel.row()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@on_gpu
def test_the_kernel_of_cuda_agrees_on_this_gpu():
    kernel = importlib.import_module("lovasz._kernels.cuda.kernel")
    assert agreement.difference(kernel, torch.device("cuda")) == ""
