"""What is said of a student that ends worse than it began, or worse than guessing."""

import math

import pytest

from amid.evaluation.endings import Validated, validated, warnings_of
from amid.store import Score

START = Validated(rouge_l=20.0, loss=3.0)


@pytest.mark.parametrize(
    ("end", "select", "said"),
    [
        (Validated(20.0, 3.5), "rouge_l", []),  # judged by what selected the weights
        (Validated(19.0, 2.0), "loss", []),
        (Validated(19.99, 2.0), "rouge_l", ["worse than its initial student: validation ROUGE-L 20.00 -> 19.99"]),
        (Validated(30.0, 3.01), "loss", ["worse than its initial student: validation loss 3.00 -> 3.01"]),
        (Validated(30.0, 6.0), "rouge_l", ["worse than guessing: validation loss 3.00 -> 6.00, above ln 256 = 5.55"]),
        (Validated(30.0, math.nan), "rouge_l", ["worse than guessing: validation loss 3.00 -> nan, above ln 256"]),
    ],
)
def test_a_student_is_compared_with_the_one_it_was_and_with_guessing(end, select, said):
    found = warnings_of(end, START, select=select, vocab_size=256)
    assert len(found) == len(said)
    assert all(text.startswith(beginning) for text, beginning in zip(found, said, strict=True))


def test_without_scores_of_the_initial_student_only_guessing_is_left_to_compare_with():
    assert warnings_of(Validated(0.0, 5.0), None, select="rouge_l", vocab_size=256) == []
    assert warnings_of(Validated(0.0, 5.6), None, select="rouge_l", vocab_size=256) == [
        "worse than guessing: validation loss 5.60, above ln 256 = 5.55"
    ]


def test_scores_of_other_texts_are_not_taken_for_the_validation():
    scores = [
        Score("e", "validation", generation_id, f"{generation_id}{metric}", None, metric, value, 4)
        for generation_id, value in (("other", 1.0), ("mine", 2.0))
        for metric in ("rouge_l", "loss", "perplexity")
    ]
    assert validated(scores, "mine") == Validated(2.0, 2.0)
    assert validated(scores[:4], "mine") is None
