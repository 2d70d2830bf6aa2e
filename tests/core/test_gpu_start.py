"""The start on a GPU, with the CPU in its place: which kernel serves, and what is said where one fails."""

import contextlib
import subprocess
import sys
import threading
import warnings
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from lovasz._kernels import agreement, gpu, operators, plain, remedies, strips, trial
from lovasz._kernels.contract import Pixels
from lovasz._math import binning
from tests.core.cases import random
from tests.core.kernels import COMPILED, apply_with, count_with, weigh_with

CPU = torch.device("cpu")


class Fake:
    """Plain PyTorch with one function in the place of its own; counts the calls of `count`."""

    def __init__(self, **functions):
        self.calls = 0
        self.weigh = functions.get("weigh", plain.weigh)
        self.apply = functions.get("apply", plain.apply)
        self._count = functions.get("count", plain.count)

    def count(self, *args):
        self.calls += 1
        return self._count(*args)


def raises(error):
    def function(*args):
        raise error

    return function


def served(**kernels):
    """A kernel of the loaders, or of the kernels themselves, in this order."""
    return gpu.Kernel({k: v if callable(v) else lambda v=v: v for k, v in kernels.items()}, "as the test says")


def the_warning_of(run, expected):
    """The text of the only warning of a call, which returns what is expected."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run() == expected
    (warning,) = caught
    return str(warning.message)


@pytest.fixture
def quick(monkeypatch):
    """One case alone, where it does not matter which."""
    monkeypatch.setattr(agreement, "CASES", [agreement.Case("softmax", torch.float32, per_image=True)])


# ---- the inputs ----


@pytest.mark.parametrize("case", agreement.CASES, ids=str)
def test_no_error_is_near_the_edge_of_a_bin(case):
    """So no rounding of an exponential changes a count: in float64, from the edges themselves."""
    given = agreement.problem(case)
    logits, target, mask, *_ = given.pixels
    valid = target != agreement.VOID if mask is None else (target != agreement.VOID) & mask
    x = logits.double()
    if case.coarse:
        x = F.interpolate(x, target.shape[-2:], mode="bilinear")
    if case.form == "softmax":
        p, foreground = x.softmax(1), torch.arange(x.shape[1])[:, None, None] == target[:, None]
        m, valid = torch.where(foreground, 1 - p, p), valid[:, None].expand_as(x)
    elif case.form == "hinge":
        m = (1 - torch.where(target == 1, x, -x)).relu()
    else:
        p = x.sigmoid() if case.form == "sigmoid" else x
        m = torch.where(target == 1, 1 - p, p)
    m = m[valid]
    assert len(m) > 1000
    edges = F.pad(binning.edges(given.bins, case.form)[1:-1], (1, 1), value=torch.inf)
    edges[0] = -torch.inf
    above = torch.searchsorted(edges, m)
    # 50 units in the last place of a 1 - p near 1, 80 of an exponential: kernels err by a few.
    assert (torch.minimum(edges[above] - m, m - edges[above - 1]) > 3e-6 + 1e-5 * m).all()
    wide = plain.count(given.pixels._replace(logits=logits.double()), given.bins, case.per_image).table
    assert_close(plain.count(given.pixels, given.bins, case.per_image).table, wide, rtol=0, atol=0)


def test_the_inputs_hold_what_a_kernel_must_do():
    given = [(case, agreement.problem(case)) for case in agreement.CASES]
    for form in ("softmax", "sigmoid", "hinge", "probs"):
        assert {c.dtype for c, _ in given if c.form == form} == {torch.float32, torch.bfloat16}
        assert {c.per_image for c, _ in given if c.form == form} == {False, True}
    for option in ("masked", "fused", "weighted", "smoothing", "coarse", "channels_last"):
        assert {bool(getattr(c, option)) for c, _ in given if c.form == "softmax"} == {False, True}
    for option in ("masked", "fused", "weighted", "coarse"):
        assert {bool(getattr(c, option)) for c, _ in given if c.form == "sigmoid"} == {False, True}
    for case, problem in given:
        assert problem.pixels.ignored == [agreement.VOID]
        assert (problem.pixels.target == agreement.VOID).any()
        for table in plain.count(problem.pixels, problem.bins, case.per_image).table.flatten(0, 1):
            assert (table[:, :-1].sum(1) > 0).all()
            assert table[:, -1].sum() == 0
    assert (agreement.problem(agreement.CASES[0]).pixels.logits == given[0][1].pixels.logits).all()


@pytest.mark.parametrize("kernel", [plain, *COMPILED], ids=lambda kernel: kernel.__name__)
def test_kernels_agree(kernel):
    assert agreement.difference(kernel, CPU) == ""


def counting(change):
    """A kernel whose `count` has something of its arguments changed: (pixels, bins, per_image, ce)."""
    return Fake(count=lambda *args: plain.count(*change(*args)))


def counted(change):
    return Fake(count=lambda *args: change(plain.count(*args)))


def weighed(change):
    return Fake(weigh=lambda *args: change(*plain.weigh(*args)))


def applying(change):
    """A kernel whose `apply` has something of its arguments changed: (pixels, weights, grad, ce, ce_grad)."""
    return Fake(apply=lambda *args: plain.apply(*change(*args)))


def applied(change):
    return Fake(apply=lambda *args: change(plain.apply(*args)))


def without_mask(pixels, *rest):
    return pixels._replace(mask=None), *rest


def nearest(pixels, *rest):
    return pixels._replace(interpolation=pixels.interpolation and "nearest"), *rest


def another(form, other):
    return lambda pixels, *rest: (pixels._replace(form=other if pixels.form == form else pixels.form), *rest)


def with_ce(**changed):
    """The cross-entropy as the fourth argument, otherwise."""
    return lambda *args: (*args[:3], args[3] and args[3]._replace(**changed), *args[4:])


def one_more(counted):
    table = counted.table.clone()
    table[0, 1, 0, 7] += 1
    return counted._replace(table=table)


def spoilt(gradient):
    gradient = gradient.clone()
    gradient[1, 2, 3, 4] += 0.001 * gradient.abs().max()
    return gradient


#: What is wrong of a kernel, and what is said of it.
WRONG = {
    "one count": (counted(one_more), "softmax float32: the table of count differs in 1 of"),
    "numbers": (
        counted(lambda found: found._replace(pixels=found.pixels + 1)),
        "the number of pixels of count differs in 10 of 10 elements, by up to 1",
    ),
    "floats": (
        counted(lambda found: found._replace(table=found.table.double())),
        "the table of count is torch.float64 of shape",
    ),
    "loss": (weighed(lambda loss, weights: (loss * 1.001, weights)), "the loss of weigh"),
    "weights": (weighed(lambda loss, weights: (loss, weights * 1.001)), "the weights of weigh"),
    "NaN": (weighed(lambda loss, weights: (loss * torch.nan, weights)), "the loss of weigh"),
    "gradient": (applied(spoilt), "softmax float32: the gradient of apply differs in 1 of 6670 elements"),
    "dtype": (applied(torch.Tensor.float), "channels last: the gradient of apply is torch.float32"),
    "strides": (applied(torch.Tensor.contiguous), "channels last: the gradient of apply has strides"),
    "grad": (applying(lambda pixels, weights, _, *rest: (pixels, weights, None, *rest)), "softmax float32: "),
    "bfloat16": (applied(lambda found: found * 1.02 if found.dtype == torch.bfloat16 else found), "bfloat16"),
    "mask in count": (counting(without_mask), "softmax float32, per image, mask"),
    "mask in apply": (applying(without_mask), "mask, cross-entropy, class weights, label smoothing: the grad"),
    "per image": (counting(lambda pixels, bins, _, ce: (pixels, bins, False, ce)), "per image"),
    "pooled": (counting(lambda pixels, bins, _, ce: (pixels, bins, True, ce)), "softmax float32: "),
    "nearest in count": (counting(nearest), "upsampled: the table"),
    "nearest in apply": (applying(nearest), "upsampled: the gradient"),
    "sigmoid in count": (counting(another("sigmoid", "hinge")), "sigmoid float32"),
    "sigmoid in apply": (applying(another("sigmoid", "hinge")), "sigmoid float32"),
    "hinge in count": (counting(another("hinge", "sigmoid")), "hinge float32"),
    "hinge in apply": (applying(another("hinge", "sigmoid")), "hinge float32"),
    "hinge in weigh": (
        Fake(weigh=lambda table, form, *rest: plain.weigh(table, "softmax", *rest)),
        "hinge float32",
    ),
    "probs in count": (counting(another("probs", "sigmoid")), "probs float32"),
    "probs in apply": (applying(another("probs", "sigmoid")), "probs float32"),
    "class weights in count": (counting(with_ce(class_weights=None)), "the sum of the cross-entropy of count"),
    "class weights in apply": (
        applying(with_ce(class_weights=None)),
        "class weights, label smoothing: the gradient",
    ),
    "smoothing in count": (counting(with_ce(smoothing=0.0)), "the sum of the cross-entropy of count"),
    "smoothing in apply": (applying(with_ce(smoothing=0.0)), "label smoothing: the gradient"),
    "no cross-entropy in apply": (applying(lambda *args: (*args[:3], None, None)), "cross-entropy"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found(name):
    kernel, words = WRONG[name]
    assert words in agreement.difference(kernel, CPU)


def test_rounding_is_no_difference():
    kernel = Fake(
        weigh=lambda *args: tuple(value * (1 + 1e-6) for value in plain.weigh(*args)),
        apply=lambda *args: (plain.apply(*args).float() * (1 + 1e-6)).to(args[0].logits.dtype),
    )
    assert agreement.difference(kernel, CPU) == ""


# ---- which one serves ----


FAILING = {
    "at import": (raises(OSError("first line\nsecond line")), "OSError: first line."),
    "count": (Fake(count=raises(RuntimeError("no compiler"))), "RuntimeError: no compiler."),
    "weigh": (Fake(weigh=raises(RuntimeError("no memory\n"))), "RuntimeError: no memory."),
    "apply": (Fake(apply=raises(NotImplementedError())), "NotImplementedError."),
    "one count": (WRONG["one count"][0], "the table of count differs in 1 of"),
    "gradient": (WRONG["gradient"][0], "the gradient of apply differs in 1 of 6670 elements"),
    "no kernel": (SimpleNamespace(), "AttributeError: "),
}  # fmt: skip


@pytest.mark.parametrize("failing", FAILING)
def test_the_next_one_serves_with_one_warning(failing, quick):
    bad, words = FAILING[failing]
    good = Fake()
    kernel = served(cuda=bad, triton=good)
    said = the_warning_of(lambda: [kernel.on(CPU), kernel.on(CPU)], [good, good])
    assert "the triton kernel serves the Lovász losses on cpu. cuda does not: " in said
    assert words in said
    assert "second line" not in said
    assert "Remedy: " in said
    assert "LOVASZ_CUDA_KERNEL=triton" in said
    order, why = kernel.row()
    assert order == "cuda, triton, PyTorch"
    assert why.startswith("as the test says; on cpu triton serves; cuda does not: ")
    assert words.removesuffix(".") in why


MISSING = raises(ModuleNotFoundError("No module named 'gone'", name="gone"))


def test_what_is_not_installed_is_no_warning_where_another_serves(quick):
    """PyTorch's builds before 2.11 do not bring what the first needs."""
    good = Fake()
    kernel = served(cuda=MISSING, triton=good)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kernel.on(CPU) is good
    assert "cuda does not: ModuleNotFoundError: No module named 'gone'" in kernel.row()[1]
    said = the_warning_of(lambda: served(cuda=MISSING, triton=MISSING).on(CPU), plain)
    assert said.count("ModuleNotFoundError: No module named 'gone'") == 2
    said = the_warning_of(lambda: served(cuda=MISSING, triton=raises(OSError("broken"))).on(CPU), plain)
    assert "cuda does not: ModuleNotFoundError" in said


