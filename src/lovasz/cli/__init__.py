"""The ``lovasz`` command's entry point, which must start without the study extra."""

import sys
from importlib import util

from lovasz.study.versions import INSTALL


def main() -> None:
    """Runs the command line; without Typer or Rich it says what to install."""
    if any(util.find_spec(module) is None for module in ("typer", "rich")):
        print(f"lovasz: the commands need the study extra: {INSTALL}", file=sys.stderr)
        raise SystemExit(2)
    from lovasz.cli.app import app

    app(prog_name="lovasz")
