"""``lovasz compare``: errors, interruption and exit codes around one comparison."""

import sys
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.console import Console

from lovasz.cli.options import Options
from lovasz.cli.workers import is_first, is_worker, run_workers
from lovasz.study.store import DamagedRunError
from lovasz.study.versions import INSTALL, missing

if TYPE_CHECKING:
    from lovasz.study.settings import Settings


def run_compare(options: Options) -> None:
    """Runs the command.

    Raises:
        typer.Exit: With code 2 and one line on stderr if something cannot be done, with code 130
            after Ctrl-C.
    """
    absent = missing()
    if absent:
        _fail(f"compare needs {', '.join(absent)}, from the study extra: {INSTALL}")
    try:
        options.check()
    except (ValueError, OSError) as error:
        _fail(str(error))
    if options.devices > 1 and not is_worker():
        raise typer.Exit(run_workers(options.devices))
    console = Console(highlight=False, quiet=not is_first())
    finished: set[Settings] = set()
    try:
        with console.status("Loading PyTorch Lightning"):
            # Takes seconds, so it waits until the options are known to be good.
            from lovasz.cli import session
        session.compare_losses(console, options, finished)
    except KeyboardInterrupt:
        total = options.seeds * len(options.losses)
        print(
            f"Interrupted. {len(finished)} of {total} runs are finished and kept; resume with: {options.command}",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    except (DamagedRunError, OSError) as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    print(f"lovasz: {message}", file=sys.stderr)
    raise typer.Exit(2)
