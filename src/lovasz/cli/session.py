"""One comparison on the terminal: progress over all runs, then tables, verdict and paths."""

from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from lovasz.cli.comparison_tables import class_tables, decision_table, legend, summary_table
from lovasz.study.data.folder import load_folder, missing_from
from lovasz.study.data.layout import find
from lovasz.study.data.parts import MULTICLASS, TEST, TRAIN, VAL, Data
from lovasz.study.data.scene import load_indian_pines
from lovasz.study.io.disk import write_text
from lovasz.study.io.text import printable
from lovasz.study.processes import is_first
from lovasz.study.report.report import write_report
from lovasz.study.summary.compare import Comparison, drawn_units, summarise
from lovasz.study.summary.durations import duration, said_of_time, whole
from lovasz.study.summary.loss_table import write_table
from lovasz.study.summary.results import write_classes, write_csv, write_json
from lovasz.study.summary.stats import NOT_CORRECTED
from lovasz.study.summary.words import words_of
from lovasz.study.train.claims import team
from lovasz.study.train.config import Config
from lovasz.study.train.config_file import write_config
from lovasz.study.train.heads import head_of
from lovasz.study.train.runs import Plan, check_fits, finished_runs, pixels_of, plan, run_missing
from lovasz.study.train.settings import Settings
from lovasz.study.train.start import normalization_of
from lovasz.study.train.store import Run

# What a comparison is written as, by the names of the files.
WRITTEN = {
    "results.csv": write_csv,
    "classes.csv": write_classes,
    "results.json": write_json,
    "table.tex": write_table,
    "table.md": write_table,
    "report.html": write_report,
}


