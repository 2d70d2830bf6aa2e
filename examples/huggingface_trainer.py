"""Hugging Face's Trainer with a SegFormer: Lovász by overriding `compute_loss`, the IoU by `compute_metrics`.

SegFormer's logits have a quarter of the labels' height and width: the loss and the metric upsample them inside.
The network is small and made from its configuration, so nothing is downloaded; the images hold a rectangle
(class 1) and a disc (class 2) in noise.
"""

import tempfile

import torch
from torch.utils.data import Dataset
from transformers import SegformerConfig, SegformerForSemanticSegmentation, Trainer, TrainingArguments

from lovasz import lovasz_cross_entropy
from lovasz.metrics import JaccardIndex

CLASSES, VOID = 3, 255


class Scenes(Dataset):
    """Images (3, H, W) and labels (H, W) under the names of the model's arguments."""

    def __init__(self, number, seed, size=64):
        generator = torch.Generator().manual_seed(seed)
        row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        y, x, v, u = torch.randint(14, size - 14, (4, number, 1, 1), generator=generator)
        self.labels = torch.zeros(number, size, size, dtype=torch.long)
        self.labels[((row - y).abs() < 13) & ((column - x).abs() < 9)] = 1
        self.labels[(row - v) ** 2 + (column - u) ** 2 < 130] = 2
        colours = torch.tensor([[0.0, 1.0, -1.0]] * 3)[:, self.labels].movedim(1, 0)
        self.images = colours + 0.3 * torch.randn(colours.shape, generator=generator)
        self.labels[:, :4] = VOID

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, n):
        return {"pixel_values": self.images[n], "labels": self.labels[n]}


class LovaszTrainer(Trainer):
    """Overrides `compute_loss`, because this loss is a mean over the batch.

    From a `compute_loss_func` the Trainer expects a sum divided by `num_items_in_batch`: it does not divide by the
    number of accumulated batches, and multiplies by the number of processes.
    """

    loss_is_scaled_for_ga = False  # let the Trainer divide by the number of accumulated batches

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(pixel_values=inputs["pixel_values"])  # without labels: no cross-entropy of its own
        loss = lovasz_cross_entropy(outputs.logits, inputs["labels"], ignore_index=VOID, upsample="bilinear")
        return (loss, outputs) if return_outputs else loss


def compute_metrics(evaluated):
    """Of the logits, which the Trainer keeps of the whole validation set as they are: coarse."""
    iou = JaccardIndex(CLASSES, ignore_index=VOID, upsample="bilinear")
    iou.update(torch.from_numpy(evaluated.predictions), torch.from_numpy(evaluated.label_ids))
    return {"iou": iou.compute().item()}


def main(epochs=6):
    torch.manual_seed(0)
    config = SegformerConfig(
        num_labels=CLASSES, num_encoder_blocks=2, depths=[1, 1], sr_ratios=[4, 2], hidden_sizes=[16, 32],
        patch_sizes=[7, 3], strides=[4, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=32,
        classifier_dropout_prob=0.0, drop_path_rate=0.0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=epochs, learning_rate=1e-2, per_device_train_batch_size=8,
            eval_strategy="epoch", save_strategy="no", report_to="none", disable_tqdm=True, seed=0,
            dataloader_pin_memory=torch.cuda.is_available(),
        )  # fmt: skip
        trainer = LovaszTrainer(
            SegformerForSemanticSegmentation(config), arguments, train_dataset=Scenes(96, seed=1),
            eval_dataset=Scenes(16, seed=2), compute_metrics=compute_metrics,
        )  # fmt: skip
        trainer.train()
    for row in trainer.state.log_history:
        if "eval_iou" in row:
            print(f"epoch {row['epoch']:.0f}: val loss {row['eval_loss']:.3f}, val IoU {row['eval_iou']:.3f}")


if __name__ == "__main__":
    main()
