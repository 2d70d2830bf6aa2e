"""NSD and HD95 of each class in an image, from the surfaces and distances of MONAI."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.labels import Labels
from lovasz.study.score.rows import Rows

PERCENTILE = 95
# What is measured of each class, in the order of the columns of `Surfaces`.
MEASURED = ("nsd", "hd95")


@dataclass(frozen=True)
class Tolerance:
    """How far apart two surfaces may lie and agree.

    Attributes:
        distance: In the unit, at least 0.
        unit: "mm", by the spacing of the voxels, or "px", of pixels or voxels whatever their spacing.
        remark: What a reader must know of the spacing, a sentence; empty for nothing.
    """

    distance: float
    unit: str
    remark: str = ""

    def __str__(self) -> str:
        """Return it as it is told, as "2 mm"."""
        return f"{self.distance:g} {self.unit}"


@dataclass(frozen=True)
class Surfaces:
    """What was measured of surfaces.

    Attributes:
        tolerance: That of NSD.
        rows: Of each image, in the order of names, the bits of (C, 2) float64; `blocks` reads them.
    """

    tolerance: Tolerance
    rows: Rows

    def blocks(self) -> Iterator[NDArray[np.float64]]:
        """Yield NSD and HD95 of the classes in the images that were counted, (n, C, 2)."""
        for _, bits in self.rows.blocks():
            yield bits.view(np.float64)

    def __getitem__(self, image: int) -> NDArray[np.float64]:
        """Return NSD and HD95 of the classes in an image, (C, 2)."""
        return self.rows[image].view(np.float64)


def import_monai() -> None:
    """Import what `image_surfaces` needs, which takes seconds: before several threads need it at once."""
    import monai.metrics.utils  # noqa: F401


def image_surfaces(
    prediction: Labels,
    target: Labels,
    num_classes: int,
    ignored: Collection[int],
    tolerance: Tolerance,
    spacing: Sequence[float] | None = None,
) -> NDArray[np.float64]:
    """Return NSD and HD95 of each class in one image.

    The surface of a class is its pixels with a neighbour along an axis that is not the class, or is outside
    the image. With the distances from each pixel of either surface to the other surface,

        NSD = those within the tolerance / all        HD95 = max of the 95th percentiles, each way

    Args:
        prediction: Class indices, two axes or more; anything where the target is ignored.
        target: Classes or ignored labels, of the same shape.
        num_classes: C.
        ignored: Labels whose pixels are of no class, in prediction and target.
        tolerance: Of NSD.
        spacing: Distance of neighbours along each axis, in the unit of the tolerance; None for 1.

    Returns:
        (C, 2) float64: NaN for a class that is in neither mask, or ignored; 0 and the length of the diagonal of the
        image for one that is in one of them alone.
    """
    from monai.metrics.utils import get_mask_edges, get_surface_distance
    from scipy.ndimage import find_objects

    # Along an axis of length 1 every pixel would be at the edge of the image.
    axes = [axis for axis, size in enumerate(target.shape) if size > 1] or [0]
    shape = [target.shape[axis] for axis in axes]
    steps = [1.0 if spacing is None else float(spacing[axis]) for axis in axes]
    diagonal = math.hypot(*(size * step for size, step in zip(shape, steps, strict=True)))
    counted = ~np.isin(target, sorted(ignored))
    # From 1 on, and 0 for no class; beyond int32 there are ignored labels alone.
    sides = [((side.astype(np.int32) + 1) * counted).reshape(shape) for side in (prediction, target)]

    values = np.full((num_classes, 2), np.nan)
    places = zip(*(find_objects(side, num_classes) for side in sides), strict=True)
    for label, (first, second) in enumerate(places):
        if label in ignored or (first is None and second is None):
            continue
        if first is None or second is None:
            values[label] = 0, diagonal
            continue
        box = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
        # Beyond the box there is no pixel of the class; nor, to MONAI, beyond an array.
        edges = get_mask_edges(*(side[box] == label + 1 for side in sides), crop=False)
        distances = [get_surface_distance(one, other, spacing=steps) for one, other in (edges, edges[::-1])]
        within = sum(int((one <= np.float32(tolerance.distance)).sum()) for one in distances)
        values[label] = (
            within / sum(map(len, distances)),
            max(np.percentile(np.asarray(one, dtype=np.float64), PERCENTILE) for one in distances),
        )
    return values
