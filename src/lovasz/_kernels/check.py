"""The check of every kernel on every device: whether it agrees with plain PyTorch, and its time."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F

from .._math import binning
from ..measures import JACCARD
from . import contract, cpu, operators, plain
from .contract import Pixels
from .gpu import PLAIN
from .trial import Trial, named, tried

#: Sizes of the logits that are timed: a step on the CPU takes milliseconds, one on a GPU more than its launches.
SIZE = {"cpu": (2, 21, 192, 192), "cuda": (8, 21, 512, 512)}
REPEATS = 5
#: Steps on a GPU between two synchronisations: the host is ahead of the device then, and its time is not counted.
STEPS = {"cpu": 1, "cuda": 10}


class KernelCheck(NamedTuple):
    """How a kernel did on a device.

    Attributes:
        device: the device, ``cpu`` or ``cuda:0``.
        kernel: the kernel, ``PyTorch`` for plain PyTorch, which the others are held against.
        passed: whether it agrees with plain PyTorch; None where it is not installed.
        found: ``ok``, or what went wrong and the remedy.
        size: that of the logits (N, C, H, W) that were timed.
        milliseconds: median time of value and gradient of the softmax's loss; None where it was not timed.
        cross_entropy: the same of PyTorch's cross-entropy.

    Example:
        >>> check = KernelCheck("cuda:0", "triton", True, "ok", (8, 21, 512, 512), 1.5, 3.0)
        >>> check.ratio
        0.5
    """

    device: str
    kernel: str
    passed: bool | None
    found: str
    size: tuple[int, ...]
    milliseconds: float | None
    cross_entropy: float | None

    @property
    def ratio(self) -> float | None:
        """Return the time as a multiple of that of cross-entropy; None where one of them was not timed."""
        if self.milliseconds is None or self.cross_entropy is None:
            return None
        return self.milliseconds / self.cross_entropy


def check_kernels() -> list[KernelCheck]:
    """List how every kernel does on every device, as ``lovasz info --check`` prints it.

    Each kernel that may serve on this machine is held against plain PyTorch on small inputs: all forms of the loss,
    float32 and bfloat16, cross-entropy in the same passes, upsampling, masks, image by image. Counts must be equal,
    losses and gradients equal to rounding. Then each that agrees, plain PyTorch and `F.cross_entropy` are timed on
    the same tensor, in turns. Takes seconds; on a GPU longer where a kernel is compiled for the first time.

    Returns:
        A record for each device and kernel, in the order in which they serve, plain PyTorch last.

    Example:
        >>> checks = check_kernels()  # doctest: +SKIP
        >>> all(check.passed is not False for check in checks)  # doctest: +SKIP
        True
    """
    devices = [torch.device("cpu"), *(torch.device("cuda", i) for i in range(torch.cuda.device_count()))]
    return [check for device in devices for check in _checks(device)]


def _checks(device: torch.device) -> list[KernelCheck]:
    size = SIZE[device.type]
    try:
        trials = operators.gpu_kernel.trials(device) if device.type == "cuda" else _cpu_trials(device)
    except RuntimeError as error:  # nothing runs on the device any more
        names = ", ".join(operators.gpu_kernel.loads)
        return [KernelCheck(str(device), names, False, named(error), size, None, None)]
    trials = [*trials, Trial(PLAIN, plain)]
    agreeing = {trial.name: trial.kernel for trial in trials if trial.kernel is not None}
    times, failures = _times(agreeing, size, device)
    checks = []
    for trial in trials:
        passed = None if trial.missing else trial.kernel is not None
        found = "reference" if trial.name == PLAIN else "ok"
        if not passed:
            found = f"{'not installed: ' * trial.missing}{trial.failure}. Remedy: {trial.remedy}"
        elif trial.name in failures:
            found += f"; not timed: {failures[trial.name]}"
        time_ = times.get(trial.name)
        checks.append(KernelCheck(str(device), trial.name, passed, found, size, time_, times.get("cross-entropy")))
    return checks


def _cpu_trials(device: torch.device) -> list[Trial]:
    name, why = cpu.select()
    if name is not None:
        kernel = cpu.Kernel(name)
        return [tried(f"C++, {name}", lambda: kernel, device)]
    if cpu.names():  # LOVASZ_CPU_KERNEL is off
        return []
    return [Trial("C++", None, why, "install a C++17 compiler and lovasz again", missing=True)]


def _times(
    kernels: Mapping[str, contract.Kernel], size: tuple[int, ...], device: torch.device
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the median milliseconds of a step of each kernel and of cross-entropy, and why others have none."""
    failures = {}
    try:
        steps = _steps(kernels, size, device)
    except Exception as error:  # no memory for the tensors themselves
        return {}, dict.fromkeys(kernels, named(error))
    for name, step in list(steps.items()):
        try:
            _milliseconds(step, device)  # compiles, and allocates
        except Exception as error:
            failures[name] = named(error)
            del steps[name]
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(REPEATS):
        for name, step in steps.items():
            taken[name].append(_milliseconds(step, device))
    return {name: statistics.median(values) for name, values in taken.items()}, failures


def _steps(
    kernels: Mapping[str, contract.Kernel], size: tuple[int, ...], device: torch.device
) -> dict[str, Callable[[], object]]:
    """Return value and gradient of the softmax's loss by each kernel, and of cross-entropy, on the same tensor."""
    N, C, *spatial = size
    generator = torch.Generator(device).manual_seed(0)
    logits = torch.randn(size, generator=generator, dtype=torch.float32, device=device)
    target = torch.randint(C, (N, *spatial), generator=generator, device=device)
    bins = binning.default_bins(C, "softmax")
    pixels = Pixels(logits, target, None, [-100], "softmax")
    coefficients = torch.full((1, C), 1 / C, dtype=torch.float64, device=device)
    one = torch.ones((), dtype=torch.float32, device=device)

    def lovasz(kernel: contract.Kernel) -> Callable[[], object]:
        def step() -> object:
            table = kernel.count(pixels, bins, False).table
            _, weights = kernel.weigh(table, "softmax", coefficients, torch.float32, JACCARD.alpha, JACCARD.beta)
            return kernel.apply(pixels, weights, one)

        return step

    def cross_entropy() -> object:
        x = logits.detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(F.cross_entropy(x, target), x)

    return {name: lovasz(kernel) for name, kernel in kernels.items()} | {"cross-entropy": cross_entropy}


def _milliseconds(step: Callable[[], object], device: torch.device) -> float:
    on_gpu, steps = device.type == "cuda", STEPS[device.type]
    if on_gpu:
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    if on_gpu:
        torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - start) / steps
