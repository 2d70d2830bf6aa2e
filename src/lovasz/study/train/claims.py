"""Which process does which run: the one that claims it first, and those that train together with it."""

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lovasz.study.train.settings import Settings
from lovasz.study.train.store import finished

# The first process may wait for runs of another command; if it dies, the command ends the others.
PATIENCE = timedelta(days=365)


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
        if decisions is not None:
            decisions.set_timeout(PATIENCE)

    def decide(self, key: str) -> None:
        """Tells the others the key of the run that is trained next; an empty one when there is none."""
        if self._decisions is not None:
            self._decisions.set(self._next(), key)

    def decided(self) -> Iterator[str]:
        """Yields the keys that the first process decides on, until there is none."""
        while key := self._decisions.get(self._next()).decode():
            yield key

    def _next(self) -> str:
        self._number += 1
        return str(self._number)
