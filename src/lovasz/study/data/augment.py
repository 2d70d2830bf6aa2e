"""Random flips, turns, scales, brightness and crops, each sample's decided by its number alone."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lovasz.study.data.parts import IGNORE_INDEX

DESCRIPTIONS = {
    "flip": "mirrored left to right, half of the time",
    "turn": "mirrored and turned by right angles in every way that keeps the sides",
    "scale": "enlarged by 1 to 1.5, half of the time",
    "light": "brightness and contrast changed, half of the time each",
}


def check_names(names: Sequence[str]) -> None:
    """Check that every name is an augmentation.

    Raises:
        ValueError: If one is not.
    """
    for name in names:
        if name not in DESCRIPTIONS:
            raise ValueError(f"--augment must be none or of {', '.join(DESCRIPTIONS)}, got {name!r}")


class Augmentation:
    """MONAI's transforms of an image and its target, with a seed for every sample."""

    def __init__(
        self,
        names: Sequence[str],
        crop: Sequence[int] | None,
        size: Sequence[int],
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
    ) -> None:
        """Build the transforms.

        Args:
            names: Of ``DESCRIPTIONS``.
            crop: Size of a random crop, or None.
            size: Size of what comes out; a quarter turn needs two equal sides.
            mean: Of each channel over the training images; empty: 0.
            std: Its standard deviation; empty: 1.
        """
        from monai import transforms as monai

        keys, dims = ("image", "target"), len(size)
        steps: list[Any] = []
        if "turn" in names:
            steps += [monai.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(dims)]
            if size[0] == size[1]:
                steps.append(monai.RandRotate90d(keys, prob=0.5, max_k=1, spatial_axes=(0, 1)))
        elif "flip" in names:
            # Columns, the last axis of a picture; the first of a volume, which runs from left to right.
            steps.append(monai.RandFlipd(keys, prob=0.5, spatial_axis=1 if dims == 2 else 0))
        if "scale" in names:
            mode = ("bilinear" if dims == 2 else "trilinear", "nearest")
            corners = (False, None)
            steps.append(
                monai.RandZoomd(keys, prob=0.5, min_zoom=1.0, max_zoom=1.5, mode=mode, align_corners=corners)
            )
        if crop is not None:
            steps.append(monai.SpatialPadd("image", crop))
            steps.append(monai.SpatialPadd("target", crop, value=IGNORE_INDEX))
            steps.append(monai.RandSpatialCropd(keys, crop, random_size=False))
        if "light" in names:
            # Both are for mean 0 and standard deviation 1: other images are made so, and then undone.
            axes = (-1, *[1] * dims)
            middle, unit = torch.tensor(mean).view(axes), torch.tensor(std).view(axes)
            if mean:
                steps.append(monai.Lambdad("image", lambda image: (image - middle) / unit))
            steps.append(monai.RandShiftIntensityd("image", offsets=0.3, prob=0.5))
            steps.append(monai.RandScaleIntensityd("image", factors=0.2, prob=0.5))
            if mean:
                steps.append(monai.Lambdad("image", lambda image: image * unit + middle))
        self.transform = monai.Compose(steps)

    def __call__(self, image: Tensor, target: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return the image (C, *) and its target (*) or (L, *), changed as this seed says."""
        self.transform.set_random_state(seed)
        several = target.ndim == image.ndim
        out: Any = self.transform({"image": image, "target": (target if several else target[None]).float()})
        # MONAI's transforms of places make tensors of its own kind.
        image, masks = (out[key].as_subclass(Tensor) for key in ("image", "target"))
        return image.contiguous(), (masks if several else masks[0]).long()
