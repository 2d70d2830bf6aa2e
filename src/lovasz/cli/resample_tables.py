"""Intervals, comparisons and subgroups on the terminal."""

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lovasz.cli.tables import titled
from lovasz.study.score.scores import Scores
from lovasz.study.summary.evaluation_results import Outcome
from lovasz.study.summary.resample_tables import covers, few, p_text, percents, verdict
from lovasz.study.summary.rivals import Contest
from lovasz.study.summary.score_intervals import ScoreIntervals, means_of
from lovasz.study.summary.stats import signed

# What tables call each mean.
LABELS = {
    "miou": "IoU of the data set, mean over classes (mIoU)",
    "foreground_miou": "  the same without the background",
    "image_miou": "IoU of each image, mean over images",
    "class_miou": "IoU of each class, mean over images",
    "dice": "Dice of the data set, mean over classes",
    "accuracy": "Pixel accuracy",
    "boundary_iou": "Boundary IoU of the data set, mean over classes",
    "image_boundary_iou": "  of each image, mean over images",
    "nsd": "NSD, mean over classes",
}


def print_contest(console: Console, outcome: Outcome) -> None:
    """Print what a comparison shows, and the differences; nothing without one."""
    contest = outcome.contest
    if contest is None:
        return
    for sentence in verdict(contest):
        console.print(sentence, style="bold", soft_wrap=not console.is_terminal, markup=False)
    console.print(_differences(contest))


def print_intervals(console: Console, outcome: Outcome) -> None:
    """Print the intervals of the scores, and the subgroups; nothing without them."""
    if outcome.intervals is None or outcome.scores is None:
        return
    found = outcome.intervals
    if found.known:
        console.print(_means(outcome, outcome.scores, found))
    console.print(
        " ".join([f"{covers(found.units, found.resamples)}.", few(found.units)]).rstrip(),
        soft_wrap=not console.is_terminal,
        markup=False,
    )
    if outcome.subgroups:
        console.print(_subgroups(outcome))


def _means(outcome: Outcome, scores: Scores, found: ScoreIntervals) -> Table:
    """Return the table of the means with their intervals, all in % but HD95."""
    table = titled("Intervals, in %")
    table.add_column("", overflow="fold")
    for column in ("mean", "95 % interval"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, value in means_of(scores).items():
        if not math.isnan(value):
            table.add_row(LABELS[name], f"{100 * value:.2f}", percents(found.means[name]))
    surfaces = outcome.evaluation.surfaces
    if surfaces is not None and scores.surface is not None and not math.isnan(scores.surface.hd95):
        ends = found.means["hd95"]
        table.add_row(
            Text(f"HD95 in {surfaces.tolerance.unit}, mean over classes"),
            f"{scores.surface.hd95:.2f}",
            "–" if ends is None else f"{ends.low:.2f} to {ends.high:.2f}",
        )
    return table


def _differences(contest: Contest) -> Table:
    """Return the table of the differences to the baseline."""
    table = titled(f"Against {contest.baseline}, in points")
    table.add_column("predictions", overflow="fold", min_width=8)
    for column in ("mIoU\nin %", "differ-\nence", "95 % interval", "p", "images\nwon", "lost"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_row(Text(contest.baseline), f"{100 * contest.scores['miou']:.2f}")
    for rival in contest.rivals:
        ends = rival.intervals["miou"]
        table.add_row(
            Text(rival.name),
            f"{100 * rival.scores['miou']:.2f}",
            signed(100 * rival.differences["miou"]),
            "–" if ends is None else f"{signed(100 * ends.low)} to {signed(100 * ends.high)}",
            p_text(rival.p_values["miou"]),
            f"{rival.wins:,}",
            f"{rival.losses:,}",
        )
    return table


def _subgroups(outcome: Outcome) -> Table:
    """Return the table of the subgroups."""
    table = titled("Subgroups, in %")
    table.add_column("", overflow="fold", min_width=8)
    for column in ("images", "mIoU", "95 % interval", "image\nmIoU"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in outcome.subgroups:
        table.add_row(
            Text(f"{one.column}: {one.value}"),
            f"{one.images:,}",
            f"{100 * one.scores['miou']:.2f}",
            percents(one.intervals["miou"]),
            f"{100 * one.scores['image_miou']:.2f}",
        )
    return table
