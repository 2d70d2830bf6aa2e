"""Counting two folders of masks: all cores, any number of files, any number of processes."""

import itertools
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.advice import advice
from lovasz.study.io.labelling import Labelling
from lovasz.study.io.masks import AS_STORED
from lovasz.study.io.palettes import Palettes, check_palettes
from lovasz.study.io.text import printable
from lovasz.study.io.volumes import voxel_spacing
from lovasz.study.processes import Ranks
from lovasz.study.score.boundaries import Boundaries, boundary_counts
from lovasz.study.score.images import Image
from lovasz.study.score.ordered import in_order
from lovasz.study.score.pairing import Pairs, Problem
from lovasz.study.score.rows import Rows
from lovasz.study.score.scored import Scored, ScoreTally, Scoring, read_image
from lovasz.study.score.surfaces import Surfaces, Tolerance, image_surfaces, import_monai
from lovasz.study.score.tally import LabelError, class_counts, confusion

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
        scored: What predictions that are scores were counted to be; None for masks.
        never: Values that the map of the predictions names and no prediction holds; the same of the targets.
        boundaries: What was counted of boundary regions; None if it was not asked for.
        surfaces: What was measured of surfaces; None if it was not asked for.
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
    scored: Scored | None = None
    boundaries: Boundaries | None = None
    surfaces: Surfaces | None = None

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

    def add_masks(self, read: Image) -> None:
        """Take in the masks of an image that were read: prediction and target, or beside scores the target."""
        for mask, named in zip(read.masks, self.named, strict=True):
            if mask is not None:
                self.palettes.take(mask.palette)
                named |= mask.named


