"""The comparison: what finished runs add up to."""

import math
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
import torch

from lovasz.study.data.iou import iou_per_class
from lovasz.study.data.parts import TEST, Data
from lovasz.study.environment import versions
from lovasz.study.io.groups import groups
from lovasz.study.summary.decisions import DecisionSummary, by_decision, decision_notes, said_of_decisions
from lovasz.study.summary.resampling import Units
from lovasz.study.summary.score_intervals import drawn_together
from lovasz.study.summary.stats import Difference, paired_difference, spread, verdict
from lovasz.study.summary.two_sources import LossIntervals, TwoSources, said_of_images, two_sources
from lovasz.study.summary.words import Words, words_of
from lovasz.study.train.config import Config
from lovasz.study.train.settings import Settings
from lovasz.study.train.store import Run

# Test pixels from which a class counts as large. In a class of six pixels one pixel is worth about
# 17 points of IoU, and a sixteenth of that in the mean over sixteen classes.
LARGE_CLASS = 50
# Percent of test mIoU below which a network counts as hardly trained: it tells few of the classes apart, and what a
# loss gains in the first steps says little of what it gains in the end.
HARDLY_TRAINED = 25.0


@dataclass(frozen=True)
class LossSummary:
    """What the seeds of one loss add up to; IoUs are percentages.

    Attributes:
        loss: Its name.
        scores: Test mIoU of each seed.
        mean: Their mean.
        spread: Their standard deviation; None for one seed.
        large_scores: Test mIoU over the large classes alone, for each seed; NaN if there are none.
        large_mean: Their mean.
        val: Mean validation mIoU.
        classes: Test IoU of each class, the mean over seeds; NaN where it never occurs.
        seconds_per_step: Median over the steps of all seeds, which a busy minute moves little.
        loss_share: Median time in the loss over that.
        loss_mib: Peak memory of the loss beyond logits, target and gradient; None if not measured.
        lr: Learning rate at the start.
        diverged: Seeds whose last loss was not finite.
    """

    loss: str
    scores: list[float]
    mean: float
    spread: float | None
    large_scores: list[float]
    large_mean: float
    val: float
    classes: list[float]
    seconds_per_step: float
    loss_share: float
    loss_mib: float | None
    lr: float
    diverged: list[int]


@dataclass(frozen=True)
class Comparison:
    """Finished runs of several losses over the same seeds, and what they show.

    Attributes:
        data: The data.
        config: What was asked for.
        tried: Mean validation mIoU in percent of each loss with each learning rate tried on the first
            seed; empty if there was one rate.
        runs: Each run by loss and seed.
        summaries: One a loss, the baseline first.
        differences: Each other loss against the baseline, over all classes.
        both: The same over seeds and test images together.
        intervals: The intervals of each loss's own scores over the same.
        units: What is drawn of the test images.
        large: Indices of the classes with at least ``LARGE_CLASS`` test pixels.
        large_differences: The differences over these; empty if they are all classes or none.
        decisions: Each loss by each decision.
        decision_notes: Which decisions are missing and why, in sentences.
        verdict: What the differences show, in sentences.
        versions: Versions of everything involved.
        machine: System, processor and interpreter.
        finished: When it was added up.
        start: What weights the trainings began with, in a sentence; empty: random ones.
    """

    data: Data
    config: Config
    tried: dict[str, dict[float, float]]
    runs: dict[tuple[str, int], Run]
    summaries: list[LossSummary]
    differences: list[Difference]
    both: list[TwoSources]
    intervals: list[LossIntervals]
    units: Units
    large: list[int]
    large_differences: list[Difference]
    decisions: list[DecisionSummary]
    decision_notes: list[str]
    verdict: list[str]
    versions: dict[str, str]
    machine: str
    finished: str
    start: str = ""

    @property
    def words(self) -> Words:
        """What scores, decisions and classes are called."""
        return words_of(self.data)

    @property
    def losses(self) -> list[str]:
        """Names of the losses, the baseline first."""
        return [summary.loss for summary in self.summaries]

    @property
    def highest(self) -> list[str]:
        """Name the loss of the highest mean test mIoU, to the decimal that is shown; several if they are equal."""
        means = {row.loss: round(row.mean, 1) for row in self.summaries if math.isfinite(row.mean)}
        return [loss for loss, mean in means.items() if mean == max(means.values())]

    @property
    def over_large(self) -> str:
        """Name the large classes, "11 classes with at least 50 test pixels"; empty if all or none are."""
        number = len(self.large)
        return _over_large(number, self.words) if 0 < number < self.data.num_classes else ""

    @property
    def over_images(self) -> bool:
        """Whether a difference has an interval over seeds and test images together."""
        return any(row.low is not None for row in self.both)

    @property
    def intervals_of(self) -> str:
        """Say what the intervals of a loss's own scores are over; empty where there are none."""
        if not any(row.miou for row in self.intervals):
            return ""
        drawn = self.units.of_images(len(self.data.parts[TEST].samples))
        return f"seeds and test images ({drawn})" if len(self.seeds) > 1 else f"test images ({drawn})"

    @property
    def seeds(self) -> list[int]:
        """The seeds each loss was trained with."""
        return sorted({seed for _, seed in self.runs})

    @property
    def settings(self) -> Settings:
        """Settings of the first run; all but loss and seed hold for every run."""
        return next(iter(self.runs.values())).settings


