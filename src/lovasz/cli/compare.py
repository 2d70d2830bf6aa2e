"""``lovasz compare``: errors, interruption and exit codes around one comparison."""

import contextlib
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console

from lovasz.study.environment import INSTALL, missing
from lovasz.study.processes import is_first, launch, launched, leave

if TYPE_CHECKING:
    from lovasz.cli.session import Session

# Seconds in which the first process tells what is wrong with all, and ends the others.
GRACE = 3


def run_compare(given: dict[str, Any], file: Path | None, out: Path | None, resume: Path | None) -> None:
    """Run the command.

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
    from lovasz.study.io.kinds import UnreadableFileError
    from lovasz.study.train.config_checks import check_config
    from lovasz.study.train.config_file import make_config
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
        _, processes = launched()
        if processes > 1:
            given = given | {"devices": given["devices"] or processes}
        config, out = make_config(given, file, whole=resume is not None), out or Path("lovasz-compare")
        check_config(config)
        if processes not in (1, config.devices):
            raise ValueError(f"--devices must be {processes}, the processes of torchrun, got {config.devices}")
        new = not out.exists()
        check_writable(out)
    except (ValueError, OSError) as error:
        fail(str(error))
    if config.devices > 1 and processes == 1:
        raise typer.Exit(launch(config.devices))
    console = Console(highlight=False, emoji=False, quiet=not is_first())
    session: Session | None = None
    try:
        with console.status("Loading PyTorch Lightning"):
            # Takes seconds, so it waits until the options are known to be good.
            from lovasz.cli import session as loaded
        session = loaded.Session(console)
        try:
            config, data, planned = session.prepare(config, out)
        except (ValueError, OSError) as error:
            if new:  # what is refused leaves no empty folder
                with contextlib.suppress(OSError):
                    out.rmdir()
            fail(str(error))
        session.compare(config, out, data, planned)
        leave()
    except KeyboardInterrupt:
        done = f"{len(session.finished)} of {session.number}" if session and session.number else "No"
        if is_first():
            print(
                f"Interrupted. {done} runs are finished and kept; resume with: "
                f"{shlex.join(['lovasz', 'compare', '--resume', str(out)])}",
                file=sys.stderr,
            )
        raise typer.Exit(130) from None
    except (DamagedRunError, UnreadableFileError, OSError) as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """End the command with one line on stderr and exit code 2."""
    rank, _ = launched()
    if rank:
        time.sleep(GRACE)
    print(f"lovasz{f' (process {rank})' if rank else ''}: {message}", file=sys.stderr)
    raise typer.Exit(2)
