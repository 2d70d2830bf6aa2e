"""Data that train in milliseconds: one scene of 20 x 24 pixels, and folders of small pictures or volumes."""

from pathlib import Path

import numpy as np
import torch

from lovasz.study.data.parts import IGNORE_INDEX, Data
from lovasz.study.data.scene import scene_data
from lovasz.study.data.split import split_by_place

CLASSES = ("Ground", "Square", "Disc")
VOID = 9


def tiny_scene() -> Data:
    """Four fields on an unlabelled ground, each with a mean of its own in five channels."""
    target = np.full((20, 24), IGNORE_INDEX, dtype=np.int64)
    target[1:9, 1:11] = 0
    target[1:9, 12:23] = 1
    target[11:19, 1:15] = 2
    target[12:18, 17:22] = 3
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(5, 5, generator=generator)
    noise = torch.randn(5, 20, 24, generator=generator)
    labels = torch.from_numpy(np.where(target == IGNORE_INDEX, 4, target))
    return scene_data(
        "Tiny",
        means[labels].permute(2, 0, 1) + noise,
        torch.from_numpy(target),
        split_by_place(target, void=IGNORE_INDEX),
        ("First", "Second", "Third", "Fourth"),
        fingerprint="tiny",
        notes=("Made by its test.",),
        credit="Made by its test.",
        licence="none",
        licence_url="nowhere",
    )


def picture(number: int, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Returns an image (*, 3), uint8, and its mask: a square and a disc, of other colours, and a void corner."""
    random = np.random.default_rng(number)
    mask = np.zeros(size, dtype=np.uint8)
    grid = np.indices(size)
    corner = [random.integers(1, side - 8) for side in size]
    mask[tuple(slice(first, first + 6) for first in corner)] = 1
    centre = [random.integers(4, side - 4) for side in size]
    mask[sum((axis - middle) ** 2 for axis, middle in zip(grid, centre, strict=True)) < 12] = 2
    mask[tuple(slice(2) for _ in size)] = VOID
    colours = np.array([[60, 60, 60], [200, 80, 60], [60, 90, 210]] + [[0, 0, 0]] * 7)
    image = colours[mask] + random.integers(-30, 30, (*size, 3))
    return image.clip(0, 255).astype(np.uint8), mask


def tiny_folder(folder: Path, size: tuple[int, ...] = (20, 24), number: int = 6) -> Path:
    """Writes train, val and test with images and masks and a classes.txt; volumes as NIfTI."""
    seed = 0
    for part, many in (("train", number), ("val", 2), ("test", 3)):
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True)
        for index in range(many):
            image, mask = picture(seed := seed + 1, size)
            write(folder / part / "images", folder / part / "masks", f"{part}{index}", image, mask)
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return folder


def write(images: Path, masks: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    """Writes one pair."""
    if mask.ndim == 3:
        import nibabel

        nibabel.save(nibabel.Nifti1Image(image[..., 0].astype(np.float32), np.eye(4)), images / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), masks / f"{name}.nii.gz")
        return
    from PIL import Image

    Image.fromarray(image).save(images / f"{name}.png")
    Image.fromarray(mask).save(masks / f"{name}.png")
