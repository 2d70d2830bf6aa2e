"""Where volumes lie in space."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.kinds import VOLUMES, UnreadableFileError, suffix
from lovasz.study.io.text import printable


def check_same_place(path: Path, other: Path) -> None:
    """Check that two volumes hold the same voxels of the same body: that their affines agree.

    Raises:
        UnreadableFileError: If both are NIfTI files and their affines differ by more than 1e-3.
    """
    if suffix(path) not in VOLUMES or suffix(other) not in VOLUMES:
        return
    if not np.allclose(_canonical_affine(path), _canonical_affine(other), atol=1e-3):
        raise UnreadableFileError(
            path,
            f"lies elsewhere in space than {printable(other)}: their affines differ; resample one to the grid of "
            "the other",
        )


def _canonical_affine(path: Path) -> NDArray[np.float64]:
    """Return the affine of a volume once its axes are in one order; from the header alone."""
    import nibabel

    volume: Any = nibabel.load(path)
    turns = nibabel.io_orientation(volume.affine)
    affine: NDArray[np.float64] = volume.affine @ nibabel.orientations.inv_ornt_aff(turns, volume.shape)
    return affine
