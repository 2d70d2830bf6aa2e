"""The training samples by number, so that a training can begin anywhere."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lovasz.study.data.augment import Augmentation
from lovasz.study.data.parts import TRAIN, Data
from lovasz.study.train.settings import Settings


class Order(Dataset[tuple[Tensor, Tensor]]):
    """The training samples by number: each pass over the images in an order of its own, augmented."""

    def __init__(self, data: Data, settings: Settings) -> None:
        self.samples, self.seed = data.parts[TRAIN].samples, settings.seed
        self.turn, self.order = -1, torch.empty(0)
        self.augment = Augmentation(
            settings.augment, settings.crop, settings.crop or data.sizes[0], data.mean, data.std
        )

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        turn, place = divmod(number, len(self.samples))
        # The order follows from the turn alone, so that a training can begin anywhere; that of one turn is kept.
        if turn != self.turn:
            generator = torch.Generator().manual_seed(mixed(self.seed, turn))
            self.turn, self.order = turn, torch.randperm(len(self.samples), generator=generator)
        return self.augment(*self.samples[int(self.order[place])], mixed(self.seed, number, 1))


def mixed(*numbers: int) -> int:
    """Mixes numbers to one of 32 bits, as NumPy's seed sequences do."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
