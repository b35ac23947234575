import math
import statistics

import numpy as np
import pytest

from amid.metrics.uncertainty import mean_bootstrap, paired_bootstrap, seed_spread


def test_spread_is_the_population_standard_deviation():
    spread = seed_spread([20.0, 22.0, 24.0])
    assert (spread.mean, spread.num_seeds) == (22.0, 3)
    assert spread.std == pytest.approx(statistics.pstdev([20.0, 22.0, 24.0]))


def test_one_seed_has_no_spread_and_no_seed_is_refused():
    assert seed_spread([25.5]).std == 0.0
    with pytest.raises(ValueError, match="at least 1 seed"):
        seed_spread([])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match=r"scores\[1\] must be finite"):
        seed_spread([1.0, bad])
    with pytest.raises(ValueError, match=r"right\[0\] must be finite"):
        paired_bootstrap([1.0, 2.0], [bad, 1.0], rng=np.random.default_rng(0))


def correlated(num_examples, seed):
    """Scores of two systems on examples of very different difficulty; the second is 1 point worse on average."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(50.0, 30.0, num_examples)
    return difficulty + rng.normal(0.0, 2.0, num_examples), difficulty - 1.0 + rng.normal(0.0, 2.0, num_examples)


def test_the_interval_agrees_with_the_normal_approximation_of_paired_differences():
    left, right = correlated(2000, seed=3)
    result = paired_bootstrap(left, right, rng=np.random.default_rng(0))
    differences = left - right
    half_width = 1.959964 * differences.std(ddof=1) / math.sqrt(len(differences))
    assert result.difference == pytest.approx(differences.mean())
    # 9999 resamples fix a 2.5 % quantile to about 3 % of the half width
    assert result.low == pytest.approx(differences.mean() - half_width, abs=0.06 * half_width)
    assert result.high == pytest.approx(differences.mean() + half_width, abs=0.06 * half_width)
    assert result.excludes_zero


def test_pairing_makes_the_interval_far_narrower_than_resampling_each_system_alone():
    left, right = correlated(500, seed=4)
    paired = paired_bootstrap(left, right, rng=np.random.default_rng(0))
    shuffled = paired_bootstrap(left, np.random.default_rng(1).permutation(right), rng=np.random.default_rng(0))
    assert paired.high - paired.low < 0.2 * (shuffled.high - shuffled.low)


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(200):
        left, right = correlated(80, seed=1000 + trial)
        result = paired_bootstrap(left, right, rng=rng, confidence=0.9, num_resamples=400)
        hits += result.low <= 1.0 <= result.high
    assert (
        0.82 <= hits / 200 <= 0.97
    )  # 0.9 with a binomial standard error of 0.021; percentile intervals run slightly low


def test_exchanging_the_systems_negates_the_difference():
    left, right = correlated(100, seed=6)
    forward = paired_bootstrap(left, right, rng=np.random.default_rng(0))
    backward = paired_bootstrap(right, left, rng=np.random.default_rng(0))
    assert (backward.difference, backward.low, backward.high) == pytest.approx(
        (-forward.difference, -forward.high, -forward.low)
    )


def test_equal_systems_have_a_difference_of_exactly_zero_that_is_not_excluded():
    result = paired_bootstrap([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], rng=np.random.default_rng(0))
    assert (result.difference, result.low, result.high, result.excludes_zero) == (0.0, 0.0, 0.0, False)


def test_a_constant_difference_has_an_interval_of_no_width():
    result = paired_bootstrap([2.0, 3.0], [1.0, 2.0], rng=np.random.default_rng(0))
    assert (result.difference, result.low, result.high, result.excludes_zero) == (1.0, 1.0, 1.0, True)


def test_the_same_generator_state_gives_the_same_interval_and_another_state_another():
    left, right = correlated(60, seed=7)
    first, again, other = (paired_bootstrap(left, right, rng=np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("left", "right", "options", "message"),
    [
        ([1.0, 2.0], [1.0], {}, "same examples, got 2 and 1"),
        ([1.0], [1.0], {}, "at least 2 of them, got 1"),
        ([1.0, 2.0], [1.0, 2.0], {"confidence": 95.0}, r"confidence must lie in \(0, 1\), got 95.0"),
        ([1.0, 2.0], [1.0, 2.0], {"num_resamples": 0}, "num_resamples must be at least 1, got 0"),
    ],
)
def test_impossible_requests_are_refused(left, right, options, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(left, right, rng=np.random.default_rng(0), **options)


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation_for_many_examples():
    rng = np.random.default_rng(3)
    scores = rng.normal(30.0, 12.0, size=400)
    found = mean_bootstrap(scores.tolist(), rng=np.random.default_rng(0))
    half = 1.96 * scores.std() / np.sqrt(len(scores))
    assert found.mean == pytest.approx(scores.mean())
    assert found.low == pytest.approx(scores.mean() - half, abs=0.1 * half)  # of 9999 resamples
    assert found.high == pytest.approx(scores.mean() + half, abs=0.1 * half)
    assert found.num_examples == 400
