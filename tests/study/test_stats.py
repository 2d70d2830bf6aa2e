"""Paired differences against SciPy, and verdicts that claim no more than their intervals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lovasz.study.summary.stats import paired_difference, signed, spread, verdict, wide_intervals


def test_interval_is_that_of_the_paired_t_test() -> None:
    generator = np.random.default_rng(0)
    for n in (2, 3, 10):
        a, b = generator.normal(60, 3, n), generator.normal(55, 3, n)
        found = paired_difference("lovasz", "ce", a.tolist(), b.tolist())
        expected = stats.ttest_rel(a, b).confidence_interval(0.95)
        assert found.mean == pytest.approx((a - b).mean())
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(0, 100)).map(lambda pair: (round(pair[0], 2), round(pair[1], 2))),
        min_size=1,
        max_size=6,
    )
)
def test_verdict_claims_a_difference_only_where_the_test_does(
    pairs: list[tuple[float, float]],
) -> None:
    a, b = zip(*pairs, strict=True)
    difference = paired_difference("lovasz", "ce", a, b)
    sentence = verdict([difference], {})[0]
    values = [x - y for x, y in pairs]
    varied = max(values) - min(values) > 1e-9
    if "higher" in sentence or "lower" in sentence:
        assert len(pairs) > 1
        assert varied
        assert stats.ttest_rel(a, b).pvalue < 0.05 + 1e-9
        assert ("higher" in sentence) == (difference.mean > 0)
    elif len(pairs) > 1 and varied:
        assert stats.ttest_rel(a, b).pvalue > 0.05 - 1e-9
        assert "no difference is shown" in sentence


def test_one_seed_allows_no_interval() -> None:
    difference = paired_difference("lovasz", "ce", [60.0], [50.0])
    assert (difference.low, difference.high, difference.decided) == (None, None, False)
    assert verdict([difference, difference], {}) == [
        "lovasz against ce: test mIoU +10.0 points with one seed.",
        "lovasz against ce: test mIoU +10.0 points with one seed.",
        "One seed allows no interval: another seed may reverse any order.",
    ]


@pytest.mark.parametrize("scores", [[50.0, 51.0], [52.0, 53.0]])
def test_differences_that_do_not_vary_allow_no_interval(scores: list[float]) -> None:
    difference = paired_difference("lovasz", "ce", scores, [50.0, 51.0])
    assert not difference.decided
    assert "allow no interval" in verdict([difference], {})[0]


def test_verdict_over_fewer_classes_uses_the_same_statistics() -> None:
    scores = [60.0, 62.0, 61.0], [50.0, 51.0, 54.0]
    fewer = [50.0, 49.0, 53.0], [51.0, 51.0, 52.0]
    interval = stats.ttest_rel(*fewer).confidence_interval(0.95)
    entry = verdict(
        [paired_difference("lovasz", "ce", *scores)],
        {},
        [paired_difference("lovasz", "ce", *fewer)],
        "Over the 2 classes with at least 50 test pixels",
    )[0]
    assert entry == (
        "lovasz gave a higher test mIoU than ce here: +9.3 points (95 % interval +4.2 to +14.5, 3 seeds). "
        "Over the 2 classes with at least 50 test pixels: "
        f"−0.7 points (95 % interval −{-interval.low:.1f} to +{interval.high:.1f})."
    )


def test_several_undecided_comparisons_share_one_sentence() -> None:
    losses = "lovasz", "dice", "ce+dice"
    differences = [paired_difference(loss, "ce", [60.0, 50.0], [55.0, 54.0]) for loss in losses]
    entries = verdict(differences, {})
    assert len(entries) == 5
    assert not any("include" in entry for entry in entries[:3])
    assert "The intervals of lovasz, dice and ce+dice include 0" in entries[3]


def test_signs_are_proper() -> None:
    assert [signed(value) for value in (-1.25, -0.04, 3.0, math.nan)] == ["−1.2", "0.0", "+3.0", "–"]


def test_score_that_is_not_a_number_allows_no_claim() -> None:
    difference = paired_difference("lovasz", "ce", [60.0, math.nan], [50.0, 51.0])
    assert not difference.decided
    assert "nothing can be said" in verdict([difference], {})[0]


def test_one_loss_leaves_nothing_to_compare() -> None:
    assert verdict([], {"ce": 49.04}) == ["ce: test mIoU 49.0. One loss alone leaves nothing to compare."]


def test_numbers_of_seeds_must_agree() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        paired_difference("lovasz", "ce", [1.0, 2.0], [1.0])


def test_spread() -> None:
    assert spread([1.0]) is None
    assert spread([1.0, math.nan]) is None
    assert spread([1.0, 2.0, 4.0]) == pytest.approx(np.std([1, 2, 4], ddof=1))


def scores_of(differences: list[float]) -> tuple[list[float], list[float]]:
    """Scores of a loss and of a baseline that differ so."""
    return [50 + value for value in differences], [50.0] * len(differences)


@pytest.mark.parametrize(("n", "freedom", "factors"), [(2, "1 degree", (7.2, 12.6)), (3, "2 degrees", (2.0, 3.5))])
def test_few_seeds_say_why_their_intervals_are_wide(n: int, freedom: str, factors: tuple[float, float]) -> None:
    """A reader saw "-241 to +186 points" and no word about it."""
    differences = [1.0, 2.0, 1.5, 0.5, 2.5, 1.0, 2.0, 1.5, 0.5, 2.5]
    few = paired_difference("lovasz", "ce", *scores_of(differences[:n]))
    said = verdict([few], {})[-1]
    assert said == wide_intervals([few])
    assert f"{freedom} of freedom Student's t is {stats.t.ppf(0.975, n - 1):.1f} standard errors" in said
    assert f"narrower: {factors[0]} times with 5 seeds, {factors[1]} times with 10 seeds." in said
    # So much narrower they are, for the same standard deviation.
    for more, factor in zip((5, 10), factors, strict=True):
        wide, narrow = (stats.t.ppf(0.975, k - 1) / math.sqrt(k) for k in (n, more))
        assert wide / narrow == pytest.approx(factor, abs=0.05)
    assert "beyond" not in said


def test_an_interval_beyond_what_is_possible_is_said_to_be_that() -> None:
    far = paired_difference("lovasz", "ce", *scores_of([-44.0, -10.0]))
    near = paired_difference("dice", "ce", *scores_of([1.0, 2.0]))
    assert far.low is not None
    assert far.low < -100
    assert (far.beyond_possible, near.beyond_possible) == (True, False)
    said = wide_intervals([far, near])
    assert (
        "That of lovasz reaches beyond the 100 points that are possible: 2 seeds leave the difference open." in said
    )


@pytest.mark.parametrize("n", [1, 4, 5])
def test_enough_seeds_and_one_say_nothing_of_width(n: int) -> None:
    assert wide_intervals([paired_difference("lovasz", "ce", *scores_of([1.0, 2.0, 1.5, 0.5, 2.5][:n]))]) == ""
    assert wide_intervals([]) == ""


@pytest.mark.parametrize(
    ("differences", "word"),
    [([5.0, 5.1, 5.2], "higher"), ([-5.0, -5.1, -5.2], "lower"), ([5.0, -5.1, 5.2], "open"), ([5.0], "open")],
)
def test_one_word_says_what_an_interval_supports(differences: list[float], word: str) -> None:
    assert paired_difference("lovasz", "ce", *scores_of(differences)).shows == word
