"""What is kept of a training while it runs: its state after every round, the best weights, and the curve."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lovasz.study.train import store


class StateIO(TorchCheckpointIO):
    """Writes and reads the state of an unfinished run, whatever Lightning's own ways to are."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Replace it in one step: a killed process leaves the old one or the new."""
        store.write_state(Path(path), checkpoint)

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Read it without running anything that it may hold."""
        return store.read_state(Path(path))


class Keeper(pl.Callback):
    """Keeps the state after every round, with the weights of the best, and the curve as CSV; reports steps."""

    def __init__(self, draft: Path, keep: bool, on_step: Callable[[int], None]) -> None:
        self.draft, self.keep, self.on_step = draft, keep, on_step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Report one more step."""
        self.on_step(pl_module.done)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Pass the point to the logger and keep the weights if they are the best so far."""
        point = pl_module.curve[-1]
        if trainer.logger:
            trainer.logger.log_metrics({"loss": point.loss, "val_miou": point.miou, "lr": point.lr}, point.step)
        if self.keep:
            if point.miou >= max((one.miou for one in pl_module.curve if one.miou == one.miou), default=math.nan):
                pl_module.best = pl_module.weights()
            store.write_curve(self.draft / store.CURVE, pl_module.curve)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Keep the whole state."""
        if self.keep or trainer.world_size > 1:  # every process calls it; the first writes
            trainer.save_checkpoint(self.draft / store.STATE)
