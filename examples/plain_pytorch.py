"""A plain PyTorch loop: cross-entropy plus Lovász in one call, and the IoU of the training and validation sets.

The images hold a rectangle (class 1) and a disc (class 2) in noise; their first rows are not labelled (255).
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lovasz import lovasz_cross_entropy
from lovasz.metrics import JaccardIndex

CLASSES, VOID = 3, 255


def scenes(number, seed, size=32):
    """Images (N, 1, H, W) and labels (N, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    y, x, v, u = torch.randint(6, size - 6, (4, number, 1, 1), generator=generator)
    target = torch.zeros(number, size, size, dtype=torch.long)
    target[((row - y).abs() < 5) & ((column - x).abs() < 4)] = 1
    target[(row - v) ** 2 + (column - u) ** 2 < 20] = 2
    noise = torch.randn(number, size, size, generator=generator)
    image = torch.tensor([0.0, 1.0, -1.0])[target] + 0.5 * noise
    target[:, :2] = VOID
    return image[:, None], target


def main(epochs=8):
    torch.manual_seed(0)
    train = DataLoader(TensorDataset(*scenes(96, seed=1)), batch_size=8, shuffle=True)
    val = DataLoader(TensorDataset(*scenes(32, seed=2)), batch_size=8)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, CLASSES, 1),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    train_iou = JaccardIndex(CLASSES, ignore_index=VOID)
    val_iou = JaccardIndex(CLASSES, ignore_index=VOID)
    for epoch in range(1, epochs + 1):
        for image, target in train:
            logits = network(image)
            loss = lovasz_cross_entropy(logits, target, ignore_index=VOID)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            train_iou.update(logits.detach(), target)  # scores: the largest is taken
        with torch.no_grad():
            for image, target in val:
                val_iou.update(network(image), target)
        print(f"epoch {epoch}: train IoU {train_iou.compute():.3f}, val IoU {val_iou.compute():.3f}")
        train_iou.reset()
        val_iou.reset()


if __name__ == "__main__":
    main()
