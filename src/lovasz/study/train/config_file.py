"""The settings of a comparison in a YAML file: read under given options, and written."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lovasz.study.io.groups import is_file
from lovasz.study.train.config import Config
from lovasz.study.train.options import default, wrong
from lovasz.study.train.weights import is_file as is_weights_file

# Settings that a whole file of an earlier version does not hold.
LATER = ("validations", "group", "task", "foreground", "normalize", "weights", "freeze", "encoder_lr")


def make_config(given: dict[str, Any], file: Path | None, whole: bool = False) -> Config:
    """Build a configuration from a file and from options, which come first; the rest are defaults.

    Args:
        given: Values by name; None is not given.
        file: A YAML file as ``write_config`` makes, or None.
        whole: Whether the file must hold every setting, as ``write_config`` does.

    Raises:
        ValueError: If the file cannot be read or is not whole, or a value has another type than it must.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"--config {file} cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"--config {file} must hold names and values, got {type(values).__name__}")
        absent = [name for name in Config.model_fields if name not in values and name not in LATER]
        if whole and absent:
            what = f"does not hold {', '.join(absent)}" if values else "is empty"
            raise ValueError(
                f"{file} {what}: it is not as it was written; give all options of the comparison again, "
                f"with --out {file.parent}"
            )
        for name in ("data", "classes"):  # as in every such file, relative to it
            if isinstance(values.get(name), str):
                values[name] = str((file.parent / values[name]).resolve())
        if isinstance(values.get("group"), str) and is_file(str(file.parent / values["group"])):
            values["group"] = str((file.parent / values["group"]).resolve())
        if isinstance(values.get("weights"), str) and is_weights_file(values["weights"], file.parent):
            values["weights"] = str((file.parent / values["weights"]).resolve())
    given = {name: value for name, value in given.items() if value is not None}
    for one, other in (("epochs", "steps"), ("steps", "epochs"), ("classes", "num_classes"),
                       ("num_classes", "classes")):  # fmt: skip
        if one in given and other not in given:
            values.pop(other, None)
    values |= given
    defaults = {name: default(Config, name, not values.get("data")) for name in Config.model_fields}
    defaults.pop("losses")  # its own, so that it is known whether any were named: the task may ask for others
    if values.get("steps") is not None:
        defaults.pop("epochs", None)
    if values.get("epochs") is not None:
        defaults.pop("steps", None)
    try:
        config = Config(**defaults | values)
        return config if config.task == "auto" else config.of_task(config.task)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        where = f"--config {file}: " if file is not None and str(first["loc"][0]) not in given else ""
        if first["type"] == "extra_forbidden":
            known = ", ".join(Config.model_fields)
            raise ValueError(f"{where}there is no setting {name}; there are {known}") from error
        said = wrong(Config, first)
        raise ValueError(f"{where if ':' in said.split(' ')[0] else ''}{said}") from error


def write_config(config: Config) -> str:
    """Return the configuration as YAML, in the order of its fields, with whole paths."""
    values = config.model_dump(mode="json")
    for name in ("data", "classes"):
        if values[name] is not None:
            values[name] = str(Path(values[name]).resolve())
    if config.group is not None and is_file(config.group):
        values["group"] = str(Path(config.group).resolve())
    if config.weights is not None and is_weights_file(config.weights):
        values["weights"] = str(Path(config.weights).resolve())
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
