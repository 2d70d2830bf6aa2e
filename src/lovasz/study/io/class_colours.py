"""Colours of classes for which nobody gave any: calm, and told apart with any colour vision, while they are few."""

from collections.abc import Sequence

from lovasz.study.io.palette import palette

# CARTO's "Safe", made for colour-blind readers, the strongest first; its grey is that of the background.
SAFE = (
    "#332288", "#cc6677", "#ddcc77", "#117733", "#88ccee", "#882255", "#44aa99", "#999933", "#aa4499",
    "#6699cc", "#661100",
)  # fmt: skip
NEUTRAL = "#d3d3cf"


def background_of(names: Sequence[str], pixels: Sequence[int]) -> int:
    """Return the class named "background", else the one with more than half of the pixels; -1 for none.

    Args:
        names: Names of the classes.
        pixels: Labelled pixels of each.
    """
    named = [label for label, name in enumerate(names) if name.strip().lower() == "background"]
    most = [label for label, number in enumerate(pixels) if 2 * number > sum(pixels)]
    return next(iter(named + most), -1)


def class_colours(number: int, background: int = -1) -> list[str]:
    """Return a colour for each class.

    Args:
        number: How many classes there are.
        background: The class that is no thing, which is grey; -1 for none.

    Returns:
        Colours as ``#rrggbb``, all different.

    Example:
        >>> class_colours(3, background=0)
        ['#d3d3cf', '#332288', '#cc6677']
    """
    others = number - (0 <= background < number)
    colours = list(SAFE[:others]) if others <= len(SAFE) else palette(others)
    if others < number:
        colours.insert(background, NEUTRAL)
    return colours
