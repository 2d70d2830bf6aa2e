"""Differences between losses over seeds and test images together."""

import csv
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from lovasz.study.summary.resampling import FEWEST, Draws, interval, sample, units_of
from lovasz.study.summary.results import write_classes
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


def found_in(runs, seeds, groups=None):
    images = len(next(iter(runs.values())).tested.images)
    return two_sources(runs, ["ce", "lovasz"], range(seeds), units_of(images, groups))


def differences(runs, seeds):
    return found_in(runs, seeds)[0]


def test_without_a_spread_of_images_it_is_students_interval_over_seeds():
    runs = runs_of(0.02, seed_spread=0.01)
    (found,) = differences(runs, 4)
    values = [runs["lovasz", seed].test_miou - runs["ce", seed].test_miou for seed in range(4)]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high), abs=1e-6)
    assert found.of_images == pytest.approx(0, abs=1e-9)


def test_without_a_spread_of_seeds_it_is_the_spread_of_the_images():
    runs = runs_of(0.02, image_spread=0.01, images=40)
    # Seeds that are all alike allow no interval over seeds; a tiny spread keeps them apart.
    runs["lovasz", 0].tested.images[:, 0] += 1
    runs["lovasz", 0].test_miou += 1e-4
    (found,) = differences(runs, 4)
    gains = 1e-4 * (runs["lovasz", 1].tested.images[:, 0, 0] - 500_000)
    assert found.of_images == pytest.approx(1, abs=1e-3)
    reference = gains.std() / np.sqrt(40)
    assert (found.high - found.low) / 2 == pytest.approx(2.02 * reference, rel=3 / np.sqrt(RESAMPLES))


def test_it_covers_the_truth_where_seeds_and_images_both_vary():
    rng, inside, narrow = np.random.default_rng(3), 0, 0
    for _ in range(300):
        runs = runs_of(0.0, 4, 25, 0.01, 0.04, rng)
        (found,) = differences(runs, 4)
        values = [runs["lovasz", seed].test_miou - 50 for seed in range(4)]
        low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
        inside += found.low <= 0 <= found.high
        narrow += low <= 0 <= high
    assert 0.91 <= inside / 300 <= 0.99
    assert narrow / 300 < 0.9  # over seeds alone it would not


def test_one_seed_and_few_images_allow_none():
    for runs, seeds in ((runs_of(0.02, 1, image_spread=0.01), 1), (runs_of(0.02, 4, 4, 0.01, 0.01), 4)):
        (found,) = differences(runs, seeds)
        assert (found.low, found.high) == (None, None)
        assert said_of_images([found], units_of(4), 4) == []


def test_the_verdict_says_what_remains():
    sure, open_one = (differences(runs_of(gain, seed_spread=0.01), 4)[0] for gain in (0.5, 0.0))
    assert said_of_images([sure], units_of(1234), 1234)[0].endswith(
        "(1,234 images drawn again), the difference of lovasz remains."
    )
    assert said_of_images([sure, open_one], units_of(12), 12)[0].endswith("remains; of lovasz none is shown.")
    assert said_of_images([sure, sure], units_of(12), 12)[0].endswith(
        "the differences of lovasz and lovasz remain."
    )
    assert said_of_images([open_one], units_of(12), 12)[0].endswith("no difference is shown.")


def test_a_comparison_has_them_beside_those_over_seeds():
    comparison = made_up(seeds=3, data=pictures(4, images=8))
    assert [one.loss for one in comparison.both] == ["lovasz", "ce>lovasz"]
    for both, seeds in zip(comparison.both, comparison.differences, strict=True):
        assert both.mean == pytest.approx(seeds.mean)
        assert both.high - both.low >= seeds.high - seeds.low - 1e-9 > 0
    assert any("drawn again" in sentence for sentence in comparison.verdict)
    assert not any("drawn again" in sentence for sentence in made_up(seeds=3).verdict)


