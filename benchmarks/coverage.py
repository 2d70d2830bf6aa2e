"""How often the 95 % intervals of `lovasz evaluate` hold the truth, where the truth is known.

Samples are drawn from a population of images that are made up; each gets intervals from the same resamples in
several ways, and the score of the whole population is in them or not.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special, stats
from torch import Tensor

import lovasz
from lovasz.study.summary.image_table import ImageTable
from lovasz.study.summary.resampling import CONFIDENCE, FEWEST, Draws, Sampled, interval, sample

from . import measure, results
from .population import SHARES, TOGETHER, Population, population, taken

IMAGES = 200_000
RESAMPLES = 2_000
SEED = 2026
#: How many images or groups, and how many samples of so many.
SIZES = {10: 2_000, 30: 2_000, 100: 2_000, 1_000: 1_000}
PAIRS = {10: 1_500, 30: 1_500, 100: 1_500, 1_000: 600}
GROUPS = {10: 2_500, 30: 2_500, 100: 1_200}
#: Of a sample of so many images so many hold the rare class.
RARE_AMONG, HELD = 100, dict.fromkeys((2, 3, 4, 5, 6, 8), 1_500)
#: How alike images of a group are.
ALIKE = 0.8
SCORES = ("mIoU", "image mIoU", *(f"class in {100 * share:.0f} %" for share in SHARES[[0, 2, 3, 4]]))

Ends = tuple[NDArray[np.float64], NDArray[np.float64]]
Method = Callable[[Sampled, NDArray[np.int64]], Ends]
# A sample of so many: its scores, resampled, and how many units bear on each.
Drawn = Callable[[np.random.Generator, int], tuple[Sampled, NDArray[np.int64]]]


class CoverageRow(NamedTuple):
    """One score of samples of one size, and one way to make its interval.

    `setting` is what is drawn and scored; `share` is of samples with an interval, and the rest is of these.
    """

    setting: str
    number: int
    score: str
    method: str
    samples: int
    share: float
    coverage: float
    standard_error: float
    width: float
    version: str
    date: str


def shipped(sampled: Sampled, held: NDArray[np.int64]) -> Ends:
    """Return what the library gives."""
    return interval(sampled, held)


def without_minimum(sampled: Sampled, held: NDArray[np.int64]) -> Ends:
    """Return what it would give of however few units."""
    return interval(sampled, np.full_like(held, FEWEST))


def percentile(sampled: Sampled, held: NDArray[np.int64]) -> Ends:
    """Return the 2.5 and 97.5 % percentiles of the resamples."""
    end = np.full(len(held), special.ndtri(0.5 + CONFIDENCE / 2))
    return _between(sampled, held, -end, end)


def student(sampled: Sampled, held: NDArray[np.int64]) -> Ends:
    """Return the percentiles that make the interval of a mean Student's, of as many degrees as units less one."""
    degrees = np.full(len(held), len(sampled.left_out) - 1.0)
    end = stats.t.ppf(0.5 + CONFIDENCE / 2, degrees) * np.sqrt(1 + 1 / degrees)
    return _between(sampled, held, -end, end)


def bca(sampled: Sampled, held: NDArray[np.int64]) -> Ends:
    """Return the bias-corrected and accelerated percentiles (Efron, J. Amer. Statist. Assoc. 1987)."""
    resampled, point, left_out = (one.numpy() for one in (sampled.resampled, sampled.point, sampled.left_out))
    known = ~np.isnan(left_out)
    away = np.nan_to_num(np.nansum(left_out, 0) / np.maximum(known.sum(0), 1) - left_out)
    number = np.maximum((~np.isnan(resampled)).sum(0), 1)
    skew = (away**3).sum(0) / (6 * np.maximum((away**2).sum(0), 1e-30) ** 1.5)
    below = ((resampled < point).sum(0) + (resampled <= point).sum(0)) / (2 * number)
    bias = special.ndtri(np.where((below > 0) & (below < 1), below, np.nan))
    end = special.ndtri(0.5 + CONFIDENCE / 2)
    low, high = (bias + (bias + side * end) / (1 - skew * (bias + side * end)) for side in (-1, 1))
    return _between(sampled, held, low, high)


