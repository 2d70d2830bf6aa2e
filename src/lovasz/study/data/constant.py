"""What does not vary: images of one value, and channels that have one value in all training images."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.data.parts import TRAIN
from lovasz.study.io.text import printable

# Images that are named; of more the number is said.
NAMED = 5


class Constants:
    """Gather the lowest and the highest value of each channel.

    Attributes:
        images: Those of one value, and how many there are in all.
        low: The lowest value of each channel in training, in float32.
        high: The highest.
    """

    def __init__(self) -> None:
        self.images, self.number = list[Path](), 0
        self.low: Any = np.inf
        self.high: Any = -np.inf

    def add(self, part: str, image: Path, low: NDArray[Any], high: NDArray[Any]) -> None:
        """Take in the lowest and the highest value of each channel (C,) of an image."""
        self.number += 1
        if (low == high).all():
            self.images.append(image)
        if part == TRAIN:
            self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)

    @property
    def channels(self) -> NDArray[np.bool_]:
        """Which channels have one value in all training images, (C,)."""
        return np.asarray(self.low == self.high)

    def warnings(self) -> list[str]:
        """Say what does not vary."""
        said = []
        if self.images:
            named = ", ".join(map(printable, self.images[:NAMED])) + (", ..." if len(self.images) > NAMED else "")
            verbs = "is constant, and shows" if len(self.images) == 1 else "are constant, and show"
            said.append(f"{len(self.images)} of {self.number} images {verbs} nothing: {named}")
        for channel in np.flatnonzero(self.channels).tolist():
            said.append(
                f"channel {channel + 1} of {len(self.low)} is {self.low[channel]:g} in every training image (in "
                "float32), and tells nothing"
            )
        return said
