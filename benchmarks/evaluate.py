"""What `lovasz evaluate` costs on 2,000 masks, beside decoding alone and torchmetrics with a DataLoader."""

import concurrent.futures
import math
import os
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import torch
import torch.nn.functional as F
import torchmetrics
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassJaccardIndex

import lovasz
from lovasz.study.processes import Ranks
from lovasz.study.score.evaluation import Evaluation, evaluate
from lovasz.study.score.pairing import Pairs, pair
from lovasz.study.score.scores import score
from lovasz.study.summary.evaluation_results import Outcome, write_tables

from . import measure, results

#: As CamVid: height and width, classes, and the void label after them.
SIZE, CLASSES, VOID = (360, 480), 11, 11
BATCH = 16
REPEATS = 3


class EvaluateRow(NamedTuple):
    """One way to go through all masks: seconds, those of all cores together, and ratios within the same rounds.

    A busy machine lengthens the seconds, and hardly those of the cores.
    """

    what: str
    version: str
    images: int
    bytes_per_file: int
    workers: int
    seconds: float
    spread_s: float
    cpu_seconds: float
    images_per_s: float
    over_decoding: float
    over_lovasz: float
    cpu_over_decoding: float
    cpu_over_lovasz: float
    machine: str
    date: str


def make(folder: Path, images: int) -> Pairs:
    """Masks whose labels lie in blobs with rough edges, and predictions that are shifted copies with faults."""
    rng = np.random.default_rng(0)
    for name in ("predictions", "targets"):
        (folder / name).mkdir()
    for index in range(images):
        target = _labels(rng)
        prediction = np.roll(target, rng.integers(-4, 5, 2), (0, 1))
        prediction[prediction == VOID] = rng.integers(CLASSES)
        for _ in range(3):
            y, x = rng.integers(300), rng.integers(400)
            prediction[y : y + 60, x : x + 80] = rng.integers(CLASSES)
        Image.fromarray(target).save(folder / "targets" / f"{index:05}.png")
        Image.fromarray(prediction).save(folder / "predictions" / f"{index:05}.png")
    return pair(folder / "predictions", folder / "targets")


