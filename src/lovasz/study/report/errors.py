"""Which error a pixel is, seen from some classes: missed, invented, or between others; and a picture of it."""

from collections.abc import Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.palette import rgb
from lovasz.study.report import page
from lovasz.study.report.maps import LINES, RIGHT

# Kinds of pixels. They differ in lightness; invented ones are striped, those that do not count hatched on white.
CORRECT, MISSED, INVENTED, OTHER, VOID = range(5)
COLOURS = (RIGHT, "#6b0848", "#f0a030", "#5f7386", "#ffffff")
# The stripes of invented pixels, and the hatching of those that do not count.
STRIPE = "#5a3300"


@dataclass(frozen=True)
class Regarded:
    """The classes whose errors are told apart, and their name."""

    labels: frozenset[int]
    name: str


def regarded(names: tuple[str, ...], background: int, most: int) -> Regarded:
    """Return the classes whose errors a map tells apart: all but the background, or without one a single class.

    Args:
        names: Names of the classes.
        background: The class that is no thing; -1 for none.
        most: The class to take where there is none, that with most errors.
    """
    if background < 0:
        return Regarded(frozenset({most}), names[most])
    labels = frozenset(range(len(names))) - {background}
    if len(labels) == 1:
        (label,) = labels
        return Regarded(labels, names[label])
    return Regarded(labels, f"all but {names[background]}")


def error_kinds(
    prediction: NDArray[np.int64], target: NDArray[np.int64], void: NDArray[np.bool_], labels: Set[int]
) -> NDArray[np.int64]:
    """Return the kind of each pixel.

    Args:
        prediction: Predicted class of each pixel, (H, W).
        target: Labelled class of each pixel, (H, W).
        void: Which pixels do not count, (H, W).
        labels: The classes regarded: one of them that is labelled and predicted as no one of them is missed, the
            other way round invented.
    """
    wanted, found = np.isin(target, list(labels)), np.isin(prediction, list(labels))
    kinds = np.select([wanted & ~found, found & ~wanted, prediction != target], [MISSED, INVENTED, OTHER], CORRECT)
    return np.where(void, VOID, kinds)


def error_picture(kinds: NDArray[np.int64]) -> str:
    """Draw the kinds of pixels (H, W) as a data URI."""
    y, x = np.indices(kinds.shape)
    stripes, lines = (y - x) % 4 == 0, (x + y) % 8 < 2
    indices = np.where((kinds == INVENTED) & stripes, len(COLOURS), kinds)
    indices = np.where((kinds == VOID) & lines, len(COLOURS) + 1, indices)
    return page.indexed(indices, np.array([rgb(colour) for colour in (*COLOURS, STRIPE, LINES)], dtype=np.uint8))
