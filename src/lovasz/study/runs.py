"""The runs of a comparison: which it needs, and doing the missing ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch

from lovasz.study import network, store
from lovasz.study.config import Config
from lovasz.study.data import PARTS, TRAIN, Data
from lovasz.study.settings import Settings
from lovasz.study.store import Run
from lovasz.study.versions import code_version


class Listener(Protocol):
    """Hears how the runs get on."""

    def on_start(self, settings: Settings) -> None:
        """Hears of a run that begins, or goes on."""

    def on_step(self, step: int) -> None:
        """Hears the number of steps done in it."""

    def on_finish(self, run: Run) -> None:
        """Hears of a run that is finished and on disk."""


@dataclass(frozen=True)
class Plan:
    """The runs wanted.

    Attributes:
        searched: The first seed of each loss with each learning rate; empty if there is one rate.
        runs: Every loss with every seed, all losses of one seed before the next, so that pairs are
            complete early. With several rates their rate is not known before the search is done:
            it is the first.
    """

    searched: list[Settings]
    runs: list[Settings]

    @property
    def number(self) -> int:
        """Number of trainings, counting those of the search that serve as the first seed once."""
        known = len({run.loss for run in self.searched})
        return len(self.searched) + len(self.runs) - known


def steps_of(config: Config, data: Data) -> int:
    """Returns the optimiser steps of a run; an epoch ends with its last full or begun step."""
    if config.steps is not None:
        return config.steps
    assert config.epochs is not None
    return -(-config.epochs * len(data.parts[TRAIN].samples) // (config.batch * config.devices))


def plan(config: Config, data: Data, threads: int) -> Plan:
    """Lists the runs of a configuration."""
    base = Settings(
        loss="",
        seed=0,
        steps=steps_of(config, data),
        lr=config.lr[0],
        batch=config.batch,
        crop=config.crop,
        augment=config.augment,
        optimizer=config.optimizer,
        schedule=config.schedule,
        weight_decay=config.weight_decay,
        precision=config.precision,
        data=data.fingerprint,
        network=network.identity(config.network),
        accelerator=config.device,
        threads=threads,
        devices=config.devices,
        lovasz=code_version(),
        torch=torch.__version__,
    )
    losses = [network.identity(loss) for loss in config.losses]
    searched = [replace(base, loss=loss, lr=lr) for lr in config.lr for loss in losses]
    runs = [replace(base, loss=loss, seed=seed) for seed in range(config.seeds) for loss in losses]
    return Plan(searched if len(config.lr) > 1 else [], runs)


def check_fits(config: Config, data: Data) -> None:
    """Checks what can be checked once the data are known.

    Raises:
        ValueError: If images cannot be put into one batch, the crop has other axes, or the network
            does not take such images.
    """
    if config.crop is not None and len(config.crop) != data.dims:
        raise ValueError(f"--crop must have {data.dims} sides for these images, got {len(config.crop)}")
    if len(data.sizes) > 1 and config.batch > 1 and config.crop is None:
        some = ", ".join(" x ".join(map(str, size)) for size in data.sizes[:3])
        raise ValueError(
            f"the training images differ in size ({some}{', ...' if len(data.sizes) > 3 else ''}) and cannot be "
            "put into one batch; give --size or --crop, or --batch 1"
        )
    try:
        built = network.build_network(config.network, data.channels, data.num_classes, data.dims).eval()
    except ValueError:
        raise
    except Exception as error:  # a user's function raises what it likes
        raise ValueError(f"--network {config.network} failed: {error}") from error
    size = config.crop or data.sizes[0]
    if data.dims == 3:
        size = tuple(min(side, 32) for side in size)
    with torch.inference_mode():
        try:
            logits = built(torch.zeros(1, data.channels, *size))
        except Exception as error:  # a user's network raises what it likes
            raise ValueError(
                f"--network {config.network} failed on an image (1, {data.channels}, {', '.join(map(str, size))}): "
                f"{error}"
            ) from error
    if logits.shape[1] != data.num_classes:
        raise ValueError(
            f"--network {config.network} must give logits of {data.num_classes} channels, got {logits.shape[1]}"
        )


def finished_runs(planned: Plan, folder: Path) -> dict[Settings, Run]:
    """Loads the runs that the folder holds; of several rates, those of the one that a whole search has chosen."""
    known = _loaded(planned.searched, folder)
    searched = {run.loss for run in planned.searched}
    searching = {run.loss for run in planned.searched if run not in known}
    best = _best(_tried(known[run] for run in planned.searched if run in known))
    settled = [run for run in planned.runs if run.loss not in searching]
    return known | _loaded(
        [replace(run, lr=best[run.loss]) if run.loss in searched else run for run in settled], folder
    )


def _loaded(wanted: Iterable[Settings], folder: Path) -> dict[Settings, Run]:
    return {settings: run for settings in wanted if (run := store.load(folder, settings)) is not None}


def _tried(runs: Iterable[Run]) -> dict[str, dict[float, float]]:
    """Returns the validation mIoU of each loss with each rate."""
    tried: dict[str, dict[float, float]] = {}
    for run in runs:
        tried.setdefault(run.settings.loss, {})[run.settings.lr] = run.val_miou
    return tried


def _best(tried: dict[str, dict[float, float]]) -> dict[str, float]:
    """Returns the rate of the best validation mIoU of each loss; one that is no number comes last."""
    return {loss: max(found, key=lambda lr: (found[lr] == found[lr], found[lr])) for loss, found in tried.items()}


def run_missing(
    planned: Plan,
    config: Config,
    data: Data,
    folder: Path,
    listener: Listener,
    known: Mapping[Settings, Run],
    keep: bool = True,
) -> tuple[list[Run], dict[str, dict[float, float]]]:
    """Does the runs that the folder does not hold yet and keeps each as soon as it is finished.

    With several learning rates, each loss first trains its first seed with every rate; the rate of
    the best validation mIoU serves its other seeds.

    Args:
        planned: The runs wanted.
        config: What was asked for.
        data: The data.
        folder: Where finished runs are kept.
        listener: Hears how they get on.
        known: Runs that the folder holds, loaded already.
        keep: Whether this process writes them; of several that train together one does.

    Returns:
        The runs in the order planned; and the validation mIoU of each loss with each rate, in
        percent, empty if there was one rate.
    """
    done = dict(known)

    def run_of(settings: Settings) -> Run:
        if settings not in done:
            done[settings] = _done(settings, config, data, folder, listener, keep)
        return done[settings]

    tried = _tried([run_of(settings) for settings in planned.searched])
    best = _best(tried)
    runs = [run_of(replace(settings, lr=best.get(settings.loss, settings.lr))) for settings in planned.runs]
    return runs, tried


def _done(settings: Settings, config: Config, data: Data, folder: Path, listener: Listener, keep: bool) -> Run:
    run = store.load(folder, settings)  # another process may have finished it
    if run is not None:
        return run
    from lovasz.study.memory import loss_mib
    from lovasz.study.training import train

    listener.on_start(settings)
    run = train(settings, config, data, folder, listener.on_step, keep)
    if keep:
        if settings.seed == 0:
            shape, fine = sizes_of_loss(settings, config, data)
            mib = loss_mib(settings.loss_name, shape, settings.accelerator, settings.precision, fine)
            run = replace(run, loss_mib=mib)
        store.save(folder, run)
    listener.on_finish(run)
    return run


def sizes_of_loss(settings: Settings, config: Config, data: Data) -> tuple[list[int], list[int]]:
    """Returns the shape of the logits of a batch, and the spatial size of the target that they are to fit."""
    sides = list(settings.crop or max(data.sizes))
    try:
        with torch.device("meta"):  # shapes alone: nothing is computed
            built = network.build_network(config.network, data.channels, data.num_classes, data.dims).eval()
            image, target = torch.zeros(1, data.channels, *sides), torch.zeros(1, *sides, dtype=torch.int64)
            logits, target = network.logits_for_training(built, image, target)
        places, fine = list(logits.shape[2:]), list(target.shape[1:])
    except Exception:  # of a network that looks at its values; the run is finished and must not be lost
        places = fine = sides
    return [settings.batch, data.num_classes, *places], fine


def pixels_of(data: Data) -> dict[str, int]:
    """Returns the labelled pixels of each part."""
    return {part: sum(data.parts[part].pixels) for part in PARTS}
