"""Resampling of images: held to recounts by hand, to SciPy, and to the same bits whoever draws."""

import threading

import numpy as np
import pytest
import torch
from scipy import special, stats
from scipy.stats._resampling import BootstrapResult

from lovasz.study.processes import Ranks
from lovasz.study.score.evaluation import evaluate
from lovasz.study.score.pairing import pair
from lovasz.study.score.scores import score
from lovasz.study.summary import resampling
from lovasz.study.summary.image_table import MEANS, OF_CLASSES, ImageTable, side_by_side, table_of
from lovasz.study.summary.resampling import Draws, Sampled, StoppedError, interval, sample, swapped, units_of
from lovasz.study.summary.rivals import contest
from lovasz.study.summary.score_intervals import score_intervals
from lovasz.study.summary.subgroups import check_columns, subgroups
from tests.study.evaluated import NAMES, blobs, count
from tests.study.masks import VOID, write

IMAGES = 12


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Twelve images of six classes, the last in none, and their scores."""
    found = count(*write(tmp_path_factory.mktemp("masks"), blobs(IMAGES, 5)), NAMES)
    return found, score(found)


@pytest.fixture(scope="module")
def table(evaluated):
    return table_of(*evaluated, np.arange(IMAGES), IMAGES)


def values(table: ImageTable, scores: torch.Tensor) -> dict[str, float]:
    """The scores of one resample by name, those of classes with their number."""
    found = {name: float(scores[table.place(name)]) for name in MEANS}
    return found | {
        f"{name} {label}": float(scores[table.place(name, label)])
        for name in OF_CLASSES
        for label in range(table.num_classes)
    }


def expected(found) -> dict[str, float]:
    """The same of `Scores`."""
    means = {name: getattr(found, name) for name in MEANS}
    return means | {
        f"{name} {label}": getattr(one, name) for name in OF_CLASSES for label, one in enumerate(found.classes)
    }


def test_weights_of_one_give_the_scores_themselves(evaluated, table):
    scores = table.scores(torch.ones(1, IMAGES).double())[0]
    assert values(table, scores) == pytest.approx(expected(evaluated[1]), abs=1e-12, nan_ok=True)


def test_a_class_that_is_ignored_has_no_score(tmp_path):
    predictions, targets = write(tmp_path, blobs(IMAGES, 5))
    pairs, ignored = pair(predictions, targets), frozenset({VOID, 1})
    found = evaluate(pairs, NAMES, ignored, 2, threading.Event(), lambda done, left_out: None, Ranks())
    alone = table_of(found, score(found), np.arange(IMAGES), IMAGES)
    scores = alone.scores(torch.ones(1, IMAGES).double())[0]
    assert np.isnan(values(alone, scores)["iou 1"])
    assert values(alone, scores) == pytest.approx(expected(score(found)), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("empty", ["skip", "zero", "one"])
def test_a_resample_scores_as_an_evaluation_of_the_images_drawn(tmp_path, empty):
    masks = blobs(IMAGES, 5)
    drawn = [0, 3, 3, 3, 7, 8, 8, 11]
    whole = count(*write(tmp_path / "all", masks), NAMES)
    again = score(count(*write(tmp_path / "drawn", [masks[image] for image in drawn]), NAMES), empty)
    found = table_of(whole, score(whole, empty), np.arange(IMAGES), IMAGES)
    weights = torch.bincount(torch.tensor(drawn), minlength=IMAGES)[None].double()
    assert values(found, found.scores(weights)[0]) == pytest.approx(expected(again), abs=1e-12, nan_ok=True)
    worst = [one.worst for one in again.classes] + [again.class_worst, again.image_worst]
    assert found.worst(weights)[0].tolist() == pytest.approx(worst, abs=1e-12, nan_ok=True)


def test_a_group_counts_as_its_images_together(evaluated, table):
    unit = np.arange(IMAGES) // 3
    grouped = table_of(*evaluated, unit, 4)
    weights = torch.tensor([[2.0, 0, 1, 1]]).double()
    assert torch.equal(grouped.scores(weights).nan_to_num(), table.scores(weights[:, unit]).nan_to_num())
    assert torch.equal(grouped.worst(weights).nan_to_num(), table.worst(weights[:, unit]).nan_to_num())


def test_intervals_are_percentiles_of_the_resamples_at_the_level_of_their_degrees_of_freedom(table):
    sampled = sample(table.scores, IMAGES, Draws(2000, 2))
    low, high = interval(sampled, table.held())
    for label in (0, 1, 2):
        place = table.place("iou", label)
        left_out = sampled.left_out[:, place].numpy()
        away = left_out - left_out.mean()
        kurtosis = IMAGES * (away**4).sum() / (away**2).sum() ** 2
        freedom = min(2 * IMAGES / (kurtosis - 1), IMAGES - 1)
        end = stats.t.ppf(0.975, freedom) * np.sqrt(1 + 1 / freedom)
        right, labelled, predicted = table.counts[:, label, :3].T.numpy()

        def iou(drawn, axis=-1, right=right, labelled=labelled, predicted=predicted):
            sums = [counts[drawn].sum(axis) for counts in (right, labelled, predicted)]
            return sums[0] / (sums[1] + sums[2] - sums[0])

        reference = stats.bootstrap(
            (np.arange(IMAGES),),
            iou,
            n_resamples=0,
            confidence_level=1 - 2 * special.ndtr(-end),
            method="percentile",
            bootstrap_result=BootstrapResult(None, sampled.resampled[:, place].numpy(), None),
        ).confidence_interval
        assert (low[place], high[place]) == pytest.approx(tuple(reference), abs=1e-12)
        assert low[place] < float(sampled.point[place]) < high[place]


def test_the_resamples_are_those_of_a_bootstrap(table):
    """Their spread is that of SciPy's own."""
    place = table.place("iou", 1)
    right, labelled, predicted = table.counts[:, 1, :3].T.numpy()

    def iou(drawn, axis=-1):
        sums = [counts[drawn].sum(axis) for counts in (right, labelled, predicted)]
        return sums[0] / (sums[1] + sums[2] - sums[0])

    reference = stats.bootstrap((np.arange(IMAGES),), iou, n_resamples=20_000, method="percentile", rng=1)
    own = sample(table.scores, IMAGES, Draws(20_000, 2)).resampled[:, place]
    assert float(own.std()) == pytest.approx(reference.standard_error, rel=0.03)


