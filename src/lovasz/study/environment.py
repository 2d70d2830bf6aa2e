"""Versions of everything a result depends on, and which of it is missing."""

import hashlib
import platform
from collections.abc import Iterable
from importlib import metadata, util
from pathlib import Path

from lovasz import __version__

# Import name -> distribution, the packages of the `study` extra.
EXTRA = {
    "jinja2": "Jinja2",
    "lightning": "lightning",
    "monai": "monai",
    "nibabel": "nibabel",
    "PIL": "pillow",
    "pydantic": "pydantic",
    "rich": "rich",
    "scipy": "scipy",
    "tensorly": "tensorly",
    "typer": "typer",
    "yaml": "PyYAML",
}
INSTALL = "pip install 'lovasz[study]'"


def versions() -> dict[str, str]:
    """Return the versions of Python, this library, its dependencies and the extra.

    A package that is not installed has ``missing: pip install 'lovasz[study]'`` for a version.
    """
    found = {"python": platform.python_version()}
    found["lovasz"] = __version__
    for package in ("torch", "torchmetrics", "numpy"):
        found[package] = version(package) or "unknown"
    for module, package in EXTRA.items():
        found[module] = version(package) or f"missing: {INSTALL}"
    return found


def version(package: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


# Rooms that only show results: a training's outcome does not depend on them. Everything else counts, new files too.
SHOWS = ("cli/", "study/score/", "study/summary/", "study/report/")


def code_version() -> str:
    """Return this library's version and a hash of its files: ``0.2.0 (1f2e3d4c)``.

    A source tree changes without its version; results of other code must not pass for its own.
    Files that only show results are left out.
    """
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*")):
        name = path.relative_to(package).as_posix()
        if path.suffix in (".py", ".so", ".pyd") and not name.startswith(SHOWS):
            digest.update(name.encode() + path.read_bytes())
    return f"{__version__} ({digest.hexdigest()[:8]})"


def missing(modules: Iterable[str] = EXTRA) -> list[str]:
    """Return the modules that cannot be imported."""
    return [module for module in modules if util.find_spec(module) is None]