@pytest.mark.parametrize("way", ["on", "trials"])
def test_an_error_from_before_is_not_laid_to_a_kernel(way, quick, monkeypatch):
    """What runs on the device is waited for first."""
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "synchronize", raises(RuntimeError("CUDA error: device-side assert triggered")))
    kernel = served(cuda=raises(KeyboardInterrupt("loaded")))
    with pytest.raises(RuntimeError, match=r"^CUDA error: device-side assert triggered$"):
        getattr(kernel, way)(torch.device("cuda", 0))
    assert kernel.row()[1] == "as the test says"


@pytest.mark.parametrize(("name", "then"), [("cuda", "triton"), ("triton", "off")])
def test_a_kernel_that_breaks_the_device_ends_the_start(name, then, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "synchronize", raises(RuntimeError("CUDA error: an illegal memory access")))
    with pytest.raises(RuntimeError) as found:
        trial.tried(name, raises(OSError("first line\nsecond")), torch.device("cuda", 1))
    assert str(found.value).startswith(
        f"the {name} kernel of the Lovász losses broke the context of cuda:1 at its check (OSError: first line): "
        f"start again with LOVASZ_CUDA_KERNEL={then}, and report it"
    )


def test_the_mode_that_forbids_waiting_is_left_alone_where_it_is_not_set(monkeypatch):
    """To set it, even to what it is, gives a notice, which a filter may make an exception."""
    set_to = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_to.append)
    for mode, expected in ((0, []), (2, ["default", 2])):
        monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda mode=mode: mode)
        with trial._may_synchronise(torch.device("cuda")):
            pass
        assert set_to == expected