@dataclass
class _Chunk:
    """What one thread found in a few images: of each its number and a row for each of `_kept`."""

    confusion: NDArray[np.int64]
    rows: list[tuple[int, list[NDArray[np.int64]]]]
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
    scoring: Scoring | None = None,
    width: float | None = None,
    tolerance: Tolerance | None = None,
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
        scoring: What predictions are that are scores; None for masks.
        width: Of the boundary regions to count, a fraction of the diagonal or pixels; None for none.
        tolerance: Of the surfaces to measure; None for none.

    Returns:
        What all processes counted: all of it on the first; on the others without the rows.

    Raises:
        ValueError: If palettes differ, or scores are none; the same on all processes.
        OSError: If a decided mask cannot be written.
    """
    mine = range(ranks.rank, len(pairs.files), ranks.world_size)
    size = min(CHUNK, max(1, len(mine) // (8 * workers)))
    total = np.zeros((len(names), len(names)), dtype=np.int64)
    kept, problems, tried = _kept(len(mine), len(names), width, tolerance), [], 0
    seen, checked = _Seen(), False
    tally = None if scoring is None else ScoreTally(scoring, len(names), ignored)

    counter = _Counter(pairs, len(names), ignored, labellings, stop, scoring, tally, width, tolerance)
    chunks = (mine[first : first + size] for first in range(0, len(mine), size))
    taken = itertools.takewhile(lambda _: not stop.is_set(), chunks)
    for chunk in in_order(counter.chunk, taken, workers, 3 * workers):
        total += chunk.confusion
        problems += chunk.problems
        tried += chunk.tried
        seen.add(chunk.seen)
        for image, found in chunk.rows:
            for rows, row in zip(kept, found, strict=True):
                rows[image // ranks.world_size] = row
        on_images(chunk.tried, len(problems))
        if ranks.world_size == 1 and not (seen.palettes.agree or checked):  # of several all must go on together
            _check_palettes(pairs, scoring)
            checked = True
    for other in ranks.all(seen):
        seen.add(other)
    if not (seen.palettes.agree or checked):
        _check_palettes(pairs, scoring)
    counted, done = ranks.sum(np.array([tried - len(problems), tried])).tolist()
    left_out = sorted(itertools.chain(*ranks.all(problems)), key=lambda problem: problem.name)
    merged = iter([rows.to_first(ranks, len(pairs.files)) for rows in kept])
    return Evaluation(
        pairs,
        names,
        ignored,
        ranks.sum(total),
        next(merged),
        pairs.problems + left_out,
        counted,
        stopped=done < len(pairs.files),
        labellings=labellings,
        scored=None if tally is None else tally.summed(ranks),
        never=(labellings[0].never(seen.named[0]), labellings[1].never(seen.named[1])),
        boundaries=None if width is None else Boundaries(width, next(merged)),
        surfaces=None if tolerance is None else Surfaces(tolerance, next(merged)),
    )


def _kept(images: int, num_classes: int, width: float | None, tolerance: Tolerance | None) -> list[Rows]:
    """Return where rows of images are kept: of counts, then of boundaries and of surfaces if they are asked for."""
    kept = [Rows(images, num_classes)]
    if width is not None:
        kept.append(Rows(images, num_classes))
    if tolerance is not None:
        import_monai()
        kept.append(Rows(images, num_classes, fields=2))
    return kept


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


def _check_palettes(pairs: Pairs, scoring: Scoring | None) -> None:
    """Check the palettes of all masks, each target before its prediction, which every process sees alike."""
    sides = (1, 0) if scoring is None else (1,)
    check_palettes((pairs.paths(image)[side] for image in range(len(pairs.files)) for side in sides), pairs.most)


@dataclass(frozen=True)
class _Counter:
    """What threads need to count images."""

    pairs: Pairs
    num_classes: int
    ignored: frozenset[int]
    labellings: tuple[Labelling, Labelling]
    stop: threading.Event
    scoring: Scoring | None
    tally: ScoreTally | None
    width: float | None
    tolerance: Tolerance | None

    def chunk(self, images: range) -> _Chunk:
        """Count a few images, one after the other."""
        found = _Chunk(np.zeros((self.num_classes, self.num_classes), dtype=np.int64), [], [])
        for image in images:
            if self.stop.is_set():
                break
            found.tried += 1
            result = self._counted(image, found.seen)
            if isinstance(result, Problem):
                found.problems.append(result)
                continue
            matrix, *more = result
            found.confusion += matrix
            found.rows.append((image, [class_counts(matrix), *more]))
        return found

    def _counted(self, image: int, seen: _Seen) -> list[NDArray[np.int64]] | Problem:
        """Return the matrix of one pair and its rows beside those of counts; decided masks are written.

        Returns:
            The matrix, and what is asked for of boundaries and of surfaces; or why there are none.
        """
        read = read_image(self.pairs, image, self.labellings, self.scoring)
        if isinstance(read, Problem):
            return read
        seen.add_masks(read)
        prediction, target = read.prediction, read.target
        if (self.width is not None or self.tolerance is not None) and target.ndim < 2:
            shape = f"{printable(self.pairs.paths(image)[1])} has the shape {target.shape}"
            has = f"{shape}; a {'boundary' if self.tolerance is None else 'surface'} needs at least two axes"
            return Problem(self.pairs.files[image][0], "mismatched", has)
        try:
            matrix = confusion(prediction, target, self.num_classes, self.ignored)
        except LabelError as error:
            side = int(error.in_target)
            path, labelling = self.pairs.paths(image)[side], self.labellings[side]
            hint = advice((prediction, target)[side], labelling, error.in_target)
            return Problem(self.pairs.files[image][0], "labels", f"{printable(path)} {error}{hint}")
        if self.tally is not None and read.scores is not None:
            self.tally.take(read, matrix)
        if self.scoring is not None and self.scoring.masks is not None:
            self.scoring.masks.write(image, prediction)
        found = [matrix]
        if self.width is not None:
            found.append(boundary_counts(prediction, target, self.num_classes, self.ignored, self.width))
        if self.tolerance is not None:
            spacing = voxel_spacing(self.pairs.paths(image)[1]) if self.tolerance.unit == "mm" else None
            values = image_surfaces(prediction, target, self.num_classes, self.ignored, self.tolerance, spacing)
            found.append(values.view(np.int64))
        return found
