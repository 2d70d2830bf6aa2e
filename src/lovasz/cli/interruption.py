"""The orderly end of a command that was interrupted."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Interruption:
    """Whether someone asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.stop, self.signal = threading.Event(), 0

    @property
    def code(self) -> int:
        """The exit code; that of Ctrl-C where the signal has reached another process."""
        return 128 + (self.signal or signal.SIGINT)

    def note(self, which: int, _: object) -> None:
        """Ask for an orderly end; asked again, end at once."""
        if self.stop.is_set():
            raise KeyboardInterrupt
        self.signal = which
        self.stop.set()


@contextlib.contextmanager
def noted() -> Iterator[Interruption]:
    """Note the first Ctrl-C, or the SIGTERM that ``torchrun`` makes of it, so that a partial result is written."""
    interruption, before = Interruption(), {}
    for which in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(which) is not signal.SIG_IGN:  # as in a job in the background
            before[which] = signal.signal(which, interruption.note)
    try:
        yield interruption
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
