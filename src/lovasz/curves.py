"""What each threshold on the probability is worth, and whether probabilities mean what they say, from counts."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ._inputs import arguments
from ._math import binning, thresholds
from ._math.jaccard import block_sum
from .measures import FBeta, Tversky

#: What `ThresholdCurve.score` knows beside the measures.
RATES = ("precision", "recall")


class Calibration(NamedTuple):
    """A reliability diagram of each class: what was predicted, and how often it was so.

    Attributes:
        edges: (B + 1,), the probabilities between the bins.
        pixels: int64 (C, B), pixels whose probability lies in each bin.
        confidence: float64 (C, B), their mean probability; NaN where there is none.
        frequency: float64 (C, B), the share of them that the class is true of; likewise.
    """

    edges: Tensor
    pixels: Tensor
    confidence: Tensor
    frequency: Tensor


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """How many pixels are found and falsely found at each threshold t, where p >= t is foreground.

    Made by `Counts.threshold_curve`. A channel of the sigmoid, or a class of the softmax against all others. A
    threshold lies between two bins of the counts; all is as if each probability lay at the grid point of
    its bin, and `bounds` says between which values the truth lies. Scores are NaN where they divide by
    nothing, or where a probability of the class is NaN; in tp and fp such a pixel is below every threshold.

    Attributes:
        table: int64 (C, 2, K + 1), background and foreground pixels by error, as in `Counts`.
        form: "softmax" or "sigmoid".

    Example:
        >>> import lovasz
        >>> logits = torch.tensor([2.0, 0.5, -0.5, -1.0, -3.0])
        >>> counts = lovasz.count(logits, torch.tensor([1, 1, 1, 0, 0]), form="sigmoid")
        >>> threshold, score = counts.threshold_curve().best("jaccard")
        >>> round(threshold.item(), 2), score.item()  # anything from 0.27 to 0.38 finds the three
        (0.32, 1.0)
    """

    table: Tensor
    form: str

    @cached_property
    def thresholds(self) -> Tensor:
        """Return the thresholds (T,), float64, increasing from 0 to 1."""
        return thresholds.thresholds(
            self.table.shape[-1] - 1, self.form, self.table.device
        ).clone()  # a shared cache

    @cached_property
    def _taken(self) -> tuple[Tensor, Tensor]:
        return thresholds.taken_at_each(self.table, self.form)

    @property
    def tp(self) -> Tensor:
        """Return the true positives at each threshold, int64 (C, T)."""
        return self._taken[0]

    @property
    def fp(self) -> Tensor:
        """Return the false positives at each threshold, int64 (C, T)."""
        return self._taken[1]

    @property
    def fn(self) -> Tensor:
        """Return the false negatives at each threshold, int64 (C, T)."""
        return self._positives - self.tp

    @property
    def tn(self) -> Tensor:
        """Return the true negatives at each threshold, int64 (C, T)."""
        return self._pixels - self._positives - self.fp

    @cached_property
    def _positives(self) -> Tensor:
        return self.table[:, 1].sum(-1, keepdim=True)

    @cached_property
    def _pixels(self) -> Tensor:
        return self.table.sum((-2, -1))[:, None]

    def score(self, measure: str | Tversky | FBeta = "jaccard") -> Tensor:
        """Return the score of each class at each threshold, float64 (C, T).

        Args:
            measure: "jaccard", "dice", `Tversky`, `FBeta`, "precision" or "recall".
        """
        return self._score(measure, self.tp, self.fp)

    def bounds(self, measure: str | Tversky | FBeta = "jaccard") -> tuple[Tensor, Tensor]:
        """Return the least and the largest score that the pixels may have at each threshold, each (C, T).

        They differ by the pixels in the bins that hold the threshold.
        """
        (tp_least, tp_most), (fp_least, fp_most) = thresholds.possible(self.table, self.thresholds, self.form)
        return self._score(measure, tp_least, fp_most), self._score(measure, tp_most, fp_least)

    def _score(self, measure: str | Tversky | FBeta, tp: Tensor, fp: Tensor) -> Tensor:
        """Return TP / (TP + alpha FP + beta FN); 0 / 0 is NaN, as is whatever has a NaN in it."""
        if measure in ("precision", "recall"):
            alpha, beta = (1.0, 0.0) if measure == "precision" else (0.0, 1.0)
        else:
            parsed = arguments.parse_measure(measure)
            alpha, beta = parsed.alpha, parsed.beta
        found = tp.double()
        whole = (
            fp.double()
            .mul_(alpha)
            .add_(torch.where(self._broken[:, None], torch.nan, beta * self._positives.double()))
        )
        if beta != 1:
            whole.add_(found, alpha=1 - beta)
        return found.div_(whole)

    @cached_property
    def _broken(self) -> Tensor:
        return self.table[..., -1].sum(-1) > 0

    def best(self, measure: str | Tversky | FBeta = "jaccard") -> tuple[Tensor, Tensor]:
        """Return the threshold of each class with the highest score, and that score.

        The highest that is certain (`bounds`): many pixels may share a probability, and no threshold lies between
        them. Where a range of thresholds shares it, the middle of the first such range: it was chosen on these
        pixels, and others will lie a little beside them.

        Returns:
            Thresholds (C,) and scores (C,), float64; both NaN for a class without foreground.
        """
        arguments.parse_measure(measure)  # precision and recall have no best threshold: they go to 1 at the ends
        certain, _ = self.bounds(measure)
        first, last = _first_run(certain == certain.amax(-1, keepdim=True))
        score = self.score(measure).gather(-1, (first + last)[:, None] // 2)[:, 0]
        threshold = (self.thresholds[first] + self.thresholds[last]) / 2
        none = (self._positives[:, 0] == 0) | self._broken
        return torch.where(none, torch.nan, threshold), torch.where(none, torch.nan, score)

    def at(self, *, recall: float | None = None, precision: float | None = None) -> tuple[Tensor, Tensor]:
        """Return the threshold of each class for a wanted recall (sensitivity) or precision, and the other rate.

        Args:
            recall: the highest threshold that has at least this recall, from 0 to 1.
            precision: the lowest threshold that has at least this precision.

        Returns:
            Thresholds (C,), and the precision (or recall) there (C,), float64; NaN where none reaches it.
        """
        if (recall is None) == (precision is None):
            raise TypeError("at takes one of recall and precision")
        wanted, value = ("recall", recall) if precision is None else ("precision", precision)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
            raise ValueError(f"{wanted} must be a number from 0 to 1, got {value!r}")
        enough = self.score(wanted) >= value
        place = enough.int().argmax(-1)
        if wanted == "recall":
            place = enough.shape[-1] - 1 - enough.flip(-1).int().argmax(-1)
        other = self.score("precision" if wanted == "recall" else "recall").gather(-1, place[:, None])[:, 0]
        none = ~enough.any(-1)
        return torch.where(none, torch.nan, self.thresholds[place]), torch.where(none, torch.nan, other)

    def average_precision(self) -> Tensor:
        """Return the mean precision over the foreground pixels of each class, float64 (C,); NaN without any.

        The area under the precision-recall curve, as scikit-learn's `average_precision_score`.
        """
        return self._average_precision[0]

    def average_precision_bounds(self) -> tuple[Tensor, Tensor]:
        """Return the least and the largest average precision that the pixels may have, each float64 (C,)."""
        return self._average_precision[1:]

    @cached_property
    def _average_precision(self) -> tuple[Tensor, Tensor, Tensor]:
        found = thresholds.average_precision(self.table, self.form)
        middle, least, most = (torch.where(self._broken, torch.nan, one) for one in found)
        return middle, least, most

    def calibration(self, bins: int = 15) -> Calibration:
        """Return the reliability diagram of each class over equal bins of the probability.

        Args:
            bins: number of bins B, from 1 to 1,000.
        """
        pixels, gap, positives = self._calibrated(bins)
        frequency = torch.where(pixels > 0, positives.double() / pixels, torch.nan)
        edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=self.table.device)
        return Calibration(edges, pixels, frequency - torch.where(pixels > 0, gap / pixels, torch.nan), frequency)

    def calibration_error(self, bins: int = 15) -> Tensor:
        """Return the expected calibration error of each class, float64 (C,): the mean of |frequency - confidence|.

        Each bin of the probability weighs as it has pixels (class-wise ECE: Kull et al. 2019,
        https://arxiv.org/abs/1910.12656).
        """
        _, gap, _ = self._calibrated(bins)
        pixels = self._pixels[:, 0].double()
        error = block_sum(gap.abs()) / torch.where(pixels > 0, pixels, torch.nan)
        return torch.where(self._broken, torch.nan, error)

    def calibration_error_bound(self, bins: int = 15) -> Tensor:
        """Return how far the calibration error may be from that of the pixels themselves, float64 (C,)."""
        lowest, highest = thresholds.reach(self.table, self.form)
        points = self._points
        moved = torch.maximum(points - lowest, highest - points)
        crossing = torch.stack([
            (self._place(side(lowest), bins) != self._place(side(highest), bins)) * 2 * highest
            for side in (lambda m: m, lambda m: 1 - m)
        ])  # fmt: skip  # a pixel in another bin moves two of the sums, each by its error
        width = block_sum(((moved + crossing) * self.table[..., :-1]).flatten(-2))
        return width / self._pixels[:, 0]

    @cached_property
    def _points(self) -> Tensor:
        return binning.grid(self.table.shape[-1] - 1, self.form, self.table.device)

    @staticmethod
    def _place(probability: Tensor, bins: int) -> Tensor:
        return (probability * bins).long().clamp(0, bins - 1)

    def _calibrated(self, bins: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return pixels, Σ (truth - probability) and foreground pixels of each bin of the probability, (C, B)."""
        if not isinstance(bins, int) or isinstance(bins, bool) or not 1 <= bins <= 1000:
            raise ValueError(f"bins must be an integer from 1 to 1000, got {bins!r}")
        background, foreground = self.table[:, 0, :-1], self.table[:, 1, :-1]
        errors = self._points
        places = self._place(errors, bins), self._place(1 - errors, bins)
        pixels = torch.zeros(len(self.table), bins, dtype=torch.int64, device=self.table.device)
        positives = pixels.index_add(-1, places[1], foreground)
        gap = torch.zeros_like(pixels, dtype=torch.float64)
        gap.index_add_(-1, places[0], -errors * background).index_add_(-1, places[1], errors * foreground)
        return positives.index_add(-1, places[0], background), gap, positives


def _first_run(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and the last place of the first run of True in each row of (C, T)."""
    flags = chosen.to(torch.uint8)
    first = flags.argmax(-1)
    ends = flags.diff(dim=-1, append=torch.zeros_like(flags[:, :1])) == 255  # from 1 to 0, in eight bits
    return first, ends.to(torch.uint8).argmax(-1)
