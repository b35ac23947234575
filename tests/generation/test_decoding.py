import pytest

from amid.generation.decoding import Decoding


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_new_tokens", 0),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", float("nan")),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", float("nan")),
        ("no_repeat_ngram_size", -1),
    ],
)
def test_a_value_out_of_range_is_named_with_its_value(field, value):
    with pytest.raises(ValueError, match=rf"decoding\.{field} must .*got {value}"):
        Decoding(**{"max_new_tokens": 8, field: value})


def test_the_end_points_of_the_ranges_are_allowed():
    Decoding(max_new_tokens=1, temperature=0, top_k=0, top_p=1, repetition_penalty=0.5, no_repeat_ngram_size=1)
