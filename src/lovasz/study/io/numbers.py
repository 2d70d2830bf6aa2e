"""Checks of the numbers that a file holds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# From here on float64 is rounded to infinity in float32.
BEYOND_FLOAT32 = 2.0**128 - 2.0**103


def below(values: NDArray[np.floating[Any]], bound: float) -> bool:
    """Return whether all are numbers of less than a bound, which their type may not reach; NaN is none."""
    return bool(_is_below(values, bound).all())


def _is_below(values: NDArray[np.floating[Any]], bound: float) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.abs(values) < (bound if float(np.finfo(values.dtype).max) >= bound else np.inf)
    return found


def not_finite(values: NDArray[Any]) -> str:
    """Return how many values are not finite in float32, of which kind, and where the first is; empty if none."""
    if not np.issubdtype(values.dtype, np.floating):
        return ""
    wrong = ~_is_below(values, BEYOND_FLOAT32)
    if not wrong.any():
        return ""
    nan, infinite = np.isnan(values), np.isinf(values)
    beyond = wrong & ~nan & ~infinite
    kinds = ((nan, "NaN"), (infinite, "infinite"), (beyond, "beyond float32"))
    counts = [f"{int(found.sum()):,} {name}" for found, name in kinds if found.any()]
    first = np.unravel_index(int(wrong.argmax()), values.shape)
    plural = "values that are" if int(wrong.sum()) > 1 else "a value that is"
    return f"{plural} not finite in float32 ({', '.join(counts)}), the first at {tuple(map(int, first))}"
