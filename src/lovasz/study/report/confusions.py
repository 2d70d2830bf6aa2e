"""Confusion matrices as shades, and the pairs of classes that are confused most."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

# From these shares of a label's pixels on, a cell is one shade darker.
SHADES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
# With more classes the cells hold no text.
WRITTEN = 20
# Pairs that are listed.
LISTED = 15


@dataclass(frozen=True)
class Confused:
    """Pixels of one label that are predicted as another class.

    Attributes:
        label: What they are.
        prediction: What they are taken for.
        pixels: How many.
        of_label: Their share of the label's pixels.
        of_errors: Their share of all wrong pixels.
    """

    label: int
    prediction: int
    pixels: int
    of_label: float
    of_errors: float


def cells(counts: NDArray[np.int64], shown: Sequence[int] | None = None) -> list[list[tuple[int, float, int]]]:
    """Return for each label and prediction their pixels, the share of the label's, and its shade from 0 to 9.

    Args:
        counts: Pixels by (target, prediction), (C, C).
        shown: The classes that are shown, as labels and as predictions; None for all.
    """
    wanted = np.arange(len(counts)) if shown is None else np.asarray(shown)
    part = counts[np.ix_(wanted, wanted)]
    shares = part / np.maximum(counts.sum(1)[wanted, None], 1)
    return [
        list(zip(*(row.tolist() for row in rows), strict=True))
        for rows in zip(part, shares, _shades(shares), strict=True)
    ]


def strokes(counts: NDArray[np.int64]) -> dict[str, str]:
    """Draws a matrix in unit cells: all cells of a shade as the strokes of one SVG path.

    Args:
        counts: Pixels by (target, prediction), (C, C).

    Returns:
        Paths by class, "s1" to "s9", and "own s1" to "own s9" for the diagonal.
    """
    shades = _shades(counts / np.maximum(counts.sum(1, keepdims=True), 1))
    paths: dict[str, str] = {}
    for y, row in enumerate(shades.tolist()):
        x = 0
        for (own, shade), run in groupby((y == place, shade) for place, shade in enumerate(row)):
            length = len(list(run))
            if shade:
                name = f"own s{shade}" if own else f"s{shade}"
                paths[name] = f"{paths.get(name, '')}M{x} {y}.5h{length}"
            x += length
    return paths


def confused(counts: NDArray[np.int64]) -> list[Confused]:
    """Return the pairs of different classes that hold most of the wrong pixels."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    labelled, errors = counts.sum(1), int(wrong.sum())
    found = []
    for cell in np.argsort(-wrong, axis=None, kind="stable")[:LISTED].tolist():
        label, prediction = divmod(cell, len(counts))
        pixels = int(wrong[label, prediction])
        if pixels:
            found.append(Confused(label, prediction, pixels, pixels / int(labelled[label]), pixels / errors))
    return found


def _shades(shares: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.searchsorted(SHADES, shares, side="right")
