"""The names and colours of the classes, from a file."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lovasz.study.io.text import UNSAFE

COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Classes:
    """The classes in the order of their labels, 0 first.

    Attributes:
        names: The name of each.
        colours: The colour of each as ``#rrggbb``; None if the file has none.
    """

    names: tuple[str, ...]
    colours: tuple[str, ...] | None


def read_classes(path: Path) -> Classes:
    """Reads the classes from a text or JSON file; the first is label 0.

    A text file has one name a line; empty lines at its end do not count. A file ``*.json`` holds a
    list of names, or of objects with "name" and, in all of them or in none, "color" (or "colour"):
    "#rrggbb" or three numbers from 0 to 255.

    Args:
        path: The file, UTF-8.

    Raises:
        ValueError: If the file cannot be read or says something else; the message names the file
            and the line, or of a JSON list the entry.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    if path.suffix.lower() == ".json":
        return _from_json(path, text)
    lines = text.rstrip().splitlines()
    return Classes(_checked(path, "line", 1, [line.strip() for line in lines]), None)


def numbered(number: int) -> Classes:
    """Returns so many classes whose names are their labels."""
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
    names, colours = [], []
    for index, entry in enumerate(entries):
        where = f"{path}, entry {index}"
        name = entry.get("name") if isinstance(entry, dict) else entry
        if not isinstance(name, str):
            raise ValueError(f'{where}: expected a name or an object with "name", got {_shown(entry)}')
        names.append(name.strip())
        colour = entry.get("color", entry.get("colour")) if isinstance(entry, dict) else None
        colours.append(None if colour is None else _colour(where, colour))
    checked = _checked(path, "entry", 0, names)
    given = tuple(colour for colour in colours if colour is not None)
    if given and len(given) < len(colours):
        raise ValueError(f"{path}, entry {colours.index(None)}: has no colour although others have one")
    return Classes(checked, given or None)


def _checked(path: Path, unit: str, first: int, names: list[str]) -> tuple[str, ...]:
    if not names:
        raise ValueError(f"{path}: holds no class")
    seen: dict[str, int] = {}
    for number, name in enumerate(names, start=first):
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


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: Any) -> str:
    return {dict: "an object", str: "a string", type(None): "null"}.get(type(value), "a number")
