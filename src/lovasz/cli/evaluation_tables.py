"""An evaluation on the terminal: progress with rate and time left, then tables and what was left out."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from lovasz.cli.tables import Column, fitted, titled
from lovasz.study.processes import Ranks
from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.pairing import Pairs
from lovasz.study.score.scores import BoundaryScores, Scores
from lovasz.study.score.surface_scores import SurfaceScores
from lovasz.study.score.surfaces import Tolerance
from lovasz.study.summary.evaluation_results import Outcome, never_held
from lovasz.study.summary.score_curves import ClassCurve, decided
from lovasz.study.summary.surprises import foreground

# Problems that are printed; results.json lists all.
SHOWN = 20


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} images/s")


@contextlib.contextmanager
def counting(console: Console, images: int, ranks: Ranks) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of this process; without a terminal it shows nothing.

    Yields:
        What to call with the number of images done since the last call, and of those left out so far.
    """
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(None),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
        expand=True,
        disable=not console.is_terminal or console.quiet,
    )
    what = "Counting" if ranks.world_size == 1 else f"Counting, process {ranks.rank + 1} of {ranks.world_size}"
    bar = progress.add_task(what, total=len(range(ranks.rank, images, ranks.world_size)))

    def on_images(done: int, left_out: int) -> None:
        progress.update(bar, advance=done, description=f"{what} ({left_out} left out)" if left_out else what)

    with progress:
        yield on_images


