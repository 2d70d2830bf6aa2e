"""Drawing images again: a score as a function of how often each image counts, and its interval."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lovasz.study.score.ordered import in_order

CONFIDENCE = 0.95
RESAMPLES = 10_000
# Of more images so many bundles are drawn, each of images that are far apart.
MOST_UNITS = 10_000
# Parts that are left out in turn to see how skewed a score is.
LEFT_OUT = 1_000
# Units that must bear on a score for an interval: of fewer, simulation shows, it covers too seldom.
FEWEST = 5
# Bytes of numbers of draws that a thread holds at a time.
HELD = 2**24
SEED = 1705

# How often each unit counts, (R, G), to scores (R, K).
Scored = Callable[[Tensor], Tensor]


class StoppedError(Exception):
    """It was asked to stop."""


@dataclass(frozen=True)
class Draws:
    """How units are drawn.

    Attributes:
        resamples: How often, R.
        workers: Threads.
        stop: Ends the work.
        on_drawn: Is told how many more resamples are done.
    """

    resamples: int = RESAMPLES
    workers: int = 1
    stop: threading.Event = field(default_factory=threading.Event)
    on_drawn: Callable[[int], None] = lambda number: None


@dataclass(frozen=True)
class Units:
    """What is drawn together: single images, groups of them, or of very many images bundles.

    Attributes:
        of: The unit of each image, (N,), from 0.
        number: How many there are, G.
        noun: "image", or "group".
    """

    of: NDArray[np.int64]
    number: int
    noun: str = "image"

    def of_images(self, images: int) -> str:
        """Say what is drawn of so many images: "233 images", or "12 groups of 233 images"."""
        of_images = f"{images:,} image{'' if images == 1 else 's'}"
        if self.noun == "image":
            return of_images
        return f"{self.number:,} {self.noun}{'' if self.number == 1 else 's'} of {of_images}"


def units_of(images: int, groups: NDArray[np.int64] | None = None) -> Units:
    """Return the units of so many images: groups where they are given, else the images."""
    if groups is not None:
        found, of = np.unique(groups, return_inverse=True)
        return Units(of.astype(np.int64) % MOST_UNITS, min(len(found), MOST_UNITS), "group")
    return Units(np.arange(images) % MOST_UNITS, min(images, MOST_UNITS))


@dataclass(frozen=True)
class Sampled:
    """Scores of the images as they are, of resamples, and with parts left out.

    Attributes:
        point: (K,).
        resampled: (R, K).
        left_out: (B, K).
    """

    point: Tensor
    resampled: Tensor
    left_out: Tensor

    def __sub__(self, other: "Sampled") -> "Sampled":
        """Return the differences to scores of the same resamples."""
        return Sampled(self.point - other.point, self.resampled - other.resampled, self.left_out - other.left_out)


def sample(scored: Scored, units: int, draws: Draws) -> Sampled:
    """Score the units, resamples of them drawn with replacement, and the units with each part left out.

    The same units are drawn for every score and on every machine, so that resamples of two are pairs.

    Args:
        scored: The scores as a function of how often each unit counts.
        units: G.
        draws: How often, and by how many threads.

    Raises:
        StoppedError: If it was asked to stop.
    """
    point = scored(torch.ones(1, units, dtype=torch.float64))[0]
    drawn = _in_parts(scored, draws.resamples, units, draws, lambda first, number: _drawn(units, first, number))
    parts = min(units, LEFT_OUT)
    left_out = _in_parts(scored, parts, units, draws, lambda first, number: _without(units, parts, first, number))
    return Sampled(point, drawn, left_out)


def swapped(scored: Scored, units: int, draws: Draws) -> Tensor:
    """Return the difference of two scores where every unit is swapped between them by the toss of a coin, (R, K).

    Args:
        scored: The scores as a function of how often each of the units of the first counts, then of the second.
        units: G.
        draws: How often, and by how many threads.

    Raises:
        StoppedError: If it was asked to stop.
    """

    def difference(first: Tensor) -> Tensor:
        second = 1 - first
        return scored(torch.cat([first, second], 1)) - scored(torch.cat([second, first], 1))

    return _in_parts(difference, draws.resamples, units, draws, lambda first, number: _tossed(units, first, number))


def interval(sampled: Sampled, held: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the 95 % interval of each score: percentiles of the resamples, widened for few units.

    The percentiles are those that make the interval of a mean Student's (Hesterberg, The American Statistician
    2015), with the degrees of freedom that the spread of the units' influences leaves (Satterthwaite): a score that
    hangs on few units has few, of however many it is taken.

    Args:
        sampled: The scores.
        held: How many units bear on each score, (K,).

    Returns:
        Two (K,); NaN where fewer than `FEWEST` units bear on it, or it does not vary.
    """
    from scipy import special, stats

    ordered = sampled.resampled.sort(0).values.numpy()
    number = (~np.isnan(ordered)).sum(0)
    degrees = freedom(sampled.left_out.numpy())
    end = stats.t.ppf(0.5 + CONFIDENCE / 2, degrees) * np.sqrt(1 + 1 / degrees)
    low, high = (_quantile(ordered, number, special.ndtr(side * end)) for side in (-1, 1))
    unknown = (held < FEWEST) | ~(high - low > 1e-12)
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)


