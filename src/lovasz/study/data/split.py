"""Cuts a labelled scene into training, validation and test pixels by place."""

import numpy as np
from numpy.typing import NDArray

VOID, TRAIN, VAL, TEST = 0, 1, 2, 3
FRACTIONS = {TRAIN: 0.5, VAL: 0.2, TEST: 0.3}


def split_by_place(target: NDArray[np.int64], void: int) -> NDArray[np.uint8]:
    """Cuts every field along its longer axis into 50 / 20 / 30 % train / val / test.

    A field is a connected component of one class (4-neighbours). Its pixels are ordered along the
    longer side of its bounding box and cut in two places, so that each part is one contiguous
    stretch. Random pixels would leak: neighbours in one field are nearly copies of each other.

    Args:
        target: Class of each pixel, (H, W).
        void: The label of pixels that belong to no class.

    Returns:
        (H, W): ``VOID``, ``TRAIN``, ``VAL`` or ``TEST`` for each pixel.

    Example:
        >>> import numpy as np
        >>> split_by_place(np.zeros((1, 10), dtype=np.int64), void=-1)
        array([[1, 1, 1, 1, 1, 2, 2, 3, 3, 3]], dtype=uint8)
    """
    from scipy import ndimage  # here, so that `lovasz info` starts without SciPy

    split = np.full(target.shape, VOID, dtype=np.uint8)
    for label in np.unique(target[target != void]):
        fields, number = ndimage.label(target == label)
        for field in range(1, number + 1):
            pixels = np.argwhere(fields == field)
            height, width = np.ptp(pixels, axis=0) + 1
            along, across = (0, 1) if height >= width else (1, 0)
            pixels = pixels[np.lexsort((pixels[:, across], pixels[:, along]))]
            # The test part is rounded first: it is the one that is reported.
            test = round(FRACTIONS[TEST] * len(pixels))
            val = round(FRACTIONS[VAL] * len(pixels))
            train = len(pixels) - val - test
            for part, rows in (
                (TRAIN, pixels[:train]),
                (VAL, pixels[train : train + val]),
                (TEST, pixels[train + val :]),
            ):
                split[rows[:, 0], rows[:, 1]] = part
    return split
