"""How one implementation is measured: its time, the memory it adds, and the machine it ran on."""

import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lovasz.study.train import memory
from lovasz.study.train.memory import in_a_fresh_process as in_a_fresh_process

Loss = Callable[[Tensor, Tensor], Tensor]


class Step(NamedTuple):
    """One forward and one backward: milliseconds of each, and the loss."""

    forward_ms: float
    backward_ms: float
    loss: float

    @property
    def both_ms(self) -> float:
        """Milliseconds of forward and backward."""
        return self.forward_ms + self.backward_ms


class Clock:
    """The time between marks, on a GPU by its own events."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.marks: list[Any] = []

    def mark(self) -> None:
        """Now, or when the device gets there."""
        if self.on_gpu:
            self.marks.append(torch.cuda.Event(enable_timing=True))
            self.marks[-1].record()
        else:
            self.marks.append(time.perf_counter())

    def milliseconds(self) -> list[float]:
        """From each mark to the next; waits for the device."""
        pairs = list(zip(self.marks, self.marks[1:], strict=False))
        if self.on_gpu:
            torch.cuda.synchronize()
            return [a.elapsed_time(b) for a, b in pairs]
        return [1e3 * (b - a) for a, b in pairs]


def step(loss: Loss, logits: Tensor, target: Tensor) -> Step:
    """One step of training without the network: the last gradient is freed, then forward and backward."""
    x = logits.requires_grad_()
    x.grad = None
    clock = Clock(x.device)
    if clock.on_gpu:
        torch.cuda._sleep(2_000_000)  # about a millisecond, for the host to be ahead: kernels are timed, not Python
    clock.mark()
    value = loss(x, target)
    clock.mark()
    value.backward()
    clock.mark()
    forward, backward = clock.milliseconds()
    return Step(forward, backward, value.item())


def interquartile_range(values: Sequence[float]) -> float:
    """The distance between the quartiles; of a single value 0."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low


def mib(tensor: Tensor) -> float:
    """The size of a tensor in MiB."""
    return tensor.numel() * tensor.element_size() / 2**20


def peak_growth(loss: Loss, logits: Tensor, target: Tensor) -> float:
    """MiB by which one step raises what the GPU, or this process, holds, less the gradient itself."""
    logits.grad = None
    return memory.peak_growth(lambda: step(loss, logits, target), logits.is_cuda) - mib(logits)


def copy_bandwidth(elements: int = 2**26, device: str = "cpu") -> float:
    """Bytes per second that a copy of so many float32 reads and writes, the best of five."""
    source, destination = torch.zeros(2, elements, device=device)
    clock = Clock(source.device)
    for _ in range(6):
        clock.mark()
        destination.copy_(source)
    return 2 * 4 * elements / (1e-3 * min(clock.milliseconds()))


def floor_ms(logits: Tensor, bandwidth: float) -> float:
    """Milliseconds to read the logits twice and to write them once at this many bytes per second."""
    return 1e3 * 3 * logits.numel() * logits.element_size() / bandwidth


def machine(device: str = "cpu") -> str:
    """The processor as the system names it, and how many cores it lends; of a GPU its name."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":")[1].strip()
                break
    return f"{name}, {os.cpu_count()} cores"


def today() -> str:
    """The date in UTC."""
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()
