"""The names and colours of the classes, and what masks store for them, from a file."""

import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lovasz.study.io.labels import LabelMap
from lovasz.study.io.text import UNSAFE, printable, text_of

# Values are below; none is a label beyond.
MOST = 10**10
KEYS = ("name", "color", "colour", "value", "void")
COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Classes:
    """The classes in the order of their labels, 0 first.

    Attributes:
        names: The name of each.
        colours: The colour of each as ``#rrggbb``; None if the file has none.
        label_map: Which values of masks stand for which class, and which for none; None if the file has none.
        void_colours: Colours that stand for no class.
    """

    names: tuple[str, ...]
    colours: tuple[str, ...] | None
    label_map: LabelMap | None = None
    void_colours: tuple[str, ...] = ()


def read_classes(path: Path) -> Classes:
    """Read the classes from a text or JSON file; the first is label 0.

    A text file has one name a line; empty lines at its end do not count. A file ``*.json`` holds a
    list of names, or of objects with "name" and, in all of them or in none, "color" (or "colour"),
    "#rrggbb" or three numbers from 0 to 255, and "value", the whole number that masks store for the
    class, or a list of several. An object with "void": true is no class: its "color" and "value"
    are left out.

    Args:
        path: The file, UTF-8.

    Raises:
        ValueError: If the file cannot be read or says something else; the message names the file
            and the line, or of a JSON list the entry.
    """
    text = text_of(path)
    if path.suffix.lower() == ".json":
        return _from_json(path, text)
    lines = text.rstrip().splitlines()
    return Classes(_checked(path, "line", itertools.count(1), [line.strip() for line in lines]), None)


def numbered(number: int) -> Classes:
    """Return so many classes whose names are their labels."""
    return Classes(tuple(map(str, range(number))), None)


def _from_json(path: Path, text: str) -> Classes:
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: is not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number of many digits, or lists in lists in lists
        raise ValueError(f"{path}: is not a list of classes ({error})") from error
    if not isinstance(entries, list):
        raise ValueError(f"{path}: expected a list of names or of objects with a name, got {_kind(entries)}")
    read = [_entry(f"{path}, entry {index}", entry) for index, entry in enumerate(entries)]
    classes, void = [one for one in read if one.name is not None], [one for one in read if one.name is None]
    numbers = [index for index, one in enumerate(read) if one.name is not None]
    names = _checked(path, "entry", numbers, [one.name or "" for one in classes])
    for what, given in (("colour", [one.colour for one in classes]), ("value", [one.values for one in classes])):
        if None in given and any(one is not None for one in given):
            where = classes[given.index(None)].where
            raise ValueError(f"{where}: has no {what} although others have one")
    if not any(one.colour for one in classes) and any(one.colour for one in void):
        raise ValueError(f"{path}: void has a colour although no class has one")
    return Classes(
        names,
        tuple(one.colour for one in classes if one.colour) or None,
        _map(path, classes, void),
        tuple(one.colour for one in void if one.colour),
    )


@dataclass(frozen=True)
class _Entry:
    """What an entry says: void has no name."""

    where: str
    name: str | None
    colour: str | None
    values: tuple[int, ...] | None


def _entry(where: str, entry: Any) -> _Entry:
    given = entry if isinstance(entry, dict) else {}
    void = given.get("void", False)
    if not isinstance(void, bool):
        raise ValueError(f'{where}: "void" must be true or false, got {_shown(void)}')
    name = given.get("name") if isinstance(entry, dict) else entry
    if not isinstance(name, str) and not void:
        raise ValueError(f'{where}: expected a name or an object with "name", got {_shown(entry)}')
    for key in given:
        if key not in KEYS and key.lower().removesuffix("s") in KEYS:
            raise ValueError(f"{where}: {_shown(key)} is not read; expected {', '.join(KEYS)}")
    colour, values = given.get("color", given.get("colour")), given.get("value")
    if void and colour is None and values is None:
        raise ValueError(f'{where}: void needs a "value" or a "color", got {_shown(entry)}')
    return _Entry(
        where,
        None if void else str(name).strip(),
        None if colour is None else _colour(where, colour),
        None if values is None else _values(where, values),
    )


def _map(path: Path, classes: list[_Entry], void: list[_Entry]) -> LabelMap | None:
    """Return the map that the values make; a class without one stands for its label."""
    if all(one.values is None for one in classes + void):
        return None
    named: dict[int, tuple[int | None, str]] = {}
    for label, one in [*enumerate(classes), *((None, one) for one in void)]:
        own = () if label is None else (label,)
        for value in own if one.values is None else one.values:
            if value in named:
                raise ValueError(f"{one.where}: the value {value} is also that of {named[value][1]}")
            named[value] = label, "void" if label is None else repr(one.name)
    pairs = tuple(sorted((value, label) for value, (label, _) in named.items()))
    return LabelMap(f"--classes {printable(path)}", pairs, complete=True)


def _checked(path: Path, unit: str, numbers: Iterable[int], names: list[str]) -> tuple[str, ...]:
    if not names:
        raise ValueError(f"{path}: holds no class")
    seen: dict[str, int] = {}
    for number, name in zip(numbers, names, strict=False):
        if not name:
            raise ValueError(f"{path}, {unit} {number}: the name is empty")
        if UNSAFE.search(name):
            raise ValueError(f"{path}, {unit} {number}: the name {name!r} holds what cannot be printed")
        if seen.setdefault(name, number) != number:
            raise ValueError(f"{path}, {unit} {number}: {name!r} is also the name of {unit} {seen[name]}")
    return tuple(names)


def _colour(where: str, colour: Any) -> str:
    if isinstance(colour, str) and COLOUR.fullmatch(colour):
        return colour.lower()
    if isinstance(colour, list) and len(colour) == 3 and all(type(c) is int and 0 <= c <= 255 for c in colour):
        return "#" + "".join(f"{part:02x}" for part in colour)
    raise ValueError(f'{where}: expected a colour "#rrggbb" or three numbers from 0 to 255, got {_shown(colour)}')


def _values(where: str, given: Any) -> tuple[int, ...]:
    values = given if isinstance(given, list) else [given]
    if values and all(type(value) is int and abs(value) < MOST for value in values):
        return tuple(dict.fromkeys(values))
    raise ValueError(f'{where}: "value" must be a whole number or a list of them, got {_shown(given)}')


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: Any) -> str:
    return {dict: "an object", str: "a string", type(None): "null"}.get(type(value), "a number")
