"""``lovasz compare``: errors, interruption and exit codes around one comparison."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console

from lovasz.cli.workers import is_first, is_worker, run_workers
from lovasz.study.environment import INSTALL, missing

if TYPE_CHECKING:
    from lovasz.cli.session import Session


def run_compare(given: dict[str, Any], file: Path | None, out: Path | None, resume: Path | None) -> None:
    """Runs the command.

    Args:
        given: Settings given as options; None is not given.
        file: A YAML file with settings, or None.
        out: Folder of the results, or None.
        resume: Folder of a comparison to go on with, or None.

    Raises:
        typer.Exit: With code 2 and one line on stderr if something cannot be done, with code 130
            after Ctrl-C.
    """
    absent = missing()
    if absent:
        fail(f"compare needs {', '.join(absent)}, from the study extra: {INSTALL}")
    # Not before: it needs the extra.
    from lovasz.study.io.disk import check_writable
    from lovasz.study.io.files import UnreadableFileError
    from lovasz.study.train.config import make_config
    from lovasz.study.train.store import DamagedRunError

    try:
        if resume is not None:
            if file is not None or out is not None:
                raise ValueError(
                    "--resume DIR goes on with settings and results in DIR; leave out --config and --out"
                )
            file, out = resume / "config.yaml", resume
            if not file.is_file():
                raise ValueError(f"--resume {resume}: there is no comparison, as there is no {file}")
        config, out = make_config(given, file, whole=resume is not None), out or Path("lovasz-compare")
        config.check()
        check_writable(out)
    except (ValueError, OSError) as error:
        fail(str(error))
    if config.devices > 1 and not is_worker():
        raise typer.Exit(run_workers(config.devices))
    console = Console(highlight=False, quiet=not is_first())
    session: Session | None = None
    try:
        with console.status("Loading PyTorch Lightning"):
            # Takes seconds, so it waits until the options are known to be good.
            from lovasz.cli import session as loaded
        session = loaded.Session(console)
        try:
            data, planned = session.prepare(config, out)
        except (ValueError, OSError) as error:
            fail(str(error))
        session.compare(config, out, data, planned)
    except KeyboardInterrupt:
        done = f"{len(session.finished)} of {session.number}" if session and session.number else "No"
        print(
            f"Interrupted. {done} runs are finished and kept; resume with: "
            f"{shlex.join(['lovasz', 'compare', '--resume', str(out)])}",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    except (DamagedRunError, UnreadableFileError, OSError) as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """Ends the command with one line on stderr and exit code 2."""
    print(f"lovasz: {message}", file=sys.stderr)
    raise typer.Exit(2)
