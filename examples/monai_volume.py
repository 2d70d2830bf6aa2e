"""Volumes with MONAI: its transforms, its UNet, its sliding window, and `LovaszSoftmaxLoss` beside its DiceCELoss.

MONAI's losses take labels with a channel axis, (N, 1, D, H, W); lovasz takes PyTorch's (N, D, H, W): `label[:, 0]`.
The volumes hold a ball (class 1) and a box (class 2) in noise.
"""

import torch
from monai.data import DataLoader, Dataset
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    NormalizeIntensityd,
    RandCropByPosNegLabeld,
    RandFlipd,
)
from monai.utils import set_determinism

from lovasz import LovaszSoftmaxLoss
from lovasz.metrics import JaccardIndex

CLASSES, WINDOW = 3, (24, 24, 24)


def volume(seed, size=40):
    """An image (D, H, W) and its labels, as a reader of files would give them."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.stack(torch.meshgrid(*[torch.arange(size)] * 3, indexing="ij"), -1)
    ball, box = torch.randint(9, size - 9, (2, 3), generator=generator)
    label = torch.zeros(size, size, size, dtype=torch.uint8)
    label[(place - ball).square().sum(-1) < 64] = 1
    label[((place - box).abs() < torch.tensor([7, 5, 6])).all(-1)] = 2
    noise = torch.randn(label.shape, generator=generator)
    return {"image": torch.tensor([0.0, 1.0, -1.0])[label.int()] + 0.5 * noise, "label": label}


def main(epochs=5):
    set_determinism(0)
    keys = ["image", "label"]
    always = [EnsureChannelFirstd(keys, channel_dim="no_channel"), NormalizeIntensityd("image")]
    crops = RandCropByPosNegLabeld(keys, label_key="label", spatial_size=WINDOW, num_samples=4)
    last = EnsureTyped(keys, track_meta=False)  # plain tensors: nothing from here on reads the metadata
    train = Dataset([volume(n) for n in range(8)], Compose([*always, crops, RandFlipd(keys, prob=0.5), last]))
    val = Dataset([volume(n) for n in range(100, 103)], Compose([*always, last]))
    network = UNet(spatial_dims=3, in_channels=1, out_channels=CLASSES, channels=(8, 16), strides=(2,))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    dice_ce = DiceCELoss(to_onehot_y=True, softmax=True)
    lovasz = LovaszSoftmaxLoss()
    iou = JaccardIndex(CLASSES)
    for epoch in range(1, epochs + 1):
        network.train()
        for batch in DataLoader(train, batch_size=2, shuffle=True):
            logits, label = network(batch["image"]), batch["label"]  # (8, C, D, H, W), (8, 1, D, H, W)
            loss = dice_ce(logits, label) + lovasz(logits, label[:, 0])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            for batch in DataLoader(val, batch_size=1):
                logits = sliding_window_inference(batch["image"], WINDOW, sw_batch_size=4, predictor=network)
                iou.update(logits, batch["label"][:, 0])
        print(f"epoch {epoch}: loss {loss:.3f}, val IoU {iou.compute():.3f}")
        iou.reset()


if __name__ == "__main__":
    main()
