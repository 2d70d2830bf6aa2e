"""The same command in several processes that train together, as Lightning finds them by their environment."""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import IO

RANK = "LOCAL_RANK"
# Seconds that the first process has, once another has failed, to say that it was interrupted.
GRACE = 3


def is_worker() -> bool:
    """Whether this process is one of several that train together."""
    return RANK in os.environ


def is_first() -> bool:
    """Whether this process prints and writes for all."""
    return os.environ.get(RANK, "0") == "0"


def run_workers(number: int) -> int:
    """Runs this command again in so many processes; the first speaks for all.

    When one fails the others are ended, and what it said is printed.

    Returns:
        The exit code: that of the process that failed, else 0.
    """
    with contextlib.ExitStack() as stack:
        quiet = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(number - 1)]
        # Ctrl-C reaches the workers by itself; this process waits for what they make of it.
        stack.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.SIG_IGN))
        workers = [_start(rank, number, output) for rank, output in enumerate([None, *quiet])]
        try:
            while (codes := [worker.poll() for worker in workers]).count(0) < number and not any(codes):
                time.sleep(0.1)
            deadline = time.monotonic() + GRACE
            while workers[0].poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            codes[0] = workers[0].poll()
        finally:
            for worker in workers:
                worker.terminate()
                worker.wait()
        failed = next((rank for rank, code in enumerate(codes) if code), None)
        if failed is None:
            return 0
        if codes[0] is None:  # the first, ended before its time, had nothing to say
            quiet[failed - 1].seek(0)
            sys.stderr.write(quiet[failed - 1].read().decode(errors="replace"))
        return codes[failed] or 0


def _start(rank: int, number: int, output: IO[bytes] | None) -> "subprocess.Popen[bytes]":
    """Starts one of them; without an output of its own it prints."""
    threads = str(max(1, (os.cpu_count() or 1) // number))
    environment = {"OMP_NUM_THREADS": threads, **os.environ, RANK: str(rank)}
    return subprocess.Popen(
        [sys.executable, "-m", "lovasz", *sys.argv[1:]],
        env=environment | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_port())},
        stdout=output,
        stderr=output,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@functools.cache
def _port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
