"""One training run with Lightning, from settings to a finished run, resumed where it was cut off."""

import logging
import math
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lovasz.modules import DeepSupervisionLoss
from lovasz.study.data.iou import counted, mean_iou, no_counts, usual_decision
from lovasz.study.data.parts import TRAIN, VAL, Data
from lovasz.study.processes import machines
from lovasz.study.train import store
from lovasz.study.train.clock import REST, RULES, STEPS, TEST, VALIDATION, Clock
from lovasz.study.train.config import Config
from lovasz.study.train.decide import decisions, fitted_rules
from lovasz.study.train.encoder import FrozenEncoder, parameter_groups
from lovasz.study.train.keeping import Keeper, StateIO
from lovasz.study.train.losses import named_loss
from lovasz.study.train.network import outputs_for_training
from lovasz.study.train.order import Order, mixed
from lovasz.study.train.predict import evaluate, logits_of
from lovasz.study.train.rounds import rounds_of
from lovasz.study.train.settings import Settings
from lovasz.study.train.start import start_network
from lovasz.study.train.store import Point, Run


class Training(pl.LightningModule):
    """Trains the network with one loss and times that loss."""

    def __init__(self, settings: Settings, config: Config, data: Data, clock: Clock) -> None:
        super().__init__()
        # The backward pass is run in two parts, so that the loss can be timed by itself.
        self.automatic_optimization = False
        self.settings, self.workers, self.data = settings, config.workers, data
        self.network, _ = start_network(config, data, settings.weights)
        self.frozen = FrozenEncoder(self.network, settings.freeze, settings.devices == 1)
        loss = named_loss(settings.loss, data.parts[TRAIN].pixels, data.overlap)
        # Of outputs of several resolutions each weighs half as much as the one before.
        self.loss = DeepSupervisionLoss(lambda logits, labels: loss(logits, labels, self.done / settings.steps))
        self.rounds = rounds_of(settings, config.validations, data)
        self.clock = clock
        self.done = 0
        self.step_seconds: list[float] = []
        self.loss_seconds: list[float] = []
        self.losses: list[float] = []
        self.curve: list[Point] = []
        self.best: dict[str, Tensor] = {}
        self.counts = no_counts(data.num_classes, data.overlap)

    def configure_optimizers(self) -> Any:
        """Return the optimiser and the schedule of the learning rate, a step at a time."""
        settings, parameters = self.settings, parameter_groups(self.network, self.settings)
        optimizer: torch.optim.Optimizer
        if settings.optimizer == "adamw":
            optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        else:
            optimizer = torch.optim.SGD(
                parameters, lr=settings.lr, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay
            )
        shape: dict[str, Callable[[float], float]] = {
            "cosine": lambda part: (1 + math.cos(math.pi * part)) / 2,
            "poly": lambda part: (1 - part) ** 0.9,
            "constant": lambda part: 1.0,
        }
        factor = shape[settings.schedule]
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: factor(min(step / settings.steps, 1.0))
        )
        return [optimizer], [schedule]

    def train_dataloader(self) -> Any:
        """Return the batches of this round and process."""
        settings, rank, rounds = self.settings, self.trainer.global_rank, self.rounds
        batches = []
        for step in range(rounds.first_step(self.current_epoch), rounds.first_step(self.current_epoch + 1)):
            first = (step * settings.devices + rank) * settings.batch
            batches.append(range(first, first + settings.batch))
        return DataLoader(Order(self.data, settings), batch_sampler=batches, num_workers=self.workers)  # type: ignore[arg-type]

    def val_dataloader(self) -> Any:
        """Return the validation images, each process its share, all of one length: the last may begin again."""
        samples, devices = self.data.parts[VAL].samples, self.settings.devices
        number = len(samples)
        share = [
            index % number for index in range(self.trainer.global_rank, -(-number // devices) * devices, devices)
        ]
        return DataLoader(samples, batch_size=None, sampler=share, num_workers=self.workers)  # type: ignore[arg-type]

    def on_train_epoch_start(self) -> None:
        """Have Lightning validate after this round, or not."""
        validated = self.rounds.validated(self.current_epoch)
        self.trainer.check_val_every_n_epoch = 1 if validated else self.rounds.number + 1

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One step: forward, loss, loss backward, network backward, update."""
        image, target = batch
        # What the network draws depends on the step alone, so that a training can go on at any.
        torch.manual_seed(mixed(self.settings.seed, self.done, self.global_rank, 2))
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        started = self._now()
        self.clock.lap(REST)
        self.frozen.before(self.done)
        optimizer.zero_grad()
        outputs, target = outputs_for_training(self.network, image, target)
        # From here to the gradient of the outputs is the loss, and nothing but the loss.
        leaves = [logits.detach().requires_grad_() for logits in outputs]
        loss_started = self._now()
        loss = self.loss(leaves, target)
        gradients = torch.autograd.grad(loss, leaves)
        loss_ended = self._now()
        if len(outputs) == 1:
            self.manual_backward(outputs[0], gradients[0])
        else:  # Lightning goes backward from one tensor
            products = [(logits * gradient).sum() for logits, gradient in zip(outputs, gradients, strict=True)]
            self.manual_backward(torch.stack(products).sum())
        self.frozen.after(self.done)
        optimizer.step()
        schedule.step()
        self.done += 1
        self.step_seconds.append(self._now() - started)
        self.loss_seconds.append(loss_ended - loss_started)
        self.losses.append(float(loss.detach()))
        self.clock.lap(STEPS)

    def on_validation_start(self) -> None:
        """Begin to time it."""
        self.clock.lap(REST)

    def on_validation_end(self) -> None:
        """Note its time."""
        self.clock.lap(VALIDATION)

    def on_validation_epoch_start(self) -> None:
        """Begins a point of the validation curve."""
        self.counts.zero_()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Add one image to it, unless another process has it."""
        if batch_idx * self.settings.devices + self.global_rank >= len(self.data.parts[VAL].samples):
            return
        image, target = batch
        data = self.data
        preds = usual_decision(logits_of(self.network, image[None], self.settings.crop), data.overlap)
        self.counts += counted(preds, target[None], data.num_classes, data.overlap)

    def on_validation_epoch_end(self) -> None:
        """End the point: all processes add up."""
        self.counts = self.counts.cpu()
        if self.settings.devices > 1:
            counts = self.counts.to(self.device)
            torch.distributed.all_reduce(counts)
            self.counts = counts.cpu()
        number = self.done - (self.curve[-1].step if self.curve else 0)
        rate: float = self.optimizers().optimizer.param_groups[0]["lr"]  # type: ignore[union-attr]
        self.curve.append(Point(self.done, mean_iou(self.counts), sum(self.losses[-number:]) / number, rate))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what has been measured so far."""
        self.clock.lap(REST)
        checkpoint["seconds"] = dict(self.clock.seconds)
        checkpoint["measured"] = (
            self.done, self.step_seconds, self.loss_seconds, self.losses, [tuple(point) for point in self.curve],
            self.counts, self.best,
        )  # fmt: skip

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it up again."""
        self.clock.add(checkpoint["seconds"])
        (
            self.done, self.step_seconds, self.loss_seconds, self.losses, curve, self.counts, self.best,
        ) = checkpoint["measured"]  # fmt: skip
        self.curve = [Point(*point) for point in curve]

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the network's weights as they are, on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}

    def _now(self) -> float:
        if self.device.type != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter()


def train(
    settings: Settings,
    config: Config,
    data: Data,
    folder: Path,
    on_step: Callable[[int], None],
    keep: bool = True,
) -> Run:
    """Trains one network, or goes on with it, and evaluates it as it is after the last step, by every decision.

    The last weights are taken, not those of the best validation score: the learning rate ends at
    0, and every loss is treated alike without a choice that could favour one.

    Args:
        settings: What to train; ``threads`` and ``accelerator`` must be in force already.
        config: What does not change the result: loggers, workers, validations; and the network's own name.
        data: The data.
        folder: Where runs are kept; the unfinished one is in a hidden folder there.
        on_step: Called after each step with the number of steps done.
        keep: Whether this process writes; of several that train together the first does.

    Returns:
        The finished run, not yet saved.

    Raises:
        DamagedRunError: If the state of the unfinished run cannot be read.
        KeyboardInterrupt: If Ctrl-C ended the training.
    """
    draft, clock = store.begin(folder, settings), Clock()
    with _quiet():
        pl.seed_everything(settings.seed, verbose=False)
        training = Training(settings, config, data, clock)
        trainer: Any = pl.Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices // machines(),
            num_nodes=machines(),
            strategy="ddp" if settings.devices > 1 else "auto",
            precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
            max_epochs=training.rounds.number,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            callbacks=[Keeper(draft, keep, on_step)],
            plugins=[StateIO()],
            default_root_dir=draft,  # under SLURM, states are looked for there
            logger=_tensorboard(config, settings, folder) if keep else False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        state = draft / store.STATE
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(training, ckpt_path=state if state.exists() else None)
        except SystemExit as error:
            # How Lightning passes a Ctrl-C on; it also turns further ones off.
            signal.signal(signal.SIGINT, on_interrupt)
            raise KeyboardInterrupt from error
    if training.done < settings.steps:  # Lightning before 2.5 just returns
        raise KeyboardInterrupt

    device = torch.device(settings.accelerator if settings.accelerator != "cuda" else trainer.strategy.root_device)
    if keep:
        if training.best:
            store.save_weights(training.best, draft / store.BEST)
        store.save_weights(training.weights(), draft / store.LAST)
        store.write_curve(draft / store.CURVE, training.curve)
    timed = slice(1, None) if settings.steps > 1 else slice(None)
    network = training.network.eval().to(device)
    clock.lap(REST)
    # Of processes that train together the first decides for all images: so the result is that of one process.
    rules = fitted_rules(network, data, settings.crop) if keep else {}
    clock.lap(RULES)
    tested = evaluate(network, data, settings.crop, decisions(rules, device, data.overlap) if keep else {})
    clock.lap(TEST)
    return Run(
        settings=settings,
        curve=training.curve,
        val_counts=training.counts.tolist(),
        step_seconds=training.step_seconds[timed],
        loss_seconds=training.loss_seconds[timed],
        loss_mib=None,
        diverged=not math.isfinite(training.losses[-1]),
        tested=tested,
        rules=rules,
        seconds=clock.seconds,
    )


def _tensorboard(config: Config, settings: Settings, folder: Path) -> Any:
    if config.logger != "tensorboard":
        return False
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(folder / "tensorboard", name="", version=settings.key)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leaves out advice on data-loader workers, checkpoint folders and logging intervals."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        yield
