"""What a network is to tell of each pixel, from the settings, the layout of the data and its first masks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lovasz.study.data.pairs import Layout
from lovasz.study.data.parts import BINARY, MULTICLASS, MULTILABEL, TRAIN
from lovasz.study.data.regions import BITS, CHANNELS, FILES, USUAL, Regions, foreground, overlapping
from lovasz.study.io.classes import Classes, numbered, read_classes
from lovasz.study.io.labels import LabelMap
from lovasz.study.io.masks import read_mask
from lovasz.study.io.text import printable
from lovasz.study.train.config import Config

# Of masks of 0 and 255 alone: complete, so that one with another value is refused.
WHITE = LabelMap("masks of 0 and 255", ((0, 0), (255, 1)), complete=True)


@dataclass(frozen=True)
class Head:
    """What is told of each pixel.

    Attributes:
        classes: What each mask holds.
        regions: The labels of a binary or multilabel task; None: each pixel has one of the classes.
        label_map: What stored values stand for; None: for themselves, or what the class file says.
        told: How the task and the labels were found, in sentences.
    """

    classes: Classes
    regions: Regions | None
    label_map: LabelMap | None
    told: tuple[str, ...] = ()


def head_of(config: Config, layout: Layout) -> Head:
    """Return what is to be told of each pixel.

    Raises:
        ValueError: If the classes are not known, or do not fit the task.
        UnreadableFileError: If a mask that is looked at cannot be read.
    """
    named = _named(config, layout)
    task = _task(config, layout, named)
    if task == MULTILABEL:
        return _multilabel(config, layout, named)
    if task == BINARY:
        return _binary(config, layout, named)
    return Head(named or _unknown(config, layout), None, config.label_map)


def _task(config: Config, layout: Layout, named: Classes | None) -> str:
    """Return the task that is asked for, or that is certain."""
    found = layout.regions
    if config.task != "auto":
        if found is not None and found.source == FILES and config.task != MULTILABEL:
            raise ValueError(
                f"--task {config.task}: there is a folder of masks for each of "
                f"{', '.join(map(printable, found.names))}; expected {MULTILABEL}, or one folder of masks"
            )
        return config.task
    if config.map == BITS or (found is not None and (found.source == FILES or named is None)):
        return MULTILABEL
    alone = named is not None and len(named.names) == 1
    return BINARY if alone or config.foreground is not None else MULTICLASS


def _multilabel(config: Config, layout: Layout, named: Classes | None) -> Head:
    found = layout.regions
    if found is not None and found.source == FILES:
        if named is not None and set(named.names) != set(found.names):
            raise ValueError(
                f"the folders of labels are {', '.join(map(printable, found.names))}, the classes "
                f"{', '.join(map(printable, named.names))}; expected the same, or no classes"
            )
        if named is not None:
            found = overlapping(named, FILES)
        label_map, told = _whiteness(config, layout)
        said = " ".join(("Labels may overlap: a folder of masks for each.", *told))
        return Head(USUAL, found, label_map, (said,))
    if found is not None:  # regions of classes, whose masks hold classes
        return Head(numbered(1 + max(label for one in found.members for label in one)), found, config.label_map)
    if named is None:
        raise ValueError(
            f"the task {MULTILABEL} needs --classes FILE or --num-classes N: how many labels there are cannot be "
            "guessed"
        )
    if config.map == BITS:
        for value in config.ignore:
            if 0 <= value < 2 ** len(named.names):
                raise ValueError(f"--ignore {value} is also a set of the {len(named.names)} labels as bits")
        return Head(named, overlapping(named, BITS), None)
    return Head(USUAL, overlapping(named, CHANNELS), config.label_map)


def _binary(config: Config, layout: Layout, named: Classes | None) -> Head:
    if named is not None and (named.label_map is not None or named.colours is not None):
        return Head(named, foreground(named, config.foreground), config.label_map)
    if named is None or config.num_classes == 1:
        named = USUAL
    elif len(named.names) == 1:
        named = Classes((USUAL.names[0], *named.names), None)
    if len(named.names) > 2:
        return Head(named, foreground(named, config.foreground), config.label_map)
    label_map, told = _whiteness(config, layout)
    return Head(named, foreground(named, config.foreground), label_map, told)


def _whiteness(config: Config, layout: Layout) -> tuple[LabelMap | None, tuple[str, ...]]:
    """Return the map of masks of 0 and 255, if the first that is not all 0 is one; and a sentence about it."""
    if config.map is not None or 255 in (*config.ignore, *layout.void):
        return config.label_map, ()
    for path in _train_masks(layout):
        values = set(read_mask(path).ravel().tolist()) - {0}
        if values == {255}:
            return WHITE, ("Masks hold 0 and 255: 255 is read as 1, any other value is refused.",)
        if values:
            break
    return None, ()


def _train_masks(layout: Layout) -> Iterator[Path]:
    for pair in layout.pairs[TRAIN]:
        yield from pair.masks


def _named(config: Config, layout: Layout) -> Classes | None:
    """Return the classes as they are named; the number alone gives the names 0, 1, and so on."""
    if config.num_classes is not None:
        return numbered(config.num_classes)
    file = config.classes or next(_class_files(config), None)
    if file is not None:
        return read_classes(file)
    if config.label_map is not None and config.label_map.num_classes:
        return numbered(config.label_map.num_classes)
    return layout.classes


def _class_files(config: Config) -> Iterator[Path]:
    names = ("classes.json", "classes.txt")
    return (file for name in names if (file := _folder(config) / name).is_file())


def _folder(config: Config) -> Path:
    data = Path(config.data or "")
    return data if data.is_dir() else data.parent


def _unknown(config: Config, layout: Layout) -> Classes:
    """Raise, with what the first mask holds."""
    first = layout.pairs[TRAIN][0].mask
    labels = ", ".join(map(str, sorted(set(read_mask(first).ravel().tolist()))[:30]))
    raise ValueError(
        f"--classes FILE or --num-classes N is needed, or a classes.txt in {_folder(config)}: which labels are "
        f"classes cannot be guessed. {first} holds {labels}"
    )
