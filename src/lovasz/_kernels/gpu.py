"""Which kernel serves a GPU: the first of an order that agrees with plain PyTorch there.

The order is cuda (CUDA C++; not on ROCm), triton, plain PyTorch. The environment variable LOVASZ_CUDA_KERNEL names
the only one that is tried before plain PyTorch; "off" leaves GPUs to plain PyTorch.
"""

import contextlib
import importlib
import itertools
import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from . import contract, plain
from .contract import Counted, CrossEntropy, Pixels
from .trial import Load, Trial, tried

PLAIN = "PyTorch"


def select() -> tuple[dict[str, Load], str]:
    """Return the kernels that stand before plain PyTorch, each with what loads it, and why these."""
    names = ["triton"] if torch.version.hip else ["cuda", "triton"]
    wanted = os.environ.get("LOVASZ_CUDA_KERNEL", "")
    if wanted == "off":
        return {}, "LOVASZ_CUDA_KERNEL is off"
    if wanted and wanted not in names:
        raise ValueError(f"LOVASZ_CUDA_KERNEL must be off or one of {', '.join(names)}, got {wanted!r}")
    why = "the first that agrees with plain PyTorch at its first use on a device"
    loads = {name: _loading(name) for name in names if wanted in ("", name)}
    return loads, f"LOVASZ_CUDA_KERNEL; {why}" if wanted else why


def _loading(name: str) -> Load:
    def load() -> contract.Kernel:
        found: Any = importlib.import_module(f".{name}.kernel", __package__)
        return found

    return load


class Kernel:
    """The kernel of each device: of an order, which ends with plain PyTorch, the first that agrees with that there.

    It is found at the first call on a device. From then on a call looks it up, without host synchronisation.
    """

    def __init__(self, loads: Mapping[str, Load], why: str = "") -> None:
        """Serve with the first that agrees.

        Args:
            loads: what loads each kernel, in their order.
            why: why these, for `row`.
        """
        self.loads, self.why = loads, why
        self._serving: dict[int | None, contract.Kernel] = {}
        self._said: dict[int | None, str] = {}
        self._captured: set[int | None] = set()
        self._lock = threading.Lock()

    def count(self, pixels: Pixels, bins: int, per_image: bool, ce: CrossEntropy | None = None) -> Counted:
        """Count with the kernel of the device."""
        return self.on(pixels.logits.device).count(pixels, bins, per_image, ce)

    def weigh(
        self, table: Tensor, form: str, coefficients: Tensor, dtype: torch.dtype, alpha: float, beta: float
    ) -> tuple[Tensor, Tensor]:
        """Weigh with the kernel of the device."""
        return self.on(table.device).weigh(table, form, coefficients, dtype, alpha, beta)

    def apply(
        self,
        pixels: Pixels,
        weights: Tensor,
        grad: Tensor | None = None,
        ce: CrossEntropy | None = None,
        ce_grad: Tensor | None = None,
    ) -> Tensor:
        """Apply with the kernel of the device."""
        return self.on(pixels.logits.device).apply(pixels, weights, grad, ce, ce_grad)

    def on(self, device: torch.device) -> contract.Kernel:
        """Return the kernel that serves a device."""
        return self._serving.get(device.index) or self._found(device)

    def trials(self, device: torch.device) -> list[Trial]:
        """Try every kernel on a device, those after the first that agrees as well."""
        with _current(device), self._lock:
            _wait(device)
            trials = [tried(name, load, device) for name, load in self.loads.items()]
            if device.index not in self._serving:
                self._settle(device, trials)
        return trials

    def row(self) -> tuple[str, str]:
        """Return the kernels in their order and why, with what is known of each device by now."""
        return ", ".join([*self.loads, PLAIN]), "; ".join([self.why, *self._said.values()])

    def _found(self, device: torch.device) -> contract.Kernel:
        """Return the first kernel that agrees on a device, or plain PyTorch, and warn of those that do not."""
        warning = ""
        with _current(device):
            if self.loads and _capturing(device):
                self._warn_of_capture(device)
                return plain
            with self._lock:
                if device.index not in self._serving:  # no other thread was faster
                    _wait(device)
                    trials: list[Trial] = []
                    for name, load in self.loads.items():
                        trials.append(tried(name, load, device))
                        if trials[-1].kernel is not None:
                            break
                    warning = self._settle(device, trials)
        if warning:  # without the lock, when all is settled: a filter may make it an exception
            warnings.warn(warning, stacklevel=2)
        return self._serving[device.index]

    def _settle(self, device: torch.device, trials: Sequence[Trial]) -> str:
        """Remember the first kernel that agrees, and return a warning of those before it, or "" without any."""
        failed = list(itertools.takewhile(lambda trial: trial.kernel is None, trials))
        first = trials[len(failed)] if len(failed) < len(trials) else Trial(PLAIN, plain)
        said = [f"on {device} {first.name} serves", *(f"{one.name} does not: {one.failure}" for one in failed)]
        self._said[device.index] = "; ".join(said)
        self._serving[device.index] = first.kernel or plain
        # What is not installed is no failure where another compiled kernel serves: `row` says it.
        heard = failed if first.name == PLAIN else [trial for trial in failed if not trial.missing]
        return _warning(device, first.name, heard) if heard else ""

    def _warn_of_capture(self, device: torch.device) -> None:
        if device.index not in self._captured:
            self._captured.add(device.index)
            warnings.warn(
                "plain PyTorch, several times slower, serves the Lovász losses in this CUDA graph: no kernel can "
                f"be checked on {device} during the capture. Remedy: run a step before it.",
                stacklevel=2,
            )


def _current(device: torch.device) -> Any:
    """Make a device the current one."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _wait(device: torch.device) -> None:
    """Wait for what runs on a device, so that an error of it is raised as what it is, and not laid to a kernel."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _capturing(device: torch.device) -> bool:
    """Return whether the stream of a device, the current one, is captured into a graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _warning(device: torch.device, name: str, failed: Sequence[Trial]) -> str:
    serving = "plain PyTorch, several times slower," if name == PLAIN else f"the {name} kernel"
    reasons = " ".join(f"{one.name} does not: {one.failure}. Remedy: {one.remedy}." for one in failed)
    return (
        f"{serving} serves the Lovász losses on {device}. {reasons} "
        f"LOVASZ_CUDA_KERNEL={'off' if name == PLAIN else name} chooses what serves now, without this warning."
    )
