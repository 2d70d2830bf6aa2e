"""Colours of classes that nobody gave: different, calm, and told apart by eyes that lack a kind of cone."""

import itertools

import numpy as np
import pytest

from lovasz.study.io.class_colours import NEUTRAL, SAFE, background_of, class_colours
from lovasz.study.io.palette import palette, rgb

# Machado, Oliveira and Fernandes 2009: linear RGB as it is seen without the cones for long, medium, short waves.
SIGHT = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour: str, sight: str) -> np.ndarray:
    """CIELAB of a colour as somebody sees it."""
    share = np.array(rgb(colour)) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(np.maximum(XYZ @ np.clip(SIGHT[sight] @ linear, 0, 1) / (0.9505, 1, 1.089), 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(colours: list[str], sight: str) -> float:
    """How far the two nearest colours lie apart."""
    return min(
        float(np.linalg.norm(lab(one, sight) - lab(other, sight)))
        for one, other in itertools.combinations(colours, 2)
    )


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize(("number", "apart"), [(2, 50), (3, 25), (5, 15)])
def test_a_few_classes_are_told_apart_by_any_eye(number: int, apart: float, sight: str) -> None:
    assert distance(class_colours(number, background=0), sight) > apart


@pytest.mark.parametrize("number", range(1, 30))
def test_all_colours_differ_and_only_the_background_is_grey(number: int) -> None:
    for background in {-1, 0, number - 1}:
        colours = class_colours(number, background)
        assert len(set(colours)) == len(colours) == number
        assert [label for label, colour in enumerate(colours) if colour == NEUTRAL] == [background] * (
            background >= 0
        )
        assert (set(colours) <= {NEUTRAL, *SAFE}) == (number - (background >= 0) <= len(SAFE))
    assert class_colours(number)[: len(SAFE)] == (list(SAFE[:number]) if number <= len(SAFE) else palette(11))


@pytest.mark.parametrize(
    ("names", "pixels", "background"),
    [
        (("cell", " Background"), (9, 1), 1),
        (("0", "1"), (1, 9), 1),
        (("sky", "road", "car"), (4, 4, 1), -1),
        (("sky", "road"), (0, 0), -1),
        (("sky", "road"), (5, 5), -1),
    ],
)
def test_a_background_is_named_so_or_holds_most_pixels(
    names: tuple[str, ...], pixels: tuple[int, ...], background: int
) -> None:
    assert background_of(names, pixels) == background


def test_the_background_is_neither_red_nor_green() -> None:
    red, green, blue = rgb(NEUTRAL)
    assert max(red, green, blue) - min(red, green, blue) < 10
