"""The tables of ``lovasz compare`` on the terminal."""

import math
from collections.abc import Sequence

from rich.table import Table

from lovasz.cli.tables import HEADER, Column, fitted
from lovasz.study.data.parts import TEST
from lovasz.study.summary.compare import Comparison, LossSummary
from lovasz.study.summary.decisions import DecisionSummary, Measured
from lovasz.study.summary.stats import Difference, signed, tenths
from lovasz.study.summary.two_sources import ends_text, interval_text
from lovasz.study.summary.words import ARGMAX
from lovasz.study.train.decide import IMAGE

# Characters of the table of classes beside its losses, and around each of these.
CLASSES, AROUND = 36, 3


def summary_table(comparison: Comparison, width: int) -> Table:
    """Return the table of losses: test mIoU, what it is more than the baseline's, validation, time.

    Args:
        comparison: What to show.
        width: Characters of the terminal.
    """
    rows, large = comparison.summaries, comparison.over_large
    words, seeds = comparison.words, len(comparison.seeds)
    title = f"Test {words.metric} in %, {seeds} seed{'' if seeds == 1 else 's'}"
    if large:
        title += f": mean over all {words.of(comparison.data.num_classes)}, and over the {large}"
    columns = [
        Column("mean", [_mean(comparison, row) for row in rows]),
        Column("± sd", ["–" if row.spread is None else f"{row.spread:.1f}" for row in rows], 1),
        *(
            [Column("mean's\ninterval", [ends_text(one.miou) for one in comparison.intervals], 9)]
            if comparison.intervals_of
            else []
        ),
        *_differences(comparison),
        *(
            [Column(f"mean of\n{len(comparison.large)}", [tenths(row.large_mean) for row in rows], 2)]
            if large
            else []
        ),
        Column(f"val\n{words.metric}", [tenths(row.val) for row in rows], 3),
        Column("ms /\nstep", [f"{1000 * row.seconds_per_step:.0f}" for row in rows], 4),
        Column("loss\nshare", [f"{100 * row.loss_share:.0f} %" for row in rows], 5),
        Column("loss\nMiB", ["–" if row.loss_mib is None else f"{row.loss_mib:.0f}" for row in rows], 7),
        Column("min", [tenths(min(row.scores)) for row in rows], 8),
        Column("max", [tenths(max(row.scores)) for row in rows], 8),
    ]
    names = [row.loss + (" (diverged)" if row.diverged else "") for row in rows]
    return fitted(title, "loss", names, columns, width)


def legend(comparison: Comparison) -> list[str]:
    """Say what the signs of the table of losses mean, in sentences."""
    of_scores = [f"Mean's interval: 95 %, over {comparison.intervals_of}."] if comparison.intervals_of else []
    if not comparison.differences:
        return of_scores
    said = ["*: the highest mean, whatever the intervals say."]
    if len(comparison.seeds) > 1:
        said.append(
            f"Difference: from {comparison.losses[0]}, seed by seed; higher, lower: its interval leaves out 0; "
            "open: it does not."
        )
    if comparison.over_images:
        said.append("Seeds and images: 95 % interval over other seeds and other test images together.")
    return said + of_scores


def class_tables(comparison: Comparison, width: int) -> list[Table]:
    """Return the IoU of each class with each loss, in as many tables as the width asks for."""
    data, tables = comparison.data, []
    longest = min(HEADER, max(map(len, comparison.losses)))
    beside = max(1, (width - CLASSES) // (max(longest, 5) + AROUND))
    pixels = Column(data.unit, [f"{number:,}" for number in data.parts[TEST].pixels], 1)
    for start in range(0, len(comparison.summaries), beside):
        losses = [
            Column(row.loss, [tenths(value) for value in row.classes])
            for row in comparison.summaries[start : start + beside]
        ]
        one = comparison.words.one
        title = f"Test IoU of each {one} in %, mean over seeds"
        tables.append(fitted(title, one, data.class_names, [pixels, *losses], width))
    return tables


def decision_table(comparison: Comparison, width: int) -> Table:
    """Return the table of decisions: test mIoU by each, image mIoU by two, and what they are more than argmax."""
    rows, words = {(row.loss, row.decision): row for row in comparison.decisions}, comparison.words

    def of(decision: str) -> list[DecisionSummary]:
        return [rows[loss, decision] for loss in comparison.losses]

    pooled = [
        Column(words.decisions[decision].replace(" (", "\n("), [_scored(row.miou) for row in of(decision)], rank)
        for rank, decision in enumerate(words.decisions)
    ]
    images = [
        Column(f"images:\n{words.decisions[decision]}", [_scored(row.image_miou) for row in of(decision)], rank)
        for rank, decision in ((5, ARGMAX), (4, IMAGE))
    ]
    title = (
        f"By decision, in %: test {words.metric}, then image {words.metric}; + and − are points on {words.usual} "
        "of the same runs"
    )
    return fitted(title, "loss", comparison.losses, [*pooled, *images], width)


def _mean(comparison: Comparison, row: LossSummary) -> str:
    """Write the mean, with a sign where it is the highest."""
    if not comparison.differences:
        return tenths(row.mean)
    return f"{'*' if row.loss in comparison.highest else ''}{tenths(row.mean)}"


def _differences(comparison: Comparison) -> list[Column]:
    """Return the differences from the baseline, their intervals, and what these show; none for one seed or loss."""
    if not comparison.differences:
        return []
    differences: Sequence[Difference] = comparison.differences
    columns = [Column("differ-\nence", ["", *(signed(row.mean) for row in differences)])]
    if len(comparison.seeds) > 1:
        columns.append(Column("95 %\ninterval", ["", *map(interval_text, differences)]))
        if comparison.over_images:
            columns.append(Column("seeds and\nimages", ["", *map(interval_text, comparison.both)], 6))
        columns.append(Column("shown", ["", *(row.shows for row in differences)]))
    return columns


def _scored(measured: Measured) -> str:
    """Return a mean, and what it is more than by argmax."""
    if not math.isfinite(measured.mean):
        return "–"
    gain = measured.over_argmax
    return f"{measured.mean:.1f}" + ("" if gain is None else f" {signed(gain.mean)}")
