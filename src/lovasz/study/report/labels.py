"""Labels that may overlap, one by one: what is found of each, and the threshold that serves it."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from lovasz.study.data.iou import iou_per_class
from lovasz.study.data.parts import TEST
from lovasz.study.report.squares import path
from lovasz.study.summary.compare import Comparison
from lovasz.study.train.decide import VAL_RULE
from lovasz.study.train.predict import CURVE


@dataclass(frozen=True)
class Found:
    """Test pixels of a label with one loss, all seeds together.

    Attributes:
        label: The label.
        loss: Name of the loss.
        found: Labelled and predicted.
        missed: Labelled alone.
        invented: Predicted alone.
    """

    label: int
    loss: str
    found: int
    missed: int
    invented: int

    @property
    def recall(self) -> float:
        """Share of the labelled pixels that is predicted, in percent."""
        labelled = self.found + self.missed
        return 100 * self.found / labelled if labelled else math.nan

    @property
    def precision(self) -> float:
        """Share of the predicted pixels that is labelled, in percent."""
        predicted = self.found + self.invented
        return 100 * self.found / predicted if predicted else math.nan


@dataclass(frozen=True)
class Threshold:
    """The threshold of a label that was chosen on validation, with one loss: means over seeds.

    Attributes:
        label: The label.
        loss: Name of the loss.
        threshold: On the probability.
        lowest: The lowest of the seeds.
        highest: The highest.
        half: Test IoU in percent at 0.5.
        there: The same at the threshold.
    """

    label: int
    loss: str
    threshold: float
    lowest: float
    highest: float
    half: float
    there: float


def threshold_paths(comparison: Comparison) -> list[tuple[int, list[str]]]:
    """Draw the IoU of each label that has test pixels against the threshold: a path a loss, the mean over seeds.

    They are in the square of `lovasz.study.report.squares`.
    """
    drawn = []
    for label, pixels in enumerate(comparison.data.parts[TEST].pixels):
        if pixels:
            of_losses = [
                np.mean(
                    [comparison.runs[loss, seed].tested.by_threshold[label] for seed in comparison.seeds], axis=0
                )
                for loss in comparison.losses
            ]
            drawn.append((label, [path(np.linspace(0, 1, CURVE), one) for one in of_losses]))
    return drawn


def found_labels(comparison: Comparison) -> list[Found]:
    """Return what each loss finds of each label, decided by p > 1/2."""
    sums = {
        loss: np.sum([comparison.runs[loss, seed].tested.counts for seed in comparison.seeds], axis=0)
        for loss in comparison.losses
    }
    return [
        Found(label, loss, int(counts[label, 1, 1]), int(counts[label, 1, 0]), int(counts[label, 0, 1]))
        for label in range(comparison.data.num_classes)
        for loss, counts in sums.items()
    ]


def label_thresholds(comparison: Comparison) -> list[Threshold]:
    """Return the thresholds of each label with each loss whose runs all have one."""
    found = []
    for label in range(comparison.data.num_classes):
        for loss in comparison.losses:
            runs = [comparison.runs[loss, seed] for seed in comparison.seeds]
            fitted = [run for run in runs if run.rules and VAL_RULE in run.rules and run.tested.decided]
            if len(fitted) < len(runs):
                continue
            values = [run.rules[VAL_RULE].threshold[label] for run in fitted if run.rules]
            scores = [
                [float(iou_per_class(torch.from_numpy(one.counts))[label]) for one in both]
                for both in ((run.tested, run.tested.decided[VAL_RULE]) for run in fitted)
            ]
            half, there = (100 * float(one) for one in np.mean(scores, axis=0))
            found.append(Threshold(label, loss, float(np.mean(values)), min(values), max(values), half, there))
    return found
