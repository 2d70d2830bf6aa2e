"""Counting two folders of masks: all cores, any number of files, any number of processes."""

import concurrent.futures
import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from lovasz.study.io.advice import advice, scores_hint
from lovasz.study.io.kinds import TooLargeError, UnreadableFileError
from lovasz.study.io.labelling import Labelling
from lovasz.study.io.masks import AS_STORED, Mask, UnknownLabelsError, fits, open_mask
from lovasz.study.io.palettes import Palettes, check_palettes
from lovasz.study.io.text import printable
from lovasz.study.io.volumes import check_same_place
from lovasz.study.processes import Ranks
from lovasz.study.score.pairing import Pairs, Problem
from lovasz.study.score.rows import Rows
from lovasz.study.score.tally import LabelError, confusion

# Images a thread takes at a time, so that handing them out costs little beside reading them.
CHUNK = 16


@dataclass(frozen=True)
class Evaluation:
    """What was counted.

    Attributes:
        pairs: Which files belong together.
        names: The names of the classes.
        ignored: Labels whose pixels do not count.
        confusion: Pixels of every pair of label (row) and prediction (column), (C, C) int64.
        rows: The counts of each image, in the order of names.
        problems: The names left out, and why.
        counted: How many images were counted.
        stopped: Whether it was interrupted before the last image.
        labellings: How what predictions and targets store became labels.
        never: Values that the map of the predictions names and no prediction holds; the same of the targets.
    """

    pairs: Pairs
    names: tuple[str, ...]
    ignored: frozenset[int]
    confusion: NDArray[np.int64]
    rows: Rows
    problems: list[Problem]
    counted: int
    stopped: bool
    labellings: tuple[Labelling, Labelling] = (AS_STORED, AS_STORED)
    never: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    @property
    def images(self) -> int:
        """How many images there should have been: one for each target."""
        return len(self.pairs.files) + sum(
            problem.kind in ("missing", "passed over") for problem in self.pairs.problems
        )

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.names)


@dataclass
class _Seen:
    """What masks hold beside labels: their palettes, and values that the maps of predictions and targets name."""

    palettes: Palettes = field(default_factory=Palettes)
    named: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))

    def add(self, other: "_Seen") -> None:
        self.palettes.add(other.palettes)
        for own, more in zip(self.named, other.named, strict=True):
            own |= more

    def masks(self, *masks: Mask) -> None:
        """Take in a prediction and a target that were read."""
        for mask, named in zip(masks, self.named, strict=True):
            self.palettes.take(mask.palette)
            named |= mask.named


@dataclass
class _Chunk:
    """What one thread found in a few images."""

    confusion: NDArray[np.int64]
    counts: list[tuple[int, NDArray[np.int64]]]
    problems: list[Problem]
    seen: _Seen = field(default_factory=_Seen)
    tried: int = 0


