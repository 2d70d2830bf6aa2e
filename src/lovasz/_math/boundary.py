"""The boundary regions of all classes of a mask at once, by the lowest and highest label near each pixel.

A pixel lies inside its class, further than d from every other, if and only if the window of 2 d + 1 pixels a side
around it lies in the image and the lowest and highest of its labels that count are equal. Windows of doubling size
give both in log2(2 d + 1) passes an axis, for any number of classes.
"""

import torch
from torch import Tensor


def boundary(labels: Tensor, valid: Tensor, distance: int) -> Tensor:
    """Return which pixels lie within a distance of another class, or of the edge of the image.

    The distance is the largest of those along the axes, as of a square that erodes. A pixel that does not count is
    neither of a class nor of another: it lies on no boundary and makes none.

    Args:
        labels: (N, *), integer, from 0 on; anything where not valid.
        valid: (N, *), bool.
        distance: in pixels, at least 1.

    Returns:
        (N, *), bool.
    """
    found = valid.clone()
    if min(labels.shape[1:]) > 2 * distance:
        # The complement turns the order of integers round: the highest label is that of the lowest complement. With
        # these bits set, a value is as high as that of any label, or of any complement: -1 where there is a sign.
        void = (~valid).to(labels.dtype) * torch.iinfo(labels.dtype).max
        lowest, highest = (_lowest(values | void, 2 * distance + 1) for values in (labels, ~labels))
        inner = tuple(slice(distance, size - distance) for size in labels.shape[1:])
        found[(slice(None), *inner)] &= lowest != ~highest
    return found


def _lowest(values: Tensor, side: int) -> Tensor:
    """Return the lowest value in each window of so many pixels a side that lies in the image."""
    for axis in range(1, values.ndim):
        size = 1
        while size < side:
            step = min(size, side - size)
            length = values.shape[axis] - step
            values = torch.minimum(values.narrow(axis, 0, length), values.narrow(axis, step, length))
            size += step
    return values
