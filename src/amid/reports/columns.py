"""Columns of text: the one aligner of everything that is printed as a table. No torch here."""

from __future__ import annotations

from collections.abc import Sequence


def widths_of(lines: Sequence[Sequence[str]]) -> list[int]:
    """The width of every column, in characters."""
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def aligned(lines: Sequence[Sequence[str]], *, num_left: int | None = None, separator: str = "  ") -> list[str]:
    """One text per line, its columns under each other, without trailing spaces.

    num_left: how many of the first columns are flush left; the others are flush right, None = all are left.
    """
    widths = widths_of(lines)
    num_left = len(widths) if num_left is None else num_left
    return [
        separator.join(
            cell.ljust(width) if index < num_left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def ruled(lines: Sequence[str]) -> list[str]:
    """The lines with a rule under the first one, as wide as the widest."""
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]
