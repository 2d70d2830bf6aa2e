"""What `lovasz evaluate` costs on 2,000 masks, beside decoding alone and torchmetrics with a DataLoader.

With boundaries and with surfaces, too; and the same masks once more in colours, mapped, and as TIFF, each
beside decoding those files alone.
"""

import concurrent.futures
import math
import os
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import tifffile
import torch
import torch.nn.functional as F
import torchmetrics
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassJaccardIndex

import lovasz
from lovasz.study.io.labelling import Labelling
from lovasz.study.io.labels import LabelMap
from lovasz.study.io.masks import AS_STORED
from lovasz.study.processes import Ranks
from lovasz.study.score.evaluation import Evaluation, evaluate
from lovasz.study.score.pairing import Pairs, pair
from lovasz.study.score.scores import score
from lovasz.study.score.surfaces import Tolerance
from lovasz.study.summary.evaluation_results import Outcome, write_tables

from . import measure, results

#: As CamVid: height and width, classes, and the void label after them.
SIZE, CLASSES, VOID = (360, 480), 11, 11
BATCH = 16
REPEATS = 3
#: Of boundaries, as published: this fraction of the diagonal, here 12 pixels.
WIDTH = 0.02
#: Of surfaces.
TOLERANCE = Tolerance(3, "px")


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


def store(pairs: Pairs, folder: Path, kind: str, save: Callable[[NDArray[np.uint8], Path], None]) -> Pairs:
    """The same masks in other files."""
    for name in ("predictions", "targets"):
        (folder / kind / name).mkdir(parents=True)
    for index in range(len(pairs.files)):
        for path, name in zip(pairs.paths(index), ("predictions", "targets"), strict=True):
            with Image.open(path) as picture:
                save(np.asarray(picture), folder / kind / name / path.stem)
    return pair(folder / kind / "predictions", folder / kind / "targets")


#: A colour for each class and for void, and the label of each.
PALETTE = np.array([(37 * c % 256, 91 * c % 256, 20 * c) for c in range(VOID + 1)], dtype=np.uint8)
COLOURS = {(int(r) << 16) + (int(g) << 8) + int(b): c for c, (r, g, b) in enumerate(PALETTE)}