def _labels(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Labels (H, W): the largest of smooth random fields, one a label, on a grid bent a little at every pixel."""
    fields = torch.zeros(1, VOID + 1, *SIZE)
    for cells, weight in ((4, 1.0), (9, 0.6), (40, 0.12)):
        coarse = torch.from_numpy(rng.standard_normal((1, VOID + 1, cells, cells * 4 // 3))).float()
        fields += weight * F.interpolate(coarse, size=SIZE, mode="bilinear")
    return fields[0].argmax(0).to(torch.uint8).numpy()


class Masks(Dataset[tuple[Tensor, Tensor]]):
    """The same files for a DataLoader."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        prediction, target = (torch.from_numpy(np.array(Image.open(path))) for path in self.pairs.paths(index))
        return prediction, target


def ways(pairs: Pairs, out: Path, workers: int) -> dict[str, tuple[str, Callable[[], float]]]:
    """Every way to go through the files, with the version of what does it; they return mIoU."""
    names = tuple(map(str, range(CLASSES)))
    paths = [path for index in range(len(pairs.files)) for path in pairs.paths(index)]
    loader = DataLoader(Masks(pairs), batch_size=BATCH, num_workers=workers)

    def decode(part: Sequence[Path]) -> None:
        for path in part:
            with Image.open(path) as picture:
                np.asarray(picture)

    def decoding() -> float:
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            list(pool.map(decode, (paths[first : first + 32] for first in range(0, len(paths), 32))))
        return math.nan

    def counted() -> Evaluation:
        stop = threading.Event()
        return evaluate(pairs, names, frozenset({VOID}), workers, stop, lambda done, left_out: None, Ranks())

    def counting() -> float:
        return score(counted()).miou

    def with_tables() -> float:
        found = counted()
        outcome = Outcome(found, score(found), False, "")
        write_tables(outcome, out)
        return outcome.scores.miou if outcome.scores else math.nan

    def peer(validate: bool) -> float:
        metric = MulticlassJaccardIndex(CLASSES, ignore_index=VOID, validate_args=validate)
        for prediction, target in loader:
            metric.update(prediction, target)
        return float(metric.compute())

    ours, theirs = f"lovasz {lovasz.__version__}", f"torchmetrics {torchmetrics.__version__}"
    return {
        "decoding alone": (f"pillow {PIL.__version__}", decoding),
        "lovasz, all scores": (ours, counting),
        "lovasz, with its tables": (ours, with_tables),
        "torchmetrics": (theirs, lambda: peer(True)),
        "torchmetrics, unchecked": (theirs, lambda: peer(False)),
    }


def rows(quick: bool) -> Iterator[EvaluateRow]:
    """Every way, timed in turn, round after round; the first round warms up and is checked to agree."""
    images, workers = 200 if quick else 2000, os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = make(folder, images)
        size = sum(path.stat().st_size for path in folder.glob("*/*.png")) // (2 * images)
        all_ways = ways(pairs, folder, workers)
        times: dict[str, list[float]] = {what: [] for what in all_ways}
        cores: dict[str, list[float]] = {what: [] for what in all_ways}
        scores = [run() for _, run in all_ways.values()]
        np.testing.assert_allclose(scores[1:], scores[1], rtol=1e-5)
        for _ in range(REPEATS):
            for what, (_, run) in all_ways.items():
                start, start_cores = time.perf_counter(), _cpu_seconds()
                run()
                times[what].append(time.perf_counter() - start)
                cores[what].append(_cpu_seconds() - start_cores)

        def ratio(of: dict[str, list[float]], what: str, to: str) -> float:
            return statistics.median(a / b for a, b in zip(of[what], of[to], strict=True))

        decoding, ours = "decoding alone", "lovasz, with its tables"
        for what, (version, _) in all_ways.items():
            seconds = statistics.median(times[what])
            yield EvaluateRow(
                what, version, images, size, workers, seconds, measure.interquartile_range(times[what]),
                statistics.median(cores[what]), images / seconds, ratio(times, what, decoding),
                ratio(times, what, ours), ratio(cores, what, decoding), ratio(cores, what, ours),
                measure.machine(), measure.today(),
            )  # fmt: skip


def _cpu_seconds() -> float:
    """Seconds that all cores have spent on this process and on those it has started and ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def line(row: EvaluateRow) -> str:
    """One row under the heading."""
    return (
        f"{row.what:26}{row.seconds:9.2f}{row.spread_s:9.2f}{row.images_per_s:10.0f}{row.over_decoding:12.2f}"
        f"{row.over_lovasz:10.2f}{row.cpu_seconds:9.2f}{row.cpu_over_decoding:12.2f}{row.cpu_over_lovasz:10.2f}"
    )


def table() -> list[str]:
    """The kept rows as lines of a page."""
    lines = [
        "| | images/s | time, decoding = 1 | time, lovasz = 1 | of all cores, decoding = 1 | lovasz = 1 |",
        "|---|---|---|---|---|---|",
    ]
    columns = ("over_decoding", "over_lovasz", "cpu_over_decoding", "cpu_over_lovasz")
    for row in results.read("evaluate"):
        ratios = " | ".join(f"{float(row[column]):.2f}" for column in columns)
        lines.append(f"| {row['what']} ({row['version']}) | {float(row['images_per_s']):.0f} | {ratios} |")
    return lines


def print_table(csv_file: str | None, quick: bool) -> None:
    """Prints the rows; with a file, also as CSV."""
    print(f"{measure.machine()}, {200 if quick else 2000:,} images of 480 x 360, {CLASSES} classes and void")
    print(
        f"{'':26}{'seconds':>9}{'spread':>9}{'images/s':>10}{'/ decoding':>12}{'/ lovasz':>10}"
        f"{'of cores':>9}{'/ decoding':>12}{'/ lovasz':>10}"
    )
    results.gather(rows(quick), line, csv_file)
