"""What a comparison does, in one typed record that a YAML file holds and options change."""

import importlib.util
import math
import os
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from lovasz.study.data import augment
from lovasz.study.data.parts import MOST_CLASSES
from lovasz.study.processes import machines
from lovasz.study.train import losses
from lovasz.study.train.network import check_network

# The embedded scene is one image. Its learning rate was chosen by the mean validation mIoU of the default losses:
# 86.3 here, 83.6 at 0.003, where cross-entropy is not yet done after 150 steps. A baseline deserves a schedule
# it can learn in.
FOR_SCENE: dict[str, Any] = {
    "network": "conv", "steps": 150, "batch": 1, "augment": ("turn",), "lr": (1e-2,), "weight_decay": 1e-4,
}  # fmt: skip
FOR_FILES: dict[str, Any] = {
    "network": "unet", "epochs": 24, "batch": 8, "augment": ("flip", "scale", "light"), "lr": (3e-3,),
    "weight_decay": 1e-4,
}  # fmt: skip


class Config(BaseModel):
    """A comparison, as asked for; the names are those of the options.

    Attributes:
        data: Folder or list of the images; None is the embedded scene.
        classes: File with names and colours of the classes.
        num_classes: Number of classes, where no file names them.
        ignore: Labels left out of loss and score.
        size: Images and masks are resized to this; None keeps them.
        losses: Names of the losses, the baseline first.
        seeds: Trainings of each loss, with seeds 0 to N - 1.
        network: Name of the network.
        epochs: Passes over the training images, or None.
        steps: Optimiser steps, or None; one of the two is given.
        batch: Images a step and device.
        crop: Size of random crops, or None.
        augment: Names of the augmentations.
        optimizer: "adamw" or "sgd".
        lr: Learning rates; of several each loss takes its best on validation.
        schedule: "cosine" or "poly", both to 0, or "constant".
        weight_decay: Of the optimiser.
        precision: "32" or "bf16".
        accelerator: "auto", "cpu", "cuda" or "mps".
        devices: Processes that train together.
        threads: CPU threads; 0: PyTorch chooses.
        workers: Processes that read images ahead; 0: none.
        logger: "csv", or "tensorboard" for both.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Path | None = None
    classes: Path | None = None
    num_classes: int | None = None
    ignore: tuple[int, ...] = ()
    size: tuple[int, ...] | None = None
    losses: tuple[str, ...] = ("ce", "lovasz", "ce+lovasz")
    seeds: int = 5
    network: str
    epochs: int | None = None
    steps: int | None = None
    batch: int
    crop: tuple[int, ...] | None = None
    augment: tuple[str, ...]
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: tuple[float, ...]
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    weight_decay: float
    precision: Literal["32", "bf16"] = "32"
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = 1
    threads: int = 0
    workers: int = 0
    logger: Literal["csv", "tensorboard"] = "csv"

    @field_validator("losses", "lr", "ignore", "augment", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Takes one value for a list of one; "none" for an empty one."""
        if value in ("none", ["none"], ("none",)):
            return ()
        return (value,) if isinstance(value, (str, int, float)) else value

    @property
    def device(self) -> str:
        """The accelerator, "auto" resolved: CUDA where there is a GPU, else the CPU."""
        if self.accelerator == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.accelerator

    def check(self) -> None:
        """Checks every value that can be checked without the data.

        Raises:
            ValueError: If a value cannot be used; the message names its option.
        """
        losses.check_names(self.losses)
        augment.check_names(self.augment)
        check_network(self.network)
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(f"one of --epochs and --steps is needed, got {self.epochs} and {self.steps}")
        for name in ("seeds", "epochs", "steps", "batch", "num_classes"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ValueError(f"{_option(name)} must be at least 1, got {number}")
        if (self.num_classes or 0) > MOST_CLASSES:
            raise ValueError(f"--num-classes must be at most {MOST_CLASSES}, got {self.num_classes}")
        if not self.lr or not all(math.isfinite(lr) and lr > 0 for lr in self.lr):
            raise ValueError(f"--lr must be a number above 0, got {', '.join(map(str, self.lr)) or 'none'}")
        if len(set(self.lr)) < len(self.lr):
            raise ValueError(f"--lr must be different numbers, got {', '.join(map(str, self.lr))}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"--weight-decay must be a number of at least 0, got {self.weight_decay}")
        for name in ("size", "crop"):
            sides = getattr(self, name)
            if sides is not None and (len(sides) not in (2, 3) or min(sides) < 1):
                raise ValueError(f"--{name} must be 2 or 3 sides of at least 1, got {' x '.join(map(str, sides))}")
        for name in ("threads", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} must be at least 0, got {getattr(self, name)}")
        if self.data is None:
            for name in ("classes", "num_classes", "ignore", "size", "crop"):
                if getattr(self, name):
                    raise ValueError(f"{_option(name)} is for your own --data; the embedded scene has its own")
        elif self.classes and self.num_classes:
            raise ValueError("--classes already says how many there are; leave out --num-classes")
        if self.logger == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
            raise ValueError("--logger tensorboard needs it: pip install tensorboard")
        self._check_machine()

    def _check_machine(self) -> None:
        cores = os.cpu_count() or 1
        if self.threads > cores:
            raise ValueError(f"--threads must be at most {cores}, the cores of this machine, got {self.threads}")
        if self.accelerator == "cuda" and not torch.cuda.is_available():
            raise ValueError("--accelerator cuda: PyTorch finds no CUDA GPU on this machine")
        if self.accelerator == "mps" and not torch.backends.mps.is_available():
            raise ValueError("--accelerator mps: PyTorch finds no Apple GPU on this machine")
        most = {"cpu": cores, "cuda": torch.cuda.device_count(), "mps": 1}[self.device]
        if not 1 <= self.devices <= most * machines():
            raise ValueError(f"--devices must be from 1 to {most} on {self.device}, got {self.devices}")


def _option(name: str) -> str:
    return "--loss" if name == "losses" else f"--{name.replace('_', '-')}"


def make_config(given: dict[str, Any], file: Path | None, whole: bool = False) -> Config:
    """Builds a configuration from a file and from options, which come first; the rest are defaults.

    Args:
        given: Values by name; None is not given.
        file: A YAML file as ``write_config`` makes, or None.
        whole: Whether the file must hold every setting, as ``write_config`` does.

    Raises:
        ValueError: If the file cannot be read or is not whole, or a value has another type than it must.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"--config {file} cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"--config {file} must hold names and values, got {type(values).__name__}")
        absent = [name for name in Config.model_fields if name not in values]
        if whole and absent:
            what = f"does not hold {', '.join(absent)}" if values else "is empty"
            raise ValueError(
                f"{file} {what}: it is not as it was written; give all options of the comparison again, "
                f"with --out {file.parent}"
            )
        for name in ("data", "classes"):  # as in every such file, relative to it
            if isinstance(values.get(name), str):
                values[name] = str((file.parent / values[name]).resolve())
    given = {name: value for name, value in given.items() if value is not None}
    for one, other in (("epochs", "steps"), ("steps", "epochs"), ("classes", "num_classes"),
                       ("num_classes", "classes")):  # fmt: skip
        if one in given and other not in given:
            values.pop(other, None)
    values |= given
    defaults = dict(FOR_FILES if values.get("data") else FOR_SCENE)
    if values.get("steps") is not None:
        defaults.pop("epochs", None)
    if values.get("epochs") is not None:
        defaults.pop("steps", None)
    try:
        return Config(**defaults | values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        where = f"--config {file}: " if file is not None and str(first["loc"][0]) not in given else ""
        if first["type"] == "extra_forbidden":
            known = ", ".join(Config.model_fields)
            raise ValueError(f"{where}there is no setting {name}; there are {known}") from error
        option = _option(str(first["loc"][0]))
        raise ValueError(f"{where}{option}: {_lower(first['msg'])}, got {first['input']!r}") from error


def write_config(config: Config) -> str:
    """Returns the configuration as YAML, in the order of its fields, with whole paths."""
    values = config.model_dump(mode="json")
    for name in ("data", "classes"):
        if values[name] is not None:
            values[name] = str(Path(values[name]).resolve())
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
