"""Names and colours of classes from files, and colours for those without."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lovasz.study.io.classes import Classes, read_classes
from lovasz.study.io.labels import LabelMap
from lovasz.study.io.palette import palette


def file(folder: Path, name: str, content: Any) -> Path:
    """A file of text, or of JSON."""
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_text_file_has_a_name_a_line(tmp_path: Path) -> None:
    path = file(tmp_path, "classes.txt", "\ufeffsky\n tall building \nStraße\n\n")
    assert read_classes(path) == Classes(("sky", "tall building", "Straße"), None)


def test_json_has_names_or_objects(tmp_path: Path) -> None:
    assert read_classes(file(tmp_path, "a.json", ["sky", "road"])) == Classes(("sky", "road"), None)
    objects = [{"name": "sky", "color": "#AABBCC"}, {"name": "road", "colour": [1, 2, 255]}]
    assert read_classes(file(tmp_path, "b.json", objects)) == Classes(("sky", "road"), ("#aabbcc", "#0102ff"))
    assert read_classes(file(tmp_path, "c.JSON", [{"name": "sky"}])) == Classes(("sky",), None)


def test_json_says_what_masks_store(tmp_path: Path) -> None:
    listed = [
        {"name": "sky", "color": "#000001", "value": 23},
        {"void": True, "value": [0, -1], "color": "#000000"},
        {"name": "road", "color": "#000002", "value": [7, 8]},
        {"name": "nothing", "void": True, "color": [0, 0, 9]},
    ]
    path = file(tmp_path, "a.json", listed)
    pairs = ((-1, None), (0, None), (7, 1), (8, 1), (23, 0))
    expected = LabelMap(f"--classes {path}", pairs, complete=True)
    assert read_classes(path) == Classes(("sky", "road"), ("#000001", "#000002"), expected, ("#000000", "#000009"))
    path = file(tmp_path, "b.json", ["sky", {"void": True, "value": 255}, "road"])
    found = read_classes(path)
    assert (found.names, found.label_map and found.label_map.pairs) == (
        ("sky", "road"),
        ((0, 0), (1, 1), (255, None)),
    )


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.txt", "sky\n\nroad\n", ", line 2: the name is empty"),
        ("a.txt", "sky\nroad\nsky", ", line 3: 'sky' is also the name of line 1"),
        ("a.txt", "\n\n", ": holds no class"),
        ("a.json", "[\n'sky']", ", line 2: is not JSON"),
        ("a.json", {"sky": 0}, ": expected a list of names or of objects with a name, got an object"),
        ("a.json", [], ": holds no class"),
        ("a.json", ["sky", 3], ', entry 1: expected a name or an object with "name", got 3'),
        ("a.json", ["sky", "sky"], ", entry 1: 'sky' is also the name of entry 0"),
        ("a.json", [{"name": "sky", "color": "blue"}], ', entry 0: expected a colour "#rrggbb"'),
        ("a.json", [{"name": "sky", "color": [0, 0, 256]}], ", entry 0: expected a colour"),
        ("a.json", [{"name": "sky", "color": "#000000"}, "road"], ", entry 1: has no colour although others have"),
        ("a.json", [{"name": "sky", "value": 1}, "road"], ", entry 1: has no value although others have one"),
        (
            "a.json",
            [{"name": "a", "value": 1}, {"name": "b", "value": [2, 1]}],
            ", entry 1: the value 1 is also that of",
        ),
        ("a.json", ["a", "b", {"void": True, "value": 1}], ", entry 2: the value 1 is also that of 'b'"),
        (
            "a.json",
            [{"name": "sky", "value": "1"}],
            ', entry 0: "value" must be a whole number or a list of them, got',
        ),
        ("a.json", [{"name": "sky", "value": True}], ', entry 0: "value" must be'),
        ("a.json", [{"name": "sky", "value": 1.0}], ', entry 0: "value" must be'),
        ("a.json", [{"name": "sky", "value": []}], ', entry 0: "value" must be'),
        ("a.json", [{"name": "sky", "value": 10**10}], ', entry 0: "value" must be'),
        ("a.json", ["sky", {"void": True, "name": "void"}], ', entry 1: void needs a "value" or a "color", got'),
        ("a.json", ["sky", {"void": True, "color": "#000000"}], ": void has a colour although no class has one"),
        ("a.json", [{"name": "sky", "void": 1}], ', entry 0: "void" must be true or false, got 1'),
        ("a.json", [{"void": True, "value": 1}], ": holds no class"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, content: Any, why: str) -> None:
    path = file(tmp_path, name, content)
    with pytest.raises(ValueError, match=re.escape(f"{path}{why}")):
        read_classes(path)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.txt: No such file"):
        read_classes(tmp_path / "absent.txt")
    (tmp_path / "latin.txt").write_bytes("Stra\u00dfe".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt: is not UTF-8 text"):
        read_classes(tmp_path / "latin.txt")


def test_every_class_has_a_colour_of_its_own() -> None:
    colours = palette(1000)
    assert len(set(colours)) == 1000
    assert colours[:150] == palette(150)
    assert all(len(colour) == 7 and int(colour[1:], 16) >= 0 for colour in colours)
    assert palette(0) == []
    many = palette(9000)  # more than differ by the rule alone
    assert len(set(many)) == 9000
    assert many[:4500] == palette(4500)


@pytest.mark.parametrize("name", ["sky\x1b[2J", "\ud800", "left\u202eright", "a\tb"])
def test_names_that_cannot_be_printed_are_refused(name: str, tmp_path: Path) -> None:
    path = file(tmp_path, "classes.json", ["road", name])
    with pytest.raises(ValueError, match=r"classes\.json, entry 1: the name '.*' holds what cannot be printed"):
        read_classes(path)


@pytest.mark.parametrize("content", ["[" * 200_000, "[" + "1" * 5000 + "]"])
def test_json_that_python_cannot_hold_is_named(content: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"classes\.json: is not a list of classes"):
        read_classes(file(tmp_path, "classes.json", content))
