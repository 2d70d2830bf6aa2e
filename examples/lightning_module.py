"""A LightningModule: the loss is that of the pixels of all processes, the IoU is logged and synchronised.

`python examples/lightning_module.py --devices 2` trains in two processes: each batch of 8 images is split between
them, and the losses are those of one process. The images hold a rectangle (class 1) in noise.
"""

import argparse

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from lovasz import lovasz_cross_entropy
from lovasz.metrics import JaccardIndex


class Segmentation(pl.LightningModule):
    """A small network, the loss over all processes, the IoU of the validation set."""

    def __init__(self, num_classes):
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, num_classes, 3, padding=1)
        )
        self.iou = JaccardIndex(num_classes)  # a torchmetrics.Metric: an attribute moves with the module

    def train_dataloader(self):
        data, world_size = TensorDataset(*scenes(64, seed=1)), self.trainer.world_size
        sampler = DistributedSampler(data, world_size, self.trainer.global_rank)  # the same batches, however split
        return DataLoader(data, batch_size=8 // world_size, sampler=sampler)

    def training_step(self, batch, batch_idx):
        image, target = batch
        group = "world" if self.trainer.world_size > 1 else None  # without it, each process has a loss of its own
        loss = lovasz_cross_entropy(self.network(image), target, group=group)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        image, target = batch
        self.iou.update(self.network(image), target)
        self.log("val_iou", self.iou)  # computed and reset by Lightning at the end of the epoch, over all processes

    def on_train_epoch_end(self):
        logged, epoch = self.trainer.callback_metrics, self.current_epoch + 1  # validation comes before
        self.print(f"epoch {epoch}: loss {logged['train_loss']:.4f}, val IoU {logged['val_iou']:.3f}")

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=5e-3)


def scenes(number, seed, size=32):
    """Images (N, 1, H, W) and labels (N, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    y, x = torch.randint(6, size - 6, (2, number, 1, 1), generator=generator)
    target = (((row - y).abs() < 5) & ((column - x).abs() < 4)).long()
    return (target + 0.5 * torch.randn(target.shape, generator=generator))[:, None], target


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1)
    devices = parser.parse_args().devices
    pl.seed_everything(0, verbose=False)
    val = DataLoader(TensorDataset(*scenes(32, seed=2)), batch_size=8)
    trainer = pl.Trainer(
        max_epochs=6, accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto",
        log_every_n_steps=8, num_sanity_val_steps=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Segmentation(num_classes=2), val_dataloaders=val)
    if devices > 1:  # else now and then a process is aborted as it ends, its threads at work
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
