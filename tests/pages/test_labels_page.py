"""docs/labels.md is true: its class files and maps are read."""

import re
from pathlib import Path

import pytest

from lovasz.study.io.classes import read_classes
from lovasz.study.io.labelling import make_labelling
from lovasz.study.io.labels import READY, parse_map

PAGE = (Path(__file__).parents[2] / "docs" / "labels.md").read_text(encoding="utf-8")


def test_the_class_files_of_the_page_are_read(tmp_path: Path) -> None:
    blocks = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        (tmp_path / "classes.json").write_text(block)
        classes = read_classes(tmp_path / "classes.json")
        assert len(classes.names) == 2
        assert make_labelling(classes, (), None).ignored == {255}


def test_the_maps_of_the_page_are_maps() -> None:
    maps = set(re.findall(r'(?:--map |map: ")([\w:,]+)', PAGE))
    assert {"255:1", "0:void,7:0,8:1", *READY} <= maps
    assert all(parse_map(text).pairs for text in maps)
    with pytest.raises(ValueError, match="must be pairs"):
        parse_map("none")
