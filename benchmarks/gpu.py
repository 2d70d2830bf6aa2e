"""The GPU benchmark: the cases of the CPU's at the sizes of a GPU, timed by its own events; on CUDA or ROCm."""

import itertools
import math
from collections.abc import Sequence

import torch

import lovasz

from . import cpu, measure, results
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
    print(cpu.HEADING)
    rows = itertools.chain.from_iterable(
        cpu.rows_of(case, stage, options, bandwidth) for case in cases for stage in stages_of(case)
    )
    found = results.gather(rows, cpu.line, csv_file)
    print("\n".join(summary(found)))
    times = 10 if options.quick else 100
    for case in cases[:1] + cases[-1:]:
        print(
            f"{case.name}: {same_bits(case, STAGES[1], times, options.device)} of {times} steps have the same bits"
        )


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
