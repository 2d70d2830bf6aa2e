"""One image and its mask, decoded and looked through once before any training."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lovasz.study.data.channels import open_channels
from lovasz.study.data.pairs import Pair
from lovasz.study.io.advice import advice
from lovasz.study.io.kinds import UnreadableFileError
from lovasz.study.io.labelling import Labelling
from lovasz.study.io.masks import fits, open_mask
from lovasz.study.io.text import printable
from lovasz.study.io.volumes import check_same_place


@dataclass(frozen=True)
class Seen:
    """What an image and its mask hold."""

    size: tuple[int, ...]
    sums: Any
    squares: Any
    low: Any
    high: Any
    pixels: Any
    digest: str
    shown: str  # hash of the image alone; empty for one of a single value, which many may be
    palette: bytes  # of the mask, as far as it is used
    named: frozenset[int]  # values of the map that the mask holds


def examine(pair: Pair, labelling: Labelling, size: tuple[int, ...] | None) -> Seen:
    with open_channels(pair.images) as opened, open_mask(pair.mask, labelling=labelling) as mask:
        if not fits(pair.mask, mask.shape, opened.shape[1:]):
            hint = "; an array must have its channels first" if opened.shape[:-1] == mask.shape else ""
            raise UnreadableFileError(
                pair.mask,
                f"has the size {mask.shape}, its image {printable(pair.image)} {opened.shape[1:]}; "
                f"expected the same{hint}",
            )
        check_same_place(pair.mask, pair.image)
        image, labels = opened.read(), mask.read().reshape(opened.shape[1:])
    values, counts = np.unique(labels, return_counts=True)
    ignore = sorted(labelling.ignored)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        if value not in ignore and not 0 <= value < labelling.num_classes:
            raise UnreadableFileError(
                pair.mask,
                f"holds the label {value} ({count}x); expected classes 0 to {labelling.num_classes - 1}"
                + (f" or the ignored {', '.join(map(str, ignore))}" if ignore else "")
                + advice(labels, labelling, in_target=True),
            )
    target = torch.from_numpy(labels.astype(np.int64))
    if size and len(size) == target.ndim:  # else it is refused when all are known
        target = resized(target, size)
    counted = target[~torch.isin(target, torch.tensor(ignore))]
    pixels = torch.bincount(counted, minlength=labelling.num_classes).numpy()
    # Of the values that are trained on: what is not 0 in float64 may be so in float32.
    flat = image.reshape(len(image), -1).astype(np.float32).astype(np.float64)
    shown = hashlib.sha256(image.tobytes())
    digest = hashlib.sha256(shown.digest() + labels.tobytes()).hexdigest()
    varied = bool((image != image.flat[0]).any())
    return Seen(
        labels.shape,
        flat.sum(1),
        (flat**2).sum(1),
        flat.min(1),
        flat.max(1),
        pixels,
        digest,
        shown.hexdigest() if varied else "",
        mask.palette,
        mask.named,
    )


def resized(target: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(target[None, None].double(), size, mode="nearest-exact")[0, 0].long()
