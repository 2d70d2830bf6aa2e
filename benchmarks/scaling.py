"""How time grows with the input, and where it goes when the input is small: the CPU, forward and backward."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

import lovasz
from lovasz._math import binning

from . import measure, results
from .cases import MID, blobs

CLASSES = 8
EXPONENTS = range(18, 28)
THREADS = (1, 2)
REPEATS = (5, 50)  # at least, on the largest, and at most, on the smallest


class ScalingRow(NamedTuple):
    """`lovasz_softmax` on so many logits; the speed-up is to one thread."""

    elements: int
    shape: str
    threads: int
    ns_per_element: float
    spread_ns: float
    speedup_of_threads: float
    version: str
    machine: str
    date: str


def shape_of(elements: int) -> tuple[int, ...]:
    """One image of 8 classes, square or twice as wide as high, with so many logits (a power of two)."""
    width = 2 ** ((elements // CLASSES).bit_length() // 2)
    return (1, CLASSES, elements // CLASSES // width, width)


def scaling_rows(exponents: Sequence[int], threads: Sequence[int]) -> Iterator[ScalingRow]:
    """Each size with each number of threads; the numbers of threads alternate."""
    before = torch.get_num_threads()
    small = blobs((1, CLASSES, 128, 128), MID.spread, MID.shift)
    for exponent in exponents:
        elements = 2**exponent
        logits, target = blobs(shape_of(elements), MID.spread, MID.shift)
        times: dict[int, list[float]] = {number: [] for number in threads}
        try:
            for i in range(1 + max(REPEATS[0], min(REPEATS[1], 2**26 // elements))):
                for number in threads:
                    torch.set_num_threads(number)
                    measure.step(lovasz.lovasz_softmax, *small)  # starts the threads
                    took = measure.step(lovasz.lovasz_softmax, logits, target).both_ms
                    if i:
                        times[number].append(1e6 * took / elements)
        finally:
            torch.set_num_threads(before)
        shape = "x".join(map(str, logits.shape))
        del logits, target
        medians = {number: statistics.median(times[number]) for number in threads}
        for number in threads:
            yield ScalingRow(
                elements,
                shape,
                number,
                medians[number],
                measure.interquartile_range(times[number]),
                medians[threads[0]] / medians[number],
                lovasz.__version__,
                measure.machine(),
                measure.today(),
            )


def scaling_summary(found: Sequence[ScalingRow]) -> list[str]:
    """How even the time of an element is, and what the second thread brings, each with its target."""
    lines = []
    for number in sorted({r.threads for r in found}):
        times = [r.ns_per_element for r in found if r.threads == number]
        lines.append(f"{number} threads: slowest size / fastest {max(times) / min(times):.2f} (target <= 1.4)")
    speedups = [r.speedup_of_threads for r in found if r.threads == 2 and r.elements >= 2**22]
    if speedups:
        lines.append(f"speed-up of 2 threads from 2^22 logits on: {min(speedups):.2f} at least (target >= 1.7)")
    return lines


def scaling_line(r: ScalingRow) -> str:
    """One row under the heading."""
    return (
        f"{r.elements:11}  {r.shape:18}{r.threads:8}{r.ns_per_element:12.3f}{r.spread_ns:11.3f}"
        f"{r.speedup_of_threads:10.2f}"
    )


def print_scaling(csv_file: str | None, quick: bool = False) -> None:
    """Each size as soon as it is measured, then the summary; with a file, what was found as CSV."""
    print(f"{measure.machine()}, torch {torch.__version__}, lovasz {lovasz.__version__}; lovasz_softmax")
    print(f"{'logits':>11}  {'shape':18}{'threads':>8}{'ns / logit':>12}{'spread ns':>11}{'speed-up':>10}")
    rows = scaling_rows(EXPONENTS[:3] if quick else EXPONENTS, THREADS)
    found = results.gather(rows, scaling_line, csv_file)
    print("\n".join(scaling_summary(found)))


class SmallRow(NamedTuple):
    """One call, or one part of a call, on a small input; microseconds, the ratio to cross-entropy."""

    what: str
    shape: str
    threads: int
    microseconds: float
    spread: float
    ratio: float
    version: str
    machine: str
    date: str


def small_calls(shape: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    """What is timed: whole steps as called, and the operators alone."""
    logits, target = blobs(shape, MID.spread, MID.shift)
    bins = binning.default_bins(shape[1], "softmax")
    pixels = (logits.clone().flatten(2), target.flatten(1), None, [-100], "softmax", None)
    table, _, _ = torch.ops.lovasz.count(*pixels, bins, False, None, None)
    coefficients = torch.full((1, shape[1]), 1 / shape[1], dtype=torch.float64)
    weighing = (table, "softmax", coefficients, torch.float32, 1.0, 1.0)
    _, weights = torch.ops.lovasz.weigh(*weighing)
    one = torch.ones(())

    def step(loss: measure.Loss) -> Callable[[], object]:
        return lambda: measure.step(loss, logits, target)

    return {
        "cross_entropy": step(F.cross_entropy),
        "lovasz": step(lovasz.lovasz_softmax),
        "lovasz + ce": step(lovasz.lovasz_cross_entropy),
        "operator count": lambda: torch.ops.lovasz.count(*pixels, bins, False, None, None),
        "operator weigh": lambda: torch.ops.lovasz.weigh(*weighing),
        "operator apply": lambda: torch.ops.lovasz.apply(*pixels, weights, one, None, None, None),
    }


def small_rows(shape: tuple[int, ...], repeats: int) -> list[SmallRow]:
    """Medians of alternating calls, and last what counting spends outside its operators."""
    calls = small_calls(shape)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(repeats + 3):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if i >= 3:
                times[name].append(1e6 * (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in times.items()}
    spreads = {name: measure.interquartile_range(values) for name, values in times.items()}
    inside = sum(medians[name] for name in medians if name.startswith("operator"))
    medians["checks, reduction, autograd"] = medians["lovasz"] - inside
    return [
        SmallRow(
            name,
            "x".join(map(str, shape)),
            torch.get_num_threads(),
            median,
            spreads.get(name, float("nan")),
            median / medians["cross_entropy"],
            torch.__version__ if name == "cross_entropy" else lovasz.__version__,
            measure.machine(),
            measure.today(),
        )
        for name, median in medians.items()
    ]


def print_small(csv_file: str | None, repeats: int = 300) -> None:
    """Whole calls and their parts on a small input; with a file, the rows as CSV."""
    shape = (2, 4, 64, 64)
    print(f"{measure.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
          f"lovasz {lovasz.__version__}; {'x'.join(map(str, shape))} float32, forward + backward")  # fmt: skip
    print(f"{'what':30}{'microseconds':>14}{'spread':>9}{'ratio':>8}")
    found = small_rows(shape, repeats)
    for r in found:
        print(f"{r.what:30}{r.microseconds:14.1f}{r.spread:9.1f}{r.ratio:8.2f}")
    for r in found[1:3]:
        print(f"{r.what}: {r.ratio:.2f} times cross-entropy (target <= 4)")
    if csv_file:
        results.write(csv_file, found)
