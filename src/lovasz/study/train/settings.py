"""Everything that determines the result of one training run."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Settings:
    """One run: two runs with equal settings, on one machine, give equal results.

    Attributes:
        loss: Name of the loss.
        loss_code: Hash of the user's own code in it; empty if there is none.
        seed: Seeds the initial weights, the dropout, the order of the images and their augmentation.
        steps: Optimiser steps.
        lr: Learning rate at the start.
        batch: Images a step and process.
        crop: Size of the random crops, or None for whole images.
        augment: Names of the augmentations.
        optimizer: "adamw" or "sgd".
        schedule: "cosine", "poly" or "constant".
        weight_decay: Of the optimiser.
        precision: "32" or "bf16".
        task: "multiclass", "binary" or "multilabel".
        data: Fingerprint of the data and their preparation.
        network: Name of the network, with a hash of its code if it is the user's own.
        accelerator: Where it is trained: "cpu", "cuda", "mps".
        threads: CPU threads; another number rounds sums differently.
        devices: Processes that train together.
        lovasz: Version of this library and a hash of its code.
        torch: Version of PyTorch.
        weights: Identity of the weights it begins with; empty: random.
        freeze: Steps in which the encoder is kept as it is.
        encoder_lr: Learning rate of the encoder, in units of ``lr``.
    """

    loss: str
    loss_code: str
    seed: int
    steps: int
    lr: float
    batch: int
    crop: tuple[int, ...] | None
    augment: tuple[str, ...]
    optimizer: str
    schedule: str
    weight_decay: float
    precision: str
    task: str
    data: str
    network: str
    accelerator: str
    threads: int
    devices: int
    lovasz: str
    torch: str
    weights: str = ""
    freeze: int = 0
    encoder_lr: float = 1.0

    @property
    def key(self) -> str:
        """Name of the run, equal only for equal settings: ``ce-seed0-1f2e3d4c5b6a``."""
        text = json.dumps(asdict(self), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        # ">", ":" and " " are not allowed or not wanted in file names everywhere.
        loss = re.sub(r"[^\w+.-]+", "_", self.loss.replace(">", "-then-")).strip("_")
        return f"{loss}-seed{self.seed}-{digest}"


def from_record(record: dict[str, object]) -> Settings:
    """Rebuild settings from what JSON made of them.

    Raises:
        TypeError: If a name is missing or unknown.
    """
    lists = {name: tuple(value) for name, value in record.items() if isinstance(value, list)}
    return Settings(**{**record, **lists})  # type: ignore[arg-type]
