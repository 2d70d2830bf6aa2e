"""The embedded scene: Indian Pines as principal components, labels and a split by place."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lovasz.study.split import TRAIN, VOID, split_by_place

# PyTorch's default, so that every loss skips these pixels without being told.
IGNORE_INDEX = -100

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
LICENCE = "CC BY 3.0"
LICENCE_URL = "https://creativecommons.org/licenses/by/3.0/"


@dataclass(frozen=True)
class Scene:
    """One labelled image and the part each of its pixels plays.

    Attributes:
        name: What the terminal and the report call it.
        features: Standardised principal components, (C_in, H, W), float32.
        target: Class of each pixel, (H, W), int64; ``IGNORE_INDEX`` where unlabelled.
        split: ``VOID``, ``TRAIN``, ``VAL`` or ``TEST`` for each pixel, (H, W), uint8.
        class_names: One name a class.
        fingerprint: Hash of everything above that comes from the data and its preparation.
        credit: Whose data it is.
        licence: Under what licence.
        licence_url: Where the licence is written.
    """

    name: str
    features: Tensor
    target: Tensor
    split: NDArray[np.uint8]
    class_names: tuple[str, ...]
    fingerprint: str
    credit: str
    licence: str
    licence_url: str

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.class_names)

    def target_of(self, part: int) -> Tensor:
        """Returns the target with every pixel outside ``part`` ignored, (H, W)."""
        return self.target.masked_fill(torch.from_numpy(self.split != part), IGNORE_INDEX)

    def pixels(self, part: int) -> list[int]:
        """Returns the number of pixels of each class in ``part``."""
        labels = self.target[torch.from_numpy(self.split == part)]
        return torch.bincount(labels, minlength=self.num_classes).tolist()


def load_indian_pines() -> Scene:
    """Loads the Indian Pines scene (145 x 145 pixels, 200 bands, 16 classes).

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
    split = split_by_place(target, void=IGNORE_INDEX)
    features = principal_components(cube, split == TRAIN, COMPONENTS)

    digest = hashlib.sha256(f"components={COMPONENTS};void={VOID}".encode())
    for array in (cube, labels, split):
        digest.update(np.ascontiguousarray(array).tobytes())
    return Scene(
        name="Indian Pines",
        features=torch.from_numpy(features).float(),
        target=torch.from_numpy(target),
        split=split,
        class_names=CLASS_NAMES,
        fingerprint=digest.hexdigest()[:16],
        credit=CREDIT,
        licence=LICENCE,
        licence_url=LICENCE_URL,
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
