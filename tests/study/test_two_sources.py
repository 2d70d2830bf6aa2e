"""Differences between losses over seeds and test images together."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from lovasz.study.summary.two_sources import RESAMPLES, said_of_images, two_sources
from lovasz.study.train.predict import Decided
from tests.study.made_up import made_up, pictures


def runs_of(gain, seeds=4, images=12, seed_spread=0.0, image_spread=0.0, rng=None):
    """Runs of two losses, one class: IoU of the image, with what the seed and what the image adds."""
    rng = rng or np.random.default_rng(0)
    of_images, runs = image_spread * rng.standard_normal(images), {}
    for seed in range(seeds):
        of_seed = seed_spread * rng.standard_normal()
        for loss, more in (("ce", 0.0), ("lovasz", gain)):
            iou = 0.5 + (more + of_seed + of_images if loss == "lovasz" else np.zeros(images))
            hit = np.rint(1e6 * iou).astype(np.int64)
            counted = np.stack([hit, np.zeros_like(hit), 1_000_000 - hit], 1)[:, :, None]
            runs[loss, seed] = SimpleNamespace(
                tested=Decided(np.zeros((1, 1), np.int64), counted),
                test_miou=100 * counted[:, 0].sum() / (1e6 * images),
            )
    return runs


def test_without_a_spread_of_images_it_is_students_interval_over_seeds():
    runs = runs_of(0.02, seed_spread=0.01)
    (found,) = two_sources(runs, ["ce", "lovasz"], range(4))
    values = [runs["lovasz", seed].test_miou - runs["ce", seed].test_miou for seed in range(4)]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high), abs=1e-6)
    assert found.of_images == pytest.approx(0, abs=1e-9)


def test_without_a_spread_of_seeds_it_is_the_spread_of_the_images():
    runs = runs_of(0.02, image_spread=0.01, images=40)
    # Seeds that are all alike allow no interval over seeds; a tiny spread keeps them apart.
    runs["lovasz", 0].tested.images[:, 0] += 1
    runs["lovasz", 0].test_miou += 1e-4
    (found,) = two_sources(runs, ["ce", "lovasz"], range(4))
    gains = 1e-4 * (runs["lovasz", 1].tested.images[:, 0, 0] - 500_000)
    assert found.of_images == pytest.approx(1, abs=1e-3)
    reference = gains.std() / np.sqrt(40)
    assert (found.high - found.low) / 2 == pytest.approx(2.02 * reference, rel=3 / np.sqrt(RESAMPLES))


def test_it_covers_the_truth_where_seeds_and_images_both_vary():
    rng, inside, narrow = np.random.default_rng(3), 0, 0
    for _ in range(300):
        runs = runs_of(0.0, 4, 25, 0.01, 0.04, rng)
        (found,) = two_sources(runs, ["ce", "lovasz"], range(4))
        values = [runs["lovasz", seed].test_miou - 50 for seed in range(4)]
        low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
        inside += found.low <= 0 <= found.high
        narrow += low <= 0 <= high
    assert 0.91 <= inside / 300 <= 0.99
    assert narrow / 300 < 0.9  # over seeds alone it would not


def test_one_seed_and_few_images_allow_none():
    for runs, seeds in ((runs_of(0.02, 1, image_spread=0.01), 1), (runs_of(0.02, 4, 4, 0.01, 0.01), 4)):
        (found,) = two_sources(runs, ["ce", "lovasz"], range(seeds))
        assert (found.low, found.high) == (None, None)
        assert said_of_images([found], 4) == []


def test_the_verdict_says_what_remains():
    sure, open_one = (
        two_sources(runs_of(gain, seed_spread=0.01), ["ce", "lovasz"], range(4))[0] for gain in (0.5, 0.0)
    )
    assert said_of_images([sure], 1234)[0].endswith("(1,234 images drawn again), the difference of lovasz remains.")
    assert said_of_images([sure, open_one], 12)[0].endswith("remains; of lovasz none is shown.")
    assert said_of_images([sure, sure], 12)[0].endswith("the differences of lovasz and lovasz remain.")
    assert said_of_images([open_one], 12)[0].endswith("no difference is shown.")


def test_a_comparison_has_them_beside_those_over_seeds():
    comparison = made_up(seeds=3, data=pictures(4, images=8))
    assert [one.loss for one in comparison.both] == ["lovasz", "ce>lovasz"]
    for both, seeds in zip(comparison.both, comparison.differences, strict=True):
        assert both.mean == pytest.approx(seeds.mean)
        assert both.high - both.low >= seeds.high - seeds.low - 1e-9 > 0
    assert any("drawn again" in sentence for sentence in comparison.verdict)
    assert not any("drawn again" in sentence for sentence in made_up(seeds=3).verdict)