def test_the_same_bits_for_any_number_of_threads_and_any_size_of_a_run(table, monkeypatch):
    one, many = (sample(table.scores, IMAGES, Draws(3000, workers)) for workers in (1, 4))
    assert torch.equal(one.resampled.nan_to_num(), many.resampled.nan_to_num())
    more = sample(table.scores, IMAGES, Draws(5000, 2))
    assert torch.equal(more.resampled[:3000].nan_to_num(), one.resampled.nan_to_num())


def test_sums_over_images_are_exact_in_any_order(evaluated, table):
    order = np.random.default_rng(0).permutation(IMAGES)
    other = table_of(*evaluated, np.argsort(order), IMAGES)
    weights = torch.randint(0, 9, (50, IMAGES), generator=torch.Generator().manual_seed(0)).double()
    first, second = table.scores(weights[:, order][:, np.argsort(order)]), other.scores(weights[:, order])
    assert torch.equal(first.nan_to_num(), second.nan_to_num())


def test_a_class_of_few_images_has_no_interval(evaluated):
    found = score_intervals(*evaluated, None, Draws(1000, 2))
    held = [one.images for one in evaluated[1].classes]
    assert held[3] == 3
    assert held[5] == 0
    assert found.classes[3]["iou"] is None
    assert found.classes[5]["iou"] is None
    assert found.classes[0]["iou"] is not None
    assert found.classes[0]["worst"] is not None
    assert found.means["image_worst"] is not None
    assert found.means["class_worst"] is not None


