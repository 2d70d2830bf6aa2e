"""A scene of 20 x 24 pixels and four classes, which trains in milliseconds."""

import numpy as np
import torch

from lovasz.study.scene import IGNORE_INDEX, Scene
from lovasz.study.split import split_by_place


def tiny_scene() -> Scene:
    """Four fields on an unlabelled ground, each with a mean of its own in five channels."""
    target = np.full((20, 24), IGNORE_INDEX, dtype=np.int64)
    target[1:9, 1:11] = 0
    target[1:9, 12:23] = 1
    target[11:19, 1:15] = 2
    target[12:18, 17:22] = 3
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(5, 5, generator=generator)
    noise = torch.randn(5, 20, 24, generator=generator)
    labels = torch.from_numpy(np.where(target == IGNORE_INDEX, 4, target))
    return Scene(
        name="Tiny",
        features=means[labels].permute(2, 0, 1) + noise,
        target=torch.from_numpy(target),
        split=split_by_place(target, void=IGNORE_INDEX),
        class_names=("First", "Second", "Third", "Fourth"),
        fingerprint="tiny",
        credit="Made by its test.",
        licence="none",
        licence_url="nowhere",
    )
