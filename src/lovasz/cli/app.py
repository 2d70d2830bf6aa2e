"""The ``lovasz`` command line: its commands, options and help."""

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from lovasz.cli.compare import run_compare
from lovasz.cli.evaluate import evaluate
from lovasz.study.environment import missing, versions

app = typer.Typer(
    name="lovasz",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lovasz {versions()['lovasz']}")
        raise typer.Exit


@app.callback()
def lovasz(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Train segmentation models on the measure they are judged by: the Jaccard index (IoU)."""


def compare(**given: Any) -> None:
    """Train one network with several losses and say which gives the better IoU, and how surely.

    Every loss trains the same network on the same data with the same schedule and the same seeds.
    Without --data it is a small network on the Indian Pines scene (16 classes, 145 x 145 pixels),
    which comes with the installation and is split by place; that takes about 4 minutes on two
    quiet CPU cores.

    Everything is kept in DIR: config.yaml with every setting, the finished runs with their weights
    (best on validation, and last), and the state of the unfinished one. After an interruption, a
    kill or a power cut the same command, or --resume DIR, goes on where it stopped; with more
    seeds or losses it adds the missing runs. Runs of other settings stay beside them and are never
    mixed in.

    **Examples**

    - lovasz compare

    - lovasz compare --loss ce --loss 'ce>lovasz' --seeds 3

    - lovasz compare --data camvid --num-classes 11 --ignore 11 --size 360x480 --lr 0.001 --lr 0.003
    """
    from lovasz.cli.options import read  # it needs the extra

    files = [given.pop(name) for name in FILES]
    run_compare(read(given), *files)


def _file(name: str, metavar: str, said: str) -> inspect.Parameter:
    kind = Annotated[Path | None, typer.Option(metavar=metavar, help=said, show_default=False)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


# The options that are no settings.
FILES = {
    "config": _file("config", "FILE", "Take settings from a YAML file; options come first."),
    "out": _file(
        "out",
        "DIR",
        r"Folder for the report, the tables, the settings and finished runs. \[default: lovasz-compare]",
    ),
    "resume": _file("resume", "DIR", "Go on with the comparison in this folder, as it was set."),
}


def _add_compare() -> None:
    """Add ``compare`` with an option for each setting; where none can be read it says what is missing."""
    if missing(("pydantic", "yaml")):
        anything = {"allow_extra_args": True, "ignore_unknown_options": True}
        app.command("compare", context_settings=anything)(lambda: run_compare({}, None, None, None))
        return
    from lovasz.cli.options import parameters

    settings = list(parameters())
    place = [one.name for one in settings].index("accelerator")
    compare.__signature__ = inspect.Signature([*settings[:place], *FILES.values(), *settings[place:]])  # type: ignore[attr-defined]
    app.command()(compare)


_add_compare()
app.command()(evaluate)


@app.command()
def info(
    check: Annotated[
        bool,
        typer.Option("--check", help="Check every kernel against plain PyTorch and time it; exit 1 if one fails."),
    ] = False,
) -> None:
    """Show versions, devices, and which kernel serves which device and why."""
    from lovasz.cli.info import print_info

    if not print_info(check):
        raise typer.Exit(1)
