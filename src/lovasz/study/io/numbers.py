"""Checks of the numbers that a file holds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def below(values: NDArray[np.floating[Any]], bound: float) -> bool:
    """Returns whether all are numbers of less than a bound, which their type may not reach; NaN is none."""
    bound = bound if float(np.finfo(values.dtype).max) >= bound else np.inf
    return bool((np.abs(values) < bound).all())
