"""What a comparison refuses before the data are read."""

import importlib.util
import math
import os

import torch

from lovasz.study.data import augment
from lovasz.study.data.normalize import parse_normalization
from lovasz.study.data.parts import BINARY, MULTICLASS, MULTILABEL
from lovasz.study.data.regions import BITS
from lovasz.study.processes import machines
from lovasz.study.train.config import Config
from lovasz.study.train.losses import check_names
from lovasz.study.train.network import check_network
from lovasz.study.train.options import flag
from lovasz.study.train.weights import check_weights


def check_config(config: Config) -> None:
    """Check every value that can be checked without the data.

    Raises:
        ValueError: If a value cannot be used; the message names its option.
    """
    check_names(config.losses, config.task)
    augment.check_names(config.augment)
    check_network(config.network)
    check_weights(config.weights, config.network)
    if (config.epochs is None) == (config.steps is None):
        raise ValueError(f"one of --epochs and --steps is needed, got {config.epochs} and {config.steps}")
    if config.freeze > (config.epochs or config.steps or 0):
        given = f"--epochs {config.epochs}" if config.epochs else f"--steps {config.steps}"
        raise ValueError(f"--freeze must be at most {given}, got {config.freeze}")
    if config.normalize is not None:
        parse_normalization(config.normalize)
    if not config.lr or not all(math.isfinite(lr) and lr > 0 for lr in config.lr):
        raise ValueError(f"--lr must be a number above 0, got {', '.join(map(str, config.lr)) or 'none'}")
    if len(set(config.lr)) < len(config.lr):
        raise ValueError(f"--lr must be different numbers, got {', '.join(map(str, config.lr))}")
    for name in ("size", "crop"):
        sides = getattr(config, name)
        if sides is not None and (len(sides) not in (2, 3) or min(sides) < 1):
            raise ValueError(f"--{name} must be 2 or 3 sides of at least 1, got {' x '.join(map(str, sides))}")
    if config.data is None:
        own = ("classes", "num_classes", "ignore", "map", "foreground", "size", "crop", "group", "normalize")
        for name in own:
            if getattr(config, name):
                raise ValueError(f"{flag(Config, name)} is for your own --data; the embedded scene has its own")
        if config.task not in ("auto", MULTICLASS):
            raise ValueError(f"--task {config.task} is for your own --data; the embedded scene is {MULTICLASS}")
    elif config.classes and config.num_classes:
        raise ValueError("--classes already says how many there are; leave out --num-classes")
    if config.foreground is not None and config.task not in ("auto", BINARY):
        raise ValueError(f"--foreground is for --task {BINARY}, got --task {config.task}")
    if config.map == BITS and config.task not in ("auto", MULTILABEL):
        raise ValueError(f"--map {BITS} is for --task {MULTILABEL}, got --task {config.task}")
    _ = config.label_map  # refuses what it cannot be
    if config.logger == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
        raise ValueError("--logger tensorboard needs it: pip install tensorboard")
    _check_machine(config)


def _check_machine(config: Config) -> None:
    cores = os.cpu_count() or 1
    if config.threads > cores:
        raise ValueError(f"--threads must be at most {cores}, the cores of this machine, got {config.threads}")
    if config.accelerator == "cuda" and not torch.cuda.is_available():
        raise ValueError("--accelerator cuda: PyTorch finds no CUDA GPU on this machine")
    if config.accelerator == "mps" and not torch.backends.mps.is_available():
        raise ValueError("--accelerator mps: PyTorch finds no Apple GPU on this machine")
    most = {"cpu": cores, "cuda": torch.cuda.device_count(), "mps": 1}[config.device]
    if not 1 <= config.devices <= most * machines():
        raise ValueError(f"--devices must be from 1 to {most} on {config.device}, got {config.devices}")
