"""Which process does which run: the one that claims it first, and those that train together with it."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from lovasz.study.processes import launched
from lovasz.study.train.settings import Settings
from lovasz.study.train.store import finished

# Seconds between two looks at what the first process has decided; it may wait long for runs of another command.
PAUSE = 0.05


@contextlib.contextmanager
def claim(folder: Path, settings: Settings) -> Iterator[bool]:
    """Claims a run and says whether that succeeded; it does not while another process has the claim.

    The system takes the claim back at the end of the process, however it ends.
    """
    place = finished(folder, settings)
    place.parent.mkdir(parents=True, exist_ok=True)
    file = place.with_name(f".{settings.key}.lock")
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
        if place.is_dir():  # whoever claims it now finds it finished, with this file or a new one
            with contextlib.suppress(PermissionError):  # on Windows while it is open; there its release deletes it
                file.unlink(missing_ok=True)
    finally:
        lock.release()


class Team:
    """The processes that train one run together: the first says which comes next, the others are told.

    Attributes:
        first: Whether this is the process that decides and writes; alone it is.
    """

    def __init__(self, first: bool = True, decisions: Any = None) -> None:
        self.first, self._decisions, self._number = first, decisions, 0

    def decide(self, key: str) -> None:
        """Tells the others the key of the run that is trained next; an empty one when there is none."""
        if self._decisions is not None:
            self._decisions.set(self._next(), key)

    def decided(self) -> Iterator[str]:
        """Yield the keys that the first process decides on, until there is none."""
        while True:
            name = self._next()
            while not self._decisions.check([name]):  # unlike `get` it can be interrupted
                time.sleep(PAUSE)
            key = self._decisions.get(name).decode()
            if not key:
                return
            yield key

    def _next(self) -> str:
        self._number += 1
        return str(self._number)


def team() -> Team:
    """Return the processes that ``torchrun`` has started, of which this is one; alone it is the only one."""
    rank, world_size = launched()
    if world_size == 1:
        return Team()
    store, _, _ = next(torch.distributed.rendezvous("env://"))
    return Team(rank == 0, torch.distributed.PrefixStore("lovasz", store))