class Session:
    """What is shown while the runs are done.

    Attributes:
        finished: Settings of every run that is on disk.
        number: Runs wanted, 0 before that is known.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.finished: set[Settings] = set()
        self.number = 0
        self.metric = "mIoU"
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(None),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            expand=True,
            disable=not console.is_terminal,
        )

    def prepare(self, config: Config, out: Path) -> tuple[Config, Data, Plan]:
        """Load and check the data, and keep the settings beside the results.

        Args:
            config: What was asked for, checked.
            out: Folder of the results.

        Returns:
            The settings with the task that the data have, the data, and the runs.

        Raises:
            ValueError: If the data, or the network on them, cannot be used.
        """
        if config.threads:
            torch.set_num_threads(config.threads)
        data = load(self.console, config, out)
        config, self.metric = config.of_task(data.task), data.metric
        self.start = check_fits(config, data)
        self.units = drawn_units(data, config)  # before the runs: groups may be refused, or change meanwhile
        planned = plan(config, data, torch.get_num_threads())
        if is_first():
            write_text(out / "config.yaml", write_config(config))
        self.number = planned.number
        self.known = finished_runs(planned, out)
        self.finished.update(self.known)
        return config, data, planned

    def compare(self, config: Config, out: Path, data: Data, planned: Plan) -> None:
        """Do the missing runs, print what they show and write the result files."""
        self._print_start(data, planned)
        steps = planned.runs[0].steps
        self.bar = self.progress.add_task("", total=(self.number - len(self.finished)) * steps)
        self.before = len(self.finished)
        with self.progress:
            runs, tried = run_missing(planned, config, data, out, self, self.known, team())
        if is_first():
            self._print_results(summarise(data, config, runs, tried, self.units, self.start), out)

    def on_damaged(self, said: str) -> None:
        """Print it."""
        self.console.print(said, soft_wrap=True, markup=False)

    def on_wait(self, number: int) -> None:
        """Say what is waited for."""
        self._say(f"Waiting for {_count(number, 'run')} that another command does in this folder")

    def on_start(self, settings: Settings) -> None:
        """Name the run that begins."""
        at = f"{len(self.finished) + 1} of {self.number}"
        name = f"{settings.loss}, seed {settings.seed}, lr {settings.lr:g} ({at})"
        self.progress.update(self.bar, description=name)

    def on_step(self, step: int) -> None:
        """Move the bar."""
        task = self.progress.tasks[0]
        per_run = (task.total or 0) / max(1, self.number - self.before)
        self.progress.update(self.bar, completed=(len(self.finished) - self.before) * per_run + step)

    def on_finish(self, run: Run) -> None:
        """Print one line a run."""
        self.finished.add(run.settings)
        seconds = whole(run)
        time = f"{sum(run.step_seconds):.0f} s of steps" if seconds is None else duration(seconds)
        self.console.print(
            f"{len(self.finished)} of {self.number}: {run.settings.loss}, seed {run.settings.seed}"
            f", lr {run.settings.lr:g}: val {self.metric} {run.val_miou:.1f}, test {self.metric} "
            f"{run.test_miou:.1f} "
            f"({time}){'; diverged: its last loss is not a finite number' if run.diverged else ''}",
            soft_wrap=True,
            markup=False,
        )

    def _print_start(self, data: Data, planned: Plan) -> None:
        counts, first = pixels_of(data), planned.runs[0]
        images = {part: len(data.parts[part].samples) for part in data.parts}
        size = (
            f"{images[TRAIN]} training, {images[VAL]} validation and {images[TEST]} test images"
            if max(images.values()) > 1
            else f"{counts[TRAIN]} training, {counts[VAL]} validation and {counts[TEST]} test {data.unit}"
        )
        task = "" if data.task == MULTICLASS else f"{data.task} task, "
        self._say(Text.assemble((data.name, "bold"), f": {task}{words_of(data).of(data.num_classes)}, {size}"))
        sides = ", ".join(" x ".join(map(str, side)) for side in data.sizes[:3])
        more = f" and {len(data.sizes) - 3} more sizes" if len(data.sizes) > 3 else ""
        self._say(f"Images of {_count(data.channels, 'channel')}, {sides}{more}")
        if data.credit:
            self._say(f"{data.credit} Licence: {data.licence}.", style="dim")
        if data.prepared:
            self._say(f"Images: {data.prepared}")
        if self.start:
            self._say(self.start)
        for sentence in (*data.warnings, *missing_from(data)):
            self._say(sentence, style="bold")
        done = len(self.finished)
        self._say(
            f"{_count(self.number, 'run')} of {_count(first.steps, 'step')} on {first.accelerator}, "
            f"{_count(first.threads, 'thread')}"
            + (f", {first.devices} processes" if first.devices > 1 else "")
            + (f"; {done} finished before" if done else ""),
        )
        self.console.print()

    def _print_results(self, comparison: Comparison, out: Path) -> None:
        paths = [out / name for name in WRITTEN]
        for write, path in zip(WRITTEN.values(), paths, strict=True):
            write(comparison, path)
        console = self.console
        console.print()
        console.print(summary_table(comparison, console.width))
        for sentence in legend(comparison):
            self._say(sentence, style="dim")
        console.print()
        console.print(decision_table(comparison, console.width))
        for sentence in comparison.decision_notes:
            self._say(sentence, style="dim")
        for table in class_tables(comparison, console.width):
            console.print(table)
        for loss, found in comparison.tried.items():
            rates = ", ".join(f"{lr:g}: {miou:.1f}" for lr, miou in found.items())
            self._say(f"{loss}: val {self.metric} by learning rate, {rates}", style="dim")
        if time := said_of_time(comparison.runs.values()):
            self._say(time, style="dim")
        for sentence in comparison.verdict:
            self._say(sentence, style="bold")
        if len(comparison.differences) > 1 and len(comparison.seeds) > 1:
            self._say(NOT_CORRECTED)
        console.print()
        for path in (*paths, out / "config.yaml"):
            # A path may be longer than the terminal is wide and must stay in one piece.
            console.print(printable(path), soft_wrap=True, markup=False)

    def _say(self, sentence: str | Text, style: str = "") -> None:
        """Print prose: wrapped at words on a terminal, one line a sentence in a pipe; names hold no markup."""
        self.console.print(sentence, style=style, soft_wrap=not self.console.is_terminal, markup=False)


def load(console: Console, config: Config, out: Path) -> Data:
    """Load the embedded scene, or check and load the user's data.

    Raises:
        ValueError: If something is wrong with the data; the message names the file.
    """
    if config.data is None:
        return load_indian_pines()
    with console.status("Listing files") as status:
        layout = find(
            config.data, lambda number: status.update(f"Listing files: {number:,}"), config.map is not None
        )
    head = head_of(config, layout)
    for sentence in (*layout.told, *head.told):
        console.print(sentence, soft_wrap=True, markup=False)
    with Progress(
        TextColumn("Checking {task.completed:.0f} of {task.total:.0f} files"),
        BarColumn(None),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        expand=True,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task("", total=sum(map(len, layout.pairs.values())))
        return load_folder(
            config.data,
            layout,
            head.classes,
            config.ignore,
            config.size,
            out / f".checked{'' if is_first() else '-of-a-worker'}.json",
            lambda done, number: progress.update(bar, completed=done),
            head.label_map,
            regions=head.regions,
            normalization=normalization_of(config),
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
