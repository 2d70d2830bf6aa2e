"""Thresholds, average precision and calibration from counts, against brute force over the pixels."""

import pytest
import torch
from torch.testing import assert_close

from lovasz import FBeta, Tversky
from tests.core import cases

MEASURES = ["jaccard", "dice", Tversky(0.3, 2.0), FBeta(2), "precision", "recall"]
FORMS = ["softmax", "sigmoid"]


def problem(form: str, seed: int, pixels: int = 5000, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that know something of their target, (P, 3), rare classes among them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(torch.tensor([0.7, 0.27, 0.03]), pixels, True, generator=generator)
    truth = torch.nn.functional.one_hot(labels, 3)
    logits = scale * torch.randn(pixels, 3, generator=generator) + scale * truth
    return logits, labels if form == "softmax" else truth


def probabilities(form: str, logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The probability of each class, (C, P), in float64, and whether it is true."""
    wide = logits.double()
    if form == "softmax":
        return wide.softmax(-1).T, torch.nn.functional.one_hot(target, logits.shape[1]).T.bool()
    return wide.sigmoid().T, target.T.bool()


def by_hand(tp: int, fp: int, fn: int, measure: object) -> float:
    a, b = {"jaccard": (1, 1), "dice": (0.5, 0.5), "precision": (1, 0), "recall": (0, 1)}.get(
        measure, (getattr(measure, "alpha", None), getattr(measure, "beta", None))
    )
    if isinstance(measure, FBeta):
        a, b = 1 / 5, 4 / 5
    whole = tp + a * fp + b * fn
    return tp / whole if whole else float("nan")


def precision_at_foreground(p: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """The precision of the threshold at each foreground pixel, whose mean is the average precision."""
    taken = p >= p[truth][:, None]
    return (taken & truth).sum(1).double() / taken.sum(1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bins", [64, 8192])
def test_the_pixels_at_a_threshold_are_those_of_brute_force_but_for_its_bins(form: str, bins: int) -> None:
    logits, target = problem(form, 1)
    p, truth = probabilities(form, logits, target)
    curve = cases.count(logits, target, form=form, bins=bins).threshold_curve()
    bounds = {str(measure): curve.bounds(measure) for measure in MEASURES}
    scores = {str(measure): curve.score(measure) for measure in MEASURES}
    assert curve.thresholds[0] == 0
    assert curve.thresholds[-1] == 1
    assert (curve.thresholds.diff() > 0).all()
    assert (curve.tp + curve.fn == truth.sum(1, keepdim=True)).all()
    assert (curve.tp + curve.fp + curve.fn + curve.tn == len(logits)).all()
    # Every threshold of few bins, every 101st of many.
    for place in range(0, len(curve.thresholds), 1 if bins == 64 else 101):
        taken = p >= curve.thresholds[place]
        for c in range(3):
            tp, fp = (taken[c] & truth[c]).sum().item(), (taken[c] & ~truth[c]).sum().item()
            for measure in MEASURES:
                exact = by_hand(tp, fp, truth[c].sum().item() - tp, measure)
                low, high = (bound[c, place].item() for bound in bounds[str(measure)])
                if exact == exact and low == low and high == high:
                    assert low - 1e-12 <= exact <= high + 1e-12, (place, c, measure)
                    assert low <= scores[str(measure)][c, place].item() <= high


@pytest.mark.parametrize("form", FORMS)
def test_with_many_bins_hardly_anything_is_uncertain(form: str) -> None:
    logits, target = problem(form, 2)
    low, high = cases.count(logits, target, form=form).threshold_curve().bounds()
    width = (high - low)[:, 200:-200]
    assert width.nanmean() < 2e-3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("measure", MEASURES[:4], ids=str)
def test_the_best_threshold_has_the_score_of_the_best_of_all(form: str, measure: object) -> None:
    logits, target = problem(form, 3)
    p, truth = probabilities(form, logits, target)
    thresholds, scores = cases.count(logits, target, form=form).threshold_curve().best(measure)
    for c in range(3):
        order = p[c].argsort(descending=True)
        hits = truth[c][order].cumsum(0)
        every = [
            by_hand(tp, n - tp, truth[c].sum().item() - tp, measure) for n, tp in enumerate(hits.tolist(), start=1)
        ]
        taken = p[c] >= thresholds[c]
        tp = (taken & truth[c]).sum().item()
        there = by_hand(tp, taken.sum().item() - tp, truth[c].sum().item() - tp, measure)
        assert there >= max(every) - 5e-3
        assert_close(scores[c].item(), max(every), rtol=0, atol=5e-3)


@pytest.mark.parametrize("levels", [5, 255])
def test_the_best_threshold_is_no_better_than_its_mask_where_pixels_share_a_probability(
    levels: int,
) -> None:
    """The votes of five networks, and maps of 8 bits: no threshold lies between pixels of one probability."""
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        p = (torch.randint(levels + 1, (4000,), generator=generator) / levels).clamp(0.001, 0.999)
        target = torch.bernoulli(p**2, generator=generator).long()
        threshold, score = cases.count(p.logit(), target, form="sigmoid").threshold_curve().best()
        scores = []
        for t in (threshold.float(), *(torch.arange(levels + 1) / levels - 1e-3)):
            tp = ((p > t) & (target == 1)).sum()
            scores.append((tp / ((p > t) | (target == 1)).sum()).item())
        assert_close(score.item(), scores[0], rtol=0, atol=1e-6)
        assert scores[0] == pytest.approx(max(scores))


def test_a_plateau_is_halved() -> None:
    logits, target = torch.tensor([20.0, 20.0, -20.0]), torch.tensor([1, 1, 0])
    threshold, score = cases.count(logits, target, form="sigmoid").threshold_curve().best()
    assert score.item() == 1
    assert_close(threshold.item(), 0.5, rtol=0, atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_a_wanted_recall_or_precision_is_reached(form: str) -> None:
    logits, target = problem(form, 4, pixels=50_000, scale=2.0)
    p, truth = probabilities(form, logits, target)
    curve = cases.count(logits, target, form=form).threshold_curve()
    for wanted in (0.5, 0.95, 1.0):
        thresholds, precision = curve.at(recall=wanted)
        for c in range(3):
            taken = p[c] >= thresholds[c]
            tp = (taken & truth[c]).sum()
            assert tp >= wanted * truth[c].sum() - 3  # those that share the bin of the threshold
            # No higher threshold of any use has it: the next pixel of the class is within a bin.
            above = p[c] >= thresholds[c] + 2e-3
            assert (above & truth[c]).sum() / truth[c].sum() < wanted
            assert_close(precision[c].item(), (tp / taken.sum()).item(), rtol=0, atol=5e-3)
    thresholds, recall = curve.at(precision=0.9)
    places = torch.searchsorted(curve.thresholds, thresholds)
    low, high = curve.bounds("precision")
    for c, place in enumerate(places.tolist()):
        taken = p[c] >= thresholds[c]
        assert low[c, place] <= (taken & truth[c]).sum().double() / taken.sum() <= high[c, place]
        # It is the first.
        assert curve.score("precision")[c, place] >= 0.9
        assert (curve.score("precision")[c, :place] < 0.9).all()
        assert recall[c] == curve.score("recall")[c, place]
    none, other = (
        cases.count(torch.zeros(4), torch.tensor([1, 0, 0, 0]), form="sigmoid").threshold_curve().at(precision=0.9)
    )
    assert none.isnan().all()
    assert other.isnan().all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("bins", "scale", "near"), [(8192, 1.0, 5e-4), (8192, 6.0, 2e-2), (32, 2.0, 0.1)])
def test_average_precision_is_that_of_the_pixels(form: str, bins: int, scale: float, near: float) -> None:
    logits, target = problem(form, 5, scale=scale)
    p, truth = probabilities(form, logits, target)
    curve = cases.count(logits, target, form=form, bins=bins).threshold_curve()
    found, (low, high) = curve.average_precision(), curve.average_precision_bounds()
    for c in range(3):
        exact = precision_at_foreground(p[c], truth[c]).mean().item()
        assert low[c] - 1e-9 <= exact <= high[c] + 1e-9
        assert low[c] <= found[c] <= high[c]
        assert abs(found[c].item() - exact) <= near


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("resolution", [100, 8192])
def test_calibration_is_that_of_brute_force(form: str, bins: int, resolution: int) -> None:
    logits, target = problem(form, 6)
    p, truth = probabilities(form, logits, target)
    curve = cases.count(logits, target, form=form, bins=resolution).threshold_curve()
    diagram, error, bound = (
        curve.calibration(bins),
        curve.calibration_error(bins),
        curve.calibration_error_bound(bins),
    )
    for c in range(3):
        place = (p[c] * bins).long().clamp(max=bins - 1)
        expected = 0.0
        for b in range(bins):
            here = place == b
            if here.any():
                gap = truth[c][here].double().mean() - p[c][here].mean()
                expected += gap.abs().item() * here.sum().item() / len(logits)
            if resolution == 8192:
                assert abs(diagram.pixels[c, b] - here.sum()) <= 0.02 * len(logits) / bins
                if here.sum() > 50:
                    assert_close(diagram.confidence[c, b], p[c][here].mean(), rtol=0, atol=5e-3)
                    assert_close(diagram.frequency[c, b], truth[c][here].double().mean(), rtol=0, atol=3e-2)
        assert abs(error[c].item() - expected) <= bound[c] + 1e-12
        assert bound[c] < (5e-3 if resolution == 8192 else 0.2)
    assert (diagram.pixels.sum(1) == len(logits)).all()


def test_counts_of_parts_make_the_same_curve() -> None:
    logits, target = problem("softmax", 7)
    whole = cases.count(logits, target).threshold_curve()
    parts = [cases.count(logits[i::3], target[i::3]) for i in range(3)]
    added = (parts[0] + parts[1] + parts[2]).threshold_curve()
    assert torch.equal(whole.tp, added.tp)
    assert torch.equal(whole.fp, added.fp)


def test_a_class_without_foreground_has_no_best_threshold() -> None:
    curve = cases.count(torch.randn(10, 2), torch.zeros(10, dtype=torch.long)).threshold_curve()
    thresholds, scores = curve.best()
    assert thresholds.isnan().tolist() == [False, True]
    assert scores.isnan().tolist() == [False, True]
    assert curve.average_precision().isnan().tolist() == [False, True]


def test_nan_makes_the_scores_of_its_class_nan() -> None:
    logits = torch.tensor([[1.0, 2.0], [float("nan"), 0.5]])
    curve = cases.count(logits, torch.tensor([[1, 0], [0, 1]]), form="sigmoid").threshold_curve()
    for values in (curve.score(), curve.best()[1], curve.average_precision(), curve.calibration_error()):
        rows = values.reshape(2, -1).isnan().all(1)
        assert rows.tolist() == [True, False]
    assert curve.tp[0].tolist() == [1] * int(curve.tp[0].sum()) + [0] * (curve.tp.shape[1] - int(curve.tp[0].sum()))


def test_what_has_no_thresholds_is_refused() -> None:
    logits, target = torch.randn(1, 1, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="hinge counts no score"):
        cases.count(logits, target, form="hinge").threshold_curve()
    with pytest.raises(ValueError, match="per_image=False"):
        cases.count(logits, target, form="sigmoid", per_image=True).threshold_curve()
    curve = cases.count(logits, target, form="sigmoid").threshold_curve()
    for wrong in ({}, {"recall": 0.5, "precision": 0.5}):
        with pytest.raises(TypeError, match="one of recall and precision"):
            curve.at(**wrong)
    with pytest.raises(ValueError, match=r"recall must be a number from 0 to 1, got 95"):
        curve.at(recall=95)
    with pytest.raises(ValueError, match=r"bins must be an integer from 1 to 1000, got 0"):
        curve.calibration(0)
    for rate in ("precision", "recall", "f1"):
        with pytest.raises((ValueError, TypeError), match="measure must be"):
            curve.best(rate)


def test_a_curve_that_is_changed_changes_no_other() -> None:
    counts = cases.count(*problem("sigmoid", 11), form="sigmoid", bins=64)
    before = counts.threshold_curve().thresholds.clone()
    counts.threshold_curve().thresholds.zero_()
    assert_close(counts.threshold_curve().thresholds, before, rtol=0, atol=0)
