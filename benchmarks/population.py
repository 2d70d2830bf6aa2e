"""Images that are made up, so many that their scores are the truth, and two models that label them.

Classes are in more or fewer of the images. An image is easy or hard for all its classes and for both models. The
images may come in groups, as frames of a drive do: then everything about them is alike within a group.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special

from lovasz.study.score.scores import image_iou, image_miou
from lovasz.study.summary.image_table import ImageTable

#: Of each class the share of images that hold it, its pixels in the median of these, and how well it is found.
SHARES = np.array([1.0, 0.9, 0.5, 0.2, 0.05])
PIXELS = np.array([100_000, 40_000, 8_000, 3_000, 3_000])
FOUND = np.array([0.9, 0.8, 0.65, 0.5, 0.5])
#: Images of a group.
TOGETHER = 10
#: How much better the second model finds each class, in logits.
GAIN = 0.15
#: What IoUs of images are multiples of 1 / SCALE of.
SCALE = 2.0**32


@dataclass(frozen=True)
class Population:
    """All images, in groups of `TOGETHER` that follow each other.

    Attributes:
        models: The counts of all images by each of the two models.
        holds: Which classes each image holds, (P, C).
    """

    models: tuple[ImageTable, ImageTable]
    holds: NDArray[np.bool_]

    @property
    def images(self) -> int:
        """P."""
        return len(self.holds)


def population(images: int, alike: float, seed: int) -> Population:
    """Make up images.

    Args:
        images: How many, a multiple of `TOGETHER`.
        alike: Correlation of whatever is random about two images of a group, from 0 to 1.
        seed: Of the random numbers.
    """
    rng = np.random.default_rng(seed)

    def normal(classes: int = len(SHARES)) -> NDArray[np.float64]:
        groups = np.repeat(rng.normal(size=(images // TOGETHER, classes)), TOGETHER, 0)
        return np.sqrt(alike) * groups + np.sqrt(1 - alike) * rng.normal(size=(images, classes))

    def exceeds(share: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return True with these probabilities."""
        return normal() < special.ndtri(share)

    labelled = np.floor(exceeds(SHARES) * PIXELS * np.exp(0.8 * normal()))
    ease = np.log(FOUND / (1 - FOUND)) + 0.7 * normal(1) + 0.5 * normal()
    models = []
    for gain in (0, GAIN):
        recall = 1 / (1 + np.exp(-ease - gain - 0.5 * normal()))
        around = 0.8 * labelled * (1 - recall) * np.exp(0.3 * normal())
        elsewhere = exceeds(np.full(len(SHARES), 0.15)) * 0.3 * PIXELS * np.exp(normal())
        right = np.floor(labelled * recall)
        models.append(
            table_of(np.stack([right, labelled, right + np.floor(around + elsewhere)], -1).astype(np.int64))
        )
    return Population((models[0], models[1]), labelled > 0)


def table_of(counts: NDArray[np.int64]) -> ImageTable:
    """Return a table of images from their intersections, label and prediction pixels, (P, C, 3)."""
    iou = image_iou(counts)
    both = np.concatenate([iou, image_miou(iou)[:, None]], 1)
    summed = np.stack([np.rint(np.nan_to_num(both) * SCALE), ~np.isnan(both)], -1)
    columns = torch.from_numpy(np.concatenate([counts, summed[:, :-1]], -1))
    unit = torch.arange(len(counts))
    return ImageTable(columns, torch.from_numpy(summed[:, -1]), SCALE, [], -1, None, unit)


def taken(table: ImageTable, images: NDArray[np.int64], together: int = 1) -> ImageTable:
    """Return the table of some images, of which so many that follow each other are one unit."""
    counts, means = (one[images].unflatten(0, (-1, together)).sum(1) for one in (table.counts, table.images))
    return replace(table, counts=counts, images=means, unit=torch.arange(len(counts)))
