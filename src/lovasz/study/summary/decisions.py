"""What each decision is worth with each loss: test mIoU and image mIoU beside argmax and beside the baseline."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lovasz.study.data.iou import mean_iou
from lovasz.study.data.parts import TRAIN, Data
from lovasz.study.score.scores import image_iou, image_miou
from lovasz.study.summary.stats import Difference, paired_difference, signed, spread
from lovasz.study.summary.words import ARGMAX, Words
from lovasz.study.train.decide import DECISIONS, TRAIN_RULE, VAL_RULE
from lovasz.study.train.predict import Decided
from lovasz.study.train.store import Run


@dataclass(frozen=True)
class Measured:
    """A score of one loss by one decision, in percent, and its differences, seed by seed, in points.

    Attributes:
        scores: One a seed; NaN of a run without the decision.
        mean: Their mean.
        spread: Their standard deviation; None for one seed.
        over_argmax: The same runs by argmax subtracted; None for argmax.
        over_baseline: The baseline by the same decision subtracted; None for the baseline.
        over_plain: The baseline by argmax subtracted; None for that.
    """

    scores: list[float]
    mean: float
    spread: float | None
    over_argmax: Difference | None
    over_baseline: Difference | None
    over_plain: Difference | None


@dataclass(frozen=True)
class DecisionSummary:
    """One loss by one decision.

    Attributes:
        loss: Name of the loss.
        decision: "argmax", "val_rule", "train_rule" or "image_decision"; where labels may overlap the first is
            p > 1/2.
        miou: Test mIoU over all classes and pixels.
        image_miou: Mean over the test images of the mean IoU of the classes in each image's label.
    """

    loss: str
    decision: str
    miou: Measured
    image_miou: Measured


def decided_by(run: Run, decision: str) -> Decided | None:
    """Return what a decision makes of the test part in a run; None where the run has none."""
    return run.tested if decision == ARGMAX else run.tested.decided.get(decision)


def pooled_miou(decided: Decided | None) -> float:
    """Return the test mIoU, a fraction of 1; NaN where there is none."""
    return math.nan if decided is None else mean_iou(torch.from_numpy(decided.counts))


def mious_of_images(decided: Decided) -> NDArray[np.float64]:
    """Return for each test image the mean IoU of the classes in its label, (N,), fractions of 1."""
    return image_miou(image_iou(decided.class_counts))


def mean_of_images(decided: Decided | None) -> float:
    """Return the mean of that over the images that have one; NaN where there is none."""
    return math.nan if decided is None else float(torch.from_numpy(mious_of_images(decided)).nanmean())


def by_decision(
    runs: Mapping[tuple[str, int], Run], losses: Sequence[str], seeds: Sequence[int]
) -> list[DecisionSummary]:
    """Add the runs up by loss and decision.

    Args:
        runs: By loss and seed.
        losses: Their names, the baseline first.
        seeds: The seeds of each.
    """
    names = [(loss, decision) for loss in losses for decision in (ARGMAX, *DECISIONS)]
    measured = []
    for score in (pooled_miou, mean_of_images):
        scores = {
            (loss, decision): [100 * score(decided_by(runs[loss, seed], decision)) for seed in seeds]
            for loss, decision in names
        }
        measured.append({name: _measured(name, losses[0], scores) for name in names})
    return [DecisionSummary(*name, measured[0][name], measured[1][name]) for name in names]


def decision_notes(data: Data, runs: Sequence[Run]) -> list[str]:
    """Say which runs lack a decision and why, and that not all training images were fitted."""
    said = []
    old = [run for run in runs if run.rules is None]
    if old:
        said.append(
            f"Without decisions other than argmax, as finished before they were kept: {_listed(old, len(runs))}."
        )
    lacking = [run for run in runs if run.rules is not None and len(run.tested.decided) < len(DECISIONS)]
    if lacking:
        said.append(
            "Without a decision, as a logit is not finite or a part holds no labelled pixel: "
            f"{_listed(lacking, len(runs))}."
        )
    fitted = {run.rules[TRAIN_RULE].images for run in runs if run.rules and TRAIN_RULE in run.rules}
    number = len(data.parts[TRAIN].samples)
    if fitted and min(fitted) < number:
        said.append(f"The rule (train) is fitted on {min(fitted)} of {number} training images, evenly spread.")
    return said


def said_of_decisions(summaries: Sequence[DecisionSummary], words: Words) -> list[str]:
    """Say what a rule fitted on validation gives the baseline, and what the other losses then still add.

    Args:
        summaries: Each loss by each decision.
        words: Those of the task.

    Returns:
        One sentence, or none where no such rule is known of the baseline.
    """
    first, *others = [summary for summary in summaries if summary.decision == VAL_RULE]
    gain = first.miou.over_argmax
    if gain is None or not math.isfinite(first.miou.mean):
        return []
    zero = ", so no difference is shown" if gain.low is not None and not gain.decided else ""
    said = (
        f"Decided {words.rule}, {first.loss} reaches a test {words.metric} of {first.miou.mean:.1f} "
        f"({signed(gain.mean)} points on {words.usual}{_how_sure(gain)}{zero})"
    )
    adds = [_adds(other.miou.over_baseline) for other in others if other.miou.over_baseline is not None]
    return [f"{said}{'; against that, decided likewise, ' if adds else ''}{', '.join(adds)}."]


def _measured(name: tuple[str, str], baseline: str, scores: Mapping[tuple[str, str], list[float]]) -> Measured:
    loss, decision = name

    def minus(other: tuple[str, str]) -> Difference | None:
        if other == name:
            return None
        return paired_difference(f"{loss} by {decision}", " by ".join(other), scores[name], scores[other])

    own = scores[name]
    return Measured(
        scores=own,
        mean=sum(own) / len(own),
        spread=spread(own),
        over_argmax=minus((loss, ARGMAX)),
        over_baseline=minus((baseline, decision)),
        over_plain=minus((baseline, ARGMAX)),
    )


def _adds(difference: Difference) -> str:
    """Say what training with a loss adds to the baseline, both by the rule."""
    loss, mean = difference.loss.removesuffix(f" by {VAL_RULE}"), difference.mean
    if not math.isfinite(mean):
        return f"of training with {loss} nothing can be said"
    if difference.decided:
        does = "adds" if mean > 0 else "loses"
        return f"training with {loss} {does} {signed(abs(mean)).lstrip('+')} points ({_how_sure(difference)[2:]})"
    if difference.low is not None:
        return f"with {loss} no difference is shown ({signed(mean)} points{_how_sure(difference)})"
    return f"training with {loss} is at {signed(mean)} points ({_how_sure(difference)[2:]})"


def _how_sure(difference: Difference) -> str:
    """Return a comma and the interval, or why there is none."""
    if difference.low is not None and difference.high is not None:
        return f", 95 % interval {signed(difference.low)} to {signed(difference.high)}"
    seeds = len(difference.values)
    return ", with one seed" if seeds == 1 else f", in each of {seeds} seeds"


def _listed(runs: Sequence[Run], number: int) -> str:
    """Name runs."""
    if len(runs) == number:
        return "all runs"
    return ", ".join(f"{run.settings.loss} seed {run.settings.seed}" for run in runs)
