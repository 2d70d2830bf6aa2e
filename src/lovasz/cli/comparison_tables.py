"""The tables of ``lovasz compare`` on the terminal."""

import math

from rich.table import Table

from lovasz.cli.tables import titled
from lovasz.study.data.parts import TEST
from lovasz.study.summary.compare import Comparison
from lovasz.study.summary.decisions import ARGMAX, LABELS, Measured
from lovasz.study.summary.stats import signed
from lovasz.study.train.decide import IMAGE


def summary_table(comparison: Comparison) -> Table:
    """Return the table of losses: test mIoU, over all and over large classes, validation, time."""
    title = f"Test mIoU in %, {len(comparison.seeds)} seed{'' if len(comparison.seeds) == 1 else 's'}"
    columns = ["loss", "mean", "± sd", "min", "max", "val\nmIoU", "ms /\nstep", "loss\nshare", "loss\nMiB"]
    if comparison.over_large:
        title += f": mean over all {comparison.data.num_classes} classes, and over the {comparison.over_large}"
        columns.insert(5, f"mean of\n{len(comparison.large)}")
    table = titled(title)
    for column in columns:
        table.add_column(column, justify="left" if column == "loss" else "right", no_wrap=column != "loss")
    for row in comparison.summaries:
        table.add_row(
            row.loss + (" (diverged)" if row.diverged else ""),
            f"{row.mean:.1f}",
            "–" if row.spread is None else f"{row.spread:.1f}",
            f"{min(row.scores):.1f}",
            f"{max(row.scores):.1f}",
            *([f"{row.large_mean:.1f}"] if comparison.over_large else []),
            f"{row.val:.1f}",
            f"{1000 * row.seconds_per_step:.0f}",
            f"{100 * row.loss_share:.0f} %",
            "–" if row.loss_mib is None else f"{row.loss_mib:.0f}",
        )
    return table


def class_tables(comparison: Comparison) -> list[Table]:
    """Return the IoU of each class with each loss; four losses fit side by side in 80 columns."""
    data, tables = comparison.data, []
    for start in range(0, len(comparison.summaries), 4):
        summaries = comparison.summaries[start : start + 4]
        table = titled("Test IoU of each class in %, mean over seeds")
        table.add_column("class", overflow="ellipsis")
        table.add_column(data.unit, justify="right", no_wrap=True)
        for row in summaries:
            table.add_column(row.loss, justify="right", no_wrap=True)
        for index, pixels in enumerate(data.parts[TEST].pixels):
            values = [row.classes[index] for row in summaries]
            cells = ["–" if math.isnan(value) else f"{value:.1f}" for value in values]
            table.add_row(data.class_names[index], str(pixels), *cells)
        tables.append(table)
    return tables


def decision_table(comparison: Comparison) -> Table:
    """Return the table of decisions: test mIoU by each, image mIoU by two, and what they are more than argmax."""
    table = titled("By decision, in %: test mIoU, then image mIoU; + and − are points on argmax of the same runs")
    table.padding = (0, 1, 0, 0)  # so that the longest name of a loss fits into 80 columns
    table.add_column("loss", overflow="fold")
    for decision in LABELS:
        table.add_column(LABELS[decision].replace(" ", "\n"), justify="right", no_wrap=True)
    for decision in (ARGMAX, IMAGE):
        table.add_column(f"images:\n{LABELS[decision]}", justify="right", no_wrap=True)
    for loss in comparison.losses:
        rows = {row.decision: row for row in comparison.decisions if row.loss == loss}
        table.add_row(
            loss,
            *(_scored(rows[decision].miou) for decision in LABELS),
            *(_scored(rows[decision].image_miou) for decision in (ARGMAX, IMAGE)),
        )
    return table


def _scored(measured: Measured) -> str:
    """Return a mean, and what it is more than by argmax."""
    if not math.isfinite(measured.mean):
        return "–"
    gain = measured.over_argmax
    return f"{measured.mean:.1f}" + ("" if gain is None else f" {signed(gain.mean)}")
