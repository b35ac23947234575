import numpy as np
import pytest
from scipy import stats

from amid.generation.randomness import uniforms_of


def test_the_numbers_of_a_key_never_change():
    # Any change here changes every sampled text: it needs a changelog entry
    expected = [0.2245088666, 0.0924458497, 0.5782389942]
    np.testing.assert_allclose(uniforms_of((10, "dolly", 3), count=3), expected, atol=1e-9)


def test_a_longer_request_only_appends():
    np.testing.assert_array_equal(uniforms_of((1, "a"), count=300)[:20], uniforms_of((1, "a"), count=20))


@pytest.mark.parametrize("other", [(1, "a", 3), (1, "b", 2), (2, "a", 2), (1, "a"), (1, "a2"), ("1", "a", 2)])
def test_another_key_has_other_numbers(other):
    assert not np.array_equal(uniforms_of((1, "a", 2), count=4), uniforms_of(other, count=4))


def test_a_numpy_integer_is_the_same_key_as_an_integer():
    np.testing.assert_array_equal(uniforms_of((np.int64(5), "a"), count=4), uniforms_of((5, "a"), count=4))


def test_the_numbers_of_neighbouring_keys_are_uniform_and_uncorrelated():
    drawn = np.array([uniforms_of((10, "dolly", index), count=8) for index in range(4000)])
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    assert np.abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.05  # 3 standard errors of 4000 pairs


def test_a_float_in_a_key_is_refused():
    with pytest.raises(ValueError, match=r"integers and strings only, got \(0\.5, 'a'\)"):
        uniforms_of((0.5, "a"), count=1)
