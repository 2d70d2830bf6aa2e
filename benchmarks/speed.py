"""How fast and how exact, on the CPU: implementations alternate in one run, ratios are to cross-entropy.

The plain PyTorch path beside the published formulation and `F.cross_entropy`, forward and backward apart.
"""

import datetime
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import lovasz

from . import published, results
from .accuracy import value_and_gradient

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[str, Loss] = {
    "cross_entropy": F.cross_entropy,
    "lovasz": lovasz.lovasz_softmax,
    "lovasz + ce": lovasz.lovasz_cross_entropy,
    "lovasz, sorting": lambda x, t: lovasz.lovasz_softmax(x, t, bins=None),
    "published": published.lovasz_softmax,
}


class Row(NamedTuple):
    """One implementation on one input; times in milliseconds, memory in MiB, errors against float64 sorting."""

    implementation: str
    version: str
    device: str
    threads: int
    dtype: str
    layout: str
    shape: str
    loss: float
    loss_error: float
    gradient_error: float
    forward_ms: float
    backward_ms: float
    both_ms: float
    spread_ms: float
    ratio_to_cross_entropy: float
    peak_mib: float
    machine: str
    date: str


def machine() -> str:
    """The processor as the system names it, and how many cores it lends."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":")[1].strip()
                break
    return f"{name}, {os.cpu_count()} cores"


def blobs(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (N, C, H, W) half trained on labels in blobs, as in real masks."""
    N, C, H, W = shape
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(N, C, max(2, H // 32), max(2, W // 32), generator=generator)
    target = F.interpolate(coarse, (H, W), mode="bilinear").argmax(1)
    logits = 1.5 * torch.randn(shape, generator=generator)
    return logits.scatter_add_(1, target[:, None], torch.full((N, 1, H, W), 4.0)), target


def step(loss: Loss, logits: Tensor, target: Tensor) -> tuple[float, float]:
    """Milliseconds of one forward and of one backward."""
    x = logits.requires_grad_()
    x.grad = None
    start = time.perf_counter()
    value = loss(x, target)
    middle = time.perf_counter()
    value.backward()
    end = time.perf_counter()
    return 1e3 * (middle - start), 1e3 * (end - middle)


def peak_memory(name: str, shape: tuple[int, ...]) -> float:
    """MiB that one forward and backward adds to a fresh process, logits and target already there."""
    code = f"from benchmarks import speed; speed.print_peak({name!r}, {shape!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_peak(name: str, shape: tuple[int, ...]) -> None:
    """Prints the growth of the peak resident size, in MiB, less the gradient itself."""
    small, t = blobs((1, shape[1], 40, 40))
    step(LOSSES[name], small, t)
    logits, target = blobs(shape)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    step(LOSSES[name], logits, target)
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 2**10
    print(peak - before - logits.numel() * logits.element_size() / 2**20)


def rows(shape: tuple[int, ...], repeats: int) -> list[Row]:
    """Every implementation on one input; the repeats alternate."""
    logits, target = blobs(shape)
    exact, exact_gradient = value_and_gradient(
        lambda x, t: lovasz.lovasz_softmax(x, t, bins=None), logits.double(), target
    )
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in LOSSES}
    for i in range(repeats + 1):
        for name, loss in LOSSES.items():
            took = step(loss, logits, target)
            if i:
                times[name].append(took)
    unit = statistics.median(sum(t) for t in times["cross_entropy"])
    found = []
    for name, loss in LOSSES.items():
        value, gradient = value_and_gradient(loss, logits.detach(), target)
        is_lovasz = "ce" not in name and "entropy" not in name
        error = (gradient - exact_gradient).norm() / exact_gradient.norm()
        both = [sum(t) for t in times[name]]
        found.append(
            Row(
                name,
                torch.__version__ if name in ("cross_entropy", "published") else lovasz.__version__,
                "cpu",
                torch.get_num_threads(),
                str(logits.dtype).removeprefix("torch."),
                "planar",
                "x".join(map(str, shape)),
                value,
                abs(value - exact) / exact if is_lovasz else float("nan"),
                error.item() if is_lovasz else float("nan"),
                statistics.median(t[0] for t in times[name]),
                statistics.median(t[1] for t in times[name]),
                statistics.median(both),
                max(both) - min(both),
                statistics.median(both) / unit,
                peak_memory(name, shape),
                machine(),
                datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            )
        )
    return found


def print_table(csv_file: str | None, repeats: int = 7) -> None:
    """The table; with a file, its rows as CSV."""
    shape = (1, 21, 512, 512)
    print(f"{machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'x'.join(map(str, shape))} float32, forward + backward, medians of {repeats} alternating runs")
    print(f"{'implementation':17}{'loss':>8}{'loss err':>10}{'grad err':>10}{'forward':>10}{'backward':>10}"
          f"{'both ms':>9}{'spread':>8}{'/ CE':>7}{'peak MiB':>10}")  # fmt: skip
    found = rows(shape, repeats)
    for r in found:
        print(f"{r.implementation:17}{r.loss:8.4f}{r.loss_error:10.1e}{r.gradient_error:10.1e}{r.forward_ms:10.1f}"
              f"{r.backward_ms:10.1f}{r.both_ms:9.1f}{r.spread_ms:8.1f}{r.ratio_to_cross_entropy:7.1f}"
              f"{r.peak_mib:10.0f}")  # fmt: skip
    by_name = {r.implementation: r.both_ms for r in found}
    print(f"the published formulation takes {by_name['published'] / by_name['lovasz']:.1f} times as long")
    if csv_file:
        results.write(csv_file, found)
