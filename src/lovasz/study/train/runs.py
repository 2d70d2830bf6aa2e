"""The runs of a comparison: which it needs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lovasz.study.data.parts import PARTS, TRAIN, Data
from lovasz.study.environment import code_version
from lovasz.study.train import losses, network, weights, work
from lovasz.study.train.claims import Team
from lovasz.study.train.config import Config
from lovasz.study.train.encoder import check_encoder
from lovasz.study.train.settings import Settings
from lovasz.study.train.start import start_network
from lovasz.study.train.store import Run


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
    """Return the optimiser steps of a run; an epoch ends with its last full or begun step."""
    if config.steps is not None:
        return config.steps
    assert config.epochs is not None
    return _steps(config.epochs, config, data)


def _steps(epochs: int, config: Config, data: Data) -> int:
    return -(-epochs * len(data.parts[TRAIN].samples) // (config.batch * config.devices))


def plan(config: Config, data: Data, threads: int) -> Plan:
    """List the runs of a configuration."""
    base = Settings(
        loss="",
        loss_code="",
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
        task=data.task,
        data=data.fingerprint,
        network=network.identity(config.network),
        accelerator=config.device,
        threads=threads,
        devices=config.devices,
        lovasz=code_version(),
        torch=torch.__version__,
        weights=weights.identity(config.weights),
        freeze=config.freeze if config.steps is not None else _steps(config.freeze, config, data),
        encoder_lr=config.encoder_lr,
    )
    of_losses = [replace(base, loss=loss, loss_code=losses.code_of(loss)) for loss in config.losses]
    searched = [replace(one, lr=lr) for lr in config.lr for one in of_losses]
    runs = [replace(one, seed=seed) for seed in range(config.seeds) for one in of_losses]
    return Plan(searched if len(config.lr) > 1 else [], runs)


def check_fits(config: Config, data: Data) -> str:
    """Check what can be checked once the data are known, and say what weights the trainings begin with.

    Raises:
        ValueError: If a loss is not for the task, one of the user's own fails, images cannot be put into one batch,
            the crop has other axes, the network does not take such images, or the weights do not fit it.
    """
    losses.check_names(config.losses, data.task)
    losses.check_own(config.losses, data.num_classes, data.dims, data.overlap)
    if config.crop is not None and len(config.crop) != data.dims:
        raise ValueError(f"--crop must have {data.dims} sides for these images, got {len(config.crop)}")
    if len(data.sizes) > 1 and config.batch > 1 and config.crop is None:
        some = ", ".join(" x ".join(map(str, size)) for size in data.sizes[:3])
        raise ValueError(
            f"the training images differ in size ({some}{', ...' if len(data.sizes) > 3 else ''}) and cannot be "
            "put into one batch; give --size or --crop, or --batch 1"
        )
    try:
        built, said = start_network(config, data)
        built.eval()
    except ValueError:
        raise
    except Exception as error:  # a user's function raises what it likes
        raise ValueError(f"--network {config.network} failed: {error}") from error
    check_encoder(built, config.network, config.freeze, config.encoder_lr)
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
    return said


def finished_runs(planned: Plan, folder: Path) -> dict[Settings, Run]:
    """Load the sound runs of the folder; of several rates, those of the one that a whole search has chosen."""
    known = work.loaded(planned.searched, folder)
    searched = {run.loss for run in planned.searched}
    searching = {run.loss for run in planned.searched if run not in known}
    best = _best(_tried(known[run] for run in planned.searched if run in known))
    settled = [run for run in planned.runs if run.loss not in searching]
    return known | work.loaded(
        [replace(run, lr=best[run.loss]) if run.loss in searched else run for run in settled], folder
    )


def _tried(runs: Iterable[Run]) -> dict[str, dict[float, float]]:
    """Return the validation mIoU of each loss with each rate."""
    tried: dict[str, dict[float, float]] = {}
    for run in runs:
        tried.setdefault(run.settings.loss, {})[run.settings.lr] = run.val_miou
    return tried


def _best(tried: dict[str, dict[float, float]]) -> dict[str, float]:
    """Return the rate of the best validation mIoU of each loss; one that is no number comes last."""
    return {loss: max(found, key=lambda lr: (found[lr] == found[lr], found[lr])) for loss, found in tried.items()}


def run_missing(
    planned: Plan,
    config: Config,
    data: Data,
    folder: Path,
    listener: work.Listener,
    known: Mapping[Settings, Run],
    team: Team | None = None,
) -> tuple[list[Run], dict[str, dict[float, float]]]:
    """Do the runs that the folder does not hold yet and keep each as soon as it is finished.

    With several learning rates, each loss first trains its first seed with every rate; the rate of
    the best validation mIoU serves its other seeds. Other commands may write to the same folder:
    each run is done by the one that claims it first.

    Args:
        planned: The runs wanted.
        config: What was asked for.
        data: The data.
        folder: Where finished runs are kept.
        listener: Hears how they get on.
        known: Runs that the folder holds, loaded already.
        team: The processes that train together; None is this one alone.

    Returns:
        The runs in the order planned; and the validation mIoU of each loss with each rate, in
        percent, empty if there was one rate.
    """
    done, team = dict(known), team or Team()
    obtain = work.lead if team.first else work.follow

    def runs_of(wanted: Sequence[Settings]) -> list[Run]:
        missing = [settings for settings in dict.fromkeys(wanted) if settings not in done]
        done.update(obtain(missing, config, data, folder, listener, team))
        return [done[settings] for settings in wanted]

    tried = _tried(runs_of(planned.searched))
    best = _best(tried)
    runs = runs_of([replace(settings, lr=best.get(settings.loss, settings.lr)) for settings in planned.runs])
    return runs, tried


def pixels_of(data: Data) -> dict[str, int]:
    """Return the pixels of each part that count."""
    return {part: data.parts[part].counting for part in PARTS}
