"""Marks: what is bold, second and different, by hand in small blocks, and by simulated sweeps of known models."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_sweeps import COLUMNS, simulate

from amid.reports.significance import comparable, marked_by_means, marked_by_tests
from amid.reports.table import Row, Value


def row(mean: float | None, block: str = "", *, reference: bool = False) -> Row:
    value = None if mean is None else Value(mean, None, 5, 5)
    return Row((str(mean),), "done", (value,), block=(block,), is_reference=reference)


def examples(rows: list[Row], rng: np.random.Generator, *, noise: float = 1.0) -> dict[int, dict[str, np.ndarray]]:
    """100 prompts of which each row's mean is exactly its value; the rows differ by noise of this size per prompt."""
    found = {}
    for index, each in enumerate(rows):
        if each.values[0] is not None:
            values = rng.normal(0.0, noise, 100)
            found[index] = {"s": values - values.mean() + each.values[0].mean}
    return found


def bold(rows: list[Row]) -> list[bool]:
    return [each.values[0] is not None and each.values[0].best for each in rows]


COLUMN = [(("s",), True)]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_bold_is_the_best_and_what_cannot_be_told_from_it(rng: np.random.Generator) -> None:
    rows = [row(20.0), row(19.95), row(18.0), row(10.0)]
    marked = marked_by_tests(rows, COLUMN, examples(rows, rng), {})
    assert bold(marked) == [True, True, False, False]
    assert [each.values[0].second for each in marked] == [False, True, False, False]
    assert marked[0].values[0].to_best is None
    interval = marked[2].values[0].to_best
    assert interval.difference == pytest.approx(-2.0)
    assert interval.low < -2.0 < interval.high < 0.0


def test_of_equals_that_lead_all_are_best_and_none_is_second(rng: np.random.Generator) -> None:
    rows = [row(20.0), row(20.0), row(10.0)]
    values = examples(rows[:1], rng)[0]
    marked = marked_by_tests(rows, COLUMN, {0: values, 1: values, 2: examples(rows[2:], rng)[0]}, {})
    assert bold(marked) == [True, True, False]
    assert [each.values[0].second for each in marked] == [False, False, True]


def test_where_lower_is_better_the_lowest_is_bold(rng: np.random.Generator) -> None:
    rows = [row(20.0), row(10.0)]
    assert bold(marked_by_tests(rows, [(("s",), False)], examples(rows, rng), {})) == [False, True]
    assert bold(marked_by_tests(rows, [(("s",), None)], examples(rows, rng), {})) == [False, False]


def test_blocks_are_apart_and_a_teacher_is_in_none(rng: np.random.Generator) -> None:
    rows = [row(40.0, reference=True), row(20.0, "a"), row(10.0, "a"), row(5.0, "b"), row(4.0, "b")]
    assert bold(marked_by_tests(rows, COLUMN, examples(rows, rng), {})) == [False, True, False, True, False]


def test_a_block_of_one_and_a_gap_have_no_marks(rng: np.random.Generator) -> None:
    rows = [row(20.0, "a"), row(10.0, "b"), row(None, "b")]
    assert bold(marked_by_tests(rows, COLUMN, examples(rows, rng), {})) == [False, False, False]


def test_what_has_no_value_per_prompt_is_not_marked(rng: np.random.Generator) -> None:
    rows = [row(20.0), row(10.0), row(30.0)]
    known = examples(rows, rng)
    del known[2]
    assert bold(marked_by_tests(rows, COLUMN, known, {})) == [True, False, False]


def test_a_difference_from_the_row_without_an_assistant_is_marked_either_way(rng: np.random.Generator) -> None:
    rows = [row(20.0), row(25.0), row(15.0), row(20.05)]
    marked = marked_by_tests(rows, COLUMN, examples(rows, rng), {1: 0, 2: 0, 3: 0})
    assert [each.values[0].differs for each in marked] == [False, True, True, False]
    assert marked[1].values[0].to_none.difference == pytest.approx(5.0)
    assert marked[2].values[0].to_none.high < 0.0


def test_holm_is_over_all_pairs_since_the_best_row_was_not_chosen_beforehand(rng: np.random.Generator) -> None:
    """With p = 0.02 alone two rows are told apart, and among five of which it was picked they are not."""
    pair = [row(20.0), row(19.66)]
    assert bold(marked_by_tests(pair, COLUMN, examples(pair, rng), {})) == [True, False]
    many = [*pair, *(row(19.9) for _ in range(3))]
    assert bold(marked_by_tests(many, COLUMN, examples(many, rng), {})) == [True] * 5


def test_the_same_cell_in_two_rows_is_never_worse_than_itself(rng: np.random.Generator) -> None:
    rows = [row(20.0), row(20.0), row(10.0)]
    known = examples(rows, rng)
    known[1] = known[0]
    assert bold(marked_by_tests(rows, COLUMN, known, {})) == [True, True, False]


def test_by_means_all_equals_are_best_and_the_next_are_second() -> None:
    marked = marked_by_means([row(2.0), row(2.0), row(1.0), row(0.5), row(9.0, reference=True)], [True])
    assert bold(marked) == [True, True, False, False, False]
    assert [each.values[0].second for each in marked] == [False, False, True, False, False]


def test_rows_that_were_asked_other_texts_are_not_compared() -> None:
    answers = {0: ("d1", np.ones(3)), 1: ("d2", np.ones(3)), 2: ("d1", np.ones(3)), 3: None}
    found = comparable(range(4), ["s"], lambda index, _: answers[index])
    assert [sorted(found[index]) for index in range(4)] == [["s"], [], ["s"], []]
    one_prompt = comparable([0], ["s"], lambda *_: ("d1", np.ones(1)))
    assert one_prompt == {0: {}}


def check(number: int, *, slack: float) -> None:
    found = simulate(number, seed=1)
    assert len(COLUMNS) == 6
    assert (found.covered >= 0.93 - slack).all(), found.covered
    assert (found.covered <= 0.97 + slack).all(), found.covered
    assert (found.best <= 0.06 + slack).all(), found.best
    assert (found.differs <= 0.06 + slack).all(), found.differs


def test_intervals_cover_and_equal_models_are_seldom_marked() -> None:
    check(60, slack=0.09)  # three standard errors of 60 sweeps: catches a wrong formula, not a wrong digit


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_intervals_cover_93_to_97_percent_and_equal_models_are_marked_in_at_most_6() -> None:
    check(2000, slack=0.0)
