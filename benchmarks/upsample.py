"""Logits coarser than the labels: interpolated inside the loss, beside interpolation and cross-entropy.

Implementations alternate within one run. Errors are against sorting the logits that PyTorch interpolates in
float64; memory is what a fresh process adds to logits, target and gradient.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import lovasz

from . import exact, measure, results
from .cases import MID, smooth
from .measure import Step

UNIT = "interpolate + cross_entropy"


class Case(NamedTuple):
    """Logits (N, C, *), and the spatial size of the labels."""

    name: str
    shape: tuple[int, ...]
    fine: tuple[int, ...]

    @property
    def mode(self) -> str:
        """As PyTorch calls it."""
        return "bilinear" if len(self.fine) == 2 else "trilinear"

    @property
    def pixels(self) -> int:
        """Number of labels."""
        return self.shape[0] * math.prod(self.fine)


CASES = (
    Case("ADE20K, a quarter", (4, 150, 128, 128), (512, 512)),
    Case("Cityscapes, a quarter", (8, 19, 128, 256), (512, 1024)),
    Case("volume, half", (1, 4, 48, 80, 80), (96, 160, 160)),
)
QUICK = (Case("quick, a quarter", (1, 19, 32, 32), (128, 128)),)


class UpsampleRow(NamedTuple):
    """One implementation on one case; milliseconds, MiB, errors relative to float64 sorting, ratio to the unit."""

    case: str
    implementation: str
    version: str
    device: str
    threads: int
    shape: str
    fine: str
    loss: float
    loss_error: float
    gradient_error: float
    forward_ms: float
    backward_ms: float
    both_ms: float
    spread_ms: float
    ratio: float
    peak_mib: float
    bytes_a_pixel: float
    times_less_memory: float
    machine: str
    date: str


def inputs(case: Case, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Logits in the middle of a training, and labels in blobs."""
    generator = torch.Generator(device).manual_seed(0)
    N, C, *sizes = case.shape
    target = smooth(N, C, case.fine, generator).argmax(1)
    below = F.interpolate(target[:, None].float(), tuple(sizes), mode="nearest").long()
    logits = torch.randn(case.shape, generator=generator, device=device).mul_(MID.spread)
    shift = torch.full(below.shape, float(MID.shift), device=device)
    return logits.scatter_add_(1, below, shift), target


def implementations(case: Case) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """The unit first, then ours, and ours after the same interpolation."""
    interpolate = partial(F.interpolate, size=case.fine, mode=case.mode)
    return {
        UNIT: lambda x, t: F.cross_entropy(interpolate(x), t),
        "interpolate + lovasz": lambda x, t: lovasz.lovasz_softmax(interpolate(x), t),
        "lovasz": partial(lovasz.lovasz_softmax, upsample=case.mode),
        "lovasz + ce": partial(lovasz.lovasz_cross_entropy, upsample=case.mode),
    }


def reference(case: Case, logits: Tensor, target: Tensor) -> tuple[float, Tensor]:
    """Loss and gradient in the logits, by sorting in float64 what is interpolated in float64."""
    x = logits.detach().double().requires_grad_()
    fine = F.interpolate(x, case.fine, mode=case.mode)
    loss, gradient = exact.pooled("softmax", fine, target, "present")
    by_image = gradient.unflatten(1, (case.shape[0], *case.fine)).movedim(0, 1)
    (found,) = torch.autograd.grad(fine, x, by_image)
    return loss, found


