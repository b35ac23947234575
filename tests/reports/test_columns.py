"""The aligner of text tables: what is flush, and that nothing trails."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amid.reports.columns import aligned, ruled

LINES = [("name", "value", "note"), ("a", "1.5", "x"), ("longer", "10.25", "")]


def test_columns_are_flush_left_or_right_and_nothing_trails():
    assert aligned(LINES, num_left=1) == ["name    value  note", "a         1.5     x", "longer  10.25"]
    assert aligned(LINES) == ["name    value  note", "a       1.5    x", "longer  10.25"]
    assert ruled(["ab", "abcd"]) == ["ab", "----", "abcd"]


@given(st.lists(st.tuples(st.text("ab ", max_size=5), st.text("xy", min_size=1, max_size=5)), min_size=1, max_size=5))
def test_every_column_begins_or_ends_at_one_place(lines):
    for line, shown in zip(lines, aligned(lines, num_left=1), strict=True):
        assert shown.endswith(line[1])
    assert len({len(shown) for shown in aligned(lines, num_left=1)}) == 1


def test_lines_of_different_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        aligned([("a",), ("a", "b")])
