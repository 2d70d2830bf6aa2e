"""Where volumes lie in space, and labels as a volume that lies where another does."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.kinds import VOLUMES, UnreadableFileError, suffix
from lovasz.study.io.labels import Labels
from lovasz.study.io.names import stem
from lovasz.study.io.text import printable

# Units of a NIfTI header: none, which is read as mm, and mm; the others by name.
MILLIMETRES, OTHER_UNITS = (0, 2), {1: "m", 3: "µm"}


def check_same_place(path: Path, other: Path) -> None:
    """Check that two files hold the same voxels of the same body, as far as they are volumes.

    Raises:
        UnreadableFileError: If both are NIfTI files and their affines differ by more than 1e-3; or one alone is,
            and its axes are turned when it is read.
    """
    volumes = [one for one in (path, other) if suffix(one) in VOLUMES]
    if not volumes:
        return
    if len(volumes) == 1:
        _check_not_turned(volumes[0], other if volumes[0] == path else path)
        return
    if not np.allclose(_canonical_affine(path), _canonical_affine(other), atol=1e-3):
        raise UnreadableFileError(
            path,
            f"lies elsewhere in space than {printable(other)}: their affines differ; resample one to the grid of "
            "the other",
        )


def voxel_sizes(path: Path) -> tuple[float, ...]:
    """Return the size of voxels along each axis as volumes are read, in the unit of the header.

    The header alone is read.
    """
    import nibabel

    return tuple(map(float, nibabel.affines.voxel_sizes(_canonical_affine(path))))


def voxel_spacing(path: Path) -> tuple[float, ...]:
    """Return `voxel_sizes` in mm; a header that leaves the unit open means mm.

    Raises:
        UnreadableFileError: If the header has another unit.
    """
    import nibabel

    volume: Any = nibabel.load(path)
    spacing = voxel_sizes(path)
    code = int(volume.header["xyzt_units"]) % 8
    if code not in MILLIMETRES:
        told = " x ".join(f"{size:.6g}" for size in spacing)
        unit = OTHER_UNITS.get(code, f"of the unknown unit {code}")
        raise UnreadableFileError(path, f"has a voxel spacing of {told} {unit}; expected mm")
    return spacing


def volume_like(path: Path, labels: Labels, kind: str) -> bytes:
    """Return the content of a NIfTI file of labels: the axes, the affine and the units of another volume.

    Args:
        path: The other volume.
        labels: (H, W, D), its axes in the order right, front, up, in which volumes are read.
        kind: One of `VOLUMES`; ``.nii.gz`` is compressed, to the same bytes at any time.
    """
    import nibabel
    from nibabel.orientations import apply_orientation, io_orientation, ornt_transform

    volume: Any = nibabel.load(path)
    as_read = io_orientation(np.eye(4))
    stored = apply_orientation(labels, ornt_transform(as_read, io_orientation(volume.affine)))
    image = type(volume)(stored, volume.affine)
    image.header["xyzt_units"] = volume.header["xyzt_units"]  # as stored: its code may be unknown
    content: bytes = image.to_bytes()
    return gzip.compress(content, mtime=0) if kind == ".nii.gz" else content


def _check_not_turned(volume: Path, array: Path) -> None:
    """Check that a volume is read as it is stored, where the other file of a pair has no affine."""
    import nibabel

    affine = nibabel.load(volume).affine  # type: ignore[attr-defined]
    if np.array_equal(nibabel.io_orientation(affine), nibabel.io_orientation(np.eye(4))):
        return
    axes = "".join(code or "?" for code in nibabel.aff2axcodes(affine))
    paths = (printable(path) for path in (volume, array.with_name(f"{stem(array)}.nii.gz")))
    raise UnreadableFileError(
        array,
        f"has no affine, and {printable(volume)} is turned from {axes} to RAS when it is read, so that nothing "
        "says how the two lie on each other. Save it as NIfTI, with classes or channels as the last axis; if its "
        "axes are those that are stored there: "
        "nibabel.save(nibabel.Nifti1Image(array, nibabel.load({!r}).affine), {!r})".format(*paths),
    )


def _canonical_affine(path: Path) -> NDArray[np.float64]:
    """Return the affine of a volume once its axes are in one order; from the header alone."""
    import nibabel

    volume: Any = nibabel.load(path)
    turns = nibabel.io_orientation(volume.affine)
    affine: NDArray[np.float64] = volume.affine @ nibabel.orientations.inv_ornt_aff(turns, volume.shape)
    return affine
