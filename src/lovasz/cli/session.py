"""One comparison on the terminal: progress over all runs, then tables, verdict and paths."""

import math

import torch
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from lovasz.cli.options import Options
from lovasz.cli.workers import is_first
from lovasz.study import store
from lovasz.study.compare import Comparison, plan, run_missing, summarise
from lovasz.study.report import write_report
from lovasz.study.results import write_csv, write_json
from lovasz.study.scene import Scene, load_indian_pines
from lovasz.study.settings import Settings
from lovasz.study.split import TEST, TRAIN, VAL
from lovasz.study.stats import NOT_CORRECTED
from lovasz.study.store import Run


def compare_losses(console: Console, options: Options, finished: set[Settings]) -> None:
    """Does the missing runs, prints what they show and writes the three result files.

    Args:
        console: Where to print; without a terminal there are no bars and no colours.
        options: What was asked for, checked.
        finished: Receives the settings of every run that is on disk.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    scene = load_indian_pines()
    planned = plan(
        scene,
        options.losses,
        options.seeds,
        options.steps,
        options.lr,
        options.device,
        torch.get_num_threads(),
        options.devices,
    )
    finished.update(settings for settings in planned if store.load(options.out, settings))
    _print_start(console, scene, planned, len(finished))
    runs = _run_with_progress(console, options, scene, planned, finished)
    if not is_first():
        return
    comparison = summarise(scene, runs)

    paths = [options.out / name for name in ("results.csv", "results.json", "report.html")]
    for write, path in zip((write_csv, write_json, write_report), paths, strict=True):
        write(comparison, path)
    console.print()
    console.print(summary_table(comparison))
    for table in class_tables(comparison):
        console.print(table)
    for sentence in comparison.verdict:
        _say(console, sentence, style="bold")
    if len(comparison.differences) > 1 and len(comparison.seeds) > 1:
        _say(console, NOT_CORRECTED)
    console.print()
    for path in paths:
        # A path may be longer than the terminal is wide and must stay in one piece.
        console.print(str(path), soft_wrap=True, markup=False)


def _say(console: Console, sentence: str, style: str = "") -> None:
    """Prints prose: wrapped at words on a terminal, one line a sentence in a pipe."""
    console.print(sentence, style=style, soft_wrap=not console.is_terminal)


def _print_start(console: Console, scene: Scene, planned: list[Settings], done: int) -> None:
    first = planned[0]
    counts = {part: sum(scene.pixels(part)) for part in (TRAIN, VAL, TEST)}
    _say(
        console,
        f"[bold]{scene.name}[/bold]: {scene.num_classes} classes, split by place into "
        f"{counts[TRAIN]} training, {counts[VAL]} validation and {counts[TEST]} test pixels",
    )
    _say(console, f"{scene.credit} Licence: {scene.licence}.", style="dim")
    _say(
        console,
        f"{_count(len(planned), 'run')} of {_count(first.steps, 'step')} on {first.accelerator}, "
        f"{_count(first.threads, 'thread')}"
        + (f", {first.devices} processes" if first.devices > 1 else "")
        + (f"; {done} finished before" if done else ""),
    )
    console.print()


def _run_with_progress(
    console: Console,
    options: Options,
    scene: Scene,
    planned: list[Settings],
    finished: set[Settings],
) -> list[Run]:
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(None),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
        expand=True,
        disable=not console.is_terminal,
    )
    missing = len(planned) - len(finished)
    if not missing:
        progress.disable = True
    bar = progress.add_task("", total=missing * options.steps)
    started: list[Settings] = []

    def on_start(settings: Settings) -> None:
        started.append(settings)
        progress.update(
            bar,
            description=f"{settings.loss}, seed {settings.seed} ({len(finished) + 1} of {len(planned)})",
        )

    def on_step(step: int) -> None:
        progress.update(bar, completed=(len(started) - 1) * options.steps + step)

    def on_finish(run: Run) -> None:
        finished.add(run.settings)
        seconds = sum(run.step_seconds)
        console.print(
            f"{len(finished)} of {len(planned)}: {run.settings.loss}, seed {run.settings.seed}: "
            f"test mIoU {run.test_miou:.1f} ({seconds:.0f} s)"
        )

    with progress:
        return run_missing(planned, scene, options.out, on_start, on_step, on_finish, keep=is_first())


def summary_table(comparison: Comparison) -> Table:
    """Returns the table of losses: test mIoU, over all and over large classes, validation, time."""
    title = f"Test mIoU in %, {_count(len(comparison.seeds), 'seed')}"
    columns = ["loss", "mean", "± sd", "min", "max", "val\nmIoU", "ms /\nstep", "loss\nshare"]
    if comparison.over_large:
        title += f": mean over all {comparison.scene.num_classes} classes, and over the {comparison.over_large}"
        columns.insert(5, f"mean of\n{len(comparison.large)}")
    table = _table(title)
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
        )
    return table


def class_tables(comparison: Comparison) -> list[Table]:
    """Returns the IoU of each class with each loss; four losses fit side by side in 80 columns."""
    scene, tables = comparison.scene, []
    for start in range(0, len(comparison.summaries), 4):
        summaries = comparison.summaries[start : start + 4]
        table = _table("Test IoU of each class in %, mean over seeds")
        table.add_column("class", overflow="ellipsis")
        table.add_column("pixels", justify="right", no_wrap=True)
        for row in summaries:
            table.add_column(row.loss, justify="right", no_wrap=True)
        for index, pixels in enumerate(scene.pixels(TEST)):
            values = [row.classes[index] for row in summaries]
            cells = ["–" if math.isnan(value) else f"{value:.1f}" for value in values]
            table.add_row(scene.class_names[index], str(pixels), *cells)
        tables.append(table)
    return tables


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _table(title: str) -> Table:
    return Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
