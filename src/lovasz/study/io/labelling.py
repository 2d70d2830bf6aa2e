"""How what masks store becomes labels: as it is, by a map, or by colours."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lovasz.study.io.classes import Classes
from lovasz.study.io.labels import LabelMap, Labels, occurring, replace
from lovasz.study.io.palette import value_of

# Labels that void may have: the first that is no class.
VOIDS = (255, 65535, 2**31 - 1)


class UnknownLabelError(ValueError):
    """A mask holds what stands for no class; the message says what, without the file."""


@dataclass(frozen=True)
class Labelling:
    """How the values and colours of masks become labels.

    Attributes:
        num_classes: C: labels 0 to C - 1 are classes; 0 where it is not known.
        ignored: Labels left out, that of void included.
        void: The label of void.
        label_map: What values stand for; None: for themselves.
        colours: The label of each colour, ``0xrrggbb``; empty: colours are not read.
        names: The name of each of these colours.
        shared: Colours of more than one class, with their names.
    """

    num_classes: int = 0
    ignored: frozenset[int] = frozenset()
    void: int = VOIDS[0]
    label_map: LabelMap | None = None
    colours: Mapping[int, int] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    shared: Mapping[int, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What tells two apart that may read one file differently."""
        pairs = self.label_map and (self.label_map.pairs, self.label_map.complete)
        return repr((self.num_classes, sorted(self.ignored), self.void, pairs, sorted(self.colours.items())))

    def mapped(self, values: Labels) -> tuple[Labels, frozenset[int]]:
        """Returns the labels of values as they are stored, and which of those that the map names occur.

        Raises:
            UnknownLabelError: If a value occurs that a complete map does not name, or that is the label of void.
        """
        if self.label_map is None:
            return values, frozenset()
        named, label_of = dict(self.label_map.pairs), {}
        for value in occurring(values):
            label = named.get(value, value)
            label_of[value] = self.void if label is None else label
            if value not in named and not self._stays(value):
                pixels = int(np.count_nonzero(values == value))
                raise UnknownLabelError(
                    f"holds the value {value} at {pixels} pixel{'s' if pixels > 1 else ''}, which "
                    f"{self.label_map.name} does not name"
                )
        return replace(values, label_of), frozenset(value for value in label_of if value in named)

    def never(self, named: Iterable[int]) -> tuple[int, ...]:
        """Returns the values that the map names, but for those that occur."""
        found = set(named)
        return tuple(value for value, _ in self.label_map.pairs if value not in found) if self.label_map else ()

    def _stays(self, value: int) -> bool:
        """Whether a value that the map does not name is its own label."""
        if 0 <= value < self.num_classes:
            return not (self.label_map and self.label_map.complete)
        if value in self.ignored:
            return value != self.void or not self._makes_void
        return not (self.label_map and self.label_map.complete)

    @property
    def _makes_void(self) -> bool:
        return self.label_map is not None and None in dict(self.label_map.pairs).values()


def make_labelling(classes: Classes, ignore: Iterable[int], label_map: LabelMap | None) -> Labelling:
    """Combines what a class file, ``--ignore`` and ``--map`` say.

    Args:
        classes: The classes.
        ignore: Labels left out, after the map.
        label_map: The map of an option, or None.

    Raises:
        ValueError: If the class file has values and there is a map as well, the map makes another number of
            classes, or one of its labels is neither a class nor left out.
    """
    number, ignored = len(classes.names), frozenset(ignore)
    void = next(label for label in VOIDS if label >= number)
    if classes.label_map is not None:
        if label_map is not None:
            raise ValueError(
                f"{label_map.name}: {classes.label_map.name} already says which values are which class"
            )
        label_map = classes.label_map
    pairs = label_map.pairs if label_map else ()
    if label_map and label_map.num_classes not in (None, number):
        raise ValueError(f"{label_map.name} makes {label_map.num_classes} classes, got {number}")
    for value, label in pairs:
        if label is not None and not 0 <= label < number and label not in ignored:
            raise ValueError(
                f"{label_map.name if label_map else ''}: the label {label} is neither a class, 0 to {number - 1}, "
                f"nor left out by --ignore; to leave the value {value} out: {value}:void"
            )
    colours: dict[int, int] = {}
    names: dict[int, str] = {}
    shared: dict[int, str] = {}
    of_void = [(colour, void, "void") for colour in classes.void_colours]
    of_classes = [(colour, label, classes.names[label]) for label, colour in enumerate(classes.colours or ())]
    for colour, label, name in of_classes + of_void:
        key = value_of(colour)
        if colours.setdefault(key, label) != label:
            shared[key] = f"{names[key]} and {name}"
        names.setdefault(key, name)
    if any(label is None for _, label in pairs) or of_void:
        ignored |= {void}
    return Labelling(number, ignored, void, label_map, colours if classes.colours else {}, names, shared)
