"""Comparisons without a training: data of any number of classes and sizes, and runs that are partly wrong."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lovasz.study.data.iou import confusion
from lovasz.study.data.parts import IGNORE_INDEX, PARTS, TEST, Data, Part
from lovasz.study.io.palette import palette
from lovasz.study.summary.compare import Comparison, summarise
from lovasz.study.train import clock
from lovasz.study.train.config_file import make_config
from lovasz.study.train.decide import DECISIONS, FittedRule
from lovasz.study.train.predict import CURVE, Decided, Tested, kept_indices, shown
from lovasz.study.train.runs import plan
from lovasz.study.train.settings import Settings
from lovasz.study.train.store import Point, Run
from tests.study.tiny_data import tiny_scene

LOSSES = ("ce", "lovasz", "ce>lovasz")


def pictures(
    classes: int, images: int = 3, sizes: Sequence[tuple[int, ...]] = ((20, 24),), names: Sequence[str] = ()
) -> Data:
    """Data whose regions are nearest to random points; classes are rarer the later they come."""
    rng = np.random.default_rng(0)
    parts, sizes = {}, tuple(sizes)
    for part in PARTS:
        samples, pixels = [], np.zeros(classes, dtype=np.int64)
        for index in range(images):
            size = sizes[index % len(sizes)]
            number = 2 * classes if images == 1 else 14
            labels = np.minimum((classes * rng.random(number) ** 1.7).astype(np.int64), classes - 1)
            if index == 0:
                labels[: min(classes, number)] = np.arange(classes)[:number]
            target = labels[_nearest(rng, size, number)]
            shade = rng.random((classes, 3)) @ np.array([[1, 0.8, 0.6], [0.2, 0.6, 0.3], [0.1, 0.2, 0.7]])
            image = np.moveaxis(shade[target], -1, 0) + 0.12 * rng.standard_normal((3, *size))
            target[tuple(slice(side // 12) for side in size)] = IGNORE_INDEX
            samples.append((torch.from_numpy(image).float(), torch.from_numpy(target)))
            pixels += np.bincount(target[target >= 0], minlength=classes)
        parts[part] = Part([f"{part} {index:03}" for index in range(images)], samples, pixels.tolist())
    return Data(
        name="Made up",
        class_names=tuple(names) or tuple(f"Class {label}" for label in range(classes)),
        colours=tuple(palette(classes)),
        channels=3,
        dims=len(sizes[0]),
        sizes=sizes,
        parts=parts,
        fingerprint="made up",
        notes=("Made by its test.",),
    )


def made_up(
    losses: Sequence[str] = LOSSES, seeds: int = 3, data: Data | None = None, lr: Sequence[float] = (0.01,)
) -> Comparison:
    """Runs whose predictions are the truth with some regions of another class, fewer with each further loss."""
    data = data or tiny_scene()
    config = make_config({"losses": tuple(losses), "seeds": seeds, "steps": 40, "lr": tuple(lr)}, None)
    rng = np.random.default_rng(0)
    runs = [
        _run(data, settings, rng, 0.4 / (1 + losses.index(settings.loss)))
        for settings in plan(config, data, threads=1).runs
    ]
    tried = {run.settings.loss: {rate: run.val_miou - place for place, rate in enumerate(lr)} for run in runs}
    return summarise(data, config, runs, tried if len(lr) > 1 else None)


def _run(data: Data, settings: Settings, rng: np.random.Generator, wrong: float) -> Run:
    classes, samples = data.num_classes, data.parts[TEST].samples
    keep = kept_indices(len(samples))
    total, rows, predictions = torch.zeros(classes, classes, dtype=torch.int64), [], []
    for index in range(len(samples)):
        target = samples[index][1]
        regions = _nearest(rng, tuple(target.shape), 20)
        other = rng.integers(classes, size=20)[regions]
        preds = np.where((rng.random(20) < wrong)[regions] | (target.numpy() < 0), other, target.numpy())
        counts = confusion(torch.from_numpy(preds), target, classes)
        total += counts
        hit = counts.diag()
        rows.append(torch.stack([hit, counts.sum(0) - hit, counts.sum(1) - hit]))
        if index in keep:
            predictions.append(preds[shown(target, data.dims)].astype(np.uint16))
    thresholds = np.linspace(0, 1, CURVE)
    curves = (1 - thresholds) ** (1 + 8 * rng.random((classes, 1)) / (1 + 5 * wrong))
    curves[total.sum(1).numpy() == 0] = np.nan
    steps = [settings.steps * turn // 20 for turn in range(1, 21)]
    reached = (0.9 - wrong) * (1 - np.exp(-np.arange(1, 21) / 5)) + 0.02 * rng.standard_normal(20)
    return Run(
        settings=settings,
        curve=[Point(step, float(miou), 1.0, 0.01) for step, miou in zip(steps, reached, strict=True)],
        val_counts=total.tolist(),
        step_seconds=[0.02, 0.04, 0.03],
        loss_seconds=[0.01, 0.01, 0.01],
        loss_mib=12.5 if settings.seed == 0 else None,
        diverged=False,
        tested=Tested(
            counts=total.numpy(),
            images=torch.stack(rows).numpy(),
            thresholds=thresholds.astype(np.float32),
            curves=curves.astype(np.float32),
            kept=np.array(keep),
            predictions=predictions,
            decided={name: _decided(data, settings.seed, 0.9 * wrong, name) for name in DECISIONS},
        ),
        rules={
            name: FittedRule(2, 0.5, 0.6, 0.625, 0.61, [1.0] * classes, *2 * [[0.0] * classes])
            for name in DECISIONS[:2]
        },
        seconds=dict(zip(clock.PARTS, (4.0, 3.0, 2.0, 0.5, 0.0, 0.5), strict=True)),
    )


def _decided(data: Data, seed: int, wrong: float, decision: str) -> Decided:
    """Predictions of another decision: the truth with a share of pixels of another class."""
    rng, rows = np.random.default_rng([seed, DECISIONS.index(decision)]), []
    total = torch.zeros(data.num_classes, data.num_classes, dtype=torch.int64)
    samples = data.parts[TEST].samples
    for index in range(len(samples)):
        target = samples[index][1]
        other = rng.integers(data.num_classes, size=tuple(target.shape))
        preds = np.where((rng.random(target.shape) < wrong) | (target.numpy() < 0), other, target.numpy())
        counts = confusion(torch.from_numpy(preds), target, data.num_classes)
        hit = counts.diag()
        total += counts
        rows.append(torch.stack([hit, counts.sum(0) - hit, counts.sum(1) - hit]))
    return Decided(counts=total.numpy(), images=torch.stack(rows).numpy())


def _nearest(rng: np.random.Generator, size: tuple[int, ...], number: int) -> NDArray[np.int64]:
    """Splits a picture into regions, each of the pixels nearest to one of so many random points."""
    best, regions = np.full(size, np.inf), np.zeros(size, dtype=np.int64)
    for region, point in enumerate(rng.random((number, len(size))) * size):
        distance = sum(
            (axis - place) ** 2 for axis, place in zip(np.ogrid[tuple(map(slice, size))], point, strict=True)
        )
        regions[distance < best] = region
        best = np.minimum(best, distance)
    return regions
