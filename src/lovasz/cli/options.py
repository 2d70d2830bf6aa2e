"""The options of ``lovasz compare``, as its settings are declared."""

import inspect
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from lovasz.cli.compare import fail
from lovasz.study.train.config import Config
from lovasz.study.train.options import flag, help_text, option


def parameters() -> Iterator[inspect.Parameter]:
    """Yield a parameter for each setting, as Typer reads them; one that is not given is None."""
    for name in Config.model_fields:
        extra = option(Config, name)
        words = typer.Option(
            flag(Config, name),
            *([f"-{extra.short}"] if extra.short else []),
            metavar=extra.metavar,
            help=help_text(Config, name).replace("[", r"\["),  # no markup
            show_default=False,
        )
        kind: Any = Annotated[_kind(Config.model_fields[name].annotation, extra.metavar), words]
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def read(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that options give; None is not given."""
    settings: dict[str, Any] = {
        name: value or None if isinstance(value, list) else value for name, value in given.items()
    }
    for name in ("size", "crop"):
        settings[name] = _sides(flag(Config, name), settings[name])
    if settings["losses"]:
        settings["losses"] = tuple(dict.fromkeys(_single(settings["losses"])))
    return settings


def _kind(annotation: Any, metavar: str) -> Any:
    """Return the type of a setting on the command line."""
    if metavar == "HxW":
        return str | None
    if get_origin(annotation) is tuple:  # given again for more
        return list[get_args(annotation)[0]] | None  # type: ignore[misc]
    plain = next((one for one in (Path, int, float) if one in (annotation, *get_args(annotation))), str)
    return plain | None


def _sides(name: str, text: str | None) -> tuple[int, ...] | None:
    """Read 120x160."""
    if text is None:
        return None
    if not re.fullmatch(r"\d+(x\d+){1,2}", text):
        fail(f"{name} must be HxW, or HxWxD of a volume, as 120x160, got {text!r}")
    return tuple(int(side) for side in text.split("x"))


def _single(losses: list[str]) -> list[str]:
    for loss in losses:
        if "," in loss:
            each = " ".join(f"--loss {shlex.quote(name.strip())}" for name in loss.split(","))
            fail(f"--loss takes one name, got {loss!r}; repeat it for more: {each}")
    return losses
