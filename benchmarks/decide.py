"""What the decision for an image costs, beside the argmax and rankseg, and what each is expected to earn.

All begin with logits. Implementations alternate within one run; memory is what a fresh process adds to them.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import NamedTuple

import torch
import torch.nn.functional as F
from rankseg import rankseg_rma
from torch import Tensor

import lovasz
from lovasz.decisions import DatasetDecision, image_decision

from . import measure, results
from .cases import smooth

UNIT = "argmax"
SHAPES = ((4, 21, 512, 512), (1, 150, 512, 512))
QUICK = ((2, 5, 64, 64),)


class DecideRow(NamedTuple):
    """One way to decide one batch: milliseconds, MiB beyond the logits, ratios, and the IoU that it may expect."""

    shape: str
    implementation: str
    version: str
    threads: int
    milliseconds: float
    spread_ms: float
    ratio: float
    over_image_decision: float
    peak_mib: float
    expected_iou: float
    differs: float
    machine: str
    date: str


def inputs(shape: Sequence[int]) -> Tensor:
    """Logits of a network that has learned something: smooth over each image, sure of most pixels."""
    generator = torch.Generator().manual_seed(0)
    field = smooth(shape[0], shape[1], tuple(shape[2:]), generator)
    return field.mul_(6).add_(torch.randn(*shape, generator=generator))


def implementations(classes: int) -> dict[str, tuple[str, Callable[[Tensor], Tensor]]]:
    """Every way to decide, from logits to labels, with the version of what does it."""
    rule = DatasetDecision(classes)
    ours = f"lovasz {lovasz.__version__}"
    return {
        UNIT: (f"torch {torch.__version__}", lambda x: x.argmax(1)),
        "image_decision": (ours, image_decision),
        "DatasetDecision": (ours, rule),
        "rankseg": (f"rankseg {version('rankseg')}", lambda x: rankseg_rma(x.softmax(1), metric="iou")),
    }


def expected_iou(logits: Tensor, labels: Tensor) -> float:
    """Return the mean over images and their classes of Σ p of the pixels decided / (decided + Σ p - the former).

    The classes of an image are those of which some probability is above a half.
    """
    scores = []
    for x, decided in zip(logits.double(), labels, strict=True):
        p = x.softmax(0).flatten(1)
        chosen = F.one_hot(decided.flatten(), len(p)).t().double()
        tp = (p * chosen).sum(1)
        iou = tp / (chosen.sum(1) + p.sum(1) - tp)
        scores.append(iou[p.amax(1) > 0.5].mean().item())
    return statistics.mean(scores)


def print_peak(shape: Sequence[int], implementation: str) -> None:
    """Prints the memory of one decision in MiB; for a fresh process."""
    _, decide = implementations(shape[1])[implementation]
    with torch.no_grad():
        decide(inputs((*shape[:2], 32, 32)))  # what a first call brings along
        logits = inputs(shape)
        print(measure.memory.peak_growth(lambda: decide(logits), logits.is_cuda))


@torch.no_grad()
def rows_of(shape: Sequence[int], repeats: int) -> Iterator[DecideRow]:
    """Every implementation on one batch."""
    logits, ways = inputs(shape), implementations(shape[1])
    labels = {name: decide(logits) for name, (_, decide) in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, (_, decide) in ways.items():
            start = time.perf_counter()
            decide(logits)
            times[name].append(1e3 * (time.perf_counter() - start))
    medians = {name: statistics.median(found) for name, found in times.items()}
    code = "from benchmarks import decide; decide.print_peak({!r}, {!r})"
    for name, (made_by, _) in ways.items():
        yield DecideRow(
            shape="x".join(map(str, shape)),
            implementation=name,
            version=made_by,
            threads=torch.get_num_threads(),
            milliseconds=medians[name],
            spread_ms=measure.interquartile_range(times[name]),
            ratio=medians[name] / medians[UNIT],
            over_image_decision=medians[name] / medians["image_decision"],
            peak_mib=measure.in_a_fresh_process(code.format(tuple(shape), name)),
            expected_iou=expected_iou(logits, labels[name]),
            differs=(labels[name] != labels["image_decision"]).double().mean().item(),
            machine=measure.machine(),
            date=measure.today(),
        )


HEADING = (
    f"{'shape':16}{'implementation':18}{'ms':>9}{'spread':>8}{'/ argmax':>10}{'/ ours':>9}{'peak MiB':>10}"
    f"{'expected IoU':>14}{'differs':>9}"
)


def line(r: DecideRow) -> str:
    """One row under the heading."""
    return (
        f"{r.shape:16}{r.implementation:18}{r.milliseconds:9.1f}{r.spread_ms:8.1f}{r.ratio:10.2f}"
        f"{r.over_image_decision:9.2f}{r.peak_mib:10.0f}{r.expected_iou:14.5f}{100 * r.differs:8.2f}%"
    )


def summary(found: Sequence[DecideRow]) -> list[str]:
    """What the rows say of rankseg, each with its target."""
    by = {(r.shape, r.implementation): r for r in found}
    pairs = [(r, by[r.shape, "image_decision"]) for r in found if r.implementation == "rankseg"]
    times = min(theirs.over_image_decision for theirs, _ in pairs)
    memory = min(theirs.peak_mib / ours.peak_mib for theirs, ours in pairs)
    return [
        f"rankseg takes {times:.1f} times as long as image_decision at least (target >= 5)",
        f"and {memory:.1f} times the memory (target >= 10)",
    ]


def table() -> list[str]:
    """The kept rows as lines of a page."""
    lines = ["| logits | | ms | argmax = 1 | MiB | expected IoU, % |", "|---" * 6 + "|"]
    for row in results.read("decide"):
        shape = row["shape"].replace("x", ", ")
        numbers = f"{float(row['milliseconds']):.0f} | {float(row['ratio']):.1f} | {float(row['peak_mib']):.0f}"
        name = row["implementation"] if row["implementation"] == UNIT else f"`{row['implementation']}`"
        lines.append(f"| ({shape}) | {name} | {numbers} | {100 * float(row['expected_iou']):.2f} |")
    return lines


def print_table(csv_file: str | None, quick: bool, repeats: int) -> None:
    """Each row as soon as it is measured, then the summary; with a file, also as CSV."""
    print(f"{measure.machine()}, {torch.get_num_threads()} threads; medians of {repeats} alternating runs")
    print(HEADING)
    rows = (row for shape in (QUICK if quick else SHAPES) for row in rows_of(shape, repeats))
    print("\n".join(summary(results.gather(rows, line, csv_file))))
