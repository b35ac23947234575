import pytest

from amid.metrics.distinct import distinct_n


def test_distinct_values_equal_the_hand_count():
    texts = ["a b a b", "a b c"]  # 7 words, 3 different; 5 bigrams: ab ba ab ab bc, 3 different
    assert distinct_n(texts, order=1) == 3 / 7
    assert distinct_n(texts, order=2) == 3 / 5


def test_no_ngram_crosses_the_border_of_two_texts():
    assert distinct_n(["a", "b"], order=2) == 0.0
    assert distinct_n(["a b", "b a"], order=2) == 1.0


def test_punctuation_is_a_word_of_its_own_and_case_is_kept():
    assert distinct_n(["Yes. yes."], order=1) == 3 / 4


def test_a_set_of_empty_texts_has_the_value_zero():
    assert distinct_n(["", " "], order=1) == 0.0


@pytest.mark.parametrize(("texts", "order", "message"), [([], 1, "at least 1 text"), (["a"], 0, "order must be at")])
def test_no_text_and_order_zero_are_refused(texts, order, message):
    with pytest.raises(ValueError, match=message):
        distinct_n(texts, order=order)