def evaluate(
    pairs: Pairs,
    names: tuple[str, ...],
    ignored: frozenset[int],
    workers: int,
    stop: threading.Event,
    on_images: Callable[[int, int], None],
    ranks: Ranks,
    labellings: tuple[Labelling, Labelling] = (AS_STORED, AS_STORED),
) -> Evaluation:
    """Count every pair of masks; each of several processes takes every n-th.

    Threads read and count, as decoders and counting leave Python's lock to others. At most three
    chunks a thread are under way. Held in memory are the names, (C, C) integers a thread, and a
    buffer of `Rows`; the counts of each image go to a temporary file.

    Args:
        pairs: What belongs together.
        names: The names of the classes.
        ignored: Labels whose pixels do not count.
        workers: Threads.
        stop: Ends the work after the images that are being read.
        on_images: Is told how many more images this process has done, and how many it left out.
        ranks: The processes.
        labellings: How what predictions and targets store becomes labels.

    Returns:
        What all processes counted: all of it on the first; on the others without the rows.

    Raises:
        ValueError: If palettes differ; the same on all processes.
    """
    mine = range(ranks.rank, len(pairs.files), ranks.world_size)
    size = min(CHUNK, max(1, len(mine) // (8 * workers)))
    total = np.zeros((len(names), len(names)), dtype=np.int64)
    rows, problems, tried = Rows(len(mine), len(names)), [], 0
    seen, checked = _Seen(), False

    def work(chunk: range) -> _Chunk:
        return _count(pairs, chunk, len(names), ignored, labellings, stop)

    chunks = (mine[first : first + size] for first in range(0, len(mine), size))
    for chunk in _in_order(work, itertools.takewhile(lambda _: not stop.is_set(), chunks), workers):
        total += chunk.confusion
        problems += chunk.problems
        tried += chunk.tried
        seen.add(chunk.seen)
        for image, counts in chunk.counts:
            rows[image // ranks.world_size] = counts
        on_images(chunk.tried, len(problems))
        if ranks.world_size == 1 and not (seen.palettes.agree or checked):  # of several all must go on together
            _check_palettes(pairs)
            checked = True
    for other in ranks.all(seen):
        seen.add(other)
    if not (seen.palettes.agree or checked):
        _check_palettes(pairs)
    counted, done = ranks.sum(np.array([tried - len(problems), tried])).tolist()
    found = sorted(itertools.chain(*ranks.all(problems)), key=lambda problem: problem.name)
    return Evaluation(
        pairs,
        names,
        ignored,
        ranks.sum(total),
        rows.to_first(ranks, len(pairs.files)),
        pairs.problems + found,
        counted,
        stopped=done < len(pairs.files),
        labellings=labellings,
        never=(labellings[0].never(seen.named[0]), labellings[1].never(seen.named[1])),
    )


def most_classes(workers: int, memory: int) -> int:
    """Return for how many classes the matrices of pixels fit into some bytes of memory.

    There are 8 bytes for every pair of classes in two matrices of all images, and for each thread
    in those of three chunks under way, of an image and of the pairs that occur in it.
    """
    return math.isqrt(memory // (8 * (2 + 5 * workers)))


def nothing(pairs: Pairs, names: tuple[str, ...], ignored: frozenset[int]) -> Evaluation:
    """Return the evaluation in which no image was counted."""
    zeros = np.zeros((len(names), len(names)), dtype=np.int64)
    return Evaluation(pairs, names, ignored, zeros, Rows(0, len(names)), pairs.problems, counted=0, stopped=False)


def _in_order(work: Callable[[range], _Chunk], chunks: Iterable[range], workers: int) -> Iterator[_Chunk]:
    """Yield the results of threads in order; only a few chunks are under way at a time."""
    # OpenMP inside each of many threads would only get in their way.
    with concurrent.futures.ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        under_way: deque[concurrent.futures.Future[_Chunk]] = deque()
        for chunk in chunks:
            under_way.append(pool.submit(work, chunk))
            if len(under_way) >= 3 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def _check_palettes(pairs: Pairs) -> None:
    """Check the palettes of all files, each target before its prediction, which every process sees alike."""
    files = itertools.chain.from_iterable(reversed(pairs.paths(image)) for image in range(len(pairs.files)))
    check_palettes(files, pairs.most)


def _count(
    pairs: Pairs,
    images: range,
    num_classes: int,
    ignored: frozenset[int],
    labellings: tuple[Labelling, Labelling],
    stop: threading.Event,
) -> _Chunk:
    found = _Chunk(np.zeros((num_classes, num_classes), dtype=np.int64), [], [])
    for image in images:
        if stop.is_set():
            break
        found.tried += 1
        result = _confusion(pairs, image, num_classes, ignored, labellings, found.seen)
        if isinstance(result, Problem):
            found.problems.append(result)
            continue
        found.confusion += result
        found.counts.append((image, np.stack([result.diagonal(), result.sum(1), result.sum(0)], axis=-1)))
    return found


def _confusion(
    pairs: Pairs,
    image: int,
    num_classes: int,
    ignored: frozenset[int],
    labellings: tuple[Labelling, Labelling],
    seen: _Seen,
) -> NDArray[np.int64] | Problem:
    """Return the counts of one pair, or why there are none."""
    name, paths = pairs.files[image][0], pairs.paths(image)
    first, second = labellings
    try:
        with (
            open_mask(paths[0], pairs.most, first) as predicted,
            open_mask(paths[1], pairs.most, second) as labelled,
        ):
            mismatch = _mismatch(predicted, labelled)
            if mismatch:
                return Problem(name, "mismatched", mismatch)
            prediction, target = predicted.read(), labelled.read()
            seen.masks(predicted, labelled)
    except TooLargeError as error:
        return Problem(name, "unreadable", f"{error}, or read it with --max-values {error.values}")
    except UnreadableFileError as error:
        return Problem(name, "labels" if isinstance(error, UnknownLabelsError) else "unreadable", str(error))
    try:
        if prediction.shape != target.shape:  # by an axis of length 1
            prediction = prediction.reshape(target.shape)
        return confusion(prediction, target, num_classes, ignored)
    except LabelError as error:
        path, mask, labelling = (paths[1], target, second) if error.in_target else (paths[0], prediction, first)
        return Problem(name, "labels", f"{printable(path)} {error}{advice(mask, labelling, error.in_target)}")


def _mismatch(predicted: Mask, labelled: Mask) -> str:
    """Say why two masks do not fit on each other, before any pixel is decoded; empty if they do."""
    prediction, target = predicted.path, labelled.path
    if not fits(prediction, predicted.shape, labelled.shape) and not fits(target, labelled.shape, predicted.shape):
        hint = scores_hint(predicted, labelled.shape)
        return (
            f"{printable(prediction)} has the shape {predicted.shape}, {printable(target)} {labelled.shape}{hint}"
        )
    try:
        check_same_place(prediction, target)
    except UnreadableFileError as error:
        return str(error)
    return ""
