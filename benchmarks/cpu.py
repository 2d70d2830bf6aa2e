"""The CPU benchmark: every case and stage beside cross-entropy on the same tensors, and beside other libraries.

Implementations alternate within one run, so that ratios hold on a noisy machine. Errors are against sorting in
float64; memory is what a fresh process adds to logits, target and gradient; the floor is the time to read the
logits twice and write them once at the bandwidth of a copy.
"""

import functools
import math
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import lovasz

from . import exact, measure, peers, results
from .cases import CASES, MID, QUICK, STAGES, Case, Stage, inputs, named
from .measure import Step
from .peers import Implementation

UNITS = ("cross_entropy", "bce")
OURS = ("lovasz", "lovasz + ce")
PEER_REPEATS = 2
PEER_ELEMENTS = 2**23


class Options(NamedTuple):
    """What the command line chooses."""

    repeats: int = 11
    quick: bool = False
    only: Sequence[str] = ()
    all_peers: bool = False
    device: str = "cpu"


class Row(NamedTuple):
    """One implementation at one stage of a case; milliseconds, MiB, and errors relative to float64 sorting."""

    case: str
    stage: str
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
    ratio: float
    floor_ms: float
    times_floor: float
    peak_mib: float
    machine: str
    date: str


def _as_probabilities(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return logits, target[:, None].to(logits.dtype)


def own(case: Case) -> dict[str, Implementation]:
    """The unit of a case, and ours."""
    pytorch, version = torch.__version__, lovasz.__version__
    if case.form == "softmax":
        return {
            "cross_entropy": Implementation(pytorch, F.cross_entropy),
            "lovasz": Implementation(version, lovasz.lovasz_softmax, ("present", False)),
            "lovasz + ce": Implementation(version, lovasz.lovasz_cross_entropy),
        }
    loss = lovasz.lovasz_sigmoid if case.form == "sigmoid" else lovasz.lovasz_hinge
    return {
        "bce": Implementation(pytorch, F.binary_cross_entropy_with_logits, None, _as_probabilities),
        "lovasz": Implementation(version, loss, ("all", False)),
        "lovasz + ce": Implementation(
            version, functools.partial(lovasz.lovasz_binary_cross_entropy, form=case.form), None, _as_probabilities
        ),
    }


def other(case: Case, options: Options) -> dict[str, Implementation]:
    """The peers that a case is compared with."""
    if case.dtype != torch.float32 or (case.elements > PEER_ELEMENTS and not options.all_peers):
        return {}
    found, _ = peers.peers(case.form, len(case.shape))
    if options.device == "cuda" and case.form == "softmax":
        compiled = Implementation(torch.__version__, torch.compile(F.cross_entropy))
        found["cross_entropy, compiled"] = compiled  # after the sort, which drops what was compiled before
    if options.quick:
        del found["batched sort, compiled"]
    return found


class Checked(NamedTuple):
    """What the warm-up found: the loss, and relative errors, NaN for what is not a Lovász loss alone."""

    loss: float
    loss_error: float
    gradient_error: float


def warm_up(
    case: Case, implementations: dict[str, Implementation], prepared: dict[str, tuple[Tensor, Tensor]]
) -> dict[str, Checked]:
    """One step of each, checked. A peer that fails, as where nothing can compile, is named and left out."""
    unit = next(iter(prepared))
    logits, target = prepared["lovasz"]
    reference = functools.cache(functools.partial(exact.value_and_gradient, case.form, logits, target))
    found = {}
    for name, one in implementations.items():
        x, t = prepared[name]
        try:
            loss = measure.step(one.loss, x, t).loss
        except Exception as error:
            if name in (unit, *OURS):
                raise
            print(f"{name} skipped: {type(error).__name__}: {str(error).strip()[:200]}")
            continue
        if one.definition is None:
            found[name] = Checked(loss, math.nan, math.nan)
            continue
        assert x.grad is not None
        exact_loss, exact_grad = reference(*one.definition)
        grad_error = (exact.by_class(x.grad) - exact_grad).norm() / exact_grad.norm()
        found[name] = Checked(loss, abs(loss - exact_loss) / exact_loss, grad_error.item())
    return found


def timed(
    implementations: dict[str, Implementation], prepared: dict[str, tuple[Tensor, Tensor]], repeats: int
) -> dict[str, list[Step]]:
    """The implementations in turn; peers, which are slow, in the first rounds only."""
    times: dict[str, list[Step]] = {name: [] for name in prepared}
    for i in range(repeats):
        for name, (x, t) in prepared.items():
            if i < PEER_REPEATS or name in UNITS + OURS:
                times[name].append(measure.step(implementations[name].loss, x, t))
    return times


def print_peak(case_name: str, implementation: str) -> None:
    """Prints the memory of one step of a case at stage mid, in MiB; for a fresh process."""
    case = named(case_name)
    one = own(case).get(implementation) or other(case, Options(all_peers=True))[implementation]
    # What a step brings along is not of the input; what is compiled, is so for one shape.
    warm = case if implementation.endswith("compiled") else case.shrunk(4)
    measure.step(one.loss, *one.prepare(*inputs(warm, MID)))
    logits, target = inputs(case, MID)
    x, t = one.prepare(logits, target)
    del logits, target
    print(measure.peak_growth(one.loss, x, t))


def peak_mib(case: Case, implementation: str, options: Options) -> float:
    """The same from here; a quick run does so for ours alone."""
    if options.quick and implementation != "lovasz":
        return math.nan
    if options.device == "cuda":
        one = (own(case) | other(case, options))[implementation]
        return measure.peak_growth(one.loss, *one.prepare(*inputs(case, MID, "cuda")))
    code = f"from benchmarks import cpu; cpu.print_peak({case.name!r}, {implementation!r})"
    try:
        return measure.in_a_fresh_process(code)
    except subprocess.CalledProcessError as error:
        print(f"{implementation}: no peak memory: {error.stderr.strip()[-200:]}")
        return math.nan


def rows_of(case: Case, stage: Stage, options: Options, bandwidth: float) -> Iterator[Row]:
    """Every implementation at one stage; the peers, and the memory, at stage mid only."""
    logits, target = inputs(case, stage, options.device)
    implementations = own(case) | (other(case, options) if stage is MID else {})
    prepared = {name: one.prepare(logits, target) for name, one in implementations.items()}
    checked = warm_up(case, implementations, prepared)
    times = timed(implementations, {name: prepared[name] for name in checked}, options.repeats)
    unit = statistics.median(step.both_ms for step in next(iter(times.values())))
    floor = measure.floor_ms(logits, bandwidth)
    for name, steps in times.items():
        both = statistics.median(step.both_ms for step in steps)
        yield Row(
            case=case.name,
            stage=stage.name,
            implementation=name,
            version=implementations[name].version,
            device=options.device,
            threads=torch.get_num_threads(),
            dtype=str(case.dtype).removeprefix("torch."),
            layout=case.layout,
            shape="x".join(map(str, case.shape)),
            **checked[name]._asdict(),
            forward_ms=statistics.median(step.forward_ms for step in steps),
            backward_ms=statistics.median(step.backward_ms for step in steps),
            both_ms=both,
            spread_ms=measure.interquartile_range([step.both_ms for step in steps]),
            ratio=both / unit,
            floor_ms=floor,
            times_floor=both / floor,
            peak_mib=peak_mib(case, name, options) if stage is MID else math.nan,
            machine=measure.machine(options.device),
            date=measure.today(),
        )


def selected(cases: Sequence[Case], options: Options) -> list[Case]:
    """The cases whose name begins with one of those that were asked for, else all."""
    return [case for case in cases if not options.only or case.name.startswith(tuple(options.only))]


HEADING = (
    f"{'case':24}{'stage':7}{'implementation':24}{'loss':>10}{'loss err':>10}{'grad err':>10}{'forward ms':>12}"
    f"{'backward ms':>13}{'both ms':>10}{'spread ms':>11}{'ratio':>8}{'x floor':>9}{'peak MiB':>10}"
)


def line(r: Row) -> str:
    """One row under the heading."""
    return (
        f"{r.case:24}{r.stage:7}{r.implementation:24}{r.loss:10.3e}{r.loss_error:10.1e}{r.gradient_error:10.1e}"
        f"{r.forward_ms:12.2f}{r.backward_ms:13.2f}{r.both_ms:10.2f}{r.spread_ms:11.2f}{r.ratio:8.2f}"
        f"{r.times_floor:9.1f}{r.peak_mib:10.1f}"
    )


def print_table(csv_file: str | None, options: Options) -> None:
    """Each row as soon as it is measured, then the summary; with a file, what was found as CSV, come what may."""
    cases = selected(QUICK if options.quick else CASES, options)
    missing = {name for case in cases for name in peers.peers(case.form, len(case.shape))[1]}
    bandwidth = measure.copy_bandwidth(2**22 if options.quick else 2**26)
    print(f"{measure.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
          f"lovasz {lovasz.__version__}; a copy moves {bandwidth / 1e9:.1f} GB/s")  # fmt: skip
    print(f"medians of {options.repeats} alternating runs, of {PEER_REPEATS} for peers; ratio is to the first row")
    for name in sorted(missing):
        print(f"{name} is not installed: no rows of it")
    print(HEADING)
    rows = (row for case in cases for stage in STAGES for row in rows_of(case, stage, options, bandwidth))
    found = results.gather(rows, line, csv_file)
    print("\n".join(summary(found)))


def summary(found: Sequence[Row]) -> list[str]:
    """What the rows say of ours, each with its target."""
    lines = ratio_lines(found, "lovasz", 0.7, 1.1) + ratio_lines(found, "lovasz + ce", 0.8, 1.2)
    for name, least in (("fastest sorting peer", 12), ("published", 30)):
        factors = [factor for r in found if (factor := times_as_fast(r, found, name)) is not None]
        if factors:
            lines.append(
                f"10 or more classes: {min(factors):.1f} times as fast as {name} at least (target >= {least})"
            )
    for name in OURS:
        lines += memory_lines([r for r in found if r.implementation == name], name, 64)
    return lines


def ratio_lines(found: Sequence[Row], name: str, middle: float, most: float) -> list[str]:
    """The ratios of one implementation and their targets; no line where there are none, as in `memory_lines`."""
    ratios = [r.ratio for r in found if r.implementation == name]
    if not ratios:
        return []
    return [f"{name}: ratio, median {statistics.median(ratios):.2f} (target <= {middle}), "
            f"largest {max(ratios):.2f} (target <= {most})"]  # fmt: skip


def memory_lines(found: Sequence[Row], name: str, most: int) -> list[str]:
    """The largest memory of these rows beyond 8 bytes a pixel, and its target."""
    extra = [r.peak_mib - 8 * pixels(r) / 2**20 for r in found if not math.isnan(r.peak_mib)]
    if not extra:
        return []
    return [f"{name}: peak memory beyond 8 bytes a pixel, largest {max(extra):.1f} MiB (target <= {most})"]


def sides(row: Row) -> list[int]:
    """The shape of the logits."""
    return [int(n) for n in row.shape.split("x")]


def pixels(row: Row) -> int:
    """How many pixels the logits have."""
    return math.prod(sides(row)) // sides(row)[1]


def times_as_fast(row: Row, found: Sequence[Row], peer: str) -> float | None:
    """By which factor "lovasz" beats the published form, or the fastest that sorts, on the same input."""
    if row.implementation != "lovasz" or sides(row)[1] < 10:
        return None
    beside = [
        r for r in found if (r.case, r.stage) == (row.case, row.stage) and r.implementation not in UNITS + OURS
    ]
    beside = [r for r in beside if not r.implementation.startswith("cross_entropy")]
    times = [r.both_ms for r in beside if peer in (r.implementation, "fastest sorting peer")]
    return min(times) / row.both_ms if times else None