def test_scores_of_one_seed_have_the_interval_of_an_evaluation():
    """The counts of the images, resampled by themselves; for the difference one seed says too little."""
    runs = runs_of(0.02, 1, 30, image_spread=0.05)
    compared, (_, own) = found_in(runs, 1)
    hits = torch.from_numpy(runs["lovasz", 0].tested.images[:, 0].astype(float))
    sampled = sample(lambda weights: weights @ hits / (weights.sum(1, keepdim=True) * 1e4), 30, Draws(RESAMPLES))
    (low,), (high,) = interval(sampled, np.array([30]))
    assert (own.miou.low, own.miou.high) == pytest.approx((low, high))
    assert own.classes == [own.miou]
    assert [(one.low, one.high) for one in compared] == [(None, None)]
    assert own.gains == [None]


def test_each_class_has_the_interval_that_it_has_alone():
    one, other = (
        runs_of(0.02, seed_spread=0.01, image_spread=spread, rng=np.random.default_rng(spread)) for spread in (1, 2)
    )
    both = {
        key: SimpleNamespace(
            tested=Decided(
                np.zeros((2, 2), np.int64), np.concatenate([run.tested.images, other[key].tested.images], 2)
            )
        )
        for key, run in one.items()
    }
    together, alone = found_in(both, 4)[1], [found_in(runs, 4)[1] for runs in (one, other)]
    for place in range(2):
        expected = [single[place] for single in alone]
        assert together[place].classes == [single.classes[0] for single in expected]
        assert together[place].gains == [gain for single in expected for gain in single.gains]
    assert together[1].miou.low < together[1].miou.high


def test_images_of_a_group_are_drawn_together():
    """Each image twice, as a group: nothing is known that single images would not say."""
    runs = runs_of(0.02, seed_spread=0.01, image_spread=0.05)
    twice = {
        key: SimpleNamespace(tested=Decided(run.tested.counts, run.tested.images.repeat(2, axis=0)))
        for key, run in runs.items()
    }
    (single,), (_, own) = found_in(runs, 4)
    (grouped,), (_, of_groups) = found_in(twice, 4, np.arange(12).repeat(2))
    assert (grouped.low, grouped.high) == pytest.approx((single.low, single.high))
    assert (of_groups.miou.low, of_groups.miou.high) == pytest.approx((own.miou.low, own.miou.high))
    (apart,) = differences(twice, 4)
    assert apart.high - apart.low < single.high - single.low
    units = units_of(24, np.arange(12).repeat(2))
    assert "(12 groups of 24 images drawn again)" in said_of_images([replace(grouped, low=1.0)], units, 24)[0]


def test_a_score_ends_at_its_bounds_and_a_class_of_few_images_has_no_interval():
    runs = runs_of(0.5, seed_spread=0.02)
    for run in runs.values():
        np.clip(run.tested.images, 0, 1_000_000, out=run.tested.images)
    assert found_in(runs, 4)[1][1].miou.high == 100
    for run in runs.values():
        run.tested.images[FEWEST - 1 :] = 0
    assert found_in(runs, 4)[1][1].miou is None
    assert differences(runs, 4)[0].low is None


def test_the_table_of_classes_holds_every_score_with_its_intervals(tmp_path):
    comparison = made_up(seeds=3, data=pictures(4, images=8))
    write_classes(comparison, tmp_path / "classes.csv")
    with open(tmp_path / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * (1 + 4)
    assert {row["over"] for row in rows} == {"seeds and test images (8 images)"}
    assert [row["difference"] for row in rows[:5]] == [""] * 5  # the baseline has none from itself
    summary, found, both = comparison.summaries[1], comparison.intervals[1], comparison.both[0]
    whole, first = rows[5:7]
    assert (whole["loss"], whole["score"], whole["class"]) == ("lovasz", "miou", "")
    values = [float(whole[name]) for name in ("mean", "low", "high", "difference", "difference_low")]
    expected = [summary.mean, found.miou.low, found.miou.high, both.mean, both.low]
    assert values == pytest.approx([value / 100 for value in expected], abs=1e-6)
    assert (first["score"], first["class"]) == ("iou", "Class 0")
    values = [float(first[name]) for name in ("mean", "high", "difference", "difference_high")]
    gain = summary.classes[0] - comparison.summaries[0].classes[0]
    expected = [summary.classes[0], found.classes[0].high, gain, found.gains[0].high]
    assert values == pytest.approx([value / 100 for value in expected], abs=1e-6)
    assert found.gains[0].low <= gain <= found.gains[0].high