def _between(
    sampled: Sampled, held: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> Ends:
    """Return the percentiles at these normal quantiles, NaN of fewer units than the library wants."""
    ends = np.full((2, len(held)), np.nan)
    levels = special.ndtr(np.stack([low, high]))
    for place, column in enumerate(sampled.resampled.numpy().T):
        known = column[~np.isnan(column)]
        if held[place] >= FEWEST and np.isfinite(levels[:, place]).all() and np.ptp(known) > 1e-12:
            ends[:, place] = np.quantile(known, levels[:, place])
    return ends[0], ends[1]


METHODS: dict[str, Method] = {"shipped": shipped, "percentile": percentile, "Student": student, "BCa": bca}


def _places(table: ImageTable) -> list[int]:
    classes = [table.place("iou", label) for label in (0, 2, 3, 4)]
    return [table.place("miou"), table.place("image_miou"), *classes]


def resampled(table: ImageTable) -> tuple[Sampled, NDArray[np.int64]]:
    """Resample the units of a table, by one thread, for the scores of `SCORES`."""
    places = _places(table)

    def scored(weights: Tensor) -> Tensor:
        return table.scores(weights)[:, places]

    return sample(scored, len(table.counts), Draws(RESAMPLES)), table.held()[places]


def truth(table: ImageTable) -> NDArray[np.float64]:
    """Return the scores of all images."""
    found: NDArray[np.float64] = table.scores(torch.ones(1, len(table.counts)).double())[0, _places(table)].numpy()
    return found


def images_of(one: Population) -> Drawn:
    """Draw images, scored by the first model."""
    return lambda rng, number: resampled(taken(one.models[0], rng.integers(0, one.images, number)))


def pairs_of(one: Population) -> Drawn:
    """Draw images, of which the score is that of the second model less that of the first."""

    def drawn(rng: np.random.Generator, number: int) -> tuple[Sampled, NDArray[np.int64]]:
        images = rng.integers(0, one.images, number)
        (first, held), (second, _) = (resampled(taken(model, images)) for model in one.models)
        return second - first, held

    return drawn


def groups_of(one: Population, together: int) -> Drawn:
    """Draw groups of images, and resample them by images, or by groups if all of one are together."""

    def drawn(rng: np.random.Generator, number: int) -> tuple[Sampled, NDArray[np.int64]]:
        first = TOGETHER * rng.integers(0, one.images // TOGETHER, number)
        images = (first[:, None] + np.arange(TOGETHER)).ravel()
        return resampled(taken(one.models[0], images, together))

    return drawn


def rare_of(one: Population) -> Drawn:
    """Draw images of which so many hold the rarest class."""
    holders, others = (np.flatnonzero(one.holds[:, -1] == held) for held in (True, False))

    def drawn(rng: np.random.Generator, number: int) -> tuple[Sampled, NDArray[np.int64]]:
        images = np.append(rng.choice(holders, number), rng.choice(others, RARE_AMONG - number))
        return resampled(taken(one.models[0], images))

    return drawn


class Setting(NamedTuple):
    """What is drawn, and what its score is of all images."""

    name: str
    drawn: Drawn
    truth: NDArray[np.float64]
    samples: dict[int, int]
    methods: Mapping[str, Method]
    scores: Sequence[str] = SCORES


def settings(images: int = IMAGES) -> list[Setting]:
    """Return all that is simulated."""
    apart, alike = population(images, 0, SEED), population(images, ALIKE, SEED + 1)
    first, second = (truth(model) for model in apart.models)
    grouped = truth(alike.models[0])
    ours = {"shipped": shipped}
    return [
        Setting("images", images_of(apart), first, SIZES, METHODS),
        Setting("difference", pairs_of(apart), second - first, PAIRS, METHODS),
        Setting("groups, images drawn", groups_of(alike, 1), grouped, GROUPS, ours),
        Setting("groups, groups drawn", groups_of(alike, TOGETHER), grouped, GROUPS, ours),
        Setting("rare", rare_of(apart), first, HELD, {"without minimum": without_minimum}, SCORES[-1:]),
    ]


def rows_of(setting: Setting, number: int, samples: int) -> Iterator[CoverageRow]:
    """Every method and score, of samples of one size."""
    rng = np.random.default_rng((SEED, number))
    ends: dict[str, list[Ends]] = {name: [] for name in setting.methods}
    for _ in range(samples):
        sampled, held = setting.drawn(rng, number)
        for name, method in setting.methods.items():
            ends[name].append(method(sampled, held))
    for name, found in ends.items():
        low, high = np.stack(found, 1)
        for score in setting.scores:
            place = SCORES.index(score)
            yield _row(setting, number, score, name, low[:, place], high[:, place])


def _row(
    setting: Setting,
    number: int,
    score: str,
    method: str,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> CoverageRow:
    given, value = ~np.isnan(low), setting.truth[SCORES.index(score)]
    many = int(given.sum())
    coverage = float(((low <= value) & (value <= high))[given].mean()) if many else float("nan")
    return CoverageRow(
        setting=setting.name,
        number=number,
        score=score,
        method=method,
        samples=len(low),
        share=many / len(low),
        coverage=coverage,
        standard_error=float(np.sqrt(coverage * (1 - coverage) / max(1, many))),
        width=float((high - low)[given].mean()) if many else float("nan"),
        version=f"lovasz {lovasz.__version__}",
        date=measure.today(),
    )


def rows(quick: bool) -> Iterator[CoverageRow]:
    """Every setting and size; quickly, of three samples of the smallest."""
    for setting in settings(2_000 if quick else IMAGES):
        for number, samples in list(setting.samples.items())[: 1 if quick else None]:
            yield from rows_of(setting, number, 3 if quick else samples)


HEADING = (
    f"{'setting':22}{'number':>7}  {'score':15}{'method':16}{'share':>7}{'coverage':>10}{'error':>7}{'width':>8}"
)


def line(row: CoverageRow) -> str:
    """One row under the heading."""
    return (
        f"{row.setting:22}{row.number:7,}  {row.score:15}{row.method:16}{100 * row.share:6.0f}%"
        f"{100 * row.coverage:9.1f}%{100 * row.standard_error:7.1f}{100 * row.width:8.2f}"
    )


def print_table(csv_file: str | None, quick: bool) -> None:
    """Print each row as soon as it is found; with a file, also as CSV."""
    print(HEADING)
    results.gather(rows(quick), line, csv_file)