def test_labels_counted_wrong_are_an_exception_at_the_check():
    """On a device it would be an assertion, after which nothing runs there."""
    pixels = Pixels(torch.zeros(1, 2, 3), torch.zeros(1, 3, dtype=torch.long), None, [], "softmax")
    wrong = torch.tensor([3])
    strips.refuse_wrong_labels(wrong, pixels)
    with strips.reading_back():
        strips.refuse_wrong_labels(torch.tensor([0]), pixels)
        with pytest.raises(RuntimeError, match=r"^labels that are classes were counted as others$"):
            strips.refuse_wrong_labels(wrong, pixels)
    strips.refuse_wrong_labels(wrong, pixels)
    seen = []
    kernel = Fake(count=lambda *args: (seen.append(strips._read_back.get()), plain.count(*args))[1])
    assert trial.tried("a", lambda: kernel, CPU).kernel is kernel
    assert set(seen) == {True}
    assert not strips._read_back.get()


def test_plain_pytorch_serves_where_all_fail(quick):
    kernel = served(cuda=raises(OSError("no library")), triton=Fake(weigh=raises(RuntimeError("no compiler"))))
    said = the_warning_of(lambda: kernel.on(CPU), plain)
    assert said.startswith("plain PyTorch, several times slower, serves the Lovász losses on cpu. ")
    assert "cuda does not: OSError: no library" in said
    assert "triton does not: RuntimeError: no compiler" in said
    assert "LOVASZ_CUDA_KERNEL=off" in said
    assert kernel.row()[1].endswith("on cpu PyTorch serves; cuda does not: OSError: no library; "
                                    "triton does not: RuntimeError: no compiler")  # fmt: skip


