"""One evaluation, once its options are checked: counting, printing, writing, and the exit code."""

import hashlib
import shlex
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lovasz.cli.evaluation_resamples import Resampled, ResampleOptions
from lovasz.cli.evaluation_scores import ScoreOptions
from lovasz.cli.evaluation_tables import counting, print_maps, print_outcome, print_pairing, print_problems
from lovasz.cli.interruption import Interruption
from lovasz.cli.resample_tables import print_contest, print_intervals
from lovasz.study.io.classes import Classes
from lovasz.study.io.labelling import Labelling
from lovasz.study.io.text import printable
from lovasz.study.processes import Ranks, joined
from lovasz.study.report.evaluation_report import write_report
from lovasz.study.score.evaluation import Evaluation, evaluate, nothing
from lovasz.study.score.pairing import Pairs
from lovasz.study.score.scores import score
from lovasz.study.score.surfaces import Tolerance
from lovasz.study.summary.evaluation_results import Outcome, write_tables


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
        pairs: Predictions with their targets.
        classes: Names and colours.
        labellings: How what predictions and targets store becomes labels.
        empty: What a class scores in an image without it.
        out: The folder to write to.
        workers: Threads.
        allow_missing: Whether names may be left out.
        photos: Photos by name.
        worst: How many of the worst images the report shows.
        scores: What predictions are that are scores; None for masks.
        resamples: How images are drawn, and other predictions.
        width: Of boundary regions; None for none.
        tolerance: Of the surfaces of the baseline; None for none.
    """

    pairs: Pairs
    classes: Classes
    labellings: tuple[Labelling, Labelling]
    empty: str
    out: Path
    workers: int
    allow_missing: bool
    photos: dict[str, Path]
    worst: int
    scores: ScoreOptions | None
    resamples: ResampleOptions
    width: float | int | None
    tolerance: Tolerance | None

    @property
    def every(self) -> list[Pairs]:
        """All predictions, the baseline first."""
        return [self.pairs, *self.resamples.rivals]

    @property
    def goes_on(self) -> bool:
        """Whether it is counted, as no name lacks its partner, or may."""
        return self.allow_missing or not any(one.problems for one in self.every)


def run(job: Job, interruption: Interruption) -> int:
    """Count, print and write; return the exit code.

    Raises:
        OSError: If the processes do not see the same files, or something cannot be written.
    """
    with joined() as ranks:
        seen = hashlib.sha256(repr([one.files for one in job.every]).encode()).hexdigest()
        if len(set(ranks.all(seen))) > 1:
            raise OSError(
                "the processes do not see the same files; on every machine both folders must hold all of them"
            )
        console, stop = Console(highlight=False, emoji=False, quiet=ranks.rank > 0), interruption.stop
        evaluations = _counted(job, stop, ranks, console)
        stopped = any(one.stopped for one in evaluations)
        outcome = _outcome(job, evaluations, stopped, stop, ranks, console)
        masks = job.scores and job.scores.masks
        if outcome.evaluation.scored is not None and masks:
            masks.finish(ranks, outcome.complete)
        if ranks.rank == 0:
            _print(job, outcome, evaluations, console)
            for path in _write(job, outcome):
                # A path may be longer than the terminal is wide and must stay in one piece.
                console.print(printable(path), soft_wrap=True, markup=False)
        if stopped or stop.is_set():
            return interruption.code
        return 0 if outcome.complete else 1


def _counted(job: Job, stop: threading.Event, ranks: Ranks, console: Console) -> list[Evaluation]:
    """Count all predictions, one after the other."""
    names, (_, targets), scoring = job.classes.names, job.labellings, None
    found: list[Evaluation] = []
    for pairs in job.every:
        if not job.goes_on or not pairs.files or (found and found[-1].stopped):
            found.append(nothing(pairs, names, targets.ignored))
            continue
        if job.scores is not None:
            scoring = job.scores.scoring(pairs, targets, job.workers, stop, ranks, console)
        with counting(console, len(pairs.files), ranks) as on_images:
            found.append(
                evaluate(
                    pairs,
                    names,
                    targets.ignored,
                    job.workers,
                    stop,
                    on_images,
                    ranks,
                    job.labellings,
                    scoring,
                    job.width,
                    None if found else job.tolerance,
                )
            )
    return found


def _outcome(
    job: Job,
    evaluations: Sequence[Evaluation],
    stopped: bool,
    stop: threading.Event,
    ranks: Ranks,
    console: Console,
) -> Outcome:
    """Score what was counted, on the first process, and draw the images again."""
    first = evaluations[0]
    scores = score(first, job.empty) if ranks.rank == 0 and first.counted else None
    found = Resampled(missing=job.resamples.asked if scores is not None and stopped else ())
    if scores is not None and not stopped and all(one.counted for one in evaluations):
        found = job.resamples.resampled(evaluations, scores, job.workers, stop, console)
    command = printable(shlex.join(["lovasz", *sys.argv[1:]]))
    return Outcome(
        first,
        scores,
        job.allow_missing,
        command,
        found.intervals,
        found.contest,
        found.subgroups,
        evaluations[1:],
        found.missing,
    )


def _print(job: Job, outcome: Outcome, evaluations: Sequence[Evaluation], console: Console) -> None:
    for pairs in job.every:
        print_pairing(console, pairs)
    print_maps(console, outcome.evaluation)
    print_contest(console, outcome)
    print_outcome(console, outcome)
    print_intervals(console, outcome)
    for one in evaluations:
        print_problems(console, one, job.goes_on)


def _write(job: Job, outcome: Outcome) -> list[Path]:
    paths, report = write_tables(outcome, job.out), job.out / "report.html"
    report.unlink(missing_ok=True)
    if outcome.scores is not None:
        paths.append(write_report(outcome, job.classes, job.photos, job.worst, report))
    return paths if outcome.masks is None else [*paths, outcome.masks]
