"""The processes that ``torchrun`` starts, and what they tell one another."""

import contextlib
import datetime
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

# One process may be done long before the slowest; if one dies, torchrun ends the others.
PATIENCE = datetime.timedelta(days=1)


class Ranks:
    """The place of this process among those that share the work; alone it is the first of one.

    Attributes:
        rank: The number of this process, from 0.
        world_size: How many there are.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank, self.world_size = rank, world_size

    def sum(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sum over all processes, on each."""
        total = torch.from_numpy(counts.copy())
        if self.world_size > 1:
            torch.distributed.all_reduce(total)
        return total.numpy()

    def to_first(self, counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return the arrays of all processes, equal in shape, by rank; on all but the first none."""
        if self.world_size == 1:
            return [counts]
        received = [torch.empty(counts.shape, dtype=torch.int64) for _ in range(self.world_size)]
        torch.distributed.gather(torch.from_numpy(counts), received if self.rank == 0 else None)
        return [part.numpy() for part in received] if self.rank == 0 else []

    def all(self, value: Any) -> list[Any]:
        """Return what each process passed, by rank, on each."""
        values = [value]
        if self.world_size > 1:
            values = [None] * self.world_size
            torch.distributed.all_gather_object(values, value)
        return values


def launched() -> tuple[int, int]:
    """Return the number of this process and how many there are, as ``torchrun`` says; without it 0 and 1."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1 or "RANK" not in os.environ:  # LOCAL_RANK is set in many shells
        return 0, 1
    return int(os.environ["RANK"]), world_size


def is_first() -> bool:
    """Whether this process prints and writes for all."""
    return launched()[0] == 0


def machines() -> int:
    """Return over how many machines ``torchrun`` spreads the processes."""
    _, world_size = launched()
    return world_size // int(os.environ.get("LOCAL_WORLD_SIZE", world_size)) if world_size > 1 else 1


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes of ``torchrun``, as its environment says; without it there is but this one."""
    rank, world_size = launched()
    if world_size == 1:
        yield Ranks()
        return
    torch.distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        torch.distributed.barrier()  # who fails and leaves at once is lost to those that still connect to it
        yield Ranks(rank, world_size)
    finally:
        leave()


def leave() -> None:
    """Leave the group of processes, if there is one: its threads at work, a process may be aborted as it ends."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def launch(number: int) -> int:
    """Run this command again in so many processes of this machine, as ``torchrun`` does; the first prints.

    When one fails the others are ended, and what it said is printed.

    Returns:
        The exit code: that of the process that failed, 128 and the signal that ended it, else 0.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # its warnings are of agents and their workers
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // number)))
    with tempfile.TemporaryDirectory() as logs:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=number,
            run_id="lovasz",
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(logs, redirects=dict.fromkeys(range(1, number), Std.ALL)),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "lovasz", *sys.argv[1:])
        except SignalException as error:
            if error.sigval != signal.SIGINT:  # of which the first process has told
                print("Interrupted. Finished runs are kept; the same command resumes.", file=sys.stderr)
            return 128 + error.sigval
        except ChildFailedError as error:
            failed, failure = error.get_first_failure()
            for said in Path(logs).rglob(f"{failed}/stderr.log"):
                sys.stderr.write(said.read_text(errors="replace"))
            if failure.exitcode < 0:
                by = signal.Signals(-failure.exitcode).name
                print(f"lovasz: process {failed} of {number} was ended by {by}", file=sys.stderr)
                return 128 - failure.exitcode
            return failure.exitcode
    return 0
