"""Differences of paired systems: against scipy's paired t test, against resampling within sets, and Holm by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from amid.metrics.paired import holm, paired_differences


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_one_set_is_the_paired_t_test_of_scipy(rng: np.random.Generator) -> None:
    left, right = rng.gamma(1.0, 10.0, (3, 40)), rng.gamma(1.2, 10.0, (3, 40))
    found = paired_differences([left], [right])
    for k in range(3):
        expected = stats.ttest_rel(left[k], right[k])
        interval = expected.confidence_interval(0.95)
        assert found.p[k] == pytest.approx(expected.pvalue, rel=1e-9)
        assert (found.low[k], found.high[k]) == pytest.approx((interval.low, interval.high), rel=1e-9)
        assert found.difference[k] == pytest.approx(left[k].mean() - right[k].mean())


def test_two_equally_long_sets_are_the_unpaired_welch_test_of_scipy(rng: np.random.Generator) -> None:
    """The mean of two sets of differences a and b is half of a - (-b): Welch's test of a against -b."""
    first, second = rng.normal(1.0, 3.0, (1, 30)), rng.normal(0.0, 9.0, (1, 12))
    found = paired_differences([first, second], [np.zeros((1, 30)), np.zeros((1, 12))])
    expected = stats.ttest_ind(first[0], -second[0], equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.p[0] == pytest.approx(expected.pvalue, rel=1e-9)
    assert (2 * found.low[0], 2 * found.high[0]) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_the_interval_of_an_average_is_that_of_resampling_prompts_within_sets(rng: np.random.Generator) -> None:
    sizes = (500, 242, 80, 200, 300)
    left = [rng.beta(0.7, 2.0, (1, size)) * 100.0 for size in sizes]
    right = [each + rng.normal(0.5, 6.0, each.shape) for each in left]
    found = paired_differences(left, right)
    differences = [(a - b)[0] for a, b in zip(left, right, strict=True)]
    draws = np.mean(
        [each[rng.integers(0, len(each), (20_000, len(each)))].mean(axis=1) for each in differences], axis=0
    )
    low, high = np.quantile(draws, [0.025, 0.975])
    # 20,000 resamples give the ends to about 1 % of the width; degrees of freedom change them by less
    width = high - low
    assert found.low[0] == pytest.approx(low, abs=0.03 * width)
    assert found.high[0] == pytest.approx(high, abs=0.03 * width)


def test_systems_that_answer_alike_do_not_differ_and_a_constant_difference_is_certain() -> None:
    values = np.array([[1.0, 2.0, 5.0]])
    same = paired_differences([values], [values])
    assert (same.difference[0], same.low[0], same.high[0], same.p[0]) == (0.0, 0.0, 0.0, 1.0)
    assert paired_differences([values + 1.0], [values]).p[0] == 0.0


def test_many_pairs_at_once_are_each_pair_alone(rng: np.random.Generator) -> None:
    left, right = rng.normal(size=(1, 25)), rng.normal(size=(4, 25))
    together = paired_differences([left], [right])
    for k in range(4):
        alone = paired_differences([left], [right[k : k + 1]])
        assert (together.p[k], together.low[k]) == (alone.p[0], alone.low[0])


@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        ([], [], "at least 1"),
        ([np.ones((1, 3))], [np.ones((1, 4))], "the same examples, got 3 and 4"),
        ([np.ones((1, 1))], [np.ones((1, 1))], "at least 2 examples, got 1"),
        ([np.ones((1, 3))], [np.ones((1, 3))] * 2, "the same sets"),
    ],
)
def test_what_cannot_be_compared_is_refused(left: list[np.ndarray], right: list[np.ndarray], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        paired_differences(left, right)


def test_holm_steps_down_and_stops_at_the_first_that_stands() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]  # 0.03 > 0.05 / 2
    assert holm([0.012, 0.02, 0.04]) == [True, True, True]  # Bonferroni alone would keep the last two
    assert holm([]) == []
    assert holm([0.06]) == [False]
