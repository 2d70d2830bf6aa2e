"""Point clouds: logits (P, C), clouds of different sizes in one batch by concatenation, the IoU of the data set.

A batch is one long list of points and `offset`, the running number of points after each cloud. Each cloud holds a
floor (class 0), a ball (class 1) and a pole (class 2), moved to a random place; some points are not labelled (-1).
"""

import torch
from torch import nn

from lovasz import lovasz_cross_entropy
from lovasz.metrics import JaccardIndex

CLASSES, VOID = 3, -1


def cloud(generator):
    """Points (P, 3) and labels (P,); P differs from cloud to cloud."""
    floor, ball, pole = torch.randint(150, 400, (3,), generator=generator).tolist()
    direction = nn.functional.normalize(torch.randn(ball, 3, generator=generator))
    points = torch.cat([
        torch.rand(floor, 3, generator=generator) * torch.tensor([2.0, 2.0, 0.05]),
        torch.tensor([0.6, 0.6, 0.4]) + 0.4 * direction,
        torch.tensor([1.5, 1.5, 0.0]) + torch.rand(pole, 3, generator=generator) * torch.tensor([0.1, 0.1, 1.5]),
    ])  # fmt: skip
    labels = torch.arange(3).repeat_interleave(torch.tensor([floor, ball, pole]))
    labels[torch.rand(len(labels), generator=generator) < 0.1] = VOID
    return points + torch.randn(3, generator=generator), labels


def batch(number, generator):
    """Points (P, 3), labels (P,) and offset (number,) of several clouds, one after the other."""
    points, labels = zip(*(cloud(generator) for _ in range(number)), strict=True)
    offset = torch.tensor([len(cloud_labels) for cloud_labels in labels]).cumsum(0)
    return torch.cat(points), torch.cat(labels), offset


class PointNetwork(nn.Module):
    """Scores from the place of a point in its cloud, and from what the whole cloud looks like."""

    def __init__(self, features=32):
        super().__init__()
        self.point = nn.Sequential(nn.Linear(3, features), nn.ReLU(), nn.Linear(features, features))
        self.head = nn.Sequential(nn.Linear(2 * features, features), nn.ReLU(), nn.Linear(features, CLASSES))

    def forward(self, points, offset):
        sizes = offset.diff(prepend=offset.new_zeros(1))
        clouds = points.split(sizes.tolist())
        h = self.point(torch.cat([c - c.amin(0) for c in clouds]))
        whole = torch.stack([c.amax(0) for c in h.split(sizes.tolist())]).repeat_interleave(sizes, 0)
        return self.head(torch.cat([h, whole], 1))


def main(epochs=6):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    train = [batch(4, generator) for _ in range(16)]
    val = [batch(4, generator) for _ in range(4)]
    network = PointNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    iou = JaccardIndex(CLASSES, ignore_index=VOID)
    for epoch in range(1, epochs + 1):
        for points, labels, offset in train:
            logits = network(points, offset)  # (P, C), as many points as the clouds of the batch have together
            loss = lovasz_cross_entropy(logits, labels, ignore_index=VOID)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            for points, labels, offset in val:
                iou.update(network(points, offset), labels)
        print(f"epoch {epoch}: loss {loss:.3f}, val IoU {iou.compute():.3f}")  # of all clouds together
        iou.reset()


if __name__ == "__main__":
    main()
