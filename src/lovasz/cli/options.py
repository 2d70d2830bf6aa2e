"""The options of ``lovasz compare``, checked before any work."""

import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lovasz.study.losses import check_names
from lovasz.study.store import check_writable

ACCELERATORS = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line; the names are those of the options."""

    losses: Sequence[str]
    seeds: int
    steps: int
    lr: float
    out: Path
    accelerator: str
    threads: int
    devices: int = 1

    @property
    def command(self) -> str:
        """The command line that asks for the same."""
        words = ["lovasz", "compare"]
        for loss in self.losses:
            words += ["--loss", loss]
        words += ["--seeds", str(self.seeds), "--steps", str(self.steps), "--lr", f"{self.lr:g}"]
        words += ["--out", str(self.out), "--accelerator", self.accelerator]
        words += ["--threads", str(self.threads)]
        return shlex.join([*words, "--devices", str(self.devices)] if self.devices > 1 else words)

    @property
    def device(self) -> str:
        """The accelerator, "auto" resolved: CUDA where there is a GPU, else the CPU."""
        if self.accelerator == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.accelerator

    def check(self) -> None:
        """Checks every option.

        Raises:
            ValueError: If an option has a value that cannot be used.
            OSError: If results cannot be written.
        """
        for loss in self.losses:
            if "," in loss:
                each = " ".join(f"--loss {shlex.quote(name.strip())}" for name in loss.split(","))
                raise ValueError(f"--loss takes one name, got {loss!r}; repeat it for more: {each}")
        check_names(self.losses)
        for name, number in (("--seeds", self.seeds), ("--steps", self.steps)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"--lr must be a number above 0, got {self.lr}")
        if self.threads < 0:
            raise ValueError(f"--threads must be at least 0, got {self.threads}")
        cores = os.cpu_count() or 1
        if self.threads > cores:
            raise ValueError(f"--threads must be at most {cores}, the cores of this machine, got {self.threads}")
        if self.accelerator not in ACCELERATORS:
            raise ValueError(f"--accelerator must be one of {', '.join(ACCELERATORS)}, got {self.accelerator!r}")
        if self.accelerator == "cuda" and not torch.cuda.is_available():
            raise ValueError("--accelerator cuda: PyTorch finds no CUDA GPU on this machine")
        if self.accelerator == "mps" and not torch.backends.mps.is_available():
            raise ValueError("--accelerator mps: PyTorch finds no Apple GPU on this machine")
        most = {"cpu": cores, "cuda": torch.cuda.device_count(), "mps": 1}[self.device]
        if not 1 <= self.devices <= most:
            raise ValueError(f"--devices must be from 1 to {most} on {self.device}, got {self.devices}")
        check_writable(self.out)
