"""Intervals of NSD and HD95: their sums over images, and the means of images that are drawn again."""

import numpy as np
import torch
from numpy.typing import NDArray

from lovasz.study.score.surfaces import MEASURED, Surfaces
from lovasz.study.summary.resampling import Scored


def surface_means(
    surfaces: Surfaces, unit: NDArray[np.int64], units: int, background: int
) -> tuple[Scored, NDArray[np.int64]]:
    """Return the means as a function of how often each unit counts, and how many units bear on each.

    Args:
        surfaces: What was measured.
        unit: The unit of every name, (N,).
        units: How many there are, G.
        background: The class that the means over classes leave out; -1 for none.

    Returns:
        NSD, HD95, then those of each class, (R, 2 + 2 C), and (2 + 2 C,).
    """
    num_classes = surfaces.rows.num_classes
    sums = torch.zeros(units, num_classes, len(MEASURED), dtype=torch.float64)
    images = torch.zeros_like(sums)
    # So fine, and no finer, that sums of them over twice as many images are exact: the same in any order.
    largest = max((np.fmax.reduce(block, axis=None, initial=1.0) for block in surfaces.blocks()), default=1.0)
    scale = 2.0 ** (50 - len(unit).bit_length() - int(largest).bit_length())
    for places, bits in surfaces.rows.blocks():
        block, where = torch.from_numpy(bits.view(np.float64)), torch.from_numpy(unit[places])
        known = ~block.isnan()
        sums.index_add_(0, where, (block.nan_to_num() * scale).round())
        images.index_add_(0, where, known.double())
    others = [label for label in range(num_classes) if label != background]
    held = (images > 0).sum(0)
    any_class = (images[:, others] > 0).any(1).sum(0)

    def scored(weights: torch.Tensor) -> torch.Tensor:
        summed, number = ((weights @ one.flatten(1)).unflatten(1, one.shape[1:]) for one in (sums, images))
        means = summed / number / scale
        return torch.cat([means[:, others].nanmean(1), means.flatten(1)], 1)

    return scored, torch.cat([any_class, held.flatten()]).numpy()
