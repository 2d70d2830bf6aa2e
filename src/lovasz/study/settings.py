"""Everything that determines the result of one training run."""

import hashlib
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Settings:
    """One run: two runs with equal settings, on one machine, give equal results.

    Attributes:
        loss: Name of the loss.
        seed: Seeds the initial weights, the dropout and the order of flips and turns.
        steps: Optimiser steps, each on the whole scene.
        lr: Learning rate at the start; it falls to 0 along a cosine.
        data: Fingerprint of the scene and its split.
        network: Description of the network.
        accelerator: Where it is trained: "cpu", "cuda", "mps".
        threads: CPU threads; another number rounds sums differently.
        lovasz: Version of this library and a hash of its code.
        torch: Version of PyTorch.
        devices: Processes that train together, each with a view of the scene in every step.
    """

    loss: str
    seed: int
    steps: int
    lr: float
    data: str
    network: str
    accelerator: str
    threads: int
    lovasz: str
    torch: str
    devices: int = 1

    @property
    def key(self) -> str:
        """Name of the run, equal only for equal settings: ``ce-seed0-1f2e3d4c5b6a``."""
        text = json.dumps(asdict(self), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        # ">" is not allowed in file names everywhere.
        return f"{self.loss.replace('>', '-then-')}-seed{self.seed}-{digest}"
