"""The means of NSD and HD95 over images and classes."""

from dataclasses import dataclass

import numpy as np
import torch

from lovasz.study.score.surfaces import Surfaces


@dataclass(frozen=True)
class SurfaceScores:
    """NSD, from 0 to 1, and HD95, in the unit of the tolerance; NaN where there is none.

    Attributes:
        nsd: Mean over the classes but the background.
        hd95: The same of HD95.
        classes: Mean NSD and HD95 of each class over the images that have one, C pairs.
    """

    nsd: float
    hd95: float
    classes: list[tuple[float, float]]


def surface_scores(surfaces: Surfaces, background: int) -> SurfaceScores:
    """Return the means over images and classes.

    Args:
        surfaces: What was measured.
        background: The class that the means over classes leave out; -1 for none.
    """
    shape = (surfaces.rows.num_classes, 2)
    total, images = np.zeros(shape), np.zeros(shape, dtype=np.int64)
    for block in surfaces.blocks():
        total += np.nansum(block, axis=0)
        images += (~np.isnan(block)).sum(0)
    means = np.divide(total, images, out=np.full(shape, np.nan), where=images > 0)
    others = np.delete(means, background, axis=0) if background >= 0 else means
    nsd, hd95 = torch.from_numpy(others).nanmean(0).tolist()
    return SurfaceScores(nsd, hd95, [(one, other) for one, other in means.tolist()])
