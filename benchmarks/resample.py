"""What the intervals of an evaluation cost, and the comparison of two: seconds, and MiB beyond the counts."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import lovasz
from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.pairing import Pairs
from lovasz.study.score.rows import Rows
from lovasz.study.score.scores import score
from lovasz.study.summary.resampling import RESAMPLES, Draws
from lovasz.study.summary.rivals import contest
from lovasz.study.summary.score_intervals import score_intervals

from . import measure, results

THREADS = 2
#: Images and classes.
SIZES = ((1_000, 19), (10_000, 19), (10_000, 150))
QUICK = ((50, 5),)
WORK = ("intervals", "comparison")


class ResampleRow(NamedTuple):
    """One kind of work on one evaluation."""

    work: str
    images: int
    classes: int
    resamples: int
    threads: int
    seconds: float
    peak_mib: float
    version: str
    machine: str
    date: str


def evaluation(images: int, classes: int, seed: int) -> Evaluation:
    """Return counts that are made up, of the same targets for every seed, each with a third of the classes."""
    labels, errors = np.random.default_rng(0), np.random.default_rng(1 + seed)
    rows, confusion = Rows(images, classes), np.zeros((classes, classes), dtype=np.int64)
    every, other = np.arange(classes), (np.arange(classes) + 1) % classes
    for image in range(images):
        labelled = labels.integers(1, 20_000, classes) * (labels.random(classes) < 1 / 3)
        missed = (labelled * errors.random(classes)).astype(np.int64)
        right = labelled - missed
        rows[image] = np.stack([right, labelled, right + np.roll(missed, 1)], 1)
        confusion[every, every] += right
        confusion[every, other] += missed
    files = [(f"{image:06}", f"{image:06}.png", f"{image:06}.png") for image in range(images)]
    names = tuple(f"class {label}" for label in range(classes))
    return Evaluation(Pairs(Path(), Path(), files, []), names, frozenset(), confusion, rows, [], images, False)


def seconds(work: str, images: int, classes: int, resamples: int) -> float:
    """Return how long one kind of work takes."""
    both = [evaluation(images, classes, seed) for seed in range(2 if work == "comparison" else 1)]
    scores, draws = score(both[0]), Draws(resamples, THREADS)
    start = time.perf_counter()
    if work == "comparison":
        contest(["first", "second"], both, scores, None, draws)
    else:
        score_intervals(both[0], scores, None, draws)
    return time.perf_counter() - start


def print_peak(work: str, images: int, classes: int, resamples: int) -> None:
    """Print the memory of one kind of work in MiB; for a fresh process."""
    seconds(work, 20, 3, 100)  # what a first call brings along
    print(measure.memory.peak_growth(lambda: seconds(work, images, classes, resamples), False))


def rows(quick: bool) -> Iterator[ResampleRow]:
    """Every kind of work on every size."""
    resamples = 1_000 if quick else RESAMPLES
    code = "from benchmarks import resample; resample.print_peak({!r}, {}, {}, {})"
    for images, classes in QUICK if quick else SIZES:
        for work in WORK:
            yield ResampleRow(
                work=work,
                images=images,
                classes=classes,
                resamples=resamples,
                threads=THREADS,
                seconds=seconds(work, images, classes, resamples),
                peak_mib=measure.in_a_fresh_process(code.format(work, images, classes, resamples)),
                version=f"lovasz {lovasz.__version__}",
                machine=measure.machine(),
                date=measure.today(),
            )


def line(row: ResampleRow) -> str:
    """One row under the heading."""
    size = f"{row.images:8,}{row.classes:9}{row.resamples:11,}{row.threads:9}"
    return f"{row.work:12}{size}{row.seconds:9.1f}{row.peak_mib:10.0f}"


def print_table(csv_file: str | None, quick: bool) -> None:
    """Print each row as soon as it is measured; with a file, also as CSV."""
    print(measure.machine())
    print(f"{'work':12}{'images':>8}{'classes':>9}{'resamples':>11}{'threads':>9}{'seconds':>9}{'peak MiB':>10}")
    results.gather(rows(quick), line, csv_file)
