"""How fast and how exact, on the CPU: implementations alternate in one run, ratios are to cross-entropy.

The plain PyTorch path beside the published formulation and `F.cross_entropy`, forward and backward apart.
"""

import statistics
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import lovasz

from . import cases, measure, published, results
from .accuracy import value_and_gradient
from .measure import Loss, Step

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


def blobs(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Logits (N, C, H, W) half trained on labels in blobs."""
    return cases.blobs(shape, spread=1.5, shift=4)


def print_peak(name: str, shape: tuple[int, ...]) -> None:
    """Prints the memory of one step in MiB; for a fresh process."""
    measure.step(LOSSES[name], *blobs((1, shape[1], 40, 40)))
    print(measure.peak_growth(LOSSES[name], *blobs(shape)))


def peak_memory(name: str, shape: tuple[int, ...]) -> float:
    """MiB that one forward and backward adds to a fresh process, logits and target already there."""
    return measure.in_a_fresh_process(f"from benchmarks import speed; speed.print_peak({name!r}, {shape!r})")


def rows(shape: tuple[int, ...], repeats: int) -> list[Row]:
    """Every implementation on one input; the repeats alternate."""
    logits, target = blobs(shape)
    exact, exact_gradient = value_and_gradient(
        lambda x, t: lovasz.lovasz_softmax(x, t, bins=None), logits.double(), target
    )
    times: dict[str, list[Step]] = {name: [] for name in LOSSES}
    for i in range(repeats + 1):
        for name, loss in LOSSES.items():
            took = measure.step(loss, logits, target)
            if i:
                times[name].append(took)
    unit = statistics.median(t.both_ms for t in times["cross_entropy"])
    found = []
    for name, loss in LOSSES.items():
        value, gradient = value_and_gradient(loss, logits.detach(), target)
        is_lovasz = "ce" not in name and "entropy" not in name
        error = (gradient - exact_gradient).norm() / exact_gradient.norm()
        both = [t.both_ms for t in times[name]]
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
                statistics.median(t.forward_ms for t in times[name]),
                statistics.median(t.backward_ms for t in times[name]),
                statistics.median(both),
                max(both) - min(both),
                statistics.median(both) / unit,
                peak_memory(name, shape),
                measure.machine(),
                measure.today(),
            )
        )
    return found


def print_table(csv_file: str | None, repeats: int = 7) -> None:
    """The table; with a file, its rows as CSV."""
    shape = (1, 21, 512, 512)
    print(f"{measure.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
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
