"""What the command line says of the settings of a model, from their one declaration."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class Option:
    """What the command line adds to a setting.

    Attributes:
        group: What it is about; a row of the table in docs/compare.md.
        metavar: What its value is called.
        files: Its default for images in files; None: it has that of the field.
        scene: Its default for the embedded scene; None: as files.
        name: What it is called; empty: as the setting.
        short: One letter for it, or none.
    """

    group: str
    metavar: str
    files: Any = None
    scene: Any = None
    name: str = ""
    short: str = ""


def option(model: type[BaseModel], name: str) -> Option:
    """Return what the command line adds to a setting."""
    return next(one for one in model.model_fields[name].metadata if isinstance(one, Option))


def flag(model: type[BaseModel], name: str) -> str:
    """Return the option of a setting: ``--num-classes``."""
    return f"--{option(model, name).name or name.replace('_', '-')}"


def default(model: type[BaseModel], name: str, scene: bool) -> Any:
    """Return the default of a setting for the embedded scene, or for images in files; None if there is none."""
    extra, field = option(model, name), model.model_fields[name]
    own = extra.scene if scene else extra.files
    return field.get_default() if own is None and not field.is_required() else own


def help_text(model: type[BaseModel], name: str) -> str:
    """Return what a setting is, and its defaults."""
    files, scene = (_written(default(model, name, of_scene)) for of_scene in (False, True))
    said = ""
    if files:
        said = f"[default: {files}; {scene} for the scene]" if scene not in ("", files) else f"[default: {files}]"
    elif scene:
        said = f"[default for the scene: {scene}]"
    return f"{model.model_fields[name].description} {said}".strip()


def wrong(model: type[BaseModel], error: Mapping[str, Any]) -> str:
    """Say what is wrong with a setting: which option, what it must be, what it is.

    Args:
        model: The model.
        error: One of pydantic's errors.
    """
    name, got = str(error["loc"][0]), error["input"]
    said, kind = flag(model, name), error["type"]
    if kind == "less_than_equal":
        return f"{said} must be at most {error['ctx']['le']}, got {got}"
    if kind in ("greater_than", "greater_than_equal", "finite_number"):
        field = model.model_fields[name]
        least = next((one.ge for one in field.metadata if hasattr(one, "ge")), None)
        if least is None:
            return f"{said} must be a number above 0, got {got}"
        return f"{said} must be {'a number of ' if field.annotation is float else ''}at least {least}, got {got}"
    return f"{said}: {error['msg'][:1].lower()}{error['msg'][1:]}, got {got!r}"


def _written(value: Any) -> str:
    """Return a default in words; nothing, none and zero have none."""
    return ", ".join(map(_written, value)) if isinstance(value, tuple) else str(value) if value else ""