def print_maps(console: Console, evaluation: Evaluation) -> None:
    """Print which values that a map names no mask holds: it may be the map of other masks."""
    for sentence in never_held(evaluation):
        console.print(sentence, style="bold", soft_wrap=True, markup=False)


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Print the scores, of all and of each class, and the worst images; say first if they are partial."""
    evaluation, scores = outcome.evaluation, outcome.scores
    if evaluation.stopped:
        console.print(
            f"Interrupted: {evaluation.counted:,} of {evaluation.images:,} images counted. The result is partial.",
            style="bold",
        )
    if scores is None:
        return
    if outcome.interruption:
        console.print(outcome.interruption, style="bold", soft_wrap=not console.is_terminal, markup=False)
    for sentence in outcome.warnings:
        console.print(f"Warning: {sentence}", style="bold", soft_wrap=not console.is_terminal, markup=False)
    console.print(_means(evaluation, scores))
    console.print(_classes(evaluation, scores, console.width))
    if evaluation.boundaries is not None and scores.boundary is not None:
        reach = evaluation.boundaries.reach
        console.print(_boundaries(evaluation.names, scores, scores.boundary, reach, console.width))
    if evaluation.surfaces is not None and scores.surface is not None:
        console.print(_surfaces(evaluation.names, scores.surface, evaluation.surfaces.tolerance, console.width))
    if evaluation.scored is not None:
        if (said := decided(evaluation.scored)) not in outcome.warnings:
            console.print(said, soft_wrap=True, markup=False)
        console.print(_thresholds(evaluation.names, outcome.curves, console.width))
    alarms = _false_alarms(evaluation, scores, console.width)
    if alarms is not None:
        console.print(alarms)
    worst = [index for index in scores.images.argsort()[:5].tolist() if not math.isnan(scores.images[index])]
    named = ", ".join(f"{evaluation.pairs.files[index][0]} ({_percent(scores.images[index])})" for index in worst)
    console.print(f"Worst images, by IoU: {named}", soft_wrap=not console.is_terminal, markup=False)


def _means(evaluation: Evaluation, scores: Scores) -> Table:
    """Return the table of the means, each with its name."""
    empty = "" if scores.empty == "skip" else f", --empty {scores.empty}"
    counted = f"{_count(evaluation.counted, 'image')}, {_count(scores.pixels, 'pixel')} that count"
    table = titled(f"{counted}; in %{empty}")
    table.add_column("", overflow="fold")
    for column in ("mean", "worst case"):
        table.add_column(column, justify="right", no_wrap=True)
    number = "1 class" if scores.averaged == 1 else f"{scores.averaged:,} classes"
    table.add_row(f"IoU of the data set, mean over {number} (mIoU)", _percent(scores.miou))
    if scores.background >= 0:
        table.add_row(
            Text(f"  the same without {foreground(evaluation, scores)}"), _percent(scores.foreground_miou)
        )
    table.add_row("IoU of each image, mean over images", _percent(scores.image_miou), _percent(scores.image_worst))
    table.add_row("IoU of each class, mean over images", _percent(scores.class_miou), _percent(scores.class_worst))
    table.add_row("Dice of the data set, mean over classes", _percent(scores.dice))
    table.add_row("Pixel accuracy", _percent(scores.accuracy))
    if evaluation.boundaries is not None and scores.boundary is not None:
        reach = f"Boundary IoU ({evaluation.boundaries.reach}), mean over classes"
        table.add_row(reach, _percent(scores.boundary.iou))
        table.add_row("  of each image, mean over images", _percent(scores.boundary.image_iou))
    if evaluation.surfaces is not None and scores.surface is not None:
        tolerance = evaluation.surfaces.tolerance
        others = "" if scores.background < 0 else f" without {foreground(evaluation, scores)}"
        table.add_row(Text(f"NSD at {tolerance}, mean over classes{others}"), _percent(scores.surface.nsd))
        distance = _distance(scores.surface.hd95)
        table.add_row(Text(f"  HD95 in {tolerance.unit}, of the same classes"), distance)
    return table


def _classes(evaluation: Evaluation, scores: Scores, width: int) -> Table:
    """Return the table of the classes."""
    classes = scores.classes
    columns = [
        Column("pixels", [f"{one.pixels:,}" for one in classes], 6),
        Column("images", [f"{one.images:,}" for one in classes], 5),
        Column("IoU", [_percent(one.iou) for one in classes]),
        Column("preci-\nsion", [_percent(one.precision) for one in classes], 3),
        Column("recall", [_percent(one.recall) for one in classes], 3),
        Column("IoU of\nimages", [_percent(one.image_iou) for one in classes], 1),
        Column("worst\ncase", [_percent(one.worst) for one in classes], 2),
    ]
    return fitted("Each class, in %", "class", evaluation.names, columns, width)


def _boundaries(names: Sequence[str], scores: Scores, boundary: BoundaryScores, reach: str, width: int) -> Table:
    """Return the table of the boundary IoU beside the IoU of each class; in one with the others it is too wide."""
    columns = [
        Column("IoU", [_percent(one.iou) for one in scores.classes]),
        Column("boundary\nIoU", [_percent(value) for value in boundary.classes]),
    ]
    return fitted(f"Boundaries of each class, within {reach}, in %", "class", names, columns, width)


def _surfaces(names: Sequence[str], surface: SurfaceScores, tolerance: Tolerance, width: int) -> Table:
    """Return the table of NSD and HD95 of each class."""
    columns = [
        Column("NSD, %", [_percent(nsd) for nsd, _ in surface.classes]),
        Column(f"HD95, {tolerance.unit}", [_distance(hd95) for _, hd95 in surface.classes]),
    ]
    return fitted(f"Surfaces of each class, NSD at {tolerance}, mean over images", "class", names, columns, width)


def _thresholds(names: Sequence[str], curves: Sequence[ClassCurve], width: int) -> Table:
    """Return the table of what the scores show beyond the labels."""
    columns = [
        Column("IoU,\nusual", [_percent(one.usual_iou) for one in curves], 1),
        Column(
            "best\nthreshold",
            ["–" if math.isnan(one.best_threshold) else f"{one.best_threshold:.3g}" for one in curves],
        ),
        Column("IoU\nthere", [_percent(one.best_iou) for one in curves]),
        Column("average\nprecision", [_percent(one.average_precision) for one in curves], 2),
        Column("calibration\nerror", [_percent(one.calibration_error) for one in curves], 3),
    ]
    title = "Each class against the rest by its scores, in %"
    return fitted(title, "class", [names[one.label] for one in curves], columns, width)


def _false_alarms(evaluation: Evaluation, scores: Scores, width: int) -> Table | None:
    """Return the table of the classes that are predicted in images without them; None if there is none."""
    found = [(name, one) for name, one in zip(evaluation.names, scores.classes, strict=True) if one.false_alarms]
    if not found:
        return None
    columns = [
        Column("images\nwithout", [f"{one.absent:,}" for _, one in found]),
        Column("predicted\nin", [f"{one.false_alarms:,}" for _, one in found]),
        Column("pixels", [f"{one.false_alarm_pixels:,}" for _, one in found]),
    ]
    return fitted("False alarms, in images without the class", "class", [name for name, _ in found], columns, width)


def print_pairing(console: Console, pairs: Pairs) -> None:
    """Print how the names were paired, if not as they are, and what was passed over."""
    for sentence in pairs.told():
        console.print(sentence, soft_wrap=True, markup=False)


def print_problems(console: Console, evaluation: Evaluation, go_on: bool) -> None:
    """Print the first problems, how many there are, and what can be done."""
    problems = evaluation.problems
    if not problems:
        return
    console.print()
    left_out = (
        f"{_count(len(problems), 'name')} left out" if go_on else f"{_count(len(problems), 'name')} without a pair"
    )
    console.print(f"{left_out}{'' if evaluation.counted else '; nothing was counted'}:", style="bold")
    for problem in problems[:SHOWN]:
        console.print(f"  {problem.kind}: {problem.message}", soft_wrap=True, markup=False)
    if len(problems) > SHOWN:
        console.print(f"  and {len(problems) - SHOWN:,} more, all in results.json")
    if not go_on and (pairs := len(evaluation.pairs.files)):
        console.print(f"--allow-missing evaluates the {_count(pairs, 'pair')} that match{'es' * (pairs == 1)}.")
    console.print()


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _distance(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.2f}"