def _in_colours(labels: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(PALETTE[labels]).save(path.with_suffix(".png"))


def _as_tiff(labels: NDArray[np.uint8], path: Path) -> None:
    tifffile.imwrite(path.with_suffix(".tif"), labels, compression="zlib", tile=(128, 128))


class Way(NamedTuple):
    """One way to go through files: what does it, a call that returns mIoU, and the decoding it is held against."""

    version: str
    run: Callable[[], float]
    decoding: str


class Masks(Dataset[tuple[Tensor, Tensor]]):
    """The same files for a DataLoader."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        prediction, target = (torch.from_numpy(np.array(Image.open(path))) for path in self.pairs.paths(index))
        return prediction, target


def ways(pairs: Pairs, out: Path, workers: int) -> dict[str, Way]:
    """Every way to go through the files; a file of its own kind is decoded alone, too."""
    names = tuple(map(str, range(CLASSES)))
    loader = DataLoader(Masks(pairs), batch_size=BATCH, num_workers=workers)
    colours, tiff = (store(pairs, out, *kind) for kind in (("colours", _in_colours), ("tiff", _as_tiff)))

    def decoding(files: Pairs, read: Callable[[Path], object]) -> Callable[[], float]:
        paths = [path for index in range(len(files.files)) for path in files.paths(index)]

        def run() -> float:
            with concurrent.futures.ThreadPoolExecutor(workers) as pool:
                parts = (paths[first : first + 32] for first in range(0, len(paths), 32))
                list(pool.map(lambda part: [read(path) for path in part] and None, parts))
            return math.nan

        return run

    def counted(
        files: Pairs = pairs,
        labelling: Labelling = AS_STORED,
        width: float | None = None,
        tolerance: Tolerance | None = None,
    ) -> Evaluation:
        stop = threading.Event()
        void = frozenset({VOID}) | labelling.ignored
        ranks, both = Ranks(), (labelling, labelling)
        return evaluate(
            files, names, void, workers, stop, lambda done, left_out: None, ranks, both, None, width, tolerance
        )

    def with_tables(width: float | None = None) -> float:
        found = counted(width=width)
        outcome = Outcome(found, score(found), False, "")
        write_tables(outcome, out)
        return outcome.scores.miou if outcome.scores else math.nan

    def peer(validate: bool) -> float:
        metric = MulticlassJaccardIndex(CLASSES, ignore_index=VOID, validate_args=validate)
        for prediction, target in loader:
            metric.update(prediction, target)
        return float(metric.compute())

    by_colour = Labelling(CLASSES, void=VOID, colours=COLOURS, names=dict.fromkeys(COLOURS.values(), ""))
    by_map = Labelling(CLASSES, label_map=LabelMap("", tuple((c, c) for c in range(VOID + 1)), complete=True))
    ours, theirs = f"lovasz {lovasz.__version__}", f"torchmetrics {torchmetrics.__version__}"
    pillow, plain = f"pillow {PIL.__version__}", "decoding alone"
    rgb, tiles = "colours: decoding alone", "TIFF: decoding alone"
    return {
        plain: Way(pillow, decoding(pairs, _opened), plain),
        "lovasz, all scores": Way(ours, lambda: score(counted()).miou, plain),
        "lovasz, with its tables": Way(ours, with_tables, plain),
        "lovasz, boundaries": Way(ours, lambda: score(counted(width=WIDTH)).miou, plain),
        "lovasz, their tables": Way(ours, lambda: with_tables(WIDTH), plain),
        "lovasz, surfaces": Way(ours, lambda: score(counted(tolerance=TOLERANCE)).miou, plain),
        "torchmetrics": Way(theirs, lambda: peer(True), plain),
        "torchmetrics, unchecked": Way(theirs, lambda: peer(False), plain),
        "lovasz, labels mapped": Way(ours, lambda: score(counted(labelling=by_map)).miou, plain),
        rgb: Way(pillow, decoding(colours, _opened), rgb),
        "colours: lovasz": Way(ours, lambda: score(counted(colours, by_colour)).miou, rgb),
        tiles: Way(f"tifffile {tifffile.__version__}", decoding(tiff, tifffile.imread), tiles),
        "TIFF: lovasz": Way(ours, lambda: score(counted(tiff)).miou, tiles),
    }


def _opened(path: Path) -> object:
    with Image.open(path) as picture:
        return np.asarray(picture)


def rows(quick: bool) -> Iterator[EvaluateRow]:
    """Every way, timed in turn, round after round; the first round warms up and is checked to agree."""
    images, workers = 200 if quick else 2000, os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = make(folder, images)
        size = sum(path.stat().st_size for path in folder.glob("*/*.png")) // (2 * images)  # as they are first
        all_ways = ways(pairs, folder, workers)
        times: dict[str, list[float]] = {what: [] for what in all_ways}
        cores: dict[str, list[float]] = {what: [] for what in all_ways}
        scores = [score for way in all_ways.values() if not math.isnan(score := way.run())]
        np.testing.assert_allclose(scores, scores[0], rtol=1e-5)
        for _ in range(REPEATS):
            for what, way in all_ways.items():
                start, start_cores = time.perf_counter(), _cpu_seconds()
                way.run()
                times[what].append(time.perf_counter() - start)
                cores[what].append(_cpu_seconds() - start_cores)

        def ratio(of: dict[str, list[float]], what: str, to: str) -> float:
            return statistics.median(a / b for a, b in zip(of[what], of[to], strict=True))

        ours = "lovasz, with its tables"
        for what, way in all_ways.items():
            seconds = statistics.median(times[what])
            yield EvaluateRow(
                what, way.version, images, size, workers, seconds, measure.interquartile_range(times[what]),
                statistics.median(cores[what]), images / seconds, ratio(times, what, way.decoding),
                ratio(times, what, ours), ratio(cores, what, way.decoding), ratio(cores, what, ours),
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
