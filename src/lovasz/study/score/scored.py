"""Scores counted: at every threshold, and by the usual rule, over all images and in constant memory."""

import math
import threading
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lovasz.counts import Counts, count
from lovasz.study.io.labelling import Labelling
from lovasz.study.io.score_files import NoRuleError
from lovasz.study.processes import Ranks
from lovasz.study.score.decided_masks import DecidedMasks
from lovasz.study.score.deciding import Decision
from lovasz.study.score.images import Image, read_masks, read_scores
from lovasz.study.score.pairing import Pairs, Problem
from lovasz.study.score.tally import class_counts, confusion


@dataclass(frozen=True)
class Scoring:
    """What the scores are, what they become, and where that is written.

    Attributes:
        kind: "logits" or "probabilities".
        decision: How they become labels.
        masks: Where the labels are written; None for nowhere.
    """

    kind: str
    decision: Decision
    masks: DecidedMasks | None = None


@dataclass(frozen=True)
class Scored:
    """What scores were counted to be.

    Attributes:
        scoring: What they are.
        counts: Pixels by the error of their probability, of all images.
        usual: Pixels in intersection, label and prediction of each class by the usual decision, (C, 3).
        low: The lowest value in the files.
        high: The highest.
    """

    scoring: Scoring
    counts: Counts
    usual: NDArray[np.int64]
    low: float
    high: float


def read_image(
    pairs: Pairs, image: int, labellings: tuple[Labelling, Labelling], scoring: Scoring | None
) -> Image | Problem:
    """Read a prediction, a mask or scores that are decided, and its target."""
    if scoring is None:
        return read_masks(pairs, image, labellings)
    scores = read_scores(pairs, image, scoring.kind, scoring.decision.channels, labellings[1])
    if isinstance(scores, Problem):
        return scores
    prediction = scoring.decision.labels(scores.logits).reshape(scores.target.shape)
    return Image(prediction, scores.target, (None, scores.mask), scores)


class ScoreTally:
    """The sum over images, which threads add to; the sums are integers, so their order does not matter."""

    def __init__(self, scoring: Scoring, num_classes: int, ignored: Collection[int]) -> None:
        self._scoring, self._classes, self._ignored = scoring, num_classes, list(ignored)
        self._lock = threading.Lock()
        self._table = no_counts(scoring.decision).table
        self._usual = np.zeros((num_classes, 3), dtype=np.int64)
        self._range, self._grey = (math.inf, -math.inf), -1

    def take(self, image: Image, matrix: NDArray[np.int64]) -> None:
        """Take in an image with scores, and the pixels of each pair of label and decision."""
        pair, decision = image.scores, self._scoring.decision
        assert pair is not None
        found = count(pair.logits, pair.labels, form=decision.form, ignore_index=self._ignored)
        if decision.rule != "usual":
            other = Decision("usual", decision.channels).labels(pair.logits).reshape(pair.target.shape)
            matrix = confusion(other, pair.target, self._classes, self._ignored)
        with self._lock:
            self._table += found.table
            self._usual += class_counts(matrix)
            self._range = min(self._range[0], pair.scores.low), max(self._range[1], pair.scores.high)
            self._grey = max(self._grey, pair.scores.grey)

    def summed(self, ranks: Ranks) -> Scored:
        """Return the sum over all processes.

        Raises:
            NoRuleError: If every picture holds 0 and 1 alone: labels, which are no probabilities.
        """
        ranges = ranks.all((*self._range, self._grey))
        if max(grey for _, _, grey in ranges) == 1:
            raise NoRuleError(
                "the grey maps hold 0 and 1 alone, of 255 or 65535: labels, and no probabilities; masks are "
                "evaluated without --scores"
            )
        table = torch.from_numpy(ranks.sum(self._table.numpy()))
        return Scored(
            self._scoring,
            Counts(table, self._scoring.decision.form),
            ranks.sum(self._usual),
            min(low for low, _, _ in ranges),
            max(high for _, high, _ in ranges),
        )


def no_counts(decision: Decision) -> Counts:
    """Return the counts of no pixel."""
    target = torch.zeros((1, 1, 1, 1) if decision.channels == 1 else (1, 1, 1), dtype=torch.uint8)
    nowhere = torch.zeros_like(target, dtype=torch.bool)
    return count(torch.zeros(1, decision.channels, 1, 1), target, form=decision.form, mask=nowhere)