def test_four_groups_allow_no_interval(evaluated):
    groups = [str(image // 3) for image in range(IMAGES)]
    found = score_intervals(*evaluated, groups, Draws(1000, 2))
    assert (found.units.number, found.units.noun) == (4, "group")
    assert set(found.means.values()) == {None}


def test_a_score_that_does_not_vary_has_no_interval():
    constant = Sampled(torch.ones(1), torch.ones(1000, 1), torch.ones(20, 1))
    assert np.isnan(interval(constant, np.array([20]))).all()


def test_very_many_images_are_drawn_in_bundles(monkeypatch):
    monkeypatch.setattr(resampling, "MOST_UNITS", 10)
    units = units_of(25)
    assert units.number == 10
    assert units.of.tolist() == [*range(10), *range(10), *range(5)]


def test_it_can_be_stopped(table):
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        sample(table.scores, IMAGES, Draws(1000, 2, stop))


def test_it_says_how_far_it_is(table):
    done = []
    sample(table.scores, IMAGES, Draws(1000, 2, on_drawn=done.append))
    assert sum(done) == 1000 + IMAGES


@pytest.fixture(scope="module")
def rivals(tmp_path_factory):
    """The same targets with three predictions: one as the first, one better, one without some images."""
    masks = blobs(IMAGES, 5)
    better = [
        (np.where(np.arange(target.shape[1]) < 25, target, prediction), target) for prediction, target in masks
    ]
    better = [(np.where(one == 255, 0, one), target) for one, target in better]
    found = []
    for name, some in (("first", masks), ("same", masks), ("better", better)):
        found.append(count(*write(tmp_path_factory.mktemp(name), some), NAMES))
    return found


def test_predictions_that_are_the_same_differ_by_nothing(rivals):
    found = contest(["a", "b"], rivals[:2], score(rivals[0]), None, Draws(1000, 2))
    (rival,) = found.rivals
    assert set(rival.differences.values()) <= {0.0} | {
        value for value in rival.differences.values() if value != value
    }
    assert rival.p_values["miou"] == 1
    assert rival.turned == 0
    assert (rival.wins, rival.losses, rival.ties) == (0, 0, IMAGES)
    assert rival.intervals["miou"] is None


def test_differences_are_of_pairs(rivals):
    scores = [score(one) for one in rivals]
    found = contest(["a", "b", "c"], rivals, scores[0], None, Draws(1000, 2))
    better = found.rivals[1]
    assert better.differences["miou"] == pytest.approx(scores[2].miou - scores[0].miou)
    assert better.class_differences[2]["iou"] == pytest.approx(scores[2].classes[2].iou - scores[0].classes[2].iou)
    assert better.intervals["miou"].low > 0
    assert better.turned == 0
    assert found.first == [0, 0, 1]
    assert better.wins == int((scores[2].images > scores[0].images + 1e-9).sum()) > 0
    # 2^12 swaps, few of which differ so much; and twice that, as there are two rivals.
    assert better.p_values["miou"] < 0.05
    # The interval of the pairs is narrower than that of two sets of images drawn for themselves.
    width = better.intervals["miou"].high - better.intervals["miou"].low
    alone = [
        score_intervals(one, of, None, Draws(1000, 2)).means["miou"] for one, of in zip(rivals, scores, strict=True)
    ]
    assert width < np.hypot(alone[0].high - alone[0].low, alone[2].high - alone[2].low)


def test_swapped_units_are_recounted(rivals):
    scores = score(rivals[0])
    first, second = (table_of(one, scores, np.arange(IMAGES), IMAGES) for one in (rivals[0], rivals[2]))
    coins = torch.tensor([[1.0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 1, 1]]).double()
    both = side_by_side(second, first)
    found = both(torch.cat([coins, 1 - coins], 1))
    mixed = first.counts.clone()
    mixed[coins[0] == 1] = second.counts[coins[0] == 1]
    right, labelled, predicted = mixed.sum(0)[:, :3].T
    iou = (right / (labelled + predicted - right))[:5]
    assert float(found[0, first.place("miou")]) == pytest.approx(float(iou.mean()), abs=1e-12)


def test_the_p_value_of_the_mean_over_images_is_that_of_scipy(rivals):
    scores = score(rivals[0])
    found = contest(["a", "c"], [rivals[0], rivals[2]], scores, None, Draws(5000, 2)).rivals[0]
    known = score(rivals[2]).images, scores.images
    reference = stats.permutation_test(
        known, lambda a, b, axis: (a - b).mean(axis), permutation_type="samples", n_resamples=np.inf
    )
    assert found.p_values["image_miou"] == pytest.approx(reference.pvalue, abs=0.01)


def test_p_values_are_corrected_after_holm():
    from lovasz.study.summary.rivals import _corrected

    found = _corrected([{"miou": p, "image_miou": 0.5} for p in (0.04, 0.01, 0.03)])
    assert [one["miou"] for one in found] == pytest.approx([0.06, 0.03, 0.06])
    assert [one["image_miou"] for one in found] == [1, 1, 1]


def test_swaps_are_fair_coins():
    tossed = swapped(lambda weights: weights[:, :1], 7, Draws(4000, 2))
    assert set(tossed.unique().tolist()) == {-1, 1}
    assert abs(float(tossed.mean())) < 0.06


def test_images_that_only_one_has_do_not_count(rivals, tmp_path):
    masks = blobs(IMAGES, 5)
    predictions, targets = write(tmp_path, masks)
    for name in ("00.png", "05.png"):
        (predictions / name).unlink()
    fewer = count(predictions, targets, NAMES)
    found = contest(["a", "b"], [rivals[0], fewer], score(rivals[0]), None, Draws(1000, 2))
    assert found.images == IMAGES - 2
    assert found.rivals[0].ties == IMAGES - 2
    assert np.flatnonzero(np.isnan(found.rivals[0].image_differences)).tolist() == [0, 5]


def test_subgroups_score_as_evaluations_of_their_images(evaluated, tmp_path):
    site = ["a" if image % 3 else "b" for image in range(IMAGES)]
    found = subgroups(*evaluated, {"site": site}, None, Draws(1000, 2))
    masks = blobs(IMAGES, 5)
    assert [(one.value, one.images) for one in found] == [("a", 8), ("b", 4)]
    for one in found:
        alone = [mask for mask, value in zip(masks, site, strict=True) if value == one.value]
        reference = score(count(*write(tmp_path / one.value, alone), NAMES))
        for name in MEANS:
            assert one.scores[name] == pytest.approx(getattr(reference, name), nan_ok=True), name
    assert found[0].intervals["miou"] is not None
    assert found[1].intervals["miou"] is None


def test_a_column_of_names_is_no_subgroup():
    with pytest.raises(ValueError, match="--subgroups: a column must have at most 50 values, got 51 of id"):
        check_columns({"id": [str(number) for number in range(51)]})
