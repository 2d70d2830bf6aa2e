"""Small pictures inside a page: images, classes and errors as data URIs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.palette import rgb
from lovasz.study.report import page

# Light is right and dark is wrong, for an eye that sees no colour as well; dots: the other way round with the
# baseline. None is a colour of the first losses.
RIGHT, WRONG = "#d5e3c2", "#a3086a"
GAINED, LOST = "#0b5c4a", "#ffd166"
LINES = "#8a8a8a"
# Opacity of what is predicted where there is no label.
FAINT = 0.22
# Pixels of the copy on which the numbers are placed, along the longer side.
COARSE = 120


@dataclass(frozen=True)
class Map:
    """A picture of classes.

    Attributes:
        source: The picture as a data URI.
        numbers: Label, and place from the left and from the top in percent, of each large region.
    """

    source: str
    numbers: list[tuple[int, float, float]]


def truth_map(target: NDArray[np.int64], void: NDArray[np.bool_], colours: Sequence[str], side: int) -> Map:
    """Draws the target; void is clear and hatched.

    Args:
        target: Class of each pixel, (H, W); any number where void.
        void: Which pixels have none, (H, W).
        colours: One a class, ``#rrggbb``.
        side: Pixels along the longer side of the picture.
    """
    target, void = _fit(target, side), _fit(void, side)
    lines = np.where(_diagonals(void.shape), len(colours), len(colours) + 1)
    indices = np.where(void, lines, target)
    return Map(_png(indices, [*map(_rgba, colours), _rgba(LINES, 0.5), _rgba(LINES, 0)]), numbers(target, void))


def prediction_map(
    prediction: NDArray[np.int64], void: NDArray[np.bool_], colours: Sequence[str], side: int
) -> Map:
    """Draws a prediction; what it says of void pixels is faint."""
    prediction, void = _fit(prediction, side), _fit(void, side)
    indices = prediction + len(colours) * void
    table = [_rgba(colour, opacity) for opacity in (1.0, FAINT) for colour in colours]
    return Map(_png(indices, table), numbers(prediction, void))


def error_map(
    wrong: NDArray[np.bool_], before: NDArray[np.bool_] | None, void: NDArray[np.bool_], side: int
) -> str:
    """Draws which pixels are wrong: right is light, wrong dark, void clear and hatched.

    Args:
        wrong: Which are wrong, (H, W).
        before: Which are wrong with the baseline; pixels that differ are dotted. None for the
            baseline itself.
        void: Which do not count.
        side: Pixels along the longer side.
    """
    wrong, void = _fit(wrong, side), _fit(void, side)
    indices = wrong.astype(np.int64)
    if before is not None:
        y, x = np.indices(wrong.shape)
        dots = (x % 3 != 2) & (y % 3 != 2) & ((x // 3 + y // 3) % 2 == 0)
        indices = np.where((wrong != _fit(before, side)) & dots, indices + 2, indices)
    indices = np.where(void, np.where(_diagonals(void.shape), 4, 5), indices)
    return _png(indices, [*map(_rgba, (RIGHT, WRONG, GAINED, LOST)), _rgba(LINES, 0.5), _rgba(LINES, 0)])


def photo(image: NDArray[np.floating[Any]], side: int) -> str:
    """Draws the first three channels of an image (C, H, W), or the first alone, from its 1st to 99th percentile."""
    image = image[: 3 if len(image) >= 3 else 1]
    low, high = np.percentile(image, (1, 99))
    levels = (255 * (image - low) / ((high - low) or 1)).clip(0, 255).astype(np.uint8)
    return page.photo(np.moveaxis(levels, 0, -1), side)


def _fit(plane: NDArray[Any], side: int) -> NDArray[Any]:
    """Take each n-th pixel, or repeats pixels where there are few, so that patterns are as fine everywhere."""
    longer = max(plane.shape)
    step = -(-longer // side)
    again = max(1, side // longer)
    return plane[::step, ::step].repeat(again, 0).repeat(again, 1)


def _diagonals(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    y, x = np.indices(shape)
    lines: NDArray[np.bool_] = (x + y) % 9 == 0
    return lines


def numbers(labels: NDArray[np.int64], void: NDArray[np.bool_]) -> list[tuple[int, float, float]]:
    """Places the number of each class in its largest region, if that is large enough to hold one.

    Args:
        labels: Class of each pixel, (H, W); any number where void.
        void: Which pixels have none.

    Returns:
        Label, and place from the left and from the top in percent.
    """
    from scipy.ndimage import distance_transform_edt

    step = -(-max(labels.shape) // COARSE)
    coarse = np.where(void, -1, labels.astype(np.int64))[::step, ::step]
    room = 0.05 * max(coarse.shape)
    placed = []
    for label, pixels in enumerate(np.bincount(coarse[coarse >= 0])):
        if pixels < room**2:  # no disc of that radius
            continue
        depth = distance_transform_edt(np.pad(coarse == label, 1))[1:-1, 1:-1]
        if depth.max() > room:
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            left, top = 100 * (x + 0.5) / coarse.shape[1], 100 * (y + 0.5) / coarse.shape[0]
            placed.append((label, round(float(left), 1), round(float(top), 1)))
    return placed


def _png(indices: NDArray[np.int64], table: Sequence[tuple[int, int, int, int]]) -> str:
    occurs = np.bincount(indices.ravel(), minlength=len(table)) > 0
    return page.indexed((np.cumsum(occurs) - 1)[indices], np.array(table, dtype=np.uint8)[occurs])


def _rgba(colour: str, opacity: float = 1.0) -> tuple[int, int, int, int]:
    return *rgb(colour), round(255 * opacity)