def test_the_first_that_agrees_serves_and_no_other_is_loaded(quick):
    good = Fake()
    kernel = served(cuda=good, triton=raises(KeyboardInterrupt("loaded")))
    logits, target = random("softmax", (2, 3, 40))
    args = (logits, target, None, [], "softmax")
    found = count_with(kernel, *args, 64, False, None, 0.1)
    assert_close(found, count_with(plain, *args, 64, False, None, 0.1))
    coefficients = torch.ones(1, 3, dtype=torch.float64)
    weights = weigh_with(kernel, found.table, "softmax", coefficients, torch.float32)[1]
    gradient = apply_with(kernel, *args, weights, torch.tensor(0.7), torch.tensor(0.3), None, 0.1)
    assert_close(gradient, apply_with(plain, *args, weights, torch.tensor(0.7), torch.tensor(0.3), None, 0.1))
    assert good.calls == 1 + len(agreement.CASES)
    assert kernel.row()[1] == "as the test says; on cpu cuda serves"


def test_a_kernel_is_checked_once_on_each_device(quick):
    good = Fake()
    kernel = served(cuda=good)
    for _ in range(3):
        assert kernel.on(CPU) is good
    assert good.calls == 1
    assert kernel.on(torch.device("cpu", 0)) is good
    assert good.calls == 2
    assert kernel.row()[1] == "as the test says; on cpu cuda serves; on cpu:0 cuda serves"


def test_threads_check_once(quick):
    loaded, barrier, found = [], threading.Barrier(8), []

    def load():
        loaded.append(threading.get_ident())
        raise OSError("slow to fail")

    kernel = served(cuda=load, triton=Fake())

    def run():
        barrier.wait()
        found.append(kernel.on(CPU))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(loaded) == len(caught) == len({*map(id, found)}) == 1
    assert len(found) == 8


def test_an_interruption_is_not_caught_and_leaves_nothing_behind(quick):
    good = Fake()
    loads = iter([raises(KeyboardInterrupt()), lambda: good])
    kernel = served(cuda=lambda: next(loads)())
    with pytest.raises(KeyboardInterrupt):
        kernel.on(CPU)
    assert kernel.row()[1] == "as the test says"
    assert kernel.on(CPU) is good


def test_a_warning_that_is_an_error_is_one_once(quick):
    good = Fake()
    kernel = served(cuda=raises(OSError()), triton=good)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match=r"cuda does not: OSError\. Remedy"):
            kernel.on(CPU)
        assert kernel.on(CPU) is good