def _in_parts(scored: Scored, rows: int, units: int, draws: Draws, weights: Callable[[int, int], Tensor]) -> Tensor:
    """Score rows of weights part by part; the parts depend on the number of units alone."""
    size = max(1, HELD // (8 * units))

    def work(first: int) -> Tensor:
        if draws.stop.is_set():
            raise StoppedError
        return scored(weights(first, min(size, rows - first)))

    found = []
    for part in in_order(work, range(0, rows, size), draws.workers, 2 * draws.workers):
        found.append(part)
        draws.on_drawn(len(part))
    return torch.cat(found)


def _drawn(units: int, first: int, number: int) -> Tensor:
    """Return how often each unit is in each of some resamples, (number, units)."""
    draws = np.random.default_rng((SEED, first)).integers(0, units, (number, units))
    draws += units * np.arange(number)[:, None]
    return torch.from_numpy(np.bincount(draws.ravel(), minlength=number * units).reshape(number, units)).double()


def _without(units: int, parts: int, first: int, number: int) -> Tensor:
    """Return 0 for the units of one of the parts and 1 for the others, of some parts, (number, units)."""
    return (torch.arange(units) % parts != first + torch.arange(number)[:, None]).double()


def _tossed(units: int, first: int, number: int) -> Tensor:
    """Return coins, 0 or 1, (number, units)."""
    coins = np.random.default_rng((SEED, first, 1)).integers(0, 2, (number, units), dtype=np.uint8)
    return torch.from_numpy(coins).double()


def freedom(left_out: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the degrees of freedom of the variance of each score, (K,), from what leaving parts out does to it."""
    parts = len(left_out)
    known = ~np.isnan(left_out)
    away = np.nan_to_num(left_out - np.nansum(left_out, 0) / np.maximum(known.sum(0), 1))
    squares, fourth = (away**2).sum(0), (away**4).sum(0)
    kurtosis = parts * fourth / np.maximum(squares**2, np.finfo(np.float64).tiny)
    found: NDArray[np.float64] = np.clip(2 * parts / np.maximum(kurtosis - 1, 1e-9), 1, max(1, parts - 1))
    return found


def _quantile(
    ordered: NDArray[np.float64], number: NDArray[np.int64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a quantile of each column, of which the first numbers are known."""
    place = np.clip(share, 0, 1) * np.maximum(number - 1, 0)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(number - 1, 0))
    columns = np.arange(ordered.shape[1])
    low, high = ordered[below, columns], ordered[above, columns]
    found: NDArray[np.float64] = low + (high - low) * (place - below)
    return found
