"""The ``lovasz`` command line: its commands, options and help."""

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from lovasz.cli.compare import fail, run_compare
from lovasz.cli.evaluate import evaluate
from lovasz.study.environment import versions

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


@app.command()
def compare(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Your images and masks: a folder with train, val and test, each with images and masks; a folder "
            "as Pascal VOC's; or a CSV file with the columns part, image, mask. Without it, the embedded scene.",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Names of the classes, a line each, or JSON with names and colours."),
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option(metavar="N", help="Number of classes, if no file names them.")
    ] = None,
    ignore: Annotated[
        list[int] | None, typer.Option(metavar="LABEL", help="A label left out of loss and score; repeat for more.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Resize images and masks; HxWxD for volumes.")
    ] = None,
    loss: Annotated[
        list[str] | None,
        typer.Option(
            "--loss",
            "-l",
            metavar="NAME",
            help="A loss to compare; repeat for more. The first is the baseline. One of "
            "ce, weighted-ce, dice, ce+dice, lovasz, ce+lovasz, 'ce>lovasz', lovasz-exact, or your own as "
            r"MODULE:FUNCTION, called with logits and target. \[default: ce, lovasz, ce+lovasz]",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help=r"Trainings of each loss, with seeds 0 to N - 1. \[default: 5]")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="conv, unet-small, unet or unet-large (MONAI; 2-D and 3-D), smp:MODEL/ENCODER, or your own as "
            r"MODULE:FUNCTION. \[default: unet; conv for the scene]",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help=r"Passes over the training images. \[default: 24]")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", help=r"Optimiser steps, in the place of epochs. \[default for the scene: 150]"),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(metavar="N", help=r"Images a step and device. \[default: 8; 1 for the scene]")
    ] = None,
    crop: Annotated[str | None, typer.Option(metavar="HxW", help="Train on random crops of this size.")] = None,
    augment: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="flip, turn, scale, light, or none; repeat for more. "
            r"\[default: flip, scale, light; turn for the scene]",
        ),
    ] = None,
    optimizer: Annotated[str | None, typer.Option(metavar="NAME", help=r"adamw or sgd. \[default: adamw]")] = None,
    lr: Annotated[
        list[float] | None,
        typer.Option(
            metavar="X",
            help="Learning rate at the start. Given several times, each loss takes the one with which its first "
            r"seed does best on the validation part. \[default: 0.003; 0.01 for the scene]",
        ),
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(metavar="NAME", help=r"cosine, poly or constant. \[default: cosine]")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(metavar="X", help=r"\[default: 0.0001]")] = None,
    precision: Annotated[str | None, typer.Option(metavar="NAME", help=r"32 or bf16. \[default: 32]")] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take settings from a YAML file; options come first.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the report, the tables, the settings and finished runs. "
            r"\[default: lovasz-compare]",
        ),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with the comparison in this folder, as it was set.")
    ] = None,
    accelerator: Annotated[
        str | None, typer.Option(metavar="NAME", help=r"Where to train: auto, cpu, cuda or mps. \[default: auto]")
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Processes that train together, at most one a core or GPU, each with a batch of its own in every "
            r"step. The Lovász losses are those of all batches at once. \[default: 1]",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="CPU threads, at most one a core; 0: PyTorch chooses.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes that read images ahead; 0: none.")
    ] = None,
    logger: Annotated[
        str | None, typer.Option(metavar="NAME", help=r"csv, or tensorboard for both. \[default: csv]")
    ] = None,
) -> None:
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
    given = {
        "data": data,
        "classes": classes,
        "num_classes": num_classes,
        "ignore": ignore or None,
        "size": _sides("--size", size),
        "losses": tuple(dict.fromkeys(_single(loss))) if loss else None,
        "seeds": seeds,
        "network": network,
        "epochs": epochs,
        "steps": steps,
        "batch": batch,
        "crop": _sides("--crop", crop),
        "augment": augment or None,
        "optimizer": optimizer,
        "lr": lr or None,
        "schedule": schedule,
        "weight_decay": weight_decay,
        "precision": precision,
        "accelerator": accelerator,
        "devices": devices,
        "threads": threads,
        "workers": workers,
        "logger": logger,
    }
    run_compare(given, config, out, resume)


def _sides(option: str, text: str | None) -> tuple[int, ...] | None:
    """Reads 120x160."""
    if text is None:
        return None
    if not re.fullmatch(r"\d+(x\d+){1,2}", text):
        fail(f"{option} must be HxW, or HxWxD of a volume, as 120x160, got {text!r}")
    return tuple(int(side) for side in text.split("x"))


def _single(losses: list[str]) -> list[str]:
    for loss in losses:
        if "," in loss:
            each = " ".join(f"--loss {shlex.quote(name.strip())}" for name in loss.split(","))
            fail(f"--loss takes one name, got {loss!r}; repeat it for more: {each}")
    return losses


app.command()(evaluate)


@app.command()
def info() -> None:
    """Show versions, devices, and which kernel serves which device and why."""
    from lovasz.cli.info import print_info

    print_info()