def test_during_a_capture_plain_pytorch_serves_and_nothing_is_remembered(quick, monkeypatch):
    good = Fake()
    kernel = served(cuda=good)
    monkeypatch.setattr(gpu, "_capturing", lambda device: True)
    said = the_warning_of(lambda: [kernel.on(CPU) for _ in range(3)], [plain] * 3)
    assert "serves the Lovász losses in this CUDA graph" in said
    assert "on cpu during the capture. Remedy: run a step before it." in said
    assert good.calls == 0
    monkeypatch.setattr(gpu, "_capturing", lambda device: False)
    assert kernel.on(CPU) is good
    monkeypatch.setattr(gpu, "_capturing", lambda device: True)
    assert kernel.on(CPU) is good
    assert served().on(CPU) is plain  # which needs no check, and no warning


def test_nothing_of_the_caller_changes_the_check_or_is_changed(quick):
    """Default device and dtype, autocast, inference mode, deterministic algorithms, the random state."""
    seen = []

    def count(pixels, *rest):
        seen.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"),
                     pixels.logits.device.type, pixels.logits.dtype, pixels.logits.is_inference()))  # fmt: skip
        return plain.count(pixels, *rest)

    torch.manual_seed(5)
    before = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_deterministic_debug_mode("error")
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            kernel = served(cuda=Fake(count=count))
            kernel.on(CPU)
            assert torch.is_inference_mode_enabled()
            assert torch.is_autocast_enabled("cpu")
    finally:
        torch.set_deterministic_debug_mode("default")
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert seen == [(False, False, False, "cpu", torch.float32, False)]
    assert torch.is_grad_enabled()
    assert kernel.row()[1] == "as the test says; on cpu cuda serves"
    assert_close(torch.get_rng_state(), before, rtol=0, atol=0)


def test_every_case_is_checked_whatever_the_defaults_are():
    expected = [agreement.problem(case).pixels.logits for case in agreement.CASES]
    torch.set_default_dtype(torch.bfloat16)
    torch.set_default_device("meta")
    try:
        found = [agreement.problem(case).pixels.logits for case in agreement.CASES]
        assert agreement.difference(plain, CPU) == ""
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert_close(found, expected, rtol=0, atol=0)


def test_a_check_may_synchronise_where_the_caller_has_made_that_an_error(monkeypatch):
    modes = ["error"]
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: modes[-1])
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(agreement, "difference", lambda kernel, device: modes[-1])
    assert trial.tried("cuda", Fake, torch.device("cuda", 0)).failure == "default"
    assert not trial.tried("cuda", raises(OSError()), torch.device("cuda", 0)).missing
    assert modes == ["error", "default", "error", "default", "error"]


def test_every_kernel_is_tried_on_demand(quick):
    good = Fake()
    kernel = served(a=raises(OSError("no library")), b=good, c=Fake(weigh=raises(RuntimeError())), d=Fake())
    trials = kernel.trials(CPU)
    assert [(one.name, one.kernel is not None, one.failure) for one in trials] == [
        ("a", False, "OSError: no library"), ("b", True, ""), ("c", False, "RuntimeError"), ("d", True, ""),
    ]  # fmt: skip
    assert kernel.on(CPU) is good
    assert kernel.row()[1] == "as the test says; on cpu b serves; a does not: OSError: no library"


# ---- the environment ----


