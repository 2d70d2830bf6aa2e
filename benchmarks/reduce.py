"""What the exact loss of many processes costs: the all-reduce of the table, measured over gloo, and modelled."""

import datetime
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

import lovasz
from lovasz._math import binning

from . import measure, results

CLASSES = (1, 4, 19, 150)
BINS = (1024, 4096, None)  # the last is the default
PROCESSES = 2
REPEATS = 20
#: Processes, bytes per second and seconds of latency of links between them, for the model.
CLUSTERS = ((8, 300e9, 5e-6), (64, 25e9, 15e-6), (1024, 25e9, 15e-6), (8192, 25e9, 15e-6))


class ReduceRow(NamedTuple):
    """The all-reduce of one table between processes of this machine, in milliseconds."""

    classes: int
    bins: int
    table_bytes: int
    processes: int
    backend: str
    milliseconds: float
    spread_ms: float
    version: str
    machine: str
    date: str


def table_bytes(classes: int, bins: int) -> int:
    """What is sent in a step: an int64 for each class, side and bin, and for errors that are no number."""
    return 8 * classes * 2 * (bins + 1)


def modelled_seconds(size: int, processes: int, bandwidth: float, latency: float) -> float:
    """A ring for the bandwidth, a tree for the latency: no less than 2 (p - 1) / p sizes, 2 log2 p messages."""
    return 2 * (processes - 1) / processes * size / bandwidth + 2 * math.log2(processes) * latency


def _work(rank: int, world: int, folder: str, shapes: list[tuple[int, int]], queue: Any) -> None:
    torch.set_num_threads(1)
    timeout = datetime.timedelta(seconds=120)
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/store", world_size=world, rank=rank, timeout=timeout
    )
    for classes, bins in shapes:
        counts = lovasz.Counts(torch.ones(1, classes, 2, bins + 1, dtype=torch.int64), "softmax")
        times = []
        for _ in range(REPEATS + 2):
            torch.distributed.barrier()
            start = time.perf_counter()
            counts.all_reduce()
            times.append(1e3 * (time.perf_counter() - start))
        if rank == 0:
            queue.put(times[2:])
    torch.distributed.destroy_process_group()


def rows() -> Iterator[ReduceRow]:
    """Each table as soon as it has been measured."""
    shapes = [(c, k or binning.default_bins(c, "softmax")) for c in CLASSES for k in BINS]
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        workers = [
            context.Process(target=_work, args=(rank, PROCESSES, folder, shapes, queue))
            for rank in range(PROCESSES)
        ]
        for worker in workers:
            worker.start()
        try:
            for classes, bins in shapes:
                times = queue.get(timeout=120)
                yield ReduceRow(
                    classes, bins, table_bytes(classes, bins), PROCESSES, "gloo", statistics.median(times),
                    measure.interquartile_range(times), lovasz.__version__, measure.machine(), measure.today(),
                )  # fmt: skip
        finally:
            for worker in workers:
                worker.join(10)
                worker.kill()


def line(row: ReduceRow) -> str:
    """One row under the heading."""
    return (
        f"{row.classes:8}{row.bins:8}{row.table_bytes / 2**20:10.2f}{row.processes:11}{row.backend:>8}"
        f"{row.milliseconds:10.2f}{row.spread_ms:11.2f}"
    )


def measured_table(found: Sequence[Any]) -> list[str]:
    """The measured rows as lines of a page; of `ReduceRow` or of the kept CSV."""
    lines = ["| classes | bins | MiB | ms |", "|---|---|---|---|"]
    for r in found:
        row = r if isinstance(r, dict) else r._asdict()
        size = int(row["table_bytes"]) / 2**20
        lines.append(f"| {row['classes']} | {int(row['bins']):,} | {size:.2f} | {float(row['milliseconds']):.1f} |")
    return lines


def modelled_table() -> list[str]:
    """The model as lines of a page: milliseconds for each cluster, at the default number of bins."""
    names = [f"{p:,} at {b / 1e9:.0f} GB/s, {1e6 * t:.0f} us" for p, b, t in CLUSTERS]
    lines = [f"| classes | MiB | {' | '.join(names)} |", "|---" * (2 + len(CLUSTERS)) + "|"]
    for classes in CLASSES:
        size = table_bytes(classes, binning.default_bins(classes, "softmax"))
        times = " | ".join(f"{1e3 * modelled_seconds(size, *cluster):.2f}" for cluster in CLUSTERS)
        lines.append(f"| {classes} | {size / 2**20:.2f} | {times} |")
    return lines


def print_table(csv_file: str | None) -> None:
    """Prints what is measured here, then the model; with a file, what was measured as CSV."""
    print(f"{measure.machine()}, torch {torch.__version__}, lovasz {lovasz.__version__}")
    print(f"{'classes':>8}{'bins':>8}{'MiB':>10}{'processes':>11}{'over':>8}{'ms':>10}{'spread ms':>11}")
    results.gather(rows(), line, csv_file)
    print("\nA model, not a measurement: milliseconds for so many processes, at the default number of bins")
    print("\n".join(modelled_table()))