def print_peak(name: str, implementation: str) -> None:
    """Prints the memory of one step of a case in MiB; for a fresh process."""
    case = next(case for case in (*CASES, *QUICK) if case.name == name)
    small = Case("", (*case.shape[:2], *(n // 4 for n in case.shape[2:])), tuple(n // 4 for n in case.fine))
    measure.step(implementations(small)[implementation], *inputs(small))  # what a first step brings along
    print(measure.peak_growth(implementations(case)[implementation], *inputs(case)))


def peak_mib(case: Case, implementation: str, device: str) -> float:
    """The same from here."""
    if device == "cuda":
        return measure.peak_growth(implementations(case)[implementation], *inputs(case, device))
    return measure.in_a_fresh_process(
        f"from benchmarks import upsample; upsample.print_peak({case.name!r}, {implementation!r})"
    )


def rows_of(case: Case, repeats: int, device: str) -> Iterator[UpsampleRow]:
    """Every implementation on one case."""
    logits, target = inputs(case, device)
    times: dict[str, list[Step]] = {name: [] for name in implementations(case)}
    found = {}
    for name, loss in implementations(case).items():  # warm-up, checked
        value = measure.step(loss, logits, target).loss
        assert logits.grad is not None
        found[name] = (value, logits.grad.clone())
    correct, gradient = reference(case, logits, target)
    for _ in range(repeats):
        for name, loss in implementations(case).items():
            times[name].append(measure.step(loss, logits, target))
    unit = statistics.median(step.both_ms for step in times[UNIT])
    peaks = {name: peak_mib(case, name, device) for name in times}
    for name, steps in times.items():
        both = statistics.median(step.both_ms for step in steps)
        value, grad = found[name]
        alone = name.endswith("lovasz")
        yield UpsampleRow(
            case=case.name,
            implementation=name,
            version=torch.__version__ if name == UNIT else lovasz.__version__,
            device=device,
            threads=torch.get_num_threads(),
            shape="x".join(map(str, case.shape)),
            fine="x".join(map(str, case.fine)),
            loss=value,
            loss_error=abs(value - correct) / correct if alone else math.nan,
            gradient_error=((grad - gradient).norm() / gradient.norm()).item() if alone else math.nan,
            forward_ms=statistics.median(step.forward_ms for step in steps),
            backward_ms=statistics.median(step.backward_ms for step in steps),
            both_ms=both,
            spread_ms=measure.interquartile_range([step.both_ms for step in steps]),
            ratio=both / unit,
            peak_mib=peaks[name],
            bytes_a_pixel=max(0.0, peaks[name] - 64) * 2**20 / case.pixels,
            times_less_memory=peaks[UNIT] / peaks[name],
            machine=measure.machine(device),
            date=measure.today(),
        )


HEADING = (
    f"{'case':24}{'implementation':30}{'loss':>10}{'loss err':>10}{'grad err':>10}{'forward ms':>12}"
    f"{'backward ms':>13}{'both ms':>10}{'spread ms':>11}{'ratio':>8}{'peak MiB':>10}{'less':>8}"
)


def line(r: UpsampleRow) -> str:
    """One row under the heading."""
    return (
        f"{r.case:24}{r.implementation:30}{r.loss:10.3e}{r.loss_error:10.1e}{r.gradient_error:10.1e}"
        f"{r.forward_ms:12.1f}{r.backward_ms:13.1f}{r.both_ms:10.1f}{r.spread_ms:11.1f}{r.ratio:8.2f}"
        f"{r.peak_mib:10.1f}{r.times_less_memory:8.1f}"
    )


def summary(found: Sequence[UpsampleRow]) -> list[str]:
    """What the rows say of ours, each with its target."""
    ours = [r for r in found if r.implementation == "lovasz"]
    if not ours:
        return []
    wide = [r for r in ours if int(r.shape.split("x")[1]) > 4]
    lines = [
        f"ratio, largest {max(r.ratio for r in ours):.2f} (target <= 0.8)",
        f"bytes a pixel of labels beyond 64 MiB, most {max(r.bytes_a_pixel for r in ours):.1f} (target <= 8)",
    ]
    if wide:
        least = min(r.times_less_memory for r in wide)
        lines.append(f"more than 4 classes: memory, {least:.0f} times less at least (target >= 12)")
    return lines


def table() -> list[str]:
    """The kept rows as lines of a page: time in units of interpolation and cross-entropy, memory in MiB."""
    lines = ["| logits | labels | `lovasz` | with ce | interpolated first | memory | ce's |", "|---" * 7 + "|"]
    rows = results.read("upsample")
    for case in dict.fromkeys(r["case"] for r in rows):
        by = {r["implementation"]: r for r in rows if r["case"] == case}
        one = by["lovasz"]
        shape, fine = (one[name].replace("x", ", ") for name in ("shape", "fine"))
        times = (f"{float(by[name]['ratio']):.2f}" for name in ("lovasz", "lovasz + ce", "interpolate + lovasz"))
        memory = (f"{float(by[name]['peak_mib']):,.0f}" for name in ("lovasz", UNIT))
        lines.append(f"| ({shape}) | ({fine}) | {' | '.join((*times, *memory))} |")
    return lines


def print_table(csv_file: str | None, quick: bool, repeats: int, device: str = "cpu") -> None:
    """Each row as soon as it is measured, then the summary; with a file, what was found as CSV, come what may."""
    print(f"{measure.machine(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}, lovasz "
          f"{lovasz.__version__}; medians of {repeats} alternating runs; ratio is to the first row")  # fmt: skip
    print(HEADING)
    rows = (row for case in (QUICK if quick else CASES) for row in rows_of(case, repeats, device))
    print("\n".join(summary(results.gather(rows, line, csv_file))))
