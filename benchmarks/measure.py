"""How one implementation is measured: its time, the memory it adds, and the machine it ran on."""

import datetime
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

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


def step(loss: Loss, logits: Tensor, target: Tensor) -> Step:
    """One step of training without the network: the last gradient is freed, then forward and backward."""
    x = logits.requires_grad_()
    x.grad = None
    start = time.perf_counter()
    value = loss(x, target)
    middle = time.perf_counter()
    value.backward()
    end = time.perf_counter()
    return Step(1e3 * (middle - start), 1e3 * (end - middle), value.item())


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
    """MiB by which one step raises the resident size of this process, less the gradient itself."""
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    step(loss, logits, target)
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 2**10
    return peak - before - mib(logits)


def in_a_fresh_process(code: str) -> float:
    """The number that this Python code prints last; what the process frees, it gives back to the system."""
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # kept memory would hide what the next step needs
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    return float(done.stdout.split()[-1])


def copy_bandwidth(elements: int = 2**26) -> float:
    """Bytes per second that a copy of so many float32 reads and writes, the best of five."""
    source, destination = torch.zeros(elements), torch.zeros(elements)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        destination.copy_(source)
        times.append(time.perf_counter() - start)
    return 2 * 4 * elements / min(times)


def floor_ms(logits: Tensor, bandwidth: float) -> float:
    """Milliseconds to read the logits twice and to write them once at this many bytes per second."""
    return 1e3 * 3 * logits.numel() * logits.element_size() / bandwidth


def machine() -> str:
    """The processor as the system names it, and how many cores it lends."""
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