def summarise(
    data: Data,
    config: Config,
    runs: Sequence[Run],
    tried: dict[str, dict[float, float]] | None = None,
    units: Units | None = None,
    start: str = "",
) -> Comparison:
    """Add runs up to a comparison; the first run's loss is the baseline.

    Args:
        data: The data.
        config: What was asked for.
        runs: Every loss with the same seeds.
        tried: Validation mIoU of each loss with each learning rate tried.
        units: What is drawn of the test images; None for what `drawn_units` finds.
        start: What weights the trainings began with, in a sentence.

    Returns:
        Means, differences, and the verdict.
    """
    table, words = {(run.settings.loss, run.settings.seed): run for run in runs}, words_of(data)
    losses = list(dict.fromkeys(run.settings.loss for run in runs))
    seeds = sorted({run.settings.seed for run in runs})
    large = [index for index, pixels in enumerate(data.parts[TEST].pixels) if pixels >= LARGE_CLASS]
    summaries = [_summary(loss, [table[loss, seed] for seed in seeds], large) for loss in losses]
    first, others = summaries[0], summaries[1:]
    differences = [paired_difference(other.loss, first.loss, other.scores, first.scores) for other in others]
    large_differences = []
    if 0 < len(large) < data.num_classes:
        large_differences = [
            paired_difference(other.loss, first.loss, other.large_scores, first.large_scores) for other in others
        ]
    units = units or drawn_units(data, config)
    both, intervals = two_sources(table, losses, seeds, units)
    decisions = by_decision(table, losses, seeds)
    return Comparison(
        data=data,
        config=config,
        tried=tried or {},
        runs=table,
        summaries=summaries,
        differences=differences,
        both=both,
        intervals=intervals,
        units=units,
        large=large,
        large_differences=large_differences,
        decisions=decisions,
        decision_notes=decision_notes(data, runs),
        verdict=[
            *verdict(
                differences,
                {summary.loss: summary.mean for summary in summaries},
                large_differences,
                f"Over the {_over_large(len(large), words)}",
                words.metric,
            ),
            *said_of_images(both, units, len(data.parts[TEST].samples)),
            *said_of_decisions(decisions, words),
            *_hardly_trained(summaries, words),
            *(
                f"{summary.loss} diverged with seed {', '.join(map(str, summary.diverged))}: its last loss is not "
                "a finite number, and its score says nothing of the loss."
                for summary in summaries
                if summary.diverged
            ),
        ],
        versions=versions(),
        machine=f"{platform.system()} {platform.machine()}, {platform.python_implementation()}",
        finished=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        start=start,
    )


def drawn_units(data: Data, config: Config) -> Units:
    """Return what is drawn of the test images: each, or the groups of `--group`.

    Raises:
        ValueError: If an image has no group, or the groups cannot be read.
    """
    names = data.parts[TEST].names
    return drawn_together(np.arange(len(names)), None if config.group is None else groups(config.group, names))


def _hardly_trained(summaries: Sequence[LossSummary], words: Words) -> list[str]:
    """Return a sentence where no loss reached `HARDLY_TRAINED`, else none."""
    best = max((summary.mean for summary in summaries if math.isfinite(summary.mean)), default=math.inf)
    if best >= HARDLY_TRAINED:
        return []
    return [
        f"The network is hardly trained: the best mean test {words.metric} is {best:.1f} %, below "
        f"{HARDLY_TRAINED:.0f} %. Train for longer or with another learning rate before relying on any difference."
    ]


def _over_large(number: int, words: Words) -> str:
    return f"{words.of(number)} with at least {LARGE_CLASS} test pixels"


def _summary(loss: str, runs: Sequence[Run], large: Sequence[int]) -> LossSummary:
    scores = [run.test_miou for run in runs]
    large_scores = [run.test_miou_over(large) for run in runs]
    step = statistics.median(seconds for run in runs for seconds in run.step_seconds)
    classes = torch.stack([iou_per_class(run.test_counts) for run in runs])
    n = len(runs)
    return LossSummary(
        loss=loss,
        scores=scores,
        mean=sum(scores) / n,
        spread=spread(scores),
        large_scores=large_scores,
        large_mean=sum(large_scores) / n,
        val=sum(run.val_miou for run in runs) / n,
        classes=(100 * classes.nanmean(0)).tolist(),
        seconds_per_step=step,
        loss_share=statistics.median(seconds for run in runs for seconds in run.loss_seconds) / step,
        loss_mib=next((run.loss_mib for run in runs if run.loss_mib is not None), None),
        lr=runs[0].settings.lr,
        diverged=[run.settings.seed for run in runs if run.diverged],
    )
