import pytest

from amid.metrics.length import num_empty, response_length, response_lengths


def test_length_counts_words_between_white_space():
    assert response_lengths(["one two,three", "", " a\n\tb  c "]) == [2.0, 0.0, 3.0]
    assert response_length(["one two,three", "", " a\n\tb  c "]) == pytest.approx(5 / 3)


def test_a_text_of_white_space_is_empty():
    assert num_empty(["", " \n", "a", "?"]) == 2


def test_a_mean_over_no_text_is_refused():
    with pytest.raises(ValueError, match="at least 1 text"):
        response_length([])
