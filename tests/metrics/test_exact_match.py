import pytest

from amid.metrics.exact_match import exact_match, exact_match_per_example, normalise


@pytest.mark.parametrize(
    ("prediction", "reference", "equal"),
    [
        ("Paris", "paris", True),
        ("Paris.", "paris", True),
        ("  New\n York ", "new york", True),
        ("it's", "its", True),
        ("well-known", "well known", False),  # the hyphen is removed, not replaced by a space
        ("the cat", "cat", False),  # articles are kept, unlike SQuAD
        ("\u00bfQu\u00e9?", "qu\u00e9", False),  # only ASCII punctuation is removed
        ("", "...", True),
        ("yes", "no", False),
    ],
)
def test_equality_holds_exactly_after_the_stated_normalisation(prediction, reference, equal):
    assert exact_match([prediction], [[reference]]) == (100.0 if equal else 0.0)


def test_any_reference_may_match_and_the_mean_is_in_percent():
    assert exact_match_per_example(["b", "x"], [["a", "B!"], ["y"]]) == [100.0, 0.0]
    assert exact_match(["b", "x"], [["a", "B!"], ["y"]]) == 50.0


def test_normalising_twice_changes_nothing():
    assert normalise(normalise(" A,  B-c! ")) == normalise(" A,  B-c! ") == "a bc"


def test_unpaired_input_is_refused():
    with pytest.raises(ValueError, match="same length, got 2 and 1"):
        exact_match(["a", "b"], [["a"]])
