"""Points and lines in the square of a small chart, for the reports of both commands."""

import numpy as np
from numpy.typing import NDArray

# Sides of a small chart.
SQUARE = 100


def places(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return where points of 0 to 1 lie in a square of ``SQUARE``, across and down, but for those that are NaN."""
    known = np.isfinite(x) & np.isfinite(y)
    return list(zip((SQUARE * x[known]).tolist(), (SQUARE * (1 - y[known])).tolist(), strict=True))


def path(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Return the line through these points."""
    found = places(x, y)
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in found) if found else ""
