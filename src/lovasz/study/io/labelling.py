"""How what masks store becomes labels: as it is, by a map, or by colours."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lovasz.study.io.classes import Classes
from lovasz.study.io.labels import READY, LabelMap, Labels, occurring, replace
from lovasz.study.io.palette import value_of
from lovasz.study.io.text import printable

# What the names of Cityscapes' masks of the 19 classes end in.
TRAIN_IDS = "_labelTrainIds"
# Labels that void may have: the first that is no class.
VOIDS = (255, 65535, 2**31 - 1)


class UnknownLabelError(ValueError):
    """A mask holds what stands for no class; the message says what, without the file."""


@dataclass(frozen=True)
class Labelling:
    """How the values and colours of masks become labels.

    Attributes:
        num_classes: C: labels 0 to C - 1 are classes; 0 where it is not known.
        left_out: Labels that ``--ignore`` names.
        void: The label of what a map or a class file calls void.
        label_map: What values stand for; None: for themselves.
        colours: The label of each colour, ``0xrrggbb``; empty: colours are not read.
        names: The name of each of these colours.
        shared: Colours of more than one class, with their names.
    """

    num_classes: int = 0
    left_out: frozenset[int] = frozenset()
    void: int = VOIDS[0]
    label_map: LabelMap | None = None
    colours: Mapping[int, int] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    shared: Mapping[int, str] = field(default_factory=dict)

    @property
    def ignored(self) -> frozenset[int]:
        """Labels left out, that of void included where there is one."""
        labels: set[int | None] = {label for _, label in self.label_map.pairs} if self.label_map else set()
        has_void = None in labels or self.void in self.colours.values()
        return self.left_out | {self.void} if has_void else self.left_out

    @property
    def key(self) -> str:
        """What tells two apart that may read one file differently."""
        pairs = self.label_map and (self.label_map.pairs, self.label_map.complete)
        return repr((self.num_classes, sorted(self.ignored), self.void, pairs, sorted(self.colours.items())))

    def mapped(self, values: Labels) -> tuple[Labels, frozenset[int]]:
        """Return the labels of values as they are stored, and which of those that the map names occur.

        Raises:
            UnknownLabelError: If a value occurs that a complete map does not name, or that is the label of void.
        """
        if self.label_map is None:
            return values, frozenset()
        named, label_of = dict(self.label_map.pairs), {}
        for value in occurring(values):
            label = named.get(value, value)
            label_of[value] = self.void if label is None else label
            if value not in named and not self._stays(value, self.label_map):
                pixels = int(np.count_nonzero(values == value))
                raise UnknownLabelError(
                    f"holds the value {value} at {pixels} pixel{'s' if pixels > 1 else ''}, which "
                    f"{self.label_map.name} does not name"
                )
        return replace(values, label_of), frozenset(value for value in label_of if value in named)

    def never(self, named: Iterable[int]) -> tuple[int, ...]:
        """Return the values that the map names, but for those that occur and those of void in a ready-made map."""
        if self.label_map is None:
            return ()
        pairs = self.label_map.pairs
        if self.label_map.num_classes:
            pairs = tuple(pair for pair in pairs if pair[1] is not None)
        return tuple(value for value, _ in pairs if value not in set(named))

    def _stays(self, value: int, label_map: LabelMap) -> bool:
        """Whether a value that the map does not name is its own label."""
        if label_map.complete:
            return value in self.left_out and not 0 <= value < self.num_classes
        return value in self.left_out or value not in self.ignored


def make_labelling(classes: Classes, ignore: Iterable[int], label_map: LabelMap | None) -> Labelling:
    """Combine what a class file, ``--ignore`` and ``--map`` say.

    Args:
        classes: The classes.
        ignore: Labels left out, after the map.
        label_map: The map of an option, or None.

    Raises:
        ValueError: If a label left out is beyond int64, the class file has values and there is a map as well, the
            map makes another number of classes, or one of its labels is neither a class nor left out.
    """
    number, left_out = len(classes.names), frozenset(ignore)
    for label in left_out:
        if not -(2**63) <= label < 2**63:
            raise ValueError(f"--ignore must be a label from -2^63 to 2^63 - 1, got {label}")
    if label_map is not None:
        if classes.label_map is not None:
            raise ValueError(
                f"{label_map.name}: {classes.label_map.name} already says which values are which class"
            )
        _check_map(label_map, number, left_out)
    void = next(label for label in VOIDS if label >= number)
    colours: dict[int, int] = {}
    names: dict[int, str] = {}
    shared: dict[int, str] = {}
    listed = [(colour, label, classes.names[label]) for label, colour in enumerate(classes.colours or ())]
    for colour, label, name in listed + [(colour, void, "void") for colour in classes.void_colours]:
        key = value_of(colour)
        if colours.setdefault(key, label) != label:
            shared[key] = f"{names[key]} and {name}"
        names.setdefault(key, name)
    return Labelling(number, left_out, void, label_map or classes.label_map, colours, names, shared)


def check_stored_ids(label_map: LabelMap | None, files: Iterable[str], remedy: str) -> None:
    """Check that the map of Cityscapes' labelIds is not that of masks which are mapped already, by their names.

    Args:
        label_map: A map, or None.
        files: The masks that are read by it.
        remedy: What to do otherwise.

    Raises:
        ValueError: If a mask is one of train IDs.
    """
    if label_map != READY["cityscapes"]:
        return
    for file in files:
        if TRAIN_IDS in file.rpartition("/")[2]:
            raise ValueError(f"{label_map.name}: {printable(file)} is a mask of trainIds, mapped already; {remedy}")


def _check_map(label_map: LabelMap, number: int, left_out: frozenset[int]) -> None:
    if label_map.num_classes not in (None, number):
        raise ValueError(f"{label_map.name} makes {label_map.num_classes} classes, got {number}")
    for value, label in label_map.pairs:
        if label is not None and not 0 <= label < number and label not in left_out:
            raise ValueError(
                f"{label_map.name}: the label {label} is neither a class, 0 to {number - 1}, nor left out by "
                f"--ignore; to leave the value {value} out: {value}:void"
            )
