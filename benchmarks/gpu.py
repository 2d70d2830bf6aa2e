"""The GPU benchmark: the cases of the CPU's at the sizes of a GPU, timed by its own events; on CUDA or ROCm."""

import csv
import itertools
import math
import statistics
from collections.abc import Sequence

import torch

import lovasz

from . import cpu, measure, model, results
from .cases import STAGES, Case, Stage, inputs

CASES = (
    Case("VOC batch", (16, 21, 512, 512)),
    Case("VOC batch, channels last", (16, 21, 512, 512), layout="channels_last"),
    Case("VOC batch, bfloat16", (16, 21, 512, 512), dtype=torch.bfloat16),
    Case("ADE20K batch", (8, 150, 512, 512)),
    Case("points", (4_000_000, 20)),
    Case("volumes", (2, 4, 192, 192, 192)),
    Case("binary sigmoid", (64, 1, 512, 512), "sigmoid"),
    Case("binary hinge", (64, 1, 512, 512), "hinge"),
)
#: Every error of a class falls into one bin, which all programs want to count in.
EQUAL = Stage("equal", 0, 0, 0)
LARGE = 2**26


def stages_of(case: Case) -> Sequence[Stage]:
    """Three stages of a training, and the worst case for the counters where nothing else differs."""
    return (*STAGES, EQUAL) if case.name in ("VOC batch", "binary sigmoid") else STAGES


def same_bits(case: Case, stage: Stage, times: int, device: str = "cuda") -> int:
    """In how many of so many steps loss and gradient have the bits of the first."""
    logits, target = inputs(case, stage, device)
    logits.requires_grad_()

    def step() -> tuple[torch.Tensor, torch.Tensor]:
        logits.grad = None
        loss = cpu.own(case)["lovasz"].loss(logits, target)
        loss.backward()
        assert logits.grad is not None
        return loss.detach(), logits.grad

    first = step()
    return 1 + sum(all(map(torch.equal, step(), first)) for _ in range(times - 1))


def print_table(csv_file: str | None, options: cpu.Options) -> None:
    """Each row as soon as it is measured, then the summary; with a file, what was found as CSV, come what may."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("python -m benchmarks gpu needs a GPU that PyTorch can use; there is none")
    cases = cpu.selected(CASES, options)
    if options.quick:
        cases = [case.shrunk(2) for case in cases]
    bandwidth = measure.copy_bandwidth(2**20 if options.device == "cpu" else 2**28, options.device)
    print(f"{measure.machine(options.device)}, torch {torch.__version__}, lovasz {lovasz.__version__}; "
          f"a copy moves {bandwidth / 1e9:.0f} GB/s")  # fmt: skip
    print(f"medians of {options.repeats} alternating runs; ratio is to the first row of a case")
    print(f"kernel: {serving(options.device)}")
    print(cpu.HEADING)
    rows = itertools.chain.from_iterable(
        cpu.rows_of(case, stage, options, bandwidth) for case in cases for stage in stages_of(case)
    )
    found = results.gather(rows, cpu.line, csv_file)
    print("\n".join(summary(found)))
    print("\n".join(beside_model(found, cases)))
    times = 10 if options.device == "cpu" else 100
    for case in cases[:1] + cases[-1:]:
        print(
            f"{case.name}: {same_bits(case, STAGES[1], times, options.device)} of {times} steps have the same bits"
        )


def serving(device: str) -> str:
    """What serves a device, once it has: `lovasz info` says the same."""
    lovasz.lovasz_softmax(
        torch.zeros(1, 2, 8, 8, device=device), torch.zeros(1, 8, 8, device=device).long(), bins=64
    )
    (row,) = (row for row in lovasz.kernels() if row[0] == device)
    return ", ".join(row[1:])


def beside_model(found: Sequence[cpu.Row], cases: Sequence[Case]) -> list[str]:
    """What ours took, median of the stages, beside what the model of the CUDA kernel expects of an H100."""
    lines = []
    for case in cases:
        ours = [r for r in found if r.implementation == "lovasz" and r.case == case.name]
        if ours:
            expected = model.step_ms(case)
            took = [statistics.median(getattr(r, name) for r in ours) for name in ("forward_ms", "backward_ms")]
            lines.append(
                f"{case.name}: {took[0]:.2f} + {took[1]:.2f} ms, by the model of the CUDA kernel on an H100 "
                f"{expected[0]:.2f} + {expected[1]:.2f}"
            )
    return lines


def print_profile(case_name: str, stage_name: str, device: str = "cuda") -> None:
    """Prints what each launch of a step takes, beside what the model expects of it."""
    case = next(case for case in CASES if case.name == case_name)
    logits, target = inputs(case, next(stage for stage in stages_of(case) if stage.name == stage_name), device)
    loss = cpu.own(case)["lovasz"].loss
    for _ in range(3):
        measure.step(loss, logits, target)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(10):
            measure.step(loss, logits, target)
    key = f"self_{device}_time_total"
    print(f"{case.name}, {stage_name}: ten steps")
    print(profile.key_averages().table(sort_by=key, row_limit=15, max_name_column_width=60))
    forward, backward = model.expected(case)
    print(
        "\n".join(
            f"model: {row.kernel:12}{row.total_ms:9.3f} ms, bound by {row.bound_by}" for row in forward + backward
        )
    )


def slowest(csv_file: str) -> tuple[str, str]:
    """Case and stage of our row with the largest ratio to cross-entropy."""
    with open(csv_file, newline="") as file:
        ours = [row for row in csv.DictReader(file) if row["implementation"] == "lovasz"]
    row = max(ours, key=lambda row: float(row["ratio"]))
    return row["case"], row["stage"]


def summary(found: Sequence[cpu.Row]) -> list[str]:
    """What the rows say of ours, each with its target."""
    unequal = [r for r in found if r.stage != EQUAL.name]
    lines = cpu.ratio_lines(unequal, "lovasz", 0.7, 1.0) + cpu.ratio_lines(unequal, "lovasz + ce", 0.8, math.inf)
    large = [r for r in found if r.implementation == "lovasz" and math.prod(cpu.sides(r)) >= LARGE]
    if large:
        speed = min(1 / r.times_floor for r in large)
        lines.append(
            f"lovasz: from 2^26 logits on {100 * speed:.0f} % of the floor's speed at least (target >= 40)"
        )
    factors = [factor for r in found if (factor := cpu.times_as_fast(r, found, "published")) is not None]
    if factors:
        lines.append(f"{min(factors):.0f} times as fast as published at least (target >= 30)")
    return lines + cpu.memory_lines([r for r in found if r.implementation in cpu.OURS], "ours", 128)
