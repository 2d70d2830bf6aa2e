"""Where the time of the runs went, in words."""

from collections.abc import Iterable

from lovasz.study.train.clock import MEMORY, PARTS, REST, RULES, STEPS, TEST, VALIDATION
from lovasz.study.train.store import Run

NAMES = {
    STEPS: "training steps",
    VALIDATION: "validation",
    RULES: "fitting of decisions",
    TEST: "test part",
    MEMORY: "memory of the losses",
    REST: "the rest (reading training images, keeping states)",
}


def whole(run: Run) -> float | None:
    """Return the seconds of a run from its beginning to its test; None where they were not counted."""
    return None if run.seconds is None else sum(run.seconds.values())


def total(runs: Iterable[Run]) -> dict[str, float]:
    """Return the seconds of each part, over the runs whose parts were counted; empty if those of none were."""
    counted = [run.seconds for run in runs if run.seconds is not None]
    return {part: sum(seconds.get(part, 0.0) for seconds in counted) for part in PARTS if counted}


def said_of_time(runs: Iterable[Run]) -> str:
    """Say how long the runs took and for what; empty if no run was timed."""
    runs = list(runs)
    seconds = total(runs)
    everything = sum(seconds.values())
    if not everything:
        return ""
    counted = sum(run.seconds is not None for run in runs)
    number = f"{counted}{'' if counted == len(runs) else f' of {len(runs)}'} run{'' if len(runs) == 1 else 's'}"
    shares = ", ".join(
        f"{NAMES[part]} {100 * value / everything:.0f} %" for part, value in seconds.items() if value
    )
    return f"{number} took {duration(everything)}: {shares}."


def duration(seconds: float) -> str:
    """Write seconds in the unit that suits them: ``18 s``, ``12 min``, ``3.4 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
