"""docs/compare.md is true: it has every option, name and file there is, and no other; its code runs."""

import re
import sys
from pathlib import Path

import pytest
import typer.main

from lovasz.cli.app import app
from lovasz.study.data import augment
from lovasz.study.train import network, store
from lovasz.study.train.known import OF_CLASSES, OF_LABELS
from lovasz.study.train.losses import check_names
from lovasz.study.train.network import build_network

PAGE = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")


def test_options_are_those_of_the_command() -> None:
    command = typer.main.get_command(app).commands["compare"]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) - {"--help"} == options - {"--help"}


def test_every_name_and_file_is_there() -> None:
    files = (store.BEST, store.LAST, store.CURVE)
    for name in (*OF_CLASSES.losses, *OF_LABELS.names, *network.DESCRIPTIONS, *augment.DESCRIPTIONS, *files):
        assert f"`{name}`" in PAGE, name


def test_own_loss_and_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    (tmp_path / "mine.py").write_text("\n".join(blocks))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    check_names(["mine:focal"])
    for dims in (2, 3):
        build_network("mine:network", 3, 5, dims)
