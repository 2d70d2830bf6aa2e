"""A model of the time of every launch on an H100: what theory says before a card does.

A launch takes as long as the slowest of what it does: bytes of memory, bytes between second-level cache and
multiprocessors, additions to shared memory, look-ups, instructions. Rates are those of the data sheet, or measured
by others where it has none (see `RATES`); instructions are counted in the machine code for sm_90, to a third or so.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lovasz._kernels.cuda.records import Launch

from . import results
from .cases import Case
from .launches import H100, launches_of

CLOCK = 1.755e9
#: Of an H100 SXM, a second: bytes of memory (nine tenths of 3.35 TB/s), bytes of second-level cache, additions to
#: shared memory at random bins (2.2e12 are measured in public), look-ups in first-level cache (a line of 128 bytes
#: a cycle), instructions of threads.
RATES = {
    "memory": 3.0e12,
    "cache": 5.5e12,
    "additions": H100.multiprocessors * CLOCK * 32 / 3.4,
    "look-ups": H100.multiprocessors * CLOCK * 32,
    "instructions": H100.multiprocessors * CLOCK * 128,
}
LAUNCH_SECONDS = 3e-6
#: Lines that the look-ups of a warp touch, of 32, in the middle of a training.
LINES = 6
#: Of PyTorch's own kernels in a step: tensors filled with zeros, sums, the assertion.
OTHER_SECONDS = 10 * 2e-6
#: Instructions for each logit, and for each thread of a pixel.
INSTRUCTIONS = {
    "states": (11, 200), "count": (28, 0), "apply": (45, 200), "interpolate": (60, 0), "collect": (10, 60),
    "count binary": (50, 0), "apply binary": (60, 0),
}  # fmt: skip
#: Cycles of a thread that weighs: for each bin of its own, two divisions of 64-bit numbers one after the other; for
#: each that it adds.
WEIGH_CYCLES, ADD_CYCLES = 400, 150
#: Passes of `F.cross_entropy` over the logits, forward and backward: log-softmax reads and writes, its gradient
#: reads two and writes one, and what it is a gradient of is filled with zeros first. Of the binary one, whose
#: targets are numbers as the logits are: the losses are written, and read for their mean.
PASSES, BINARY_PASSES = 6, 7


class ModelRow(NamedTuple):
    """One launch of a step: milliseconds by what it does, the largest with the launch itself, and which that is."""

    case: str
    kernel: str
    blocks: int
    memory_ms: float
    cache_ms: float
    additions_ms: float
    lookups_ms: float
    instructions_ms: float
    total_ms: float
    bound_by: str


_BYTES = {
    "float": 4, "double": 8, "bfloat16": 2, "float16": 2, "long long": 8, "int": 4, "short": 2, "unsigned char": 1,
    "signed char": 1,
}  # fmt: skip


def _work(one: Launch) -> dict[str, float]:
    """Return what a launch does, in the units of `RATES`."""
    size = {name: _BYTES[str(value)] for name, value in one.macros.items() if value in _BYTES}
    first = one.arguments[0]
    if one.kernel == "merge":
        moved = first.rows * 2.0 * (first.bins + 1) * (4 * first.ranges + 16)
        return {"memory": moved, "instructions": moved / 2}
    if one.kernel == "weigh":
        # Its time is that of a thread.
        own, added = (math.ceil(bins / one.threads) for bins in (first.bins / first.pieces, first.bins))
        seconds = (own * WEIGH_CYCLES + added * ADD_CYCLES) / CLOCK + 4e-6
        waves = math.ceil(one.blocks / H100.multiprocessors)
        return {"memory": RATES["memory"] * seconds * waves}
    if one.file == "finer":
        logits = one.blocks * one.threads
        read = 4 * logits * (1 if one.kernel == "interpolate" else 2)
        return {"memory": 4 * logits, "cache": read, "instructions": logits * INSTRUCTIONS[one.kernel][0]}
    pixels = float(first.images * first.pixels)
    logits = pixels * first.classes
    binary = "binary" in one.file
    each, a_thread = INSTRUCTIONS[f"{one.kernel} binary" if binary else one.kernel]
    done = {"instructions": each * logits + a_thread * pixels * int(one.macros.get("SLICES", 1))}
    labels = size["TARGET"] * (logits if binary else pixels)
    read = size["LOGIT"] * logits
    if one.kernel == "states":
        done["memory"] = read + labels + pixels * (size["LOGIT"] + size["REAL"] + size["LABEL"])
    elif one.kernel == "count":
        counting = one.arguments[-1]
        group = int(one.macros["GROUP"])
        flushed = one.blocks * one.shared
        done["additions"] = logits  # at most: those in the lowest bin are not counted
        done["instructions"] *= counting.parts
        if binary:
            done["memory"] = read + labels + flushed
            done["cache"] = (read + labels) * counting.parts
        else:
            state = pixels * (size["LOGIT"] + size["REAL"] + size["LABEL"])
            done["memory"] = read + state + flushed
            wide = 1.0 if first.pixel_stride == 1 else max(1.0, 32 / (group * size["LOGIT"]))  # sectors of 32 bytes
            done["cache"] = (read * wide + state * math.ceil(first.classes / group)) * counting.parts
    else:
        done["memory"] = 2 * read + labels
        done["look-ups"] = logits * LINES
    return done


def row_of(case: str, one: Launch) -> ModelRow:
    """Return the row of a launch."""
    work = _work(one)
    times = {name: 1e3 * work.get(name, 0.0) / rate for name, rate in RATES.items()}
    bound_by = max(times, key=lambda name: times[name])
    return ModelRow(
        case, one.kernel, one.blocks, times["memory"], times["cache"], times["additions"], times["look-ups"],
        times["instructions"], times[bound_by] + 1e3 * LAUNCH_SECONDS, bound_by,
    )  # fmt: skip


def cross_entropy_ms(case: Case) -> float:
    """Return what the cross-entropy of PyTorch takes by the same rates."""
    softmax = case.form == "softmax"
    read = case.elements * case.dtype.itemsize * (PASSES if softmax else BINARY_PASSES)
    read += 2 * 8 * case.elements // case.shape[1] if softmax else 0
    return 1e3 * read / RATES["memory"] + 4e3 * LAUNCH_SECONDS


def expected(case: Case, fused: bool = False) -> tuple[list[ModelRow], list[ModelRow]]:
    """Return the rows of the forward and of the backward pass of a case."""
    both = launches_of(case, fused)
    forward, backward = ([row_of(case.name, one) for one in pass_] for pass_ in both)
    return forward, backward


def step_ms(case: Case) -> tuple[float, float]:
    """Return what the forward and the backward pass of a case take, PyTorch's own kernels included."""
    forward, backward = (sum(row.total_ms for row in part) for part in expected(case))
    return forward + 1e3 * OTHER_SECONDS, backward


