"""``lovasz evaluate --surface``: the tolerance, and whether targets have the spacing that it needs."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

from lovasz.study.io.kinds import VOLUMES, UnreadableFileError, suffix
from lovasz.study.io.masks import open_mask
from lovasz.study.io.text import printable
from lovasz.study.io.volumes import voxel_sizes, voxel_spacing
from lovasz.study.score.pairing import Pairs
from lovasz.study.score.surfaces import Tolerance

# Spacings of a volume differ by a larger part than this, or its voxels are cubes.
CUBES = 1e-3


def parse_tolerance(text: str) -> Tolerance:
    """Return the tolerance that a text says, a distance of at least 0 with its unit: "2mm" or "1.5px"."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(mm|px)", text)
    if found is None or not math.isfinite(float(found[1])):
        raise ValueError(
            f"--surface must be a distance of at least 0 with its unit, as 2mm or 3px, got {printable(text)}"
        )
    return Tolerance(float(found[1]), found[2])


def with_spacing(tolerance: Tolerance, pairs: Pairs) -> Tolerance:
    """Check the spacing of all targets by their headers.

    Args:
        tolerance: In mm, which every target must have a spacing for, or in pixels.
        pairs: Whose targets are compared; those that cannot be opened are told when they are read.

    Returns:
        The tolerance; in pixels it remarks on volumes whose voxels are not cubes.

    Raises:
        ValueError: If the tolerance is in mm, and a target has no spacing or one in another unit.
    """
    targets = [pairs.paths(image)[1] for image in range(len(pairs.files))]
    if tolerance.unit == "mm":
        for path in targets:
            if suffix(path) not in VOLUMES:
                raise ValueError(
                    f"--surface in mm needs targets with a voxel spacing, NIfTI volumes, and {printable(path)} has "
                    f"none; expected a tolerance in pixels, as {tolerance.distance:g}px"
                )
        for path in _openable(targets, pairs.most):
            voxel_spacing(path)
        return tolerance
    flat = [path for path in _openable(targets, pairs.most) if not _are_cubes(path)]
    if not flat:
        return tolerance
    sizes = " x ".join(f"{size:.4g}" for size in voxel_sizes(flat[0]))
    number = "1 target is" if len(flat) == 1 else f"{len(flat):,} targets are"
    remark = (
        f"The voxels of {number} not cubes ({printable(flat[0])}: {sizes}), and --surface {tolerance.distance:g}px "
        "does not use their spacing: NSD and HD95 are in voxels along every axis."
    )
    return Tolerance(tolerance.distance, tolerance.unit, remark)


def _openable(paths: list[Path], most: int) -> Iterator[Path]:
    """Yield the volumes whose header can be read."""
    for path in paths:
        if suffix(path) in VOLUMES:
            try:
                with open_mask(path, most):
                    yield path
            except UnreadableFileError:
                continue


def _are_cubes(path: Path) -> bool:
    sizes = voxel_sizes(path)
    return max(sizes) <= (1 + CUBES) * min(sizes)
