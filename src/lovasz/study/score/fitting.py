"""Which threshold, or which rule for a data set, the scores of labelled images ask for."""

import dataclasses
import threading
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lovasz.counts import count
from lovasz.decisions import DatasetDecision
from lovasz.study.io.labelling import Labelling
from lovasz.study.io.text import printable
from lovasz.study.score.deciding import Decision, Fitted
from lovasz.study.score.images import ScorePair, read_scores
from lovasz.study.score.ordered import in_order
from lovasz.study.score.pairing import Pairs, Problem
from lovasz.study.score.scored import no_counts
from lovasz.study.score.tally import LabelError, check_target


class StoppedError(Exception):
    """Someone asked to stop before the rule was found."""


class ScoredImages:
    """Scores and labels of images, read from their files again in each pass; of what cannot be read, nothing.

    Attributes:
        problems: What could not be read in the passes so far, by image.
    """

    def __init__(
        self, pairs: Pairs, kind: str, channels: int, labelling: Labelling, workers: int, stop: threading.Event
    ) -> None:
        self.pairs, self.kind, self.channels, self.labelling = pairs, kind, channels, labelling
        self.problems: dict[int, Problem] = {}
        self._workers, self._stop = workers, stop

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the logits and labels of each image."""
        images = range(len(self.pairs.files))
        for image, found in zip(
            images, in_order(self._read, images, self._workers, self._workers + 1), strict=True
        ):
            if self._stop.is_set():
                raise StoppedError
            if isinstance(found, Problem):
                self.problems[image] = found
            else:
                yield found.logits, found.labels

    def _read(self, image: int) -> ScorePair | Problem:
        if self._stop.is_set():
            raise StoppedError
        found = read_scores(self.pairs, image, self.kind, self.channels, self.labelling)
        if isinstance(found, ScorePair):
            try:
                check_target(found.target, self.labelling.num_classes, self.labelling.ignored)
            except LabelError as error:
                return Problem(self.pairs.files[image][0], "labels", f"{printable(found.mask.path)} {error}")
        return found


def fit_decision(images: ScoredImages, rule: str, where: str, allow_missing: bool) -> Decision:
    """Find the threshold, or the rule for a data set.

    Args:
        images: What it is fitted on.
        rule: "threshold" or "dataset".
        where: The folders of these images, if they are not those that are evaluated.
        allow_missing: Whether some of these may be unreadable; of the images that are evaluated that is told later.

    Raises:
        ValueError: If one of other images cannot be read and may not be missing, or nothing counts in any.
        StoppedError: If someone asked to stop.
    """
    try:
        decision = (_threshold if rule == "threshold" else _dataset)(images)
    except ValueError as error:
        _check_fitted(images, where, allow_missing)
        raise ValueError(f"no rule can be fitted on {where or 'these images'}: {error}") from error
    _check_fitted(images, where, allow_missing)
    fitted = Fitted(len(images.pairs.files) - len(images.problems), where)
    return dataclasses.replace(decision, fitted=fitted)


def check_problems(problems: Sequence[Problem]) -> None:
    """Check that none of other images is left out.

    Raises:
        ValueError: If one is; the message has the first and how many there are.
    """
    if problems:
        more = f", and {len(problems) - 1} more such names" if len(problems) > 1 else ""
        raise ValueError(f"--fit: {problems[0].message}{more}; --allow-missing fits on the others")


def _check_fitted(images: ScoredImages, where: str, allow_missing: bool) -> None:
    if where and not allow_missing:
        check_problems(list(images.problems.values()))


def _threshold(images: ScoredImages) -> Decision:
    """Return that by the threshold of class 1 with the highest IoU."""
    total = no_counts(Decision("threshold", images.channels))
    for logits, labels in images:
        total += count(logits, labels, form="sigmoid", ignore_index=list(images.labelling.ignored))
    threshold = float(total.threshold_curve().best()[0])
    if threshold != threshold:
        raise ValueError("no pixel that counts is of class 1")
    return Decision("threshold", images.channels, threshold, reached=True)


def _dataset(images: ScoredImages) -> Decision:
    """Return the rule of highest mean IoU, shrunk by folds; of one channel it is a threshold."""
    form = Decision("dataset", images.channels).form
    module = DatasetDecision(images.channels, form=form, ignore_index=list(images.labelling.ignored))
    module.fit(images)
    threshold = module.threshold[0]
    if images.channels > 1 or float(threshold) == 0.5:
        return Decision("dataset", images.channels, module=module)
    reached = torch.nextafter(threshold, torch.tensor(torch.inf)).clamp(min=0)  # the rule has the number below
    return Decision("dataset", images.channels, float(reached), reached=True)