def test_the_environment_chooses(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.delenv("LOVASZ_CUDA_KERNEL", raising=False)
    first = "the first that agrees with plain PyTorch at its first use on a device"
    for wanted, names, why in (
        ("", ["cuda", "triton"], first),
        ("cuda", ["cuda"], f"LOVASZ_CUDA_KERNEL; {first}"),
        ("triton", ["triton"], f"LOVASZ_CUDA_KERNEL; {first}"),
        ("off", [], "LOVASZ_CUDA_KERNEL is off"),
    ):
        monkeypatch.setenv("LOVASZ_CUDA_KERNEL", wanted)
        loads, reason = gpu.select()
        assert (list(loads), reason) == (names, why)
    assert gpu.Kernel(*gpu.select()).row() == ("PyTorch", "LOVASZ_CUDA_KERNEL is off")
    assert gpu.Kernel(*gpu.select()).on(CPU) is plain
    monkeypatch.setenv("LOVASZ_CUDA_KERNEL", "nvcc")
    with pytest.raises(ValueError, match="LOVASZ_CUDA_KERNEL must be off or one of cuda, triton, got 'nvcc'"):
        gpu.select()
    monkeypatch.setattr(torch.version, "hip", "6.4")
    with pytest.raises(ValueError, match="must be off or one of triton, got 'nvcc'"):
        gpu.select()
    monkeypatch.delenv("LOVASZ_CUDA_KERNEL")
    assert list(gpu.select()[0]) == ["triton"]


def test_a_kernel_is_the_module_of_its_name(monkeypatch):
    for name, load in gpu.select()[0].items():
        monkeypatch.setitem(sys.modules, f"lovasz._kernels.{name}", SimpleNamespace(__path__=[]))
        monkeypatch.setitem(sys.modules, f"lovasz._kernels.{name}.kernel", found := SimpleNamespace())
        assert load() is found


def test_the_kernels_of_gpus_are_those_that_info_lists():
    assert operators.kernels()[1] == ("cuda", *operators.gpu_kernel.row())
    assert list(operators.gpu_kernel.loads) == list(gpu.select()[0])


# ---- remedies ----


CALLED = subprocess.CalledProcessError(1, ["/usr/bin/gcc", "main.c"])
TRITON, CUDA, BINDINGS, NUMPY = (
    ModuleNotFoundError(f"No module named {name!r}", name=name)
    for name in ("triton", "cuda", "cuda.bindings", "numpy")
)
#: What kernels raise, in the words of Triton, cuda.bindings, the loader and PyTorch, and what helps.
REMEDIES = [
    (
        RuntimeError("Failed to find C compiler. Please specify via CC environment variable"),
        "install gcc, or set CC",
    ),
    (CALLED, "install the headers of Python"),
    (TRITON, "pip install 'triton==3.9.1'"),
    (CUDA, "pip install 'cuda-bindings==12.*' 'nvidia-cuda-nvrtc-cu12'"),
    (BINDINGS, "pip install 'cuda-bindings==12.*' 'nvidia-cuda-nvrtc-cu12'"),
    (NUMPY, remedies.REPORT),
    (RuntimeError("Failed to dlopen libnvrtc.so.12"), "pip install 'nvidia-cuda-nvrtc-cu12'"),
    (RuntimeError('Failure finding "libnvrtc.so"'), "pip install 'nvidia-cuda-nvrtc-cu12'"),
    (OSError("libnvrtc.so.12: cannot open shared object file"), "pip install 'nvidia-cuda-nvrtc-cu12'"),
    (RuntimeError("NVRTC_ERROR_COMPILATION: expected a ;"), remedies.REPORT),
    (RuntimeError("CUDA_ERROR_UNSUPPORTED_PTX_VERSION"), "update the NVIDIA driver, or install the PyTorch"),
    (
        RuntimeError("The NVIDIA driver on your system is too old"),
        "update the NVIDIA driver, or install the PyTorch",
    ),
    (RuntimeError("CUDA error: no kernel image is available for execution"), "install a PyTorch that is built for"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "leave some memory of the device free"),
    (RuntimeError("cuModuleLoadData: CUDA_ERROR_OUT_OF_MEMORY"), "leave some memory of the device free"),
    (RuntimeError("out of resource: shared memory, Required: 300000"), remedies.REPORT),
]


@pytest.mark.parametrize(("error", "words"), REMEDIES, ids=lambda value: str(value)[:30])
def test_the_usual_causes_have_a_remedy(error, words, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(metadata, "requires", lambda _: ["sympy", 'triton==3.9.1; platform_system == "Linux"'])
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(remedies.sysconfig, "get_path", lambda _: str(tmp_path))
    assert words in remedies.remedy(error)
    (tmp_path / "Python.h").touch()
    assert (remedies.remedy(error) == remedies.REPORT) == (error is CALLED or words == remedies.REPORT)


def test_a_remedy_fits_the_installation(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert remedies.remedy(BINDINGS) == "pip install 'cuda-bindings==13.*' 'nvidia-cuda-nvrtc==13.*'"
    monkeypatch.setattr(metadata, "requires", raises(metadata.PackageNotFoundError("torch")))
    assert remedies.remedy(TRITON) == "install the Triton that goes with this PyTorch"
    monkeypatch.setattr(torch.version, "cuda", None)
    assert remedies.remedy(BINDINGS) == remedies.REPORT


def test_what_a_kernel_lacks_is_no_failure():
    assert trial.tried("cuda", raises(CUDA), CPU).missing
    assert not trial.tried("cuda", raises(ImportError("broken")), CPU).missing
