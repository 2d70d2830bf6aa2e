"""Where the seconds of a run go."""

import time
from collections.abc import Callable, Mapping

# Parts of a run. The steps are forward, loss, backward and update; the rest is reading training images, keeping
# states and weights, and beginning.
PARTS = STEPS, VALIDATION, RULES, TEST, MEMORY, REST = ("steps", "validation", "rules", "test", "memory", "rest")


class Clock:
    """Gives every second since it was made to one part of a run.

    Attributes:
        seconds: Seconds of each part so far.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.now = now
        self.last = now()

    def lap(self, part: str) -> None:
        """Give the seconds since the last call to a part."""
        now = self.now()
        self.seconds[part] += now - self.last
        self.last = now

    def add(self, earlier: Mapping[str, float]) -> None:
        """Add what an earlier command has counted in the same run."""
        for part, seconds in earlier.items():
            self.seconds[part] += seconds
