"""The ``lovasz`` command's entry point, which must start without the study extra."""

import sys
from importlib import util

from lovasz.study.environment import INSTALL, versions


def main() -> None:
    """Run the command line; without Typer or Rich, what needs neither, else it says what to install."""
    if all(util.find_spec(module) is not None for module in ("typer", "rich")):
        from lovasz.cli.app import app

        app(prog_name="lovasz")
    elif sys.argv[1:] == ["--version"]:
        print(f"lovasz {versions()['lovasz']}")
    elif sys.argv[1:] in (["info"], ["info", "--check"]):
        from lovasz.cli.info import print_plain

        if not print_plain(check=sys.argv[2:] == ["--check"]):
            raise SystemExit(1)
    else:
        print(f"lovasz: the commands need the study extra: {INSTALL}", file=sys.stderr)
        raise SystemExit(2)
