"""Doing the missing runs of a comparison, beside other commands that do them too."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from lovasz.study.data.parts import Data
from lovasz.study.train import network, store
from lovasz.study.train.claims import Team, claim
from lovasz.study.train.clock import MEMORY
from lovasz.study.train.config import Config
from lovasz.study.train.settings import Settings
from lovasz.study.train.store import Run

# Seconds after which runs that another command does are asked for again.
PAUSE = 1.0

Kept = TypeVar("Kept")


class Listener(Protocol):
    """Hears how the runs get on."""

    def on_damaged(self, said: str) -> None:
        """Hears of a run on disk that is damaged, and what becomes of it."""

    def on_wait(self, number: int) -> None:
        """Hears that all of the runs that are missing, so many, are done by other commands."""

    def on_start(self, settings: Settings) -> None:
        """Hears of a run that begins, or goes on."""

    def on_step(self, step: int) -> None:
        """Hears the number of steps done in it."""

    def on_finish(self, run: Run) -> None:
        """Hears of a run that is finished and on disk."""


def loaded(wanted: Iterable[Settings], folder: Path) -> dict[Settings, Run]:
    """Load those of some runs that the folder holds; a damaged one counts as missing."""
    found = {}
    for settings in wanted:
        # Set aside when it is its turn and is claimed.
        with contextlib.suppress(store.DamagedRunError):
            run = store.load(folder, settings)
            if run is not None:
                found[settings] = run
    return found


def lead(
    missing: list[Settings], config: Config, data: Data, folder: Path, listener: Listener, team: Team
) -> dict[Settings, Run]:
    """Do every run that no other command has claimed, and wait for the others."""
    done: dict[Settings, Run] = {}
    waiting = 0
    while missing:
        run = _next(missing, config, data, folder, listener, team)
        if run is not None:
            done[run.settings] = run
            missing.remove(run.settings)
            listener.on_finish(run)
            continue
        if waiting != len(missing):
            listener.on_wait(waiting := len(missing))
        time.sleep(PAUSE)
    team.decide("")
    return done


def _next(
    missing: Sequence[Settings], config: Config, data: Data, folder: Path, listener: Listener, team: Team
) -> Run | None:
    """Do the first run that can be claimed, or loads it if it is finished by now; None if others do them all."""
    for settings in missing:
        with claim(folder, settings) as claimed:
            if not claimed:
                continue
            run = _kept(store.load, folder, settings, listener)
            if run is None:
                _kept(store.check_state, folder, settings, listener)
                team.decide(settings.key)
                run = _trained(settings, config, data, folder, listener)
            return run
    return None


def follow(
    missing: list[Settings], config: Config, data: Data, folder: Path, listener: Listener, team: Team
) -> dict[Settings, Run]:
    """Trains what the first process trains, and loads what other commands have done."""
    from lovasz.study.train.training import train

    by_key = {settings.key: settings for settings in missing}
    for key in team.decided():
        train(by_key[key], config, data, folder, listener.on_step, False)
    return loaded(missing, folder)


def _kept(
    read: Callable[[Path, Settings], Kept], folder: Path, settings: Settings, listener: Listener
) -> Kept | None:
    """Read what the folder holds of a run; what is damaged is set aside and counts as missing."""
    try:
        return read(folder, settings)
    except store.DamagedRunError as error:
        aside = store.set_aside(error.folder)
        listener.on_damaged(f"{error}; it is kept as {aside.name}, and the run is done again")
        return None


def _trained(settings: Settings, config: Config, data: Data, folder: Path, listener: Listener) -> Run:
    from lovasz.study.train.memory import loss_mib
    from lovasz.study.train.training import train

    listener.on_start(settings)
    run = train(settings, config, data, folder, listener.on_step, True)
    if settings.seed == 0:
        shape, fine = sizes_of_loss(settings, config, data)
        started = time.perf_counter()
        mib = loss_mib(settings.loss, shape, settings.accelerator, settings.precision, fine, data.overlap)
        spent = {MEMORY: time.perf_counter() - started}
        run = replace(run, loss_mib=mib, seconds=(run.seconds or {}) | spent)
    store.save(folder, run)
    return run


def sizes_of_loss(settings: Settings, config: Config, data: Data) -> tuple[list[int], list[int]]:
    """Return the shape of the logits of a batch, and the spatial size of the target that they are to fit."""
    sides = tuple(settings.crop or max(data.sizes))
    places, fine = _sides_of_loss(config.network, data.channels, data.num_classes, sides)
    return [settings.batch, data.num_classes, *places], list(fine)


@functools.cache
def _sides_of_loss(
    name: str, channels: int, num_classes: int, sides: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """Return the sides of the logits of an image, and of the target that they are to fit, by trying it once."""
    try:
        with torch.random.fork_rng(), torch.inference_mode():
            built = network.build_network(name, channels, num_classes, len(sides)).eval()
            image, target = torch.zeros(1, channels, *sides), torch.zeros(1, *sides, dtype=torch.int64)
            (logits, *_), target = network.outputs_for_training(built, image, target)
        return tuple(logits.shape[2:]), tuple(target.shape[1:])
    except Exception:  # a user's network raises what it likes; the run is finished and must not be lost
        return sides, sides
