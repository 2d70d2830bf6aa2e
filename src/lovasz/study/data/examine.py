"""One image and its masks, decoded and looked through once before any training."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lovasz.study.data.channels import dtypes_of, open_channels
from lovasz.study.data.pairs import Pair
from lovasz.study.data.parts import IGNORE_INDEX
from lovasz.study.data.regions import Regions
from lovasz.study.data.stored import check_labels, read_masks
from lovasz.study.io.labelling import Labelling
from lovasz.study.io.labels import Labels


@dataclass(frozen=True)
class Seen:
    """What an image and its masks hold."""

    size: tuple[int, ...]
    sums: Any
    squares: Any
    low: Any
    high: Any
    pixels: Any
    known: int
    digest: str
    shown: str  # hash of the image alone; empty for one of a single value, which many may be
    palettes: tuple[bytes, ...]  # of the mask, as far as it is used
    named: frozenset[int]  # values of the map that the mask holds
    dtypes: tuple[str, ...]  # types of the values of the image's files


def examine(pair: Pair, labelling: Labelling, size: tuple[int, ...] | None, regions: Regions | None) -> Seen:
    with open_channels(pair.images) as opened:
        stored = read_masks(pair, opened.shape, labelling, regions)
        image = opened.read()
    check_labels(pair, stored.labels, labelling, regions)
    target = targets(stored.labels, labelling)
    if size and len(size) == image.ndim - 1:  # else it is refused when all are known
        target = resized(target, size)
    if regions is None:
        counted = target[target != IGNORE_INDEX]
        pixels, known = torch.bincount(counted, minlength=labelling.num_classes), len(counted)
    else:
        masks = regions.masks(target).flatten(1)
        pixels, known = (masks == 1).sum(1), int((masks != IGNORE_INDEX).any(0).sum())
    # Of the values that are trained on: what is not 0 in float64 may be so in float32.
    flat = image.reshape(len(image), -1).astype(np.float32).astype(np.float64)
    shown = hashlib.sha256(image.tobytes())
    digest = hashlib.sha256(shown.digest() + stored.labels.tobytes()).hexdigest()
    varied = bool((image != image.flat[0]).any())
    return Seen(
        image.shape[1:],
        flat.sum(1),
        (flat**2).sum(1),
        flat.min(1),
        flat.max(1),
        pixels.numpy(),
        known,
        digest,
        shown.hexdigest() if varied else "",
        stored.palettes,
        stored.named,
        dtypes_of(pair.images) if len(pair.images) > 1 else (image.dtype.name,),
    )


def targets(labels: Labels, labelling: Labelling) -> Tensor:
    """Return what masks store with ``IGNORE_INDEX`` where it is left out."""
    target, ignored = torch.from_numpy(labels.astype(np.int64)), torch.tensor(sorted(labelling.ignored))
    return target.masked_fill(torch.isin(target, ignored), IGNORE_INDEX)


def resized(target: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return a target (*) or (L, *) at another spatial size: of each place the nearest."""
    planes = target.view(1, -1, *target.shape[target.ndim - len(size) :])
    found = F.interpolate(planes.double(), size, mode="nearest-exact").long()
    return found.view(*target.shape[: target.ndim - len(size)], *size)
