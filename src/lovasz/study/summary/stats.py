"""Paired differences over seeds, and the sentence they support."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
NOT_CORRECTED = "Each interval stands alone: they are not corrected for several comparisons."
# Seeds with which an interval is so wide that its width must be explained, and those it is compared with.
FEW, MORE = 3, (5, 10)
# Points by which the mIoU of two losses can differ at most.
POSSIBLE = 100.0


@dataclass(frozen=True)
class Difference:
    """Score of a loss minus score of the baseline, seed by seed.

    Attributes:
        loss: The loss compared.
        baseline: What it is compared with.
        values: One difference a seed.
        mean: Their mean.
        low: Lower end of the 95 % interval of the mean; None where no interval is possible.
        high: Upper end.
    """

    loss: str
    baseline: str
    values: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None

    @property
    def decided(self) -> bool:
        """Whether the interval exists and leaves out zero."""
        if self.low is None or self.high is None:
            return False
        return self.low > 0 or self.high < 0

    @property
    def shows(self) -> str:
        """What the interval supports in a word: higher, lower, or open where it holds zero or there is none."""
        if not self.decided:
            return "open"
        return "higher" if self.mean > 0 else "lower"

    @property
    def beyond_possible(self) -> bool:
        """Whether the interval reaches a difference that no two mIoUs have."""
        return self.low is not None and self.high is not None and not -POSSIBLE <= self.low <= self.high <= POSSIBLE


def paired_difference(
    loss: str, baseline: str, scores: Sequence[float], baseline_scores: Sequence[float]
) -> Difference:
    """Compare two losses over the same seeds with Student's t on the differences.

    The interval is mean ± t(0.975, n - 1) · s / sqrt(n), s the standard deviation of the n
    differences. It covers what the seed changes: initial weights, dropout, order of the views. It
    says nothing about other scenes, networks or schedules.

    Args:
        loss: The loss compared.
        baseline: The loss it is compared with.
        scores: One score a seed.
        baseline_scores: Scores of the baseline for the same seeds, in the same order.

    Returns:
        The difference; without interval for one seed, or where the differences do not vary or are
        not all numbers.

    Raises:
        ValueError: If the numbers of seeds differ or there are none.
    """
    n = len(scores)
    if n == 0 or n != len(baseline_scores):
        raise ValueError(f"scores must be one a seed for both losses, got {n} and {len(baseline_scores)}")
    values = tuple(a - b for a, b in zip(scores, baseline_scores, strict=True))
    mean, deviation = sum(values) / n, spread(values)
    low = high = None
    # Differences that do not vary at all (to rounding) would give an interval of no width.
    if deviation is not None and deviation > 1e-12:
        half = _half_width(n) * deviation
        low, high = mean - half, mean + half
    return Difference(loss, baseline, values, mean, low, high)


def wide_intervals(differences: Sequence[Difference]) -> str:
    """Say why the intervals are as wide as they are, where few seeds make them so; else nothing.

    Args:
        differences: Each loss against the baseline.
    """
    known = [difference for difference in differences if difference.low is not None]
    if not known:
        return ""
    n = len(known[0].values)
    beyond = [difference.loss for difference in known if difference.beyond_possible]
    sentences = []
    if n <= FEW:
        narrower = ", ".join(f"{_half_width(n) / _half_width(more):.1f} times with {more} seeds" for more in MORE)
        sentences.append(
            f"{n} seeds give wide intervals: with {n - 1} degree{'' if n == 2 else 's'} of freedom Student's t is "
            f"{_student(n):.1f} standard errors. At the same standard deviation they would be narrower: {narrower}."
        )
    if beyond:
        sentences.append(
            f"That of {listed(beyond)} reaches beyond the {POSSIBLE:.0f} points that are possible: {n} seeds "
            "leave the difference open."
        )
    return " ".join(sentences)


def _student(n: int) -> float:
    """Return half the width of the interval of a mean of n values, in standard errors."""
    from scipy import stats

    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1))


def _half_width(n: int) -> float:
    """Return the same in standard deviations of the values."""
    return _student(n) / math.sqrt(n)


def listed(names: Sequence[str]) -> str:
    """Write names as a sentence has them: ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def spread(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation; None for one value or where one is not a number."""
    if len(values) < 2 or not all(math.isfinite(value) for value in values):
        return None
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def signed(value: float) -> str:
    """Write points with their sign, a proper minus: ``+1.2``, ``−0.3``; ``–`` if not a number."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def tenths(value: float) -> str:
    """Write percent with one decimal; ``–`` if not a number."""
    return f"{value:.1f}" if math.isfinite(value) else "–"


def verdict(
    differences: Sequence[Difference],
    means: Mapping[str, float],
    further: Sequence[Difference] = (),
    over: str = "",
    metric: str = "mIoU",
) -> list[str]:
    """Say in plain words what the differences show, and no more.

    Args:
        differences: Each loss against the baseline, in points of test mIoU.
        means: Mean score of every loss, in points; used where there is nothing to compare.
        further: The same comparisons over fewer classes, or none.
        over: What the further ones are over, the beginning of a sentence.
        metric: What the score is called.

    Returns:
        One entry a loss; then what holds for several of them or for one seed.
    """
    if not differences:
        (loss,) = means
        return [f"{loss}: test {metric} {means[loss]:.1f}. One loss alone leaves nothing to compare."]
    open_losses = [d.loss for d in differences if d.low is not None and not d.decided]
    entries = []
    for index, difference in enumerate(differences):
        sentences = [_sentence(difference, metric)]
        if open_losses == [difference.loss]:
            sentences.append("The interval includes 0, so no difference is shown.")
        if further:
            sentences.append(f"{over}: {_points(further[index])}.")
        entries.append(" ".join(sentences))
    if len(open_losses) > 1:
        entries.append(
            f"{'Over all classes the' if further else 'The'} intervals of {listed(open_losses)} include 0, so no "
            f"difference is shown between them and {differences[0].baseline}."
        )
    if why := wide_intervals(differences):
        entries.append(why)
    if len(differences[0].values) == 1:
        entries.append("One seed allows no interval: another seed may reverse any order.")
    return entries


def _sentence(difference: Difference, metric: str) -> str:
    loss, baseline, n = difference.loss, difference.baseline, len(difference.values)
    if not math.isfinite(difference.mean):
        return f"{loss} against {baseline}: a test {metric} is not a number, so nothing can be said."
    points = f"{signed(difference.mean)} points"
    if n == 1:
        return f"{loss} against {baseline}: test {metric} {points} with one seed."
    if difference.low is None:
        return (
            f"{loss} against {baseline}: test {metric} {points} in each of {n} seeds. Differences that "
            f"do not vary allow no interval."
        )
    if difference.decided:
        direction = "higher" if difference.mean > 0 else "lower"
        return f"{loss} gave a {direction} test {metric} than {baseline} here: {_points(difference, n)}."
    return f"{loss} against {baseline}: test {metric} {_points(difference, n)}."


def _points(difference: Difference, seeds: int | None = None) -> str:
    if not math.isfinite(difference.mean):
        return "not a number"
    points = f"{signed(difference.mean)} points"
    if difference.low is None or difference.high is None:
        return points
    counted = f", {seeds} seeds" if seeds else ""
    return f"{points} (95 % interval {signed(difference.low)} to {signed(difference.high)}{counted})"
