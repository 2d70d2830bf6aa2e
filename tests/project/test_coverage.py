"""The benchmark of intervals: images as described, methods as SciPy has them, and rows that count what they say."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.stats._resampling import BootstrapResult

from benchmarks import coverage, population, resample, results
from benchmarks.coverage import SCORES, Setting
from lovasz.study.summary.resampling import FEWEST, Sampled

IMAGES = 4_000


@pytest.fixture(scope="module")
def apart():
    return population.population(IMAGES, 0, 1)


def correlation(one: population.Population, apart: int) -> float:
    """Of the first class's IoU in images of a group that are so far apart."""
    counts = one.models[0].counts[:, 0].numpy()
    iou = (counts[:, 3] / population.SCALE).reshape(-1, population.TOGETHER)
    return float(np.corrcoef(iou[:, 0], iou[:, apart])[0, 1])


def test_images_are_as_described(apart):
    assert apart.holds.mean(0) == pytest.approx(population.SHARES, abs=0.03)
    assert abs(correlation(apart, 1)) < 0.15
    together = population.population(IMAGES, coverage.ALIKE, 1)
    assert together.holds.mean(0) == pytest.approx(population.SHARES, abs=0.06)
    assert correlation(together, 1) > 0.6
    first, second = (coverage.truth(model) for model in apart.models)
    assert (second[:2] > first[:2]).all()
    mious = [model.images[:, 0].numpy() for model in apart.models]
    assert np.corrcoef(*mious)[0, 1] > 0.5  # hard images are hard for both


def test_a_table_of_some_images_scores_as_they_do(apart):
    images = np.array([3, 3, 8, 1])
    alone = coverage.truth(population.taken(apart.models[0], images))
    counts = apart.models[0].counts[images][:, :, :3].sum(0)
    iou = counts[:, 0] / (counts[:, 1] + counts[:, 2] - counts[:, 0])
    assert alone[0] == pytest.approx(float(iou.nanmean()))
    together = population.taken(apart.models[0], images, 2)
    assert together.counts.shape[0] == 2
    assert coverage.truth(together) == pytest.approx(alone, nan_ok=True)


def test_the_methods_are_those_of_scipy():
    values = np.random.default_rng(0).exponential(size=25)
    drawn = np.random.default_rng(1).integers(0, 25, (4_000, 25))
    left_out = (values.sum() - values) / 24
    sampled = Sampled(*(torch.tensor(one)[..., None] for one in (values.mean(), values[drawn].mean(1), left_out)))
    for method, name in ((coverage.percentile, "percentile"), (coverage.bca, "BCa")):
        own = BootstrapResult(None, sampled.resampled[:, 0].numpy(), None)
        reference = stats.bootstrap((values,), np.mean, n_resamples=0, method=name, bootstrap_result=own)
        low, high = method(sampled, np.array([25]))
        assert (low[0], high[0]) == pytest.approx(tuple(reference.confidence_interval), abs=1e-9), name
        assert np.isnan(method(sampled, np.array([FEWEST - 1]))).all()
    # Of a mean, close to Student's interval.
    low, high = coverage.student(sampled, np.array([25]))
    half = stats.t.ppf(0.975, 24) * values.std(ddof=1) / 5
    assert high[0] - low[0] == pytest.approx(2 * half, rel=0.06)
    low, _ = coverage.without_minimum(sampled, np.array([2]))
    assert np.isfinite(low[0])


def test_a_row_counts_the_intervals_that_hold_the_truth():
    ends = iter([(0.0, 1.0), (0.5, 1.0), (np.nan, np.nan), (0.0, 0.2)])

    def method(sampled, held):
        return tuple(np.full(len(SCORES), end) for end in next(ends))

    setting = Setting("a", lambda rng, number: (None, None), np.full(6, 0.3), {}, {"m": method}, SCORES[:1])
    (row,) = coverage.rows_of(setting, 7, 4)
    assert (row.number, row.samples, row.share) == (7, 4, 0.75)
    assert row.coverage == pytest.approx(1 / 3)
    assert row.standard_error == pytest.approx(math.sqrt(2 / 27))
    assert row.width == pytest.approx((1 + 0.5 + 0.2) / 3)


def test_the_rare_class_is_in_the_images_that_were_asked_for(apart):
    sampled, held = coverage.rare_of(apart)(np.random.default_rng(0), 3)
    assert held[-1] == 3
    assert len(sampled.left_out) == coverage.RARE_AMONG


def test_groups_are_drawn_whole():
    alike = population.population(200, 1, 1)
    for together, units in ((1, 50), (population.TOGETHER, 5)):
        sampled, _ = coverage.groups_of(alike, together)(np.random.default_rng(0), 5)
        assert len(sampled.left_out) == units


def test_a_quick_run_has_a_row_of_every_setting(tmp_path, capsys):
    coverage.print_table(str(tmp_path / "rows.csv"), quick=True)
    printed = capsys.readouterr().out.splitlines()
    kept = results.read("coverage")
    assert {row["setting"] for row in kept} == {line[:22].strip() for line in printed[1:]}
    assert (tmp_path / "rows.csv").read_text().splitlines()[0] == ",".join(kept[0])
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == len(printed)


def test_the_kept_rows_are_of_enough_samples():
    kept = results.read("coverage")
    sizes = {
        (setting.name, number): samples
        for setting in coverage.settings(100)
        for number, samples in setting.samples.items()
    }
    assert {(row["setting"], int(row["number"])) for row in kept} == sizes.keys()
    for row in kept:
        assert int(row["samples"]) == sizes[row["setting"], int(row["number"])]


def test_the_cost_of_intervals_is_measured():
    rows = list(resample.rows(quick=True))
    assert [(row.work, row.images, row.classes) for row in rows] == [(work, 50, 5) for work in resample.WORK]
    assert all(row.seconds > 0 and row.peak_mib >= 0 for row in rows)


def test_the_evaluations_whose_cost_is_measured_have_the_same_targets():
    first, second = (resample.evaluation(6, 4, seed) for seed in range(2))
    assert (first.confusion.sum(1) == second.confusion.sum(1)).all()
    assert (first.confusion != second.confusion).any()
    blocks = np.concatenate([block for _, block in first.rows.blocks()])
    assert (blocks.sum(0)[:, 0] == np.diag(first.confusion)).all()
    assert (blocks.sum(0)[:, 2] == first.confusion.sum(0)).all()