def rows(cases: Sequence[Case]) -> Iterator[ModelRow]:
    """Return the rows of all cases."""
    for case in cases:
        forward, backward = expected(case)
        yield from forward + backward


def line(r: ModelRow) -> str:
    """Return one row under the heading."""
    return (
        f"{r.case:26}{r.kernel:9}{r.blocks:9}{r.memory_ms:9.3f}{r.cache_ms:9.3f}{r.additions_ms:10.3f}"
        f"{r.lookups_ms:10.3f}{r.instructions_ms:13.3f}{r.total_ms:9.3f}  {r.bound_by}"
    )


def ratios(cases: Sequence[Case]) -> list[float]:
    """Return of each case what the step takes, in the time of the cross-entropy of PyTorch."""
    return [sum(step_ms(case)) / cross_entropy_ms(case) for case in cases]


def summary(cases: Sequence[Case]) -> list[str]:
    """Return of each case what the step takes, beside the cross-entropy of PyTorch."""
    lines = []
    for case in cases:
        forward, backward = step_ms(case)
        unit = cross_entropy_ms(case)
        both = forward + backward
        lines.append(
            f"{case.name}: {forward:.2f} + {backward:.2f} = {both:.2f} ms, {both / unit:.2f} of the {unit:.2f} ms "
            "that PyTorch's cross-entropy would take"
        )
    return lines


def print_table(cases: Sequence[Case], csv_file: str | None) -> None:
    """Prints every launch of every case, then the sums."""
    print("A model, not a measurement: milliseconds of each launch on an H100, by what it does")
    print(f"{'case':26}{'kernel':9}{'blocks':>9}{'memory':>9}{'cache':>9}{'additions':>10}{'look-ups':>10}"
          f"{'instructions':>13}{'in all':>9}  bound by")  # fmt: skip
    results.gather(rows(cases), line, csv_file)
    print("\n".join(summary(cases)))
