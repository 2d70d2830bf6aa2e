"""What ``--group``, ``--subgroups``, ``--against`` and ``--resamples`` ask for."""

import filecmp
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lovasz.cli.evaluation_inputs import make_pairs
from lovasz.study.io.groups import groups, properties
from lovasz.study.io.text import printable
from lovasz.study.score.evaluation import Evaluation
from lovasz.study.score.pairing import Pairs
from lovasz.study.score.scores import Scores
from lovasz.study.summary.image_table import MOST_CLASSES
from lovasz.study.summary.resampling import Draws, StoppedError
from lovasz.study.summary.rivals import Contest, contest
from lovasz.study.summary.score_intervals import ScoreIntervals, score_intervals
from lovasz.study.summary.subgroups import Subgroup, check_columns, subgroups

FEWEST = 1_000


@dataclass(frozen=True)
class Resampled:
    """What came of it; nothing where it was not asked for, or was interrupted: then `missing` says what."""

    intervals: ScoreIntervals | None = None
    contest: Contest | None = None
    subgroups: Sequence[Subgroup] = ()
    missing: Sequence[str] = ()


@dataclass(frozen=True)
class ResampleOptions:
    """What was asked for, once it was checked.

    Attributes:
        groups: The group of each name, or None.
        columns: By column, the value of each name.
        names: What the predictions are called, the baseline first.
        rivals: The other predictions with the targets.
        resamples: How many; 0 for none.
    """

    groups: list[str] | None
    columns: dict[str, list[str]]
    names: list[str]
    rivals: list[Pairs]
    resamples: int

    @property
    def asked(self) -> list[str]:
        """Say what was asked for."""
        wanted = {"intervals": True, "comparison": self.rivals, "subgroups": self.columns}
        return [what for what, is_asked in wanted.items() if self.resamples and is_asked]

    def resampled(
        self,
        evaluations: Sequence[Evaluation],
        scores: Scores,
        workers: int,
        stop: threading.Event,
        console: Console,
    ) -> Resampled:
        """Resample the images of the first of the evaluations, and compare the others with it."""
        if not self.resamples or stop.is_set():
            return Resampled(missing=self.asked)
        first, done = evaluations[0], 0
        with console.status("Resampling images") as status:

            def on_drawn(number: int) -> None:
                nonlocal done
                done += number
                status.update(f"Resampling images: {done:,}")

            draws = Draws(self.resamples, workers, stop, on_drawn)
            try:
                return Resampled(
                    score_intervals(first, scores, self.groups, draws),
                    contest(self.names, evaluations, scores, self.groups, draws) if self.rivals else None,
                    subgroups(first, scores, self.columns, self.groups, draws),
                )
            except StoppedError:
                return Resampled(missing=self.asked)


def make_resample_options(
    pairs: Pairs,
    num_classes: int,
    group: str | None,
    columns: Path | None,
    against: Sequence[Path],
    resamples: int,
    rivals_of: Callable[[Path], Pairs],
) -> ResampleOptions:
    """Read what the options name.

    Raises:
        ValueError: If something cannot be used.
    """
    if resamples and resamples < FEWEST:
        raise ValueError(f"--resamples must be at least {FEWEST:,}, or 0 for no intervals, got {resamples}")
    given = {"--group": group, "--subgroups": columns, "--against": against or None}
    named = [name for name, value in given.items() if value is not None]
    if named and not resamples:
        raise ValueError(f"{named[0]} needs resamples, got --resamples 0")
    if named and num_classes > MOST_CLASSES:
        raise ValueError(f"{named[0]} needs at most {MOST_CLASSES:,} classes, got {num_classes:,}")
    names = [name for name, _, _ in pairs.files]
    found = {} if columns is None else properties(columns, names)
    check_columns(found)
    paths = [pairs.by or pairs.predictions, *against]
    for index, path in enumerate(paths):
        if any(path.exists() and other.exists() and path.samefile(other) for other in paths[:index]):
            raise ValueError(f"--against must name other predictions, got {printable(path)} twice")
    return ResampleOptions(
        None if group is None else groups(group, names),
        found,
        _called(paths),
        [rivals_of(path) for path in against],
        resamples,
    )


def rival_pairs(path: Path, pairs: Pairs) -> Pairs:
    """Pair other predictions with the targets of the baseline, or read another list.

    Raises:
        ValueError: If nothing can be paired, or a list has other targets.
    """
    if pairs.by is not None and path.is_dir():
        raise ValueError(f"--against must be a list (CSV) as PREDICTIONS is, got the folder {path}")
    found = make_pairs(path, pairs.targets if pairs.by is None else None, pairs.most)
    if not found.files:
        raise ValueError(" ".join([f"--against {path} holds no masks of the targets.", *found.told()]).rstrip("."))
    if pairs.by is not None:
        _check_targets(path, pairs, found)
    return found


def _check_targets(path: Path, pairs: Pairs, others: Pairs) -> None:
    """Check that a name has one target in two lists, or a copy of it."""
    targets = {name: pairs.paths(image)[1] for image, (name, _, _) in enumerate(pairs.files)}
    for image, (name, _, _) in enumerate(others.files):
        first, second = targets.get(name), others.paths(image)[1]
        if first is None or first.samefile(second) or filecmp.cmp(first, second, shallow=False):
            continue
        raise ValueError(
            f"--against {printable(path)}: the target of {name} is {printable(second)}, and {printable(first)} in "
            f"{printable(pairs.by)}, which is another file; expected the same targets"
        )


def _called(paths: Sequence[Path]) -> list[str]:
    """Return what predictions are called: the last part of their paths that tells them apart."""
    parts = [path.resolve().parts for path in paths]
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return [printable("/".join(part[-length:])) for part in parts]
