"""The embedded scene: Indian Pines as principal components, labels and a split by place."""

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lovasz.study.data import split
from lovasz.study.data.parts import IGNORE_INDEX, TEST, TRAIN, VAL, Data, Part
from lovasz.study.io.palette import palette

COMPONENTS = 30

# The names of the ground truth's labels 1 to 16; label 0 is unlabelled.
CLASS_NAMES = (
    "Alfalfa",
    "Corn-notill",
    "Corn-mintill",
    "Corn",
    "Grass-pasture",
    "Grass-trees",
    "Grass-pasture-mowed",
    "Hay-windrowed",
    "Oats",
    "Soybean-notill",
    "Soybean-mintill",
    "Soybean-clean",
    "Wheat",
    "Woods",
    "Buildings-Grass-Trees-Drives",
    "Stone-Steel-Towers",
)

CREDIT = (
    "Baumgardner, M. F., Biehl, L. L., Landgrebe, D. A. (2015). 220 Band AVIRIS Hyperspectral "
    "Image Data Set: June 12, 1992 Indian Pine Test Site 3. Purdue University Research Repository. "
    "doi:10.4231/R7RX991C"
)
NOTES = (
    "Each connected field of a class is cut along its longer side into contiguous 50 / 20 / 30 % training, "
    "validation and test pixels, never at random: neighbouring pixels are nearly copies, and random pixels would "
    "leak the answer.",
    "Bands are standardised and projected on 30 principal components, both fitted on training pixels alone.",
)
LICENCE = "CC BY 3.0"
LICENCE_URL = "https://creativecommons.org/licenses/by/3.0/"


def load_indian_pines() -> Data:
    """Load the Indian Pines scene (145 x 145 pixels, 200 bands, 16 classes).

    The cube and its labels come with the TensorLy package: nothing is downloaded. Bands are
    standardised and projected on their 30 first principal components, both fitted on training
    pixels alone, and each component is scaled to unit variance there.

    Returns:
        The scene, split by place.
    """
    from tensorly.datasets.data_imports import load_indian_pines as load

    bunch = load()
    cube = np.asarray(bunch.tensor, dtype=np.float64)
    labels = np.asarray(bunch.ticks[0], dtype=np.int64)
    target = np.where(labels == 0, IGNORE_INDEX, labels - 1)
    parts = split.split_by_place(target, void=IGNORE_INDEX)
    features = principal_components(cube, parts == split.TRAIN, COMPONENTS)

    digest = hashlib.sha256(f"components={COMPONENTS};void={split.VOID}".encode())
    for array in (cube, labels, parts):
        digest.update(np.ascontiguousarray(array).tobytes())
    return scene_data(
        "Indian Pines",
        torch.from_numpy(features).float(),
        torch.from_numpy(target),
        parts,
        CLASS_NAMES,
        fingerprint=digest.hexdigest()[:16],
        notes=NOTES,
        credit=CREDIT,
        licence=LICENCE,
        licence_url=LICENCE_URL,
    )


def scene_data(
    name: str,
    features: Tensor,
    target: Tensor,
    parts: NDArray[np.uint8],
    class_names: tuple[str, ...],
    **described: Any,
) -> Data:
    """Make data of one labelled image whose pixels play different parts.

    Args:
        name: What it is called.
        features: The image, (C_in, H, W).
        target: Class of each pixel, (H, W), ``IGNORE_INDEX`` where unlabelled.
        parts: What part each pixel plays, (H, W), as in ``split``.
        class_names: One name a class.
        described: The other fields of ``Data``.

    Returns:
        Data with the one image in every part, each with the target of that part alone.
    """
    made = {}
    for part, number in ((TRAIN, split.TRAIN), (VAL, split.VAL), (TEST, split.TEST)):
        of_part = target.masked_fill(torch.from_numpy(parts != number), IGNORE_INDEX)
        pixels = torch.bincount(of_part[of_part != IGNORE_INDEX], minlength=len(class_names))
        made[part] = Part([name], [(features, of_part)], pixels.tolist())
    return Data(
        name=name,
        class_names=class_names,
        colours=tuple(palette(len(class_names))),
        channels=len(features),
        dims=2,
        sizes=(tuple(target.shape),),
        parts=made,
        **described,
    )


def principal_components(cube: NDArray[np.float64], fit: NDArray[np.bool_], number: int) -> NDArray[np.float64]:
    """Projects every pixel's bands on the first principal components of some pixels.

    Args:
        cube: (H, W, B), B bands.
        fit: (H, W), True where a pixel may be learned from; mean, scale and axes come from these.
        number: Components to keep.

    Returns:
        (number, H, W), zero mean and unit variance over the ``fit`` pixels.
    """
    known = cube[fit]
    mean, scale = known.mean(axis=0), known.std(axis=0)
    scale[scale == 0] = 1.0  # a dead band stays at zero instead of dividing by it
    _, axes = np.linalg.eigh(np.cov((known - mean) / scale, rowvar=False))
    axes = axes[:, ::-1][:, :number]
    # An eigenvector's sign is the solver's whim; its largest entry is made positive.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(number)])
    projected = (cube - mean) / scale @ axes
    return np.moveaxis(projected / projected[fit].std(axis=0), -1, 0)
