"""Maps of labels: which class each value that a mask stores stands for."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]

# The labelIds of Cityscapes in the order of its 19 trainIds; license plate is -1, and 255 is void of trainIds.
CITYSCAPES = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES_VOID = (-1, *(label for label in range(34) if label not in CITYSCAPES), 255)
ADE20K = range(1, 151)
# Maps of values that are this close together are looked up in a table.
TABLE = 2**16
# Values that a sentence lists.
SHOWN = 5
PAIR = re.compile(r"(-?\d{1,10}):(-?\d{1,10}|void)")


@dataclass(frozen=True)
class LabelMap:
    """Which label each value becomes.

    Attributes:
        name: How it was asked for, for messages: ``--map 255:1``.
        pairs: Each value, in ascending order, with its label; None is void.
        complete: Whether a value that is not named is an error; else it stays as it is.
        num_classes: How many classes it makes, where it says so.
    """

    name: str
    pairs: tuple[tuple[int, int | None], ...]
    complete: bool = False
    num_classes: int | None = None


def _ready(name: str, classes: Iterable[int], void: Iterable[int]) -> LabelMap:
    values = {value: label for label, value in enumerate(classes)}
    pairs = sorted({**values, **dict.fromkeys(void)}.items())
    return LabelMap(f"--map {name}", tuple(pairs), complete=True, num_classes=len(values))


READY = {
    "cityscapes": _ready("cityscapes", CITYSCAPES, CITYSCAPES_VOID),
    "ade20k": _ready("ade20k", ADE20K, (0,)),
}


def parse_map(text: str, option: str = "--map") -> LabelMap:
    """Read a map of an option: ``255:1``, ``0:void,7:0``, or the name of one of ``READY``.

    Args:
        text: What was given.
        option: The option, for messages.

    Raises:
        ValueError: If it is none of them or names a value twice.

    Example:
        >>> parse_map("7:0,0:void").pairs
        ((0, None), (7, 0))
    """
    if text.strip() in READY:
        return READY[text.strip()]
    pairs: dict[int, int | None] = {}
    for part in text.split(","):
        found = PAIR.fullmatch(part.strip())
        if not found:
            raise ValueError(
                f"{option} must be pairs of a stored value and its label, as 0:void,7:0, or one of "
                f"{', '.join(READY)}, got {text!r}"
            )
        value = int(found[1])
        if value in pairs:
            raise ValueError(f"{option} {text}: names the value {value} twice")
        pairs[value] = None if found[2] == "void" else int(found[2])
    return LabelMap(f"{option} {text}", tuple(sorted(pairs.items())))


def listed(values: Sequence[int]) -> str:
    """Return values in words: "the value 7", "the values 1, 2, 3, 4, 5 and 12 more"."""
    words = ", ".join(map(str, values[:SHOWN])) + (
        f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    )
    return f"the value{'' if len(values) == 1 else 's'} {words}"


def occurring(values: Labels) -> list[int]:
    """Return the values that occur, in ascending order."""
    if values.dtype == np.uint8:  # as most masks are
        return [int(value) for value in np.flatnonzero(np.bincount(values.ravel()))]
    low, high = int(values.min()), int(values.max())
    if high - low >= TABLE:
        return [int(value) for value in np.unique(values)]
    return [low + int(place) for place in np.flatnonzero(np.bincount(values.ravel().astype(np.int64) - low))]


def replace(values: Labels, label_of: Mapping[int, int]) -> Labels:
    """Replace every value by its label.

    Args:
        values: Any shape.
        label_of: A label for each value that occurs.
    """
    labels = np.array(list(label_of.values()), dtype=np.int64)
    keys = np.array(list(label_of), dtype=np.int64)
    if values.dtype == np.uint8 and labels.min() >= 0 and labels.max() <= 255:  # an eighth of the time of an index
        of_each = bytearray(256)
        for key, label in label_of.items():
            of_each[key] = label
        return np.frombuffer(bytearray(values.tobytes()).translate(of_each), dtype=np.uint8).reshape(values.shape)
    low, high = int(keys.min()), int(keys.max())
    table: Labels = np.zeros(min(high - low, TABLE) + 1, dtype=np.int64)
    if high - low < TABLE:
        places = values if low == 0 else values.astype(np.int64) - low
        table[keys - low] = labels
    else:
        order = keys.argsort()
        places, table = np.searchsorted(keys[order], values.astype(np.int64)), labels[order]
    return table.astype(np.uint8)[places] if labels.min() >= 0 and labels.max() <= 255 else table[places]
