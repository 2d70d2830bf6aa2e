"""The same command in several processes that train together, as Lightning finds them by their environment."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from lovasz.study.train.claims import Team

RANK = "LOVASZ_WORKER"  # ours alone: LOCAL_RANK is set in many shells
# The file by which the first process tells the others which run is next.
DECISIONS = "LOVASZ_DECISIONS"
# Seconds that the first process has, once another has failed, to say that it was interrupted.
GRACE = 3


def is_worker() -> bool:
    """Whether this process is one of several that train together."""
    return RANK in os.environ


def is_first() -> bool:
    """Whether this process prints and writes for all."""
    return os.environ.get(RANK, "0") == "0"


def team() -> "Team":
    """Returns the processes that train together, of which this is one; alone it is the only one."""
    import torch

    from lovasz.study.train.claims import Team

    if not is_worker():
        return Team()
    return Team(is_first(), torch.distributed.FileStore(os.environ[DECISIONS]))


def run_workers(number: int) -> int:
    """Runs this command again in so many processes; the first speaks for all.

    When one fails the others are ended, and what it said is printed.

    Returns:
        The exit code: that of the process that failed, 128 and the signal that ended it, else 0.
    """
    with contextlib.ExitStack() as stack:
        quiet = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(number - 1)]
        # Signals are noted, not obeyed: the workers are ended first. Ctrl-C reaches them by itself as well.
        stopped: list[int] = []
        for name in {"SIGINT", "SIGTERM", "SIGHUP"} & set(dir(signal)):
            one = getattr(signal, name)
            stack.callback(signal.signal, one, signal.signal(one, lambda which, _: stopped.append(which)))
        port = _free_port()
        decisions = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "decisions"
        workers = [_start(rank, number, port, decisions, output) for rank, output in enumerate([None, *quiet])]
        try:
            while not stopped and (codes := [w.poll() for w in workers]).count(0) < number and not any(codes):
                time.sleep(0.1)
            if stopped:
                for worker in workers:
                    worker.send_signal(signal.SIGINT)
            deadline = time.monotonic() + GRACE
            while workers[0].poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            codes = [worker.poll() for worker in workers]
        finally:
            for worker in workers:
                worker.kill()  # not terminate: Lightning notes a SIGTERM and waits for the end of a step
                worker.wait()
        if stopped:
            if codes[0] != 130:  # the first could not say it
                print("Interrupted. Finished runs are kept; the same command resumes.", file=sys.stderr)
            return 128 + stopped[0]
        failed = next((rank for rank, code in enumerate(codes) if code), None)
        if failed is None:
            return 0
        code = codes[failed] or 0
        if failed:  # the first, ended before its time, had nothing to say
            quiet[failed - 1].seek(0)
            sys.stderr.write(quiet[failed - 1].read().decode(errors="replace"))
        if code < 0:
            print(
                f"lovasz: process {failed} of {number} was ended by {signal.Signals(-code).name}", file=sys.stderr
            )
        return code if code > 0 else 128 - code


def _start(
    rank: int, number: int, port: int, decisions: Path, output: IO[bytes] | None
) -> "subprocess.Popen[bytes]":
    """Starts one of them; without an output of its own it prints."""
    threads = str(max(1, (os.cpu_count() or 1) // number))
    environment = {"OMP_NUM_THREADS": threads, **os.environ, RANK: str(rank), "LOCAL_RANK": str(rank)}
    return subprocess.Popen(
        [sys.executable, "-m", "lovasz", *sys.argv[1:]],
        env=environment | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), DECISIONS: str(decisions)},
        stdout=output,
        stderr=output,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _free_port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
