"""One training run with Lightning, from settings to a finished run."""

import logging
import math
import signal
import time
import warnings
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lovasz.study.iou import confusion, mean_iou
from lovasz.study.losses import named_loss
from lovasz.study.network import build_network
from lovasz.study.scene import Scene
from lovasz.study.settings import Settings
from lovasz.study.split import TEST, TRAIN, VAL
from lovasz.study.store import Run

# Points of the validation curve.
CURVE_POINTS = 20


class Views(Dataset[tuple[Tensor, Tensor]]):
    """The scene once per step and device, flipped and turned; the order depends on the seed alone."""

    def __init__(self, image: Tensor, target: Tensor, number: int, seed: int) -> None:
        self.image, self.target = image, target
        generator = torch.Generator().manual_seed(seed)
        self.views = torch.randint(8, (number,), generator=generator).tolist()

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        return turned(self.image, self.views[step]), turned(self.target, self.views[step])


def turned(image: Tensor, view: int) -> Tensor:
    """Returns one of the 8 flips and quarter turns of the last two axes."""
    image = torch.rot90(image, view % 4, (-2, -1))
    return image.flip(-1) if view >= 4 else image


class Training(pl.LightningModule):
    """Trains the network with one loss and times that loss."""

    def __init__(self, settings: Settings, scene: Scene) -> None:
        super().__init__()
        # The backward pass is run in two parts, so that the loss can be timed by itself.
        self.automatic_optimization = False
        self.settings = settings
        self.num_classes = scene.num_classes
        self.network = build_network(len(scene.features), scene.num_classes)
        self.loss = named_loss(settings.loss, scene.pixels(TRAIN))
        self.step_seconds: list[float] = []
        self.loss_seconds: list[float] = []
        self.curve: list[tuple[int, float]] = []
        self.last_loss = math.nan

    def on_fit_start(self) -> None:
        """Checks that all processes train the same run."""
        if self.settings.devices > 1:
            keys: list[str] = [""] * self.settings.devices
            torch.distributed.all_gather_object(keys, self.settings.key)
            if len(set(keys)) > 1:
                raise OSError(f"the processes train different runs, {', '.join(keys)}: another command writes to "
                              "the same folder; wait for it and start again")  # fmt: skip

    def configure_optimizers(self) -> Any:
        """AdamW; the learning rate falls to 0 along a cosine."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.settings.lr, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.settings.steps)
        return [optimizer], [schedule]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One step on the whole scene: forward, loss, loss backward, network backward, update."""
        image, target = batch
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        started = self._now()
        optimizer.zero_grad()
        logits = self.network(image)
        # From here to the logits' gradient is the loss, and nothing but the loss.
        leaf = logits.detach().requires_grad_()
        loss_started = self._now()
        loss = self.loss(leaf, target, batch_idx / self.settings.steps)
        loss.backward()
        loss_ended = self._now()
        self.manual_backward(logits, leaf.grad)
        optimizer.step()
        schedule.step()
        self.step_seconds.append(self._now() - started)
        self.loss_seconds.append(loss_ended - loss_started)
        self.last_loss = float(loss.detach())

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Adds a point to the validation curve."""
        image, target = batch
        counts = confusion(self.network(image).argmax(1), target, self.num_classes)
        self.curve.append((len(self.step_seconds), mean_iou(counts)))

    def _now(self) -> float:
        if self.device.type != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter()


class StepListener(pl.Callback):
    """Calls a function with the number of steps done."""

    def __init__(self, on_step: Callable[[int], None]) -> None:
        self.on_step = on_step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Reports one more step."""
        self.on_step(batch_idx + 1)


def train(settings: Settings, scene: Scene, on_step: Callable[[int], None]) -> Run:
    """Trains one network and evaluates it as it is after the last step.

    The last weights are taken, not those of the best validation score: the learning rate ends at
    0, and every loss is treated alike without a choice that could favour one.

    Args:
        settings: What to train; ``threads`` and ``accelerator`` must be in force already.
        scene: The data.
        on_step: Called after each step with the number of steps done.

    Returns:
        The finished run.

    Raises:
        KeyboardInterrupt: If Ctrl-C ended the training.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    pl.seed_everything(settings.seed, verbose=False)
    image, split = scene.features[None], scene.target_of
    views = Views(image, split(TRAIN)[None], settings.steps * settings.devices, settings.seed)
    training = Training(settings, scene)
    val: Any = [(image, split(VAL)[None])]
    with warnings.catch_warnings():
        # Advice on data-loader workers, checkpoint folders and logging intervals.
        warnings.filterwarnings("ignore", module=r"lightning\.")
        trainer = pl.Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            strategy="ddp" if settings.devices > 1 else "auto",
            max_epochs=1,
            val_check_interval=max(1, settings.steps // CURVE_POINTS),
            num_sanity_val_steps=0,
            callbacks=[StepListener(on_step)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(training, DataLoader(views, batch_size=None), DataLoader(val, batch_size=None))
        except SystemExit as error:
            # How Lightning passes a Ctrl-C on; it also turns further ones off.
            signal.signal(signal.SIGINT, on_interrupt)
            raise KeyboardInterrupt from error
    if len(training.step_seconds) < settings.steps:  # Lightning before 2.5 just returns
        raise KeyboardInterrupt

    network = training.network.cpu().eval()
    with torch.inference_mode():
        preds = network(image).argmax(1)[0]
    val_counts = confusion(preds, split(VAL), scene.num_classes)
    if training.curve[-1][0] != settings.steps:
        training.curve.append((settings.steps, mean_iou(val_counts)))
    timed = slice(1, None) if settings.steps > 1 else slice(None)
    return Run(
        settings=settings,
        curve=training.curve,
        val_counts=val_counts.tolist(),
        test_counts=confusion(preds, split(TEST), scene.num_classes).tolist(),
        step_seconds=training.step_seconds[timed],
        loss_seconds=training.loss_seconds[timed],
        diverged=not math.isfinite(training.last_loss),
        prediction=preds.to(torch.uint8).numpy(),
    )
