"""What ``--scores``, ``--decide``, ``--fit`` and ``--threshold`` ask for."""

import threading
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lovasz.study.io.labelling import Labelling
from lovasz.study.io.score_files import KINDS, NoRuleError
from lovasz.study.io.text import printable
from lovasz.study.processes import Ranks
from lovasz.study.score.decided_masks import DecidedMasks
from lovasz.study.score.deciding import RULES, Decision
from lovasz.study.score.fitting import ScoredImages, StoppedError, check_problems, fit_decision
from lovasz.study.score.pairing import Pairs
from lovasz.study.score.scored import Scoring


def check_score_options(
    scores: str | None,
    decide: str | None,
    fit: tuple[Path, Path] | None,
    threshold: str | None,
    map_predictions: str | None,
) -> None:
    """Check that the options fit together, before a file is read.

    Raises:
        ValueError: If they do not.
    """
    given = {"--decide": decide, "--fit": fit, "--threshold": threshold}
    named = [name for name, value in given.items() if value is not None]
    if scores is None and named:
        raise ValueError(f"{named[0]} needs --scores logits or --scores probabilities")
    if scores not in (None, *KINDS):
        raise ValueError(f"--scores must be one of {', '.join(KINDS)}, got {scores}")
    if decide not in (None, *RULES):
        raise ValueError(f"--decide must be one of {', '.join(RULES)}, got {decide}")
    if scores is not None and map_predictions is not None:
        raise ValueError("--map-predictions is for masks; scores are in the order of the classes")
    if threshold is not None and decide not in (None, "usual"):
        raise ValueError(f"--threshold and --decide {decide} are two rules; give one of them")
    if fit is not None and decide != "dataset" and threshold != "best":
        raise ValueError("--fit needs a rule that is fitted: --decide dataset or --threshold best")
    if threshold is not None:
        number(threshold)


def number(threshold: str) -> float | None:
    """Return the number that a threshold is, None for the best one."""
    if threshold == "best":
        return None
    try:
        value = float(threshold)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"--threshold must be a number from 0 to 1 or best, got {threshold}")
    return value


@dataclass(frozen=True)
class ScoreOptions:
    """What was asked for, once it was checked.

    Attributes:
        kind: What the scores are.
        channels: How many they have.
        rule: One of `RULES`.
        threshold: A number, "best", or None.
        others: The images of ``--fit``.
        masks: Where decided masks go; None for nowhere.
        allow_missing: Whether images of ``--fit`` may be left out.
    """

    kind: str
    channels: int
    rule: str
    threshold: str | None
    others: Pairs | None
    masks: DecidedMasks | None
    allow_missing: bool

    def check(self, pairs: Pairs, labelling: Labelling) -> None:
        """Check that the scores suit the rule, that it can be fitted, and that masks can be written.

        Raises:
            ValueError: If they do not, or cannot.
        """
        if labelling.num_classes < 2:
            raise ValueError(f"--scores needs at least 2 classes, got {labelling.num_classes}")
        if self.threshold is not None and self.channels > 1:
            raise ValueError(
                f"--threshold is for scores of class 1 alone, of two; these have {self.channels} channels"
            )
        if self.others is not None and _same_predictions(self.others, pairs):
            raise ValueError("--fit must name other images; without it the rule is fitted on those of PREDICTIONS")
        if self.others is not None and not self.allow_missing:
            check_problems(self.others.problems)
        if self.masks is not None:
            self.masks.check()

    def scoring(
        self,
        pairs: Pairs,
        labelling: Labelling,
        workers: int,
        stop: threading.Event,
        ranks: Ranks,
        console: Console,
    ) -> Scoring:
        """Find the rule, on the first process for all.

        Raises:
            NoRuleError: If none can be found; the same on all processes.
            KeyboardInterrupt: If it was asked to stop before one was found; likewise.
        """
        channels = self.channels
        value = None if self.threshold is None else number(self.threshold)
        if value is not None:
            return Scoring(self.kind, Decision("threshold", channels, value), self.masks)
        if self.rule != "dataset" and self.threshold is None:
            return Scoring(self.kind, Decision(self.rule, channels), self.masks)
        found: Decision | str | None = None
        if ranks.rank == 0:
            others = self.others or pairs
            where = f"{printable(others.predictions)}, {printable(others.targets)}" if self.others else ""
            images = ScoredImages(others, self.kind, channels, labelling, workers, stop)
            rule = "threshold" if self.threshold else "dataset"
            try:
                with console.status("Fitting"):
                    found = fit_decision(images, rule, where, self.allow_missing)
            except StoppedError:
                found = None
            except ValueError as error:
                found = str(error)
        found = ranks.all(found)[0]
        if found is None:
            raise KeyboardInterrupt
        if isinstance(found, str):
            raise NoRuleError(found)
        return Scoring(self.kind, found, self.masks)


def _same_predictions(one: Pairs, other: Pairs) -> bool:
    """Return whether two inputs name the same predictions: the same folder, or by a list the same files."""
    if one.by is None and other.by is None:
        return one.predictions.samefile(other.predictions)
    first, second = ({pairs.paths(i)[0].resolve() for i in range(len(pairs.files))} for pairs in (one, other))
    return first == second
