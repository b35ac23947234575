"""What can be told apart: marks for the best rows of a block, by tests over prompts, or by the means alone. No torch.

Every row is a mean per prompt over its decode and training seeds; two rows are compared prompt by prompt. The best row
of a block is chosen by the numbers themselves, so Holm's correction is over all pairs of the column, not only over
those with the best one: then a block of equal models has a row marked as worse in at most 5 % of all columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from amid.reports.table import Interval, Row, Value

if TYPE_CHECKING:  # slow to import, and a table of which nothing is scored yet compares nothing
    import numpy as np
    import numpy.typing as npt

LEVEL = 0.05
Examples: TypeAlias = "Mapping[int, Mapping[str, npt.NDArray[np.float64]]]"  # row -> set -> value per prompt [N]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Compared:
    """Rows of one block in one column, every pair of them: differences, and which rows can be told apart."""

    found: Mapping[Pair, tuple[Interval, float]]  # left < right -> left minus right with its own interval, and p
    apart: frozenset[Pair]  # after Holm's correction over all pairs

    def told_apart(self, left: int, right: int) -> bool:
        """Whether the two differ significantly."""
        return (min(left, right), max(left, right)) in self.apart

    def difference(self, left: int, right: int) -> Interval:
        """Left minus right."""
        if (left, right) in self.found:
            return self.found[left, right][0]
        turned = self.found[right, left][0]
        return Interval(-turned.difference, -turned.high, -turned.low)


def compared(rows: Sequence[int], sets: Sequence[str], examples: Examples) -> Compared:
    """What tells the rows apart on the mean over the sets: the one answer behind bold marks and `amid best`.

    rows: in ascending order, each with values per prompt of all the sets.
    """
    found = _compare(list(itertools.combinations(rows, 2)), sets, examples)
    return Compared(found, frozenset(_rejected(found)))


def interval_of_mean(sets: Sequence[str], values: Mapping[str, npt.NDArray[np.float64]]) -> Interval | None:
    """A row's mean over the sets with its 95 % interval over prompts; None where a set has no value per prompt.

    values: set -> value per prompt [N]. The interval is that of the difference from a row of zeros.
    """
    if not sets or any(name not in values for name in sets):
        return None
    import numpy as np

    from amid.metrics.paired import paired_differences

    zeros = [np.zeros((1, len(values[name]))) for name in sets]
    found = paired_differences([values[name][None] for name in sets], zeros)
    return Interval(float(found.difference[0]), float(found.low[0]), float(found.high[0]))


def open_to_tests(
    rows: Sequence[int], column: Sequence[Value | None], sets: Sequence[str], examples: Examples
) -> list[int]:
    """Which of the rows have a value in a column, and values per prompt of all its sets; none if it is of no set.

    column: the value of every row of the table.
    """
    return [i for i in rows if sets and column[i] is not None and all(name in examples.get(i, {}) for name in sets)]


def blocks_in(rows: Sequence[Row]) -> list[list[int]]:
    """The numbers of the rows of every block; teachers and initial students are in none."""
    blocks: dict[tuple[str, ...], list[int]] = {}
    for index, row in enumerate(rows):
        if not row.is_reference:
            blocks.setdefault(row.block, []).append(index)
    return list(blocks.values())


def marked_by_tests(
    rows: Sequence[Row],
    columns: Sequence[tuple[Sequence[str], bool | None]],
    examples: Examples,
    baselines: Mapping[int, int],
) -> list[Row]:
    """The rows with marks on every value that can be tested.

    columns: for each its sets, and whether higher is better (None: neither). A value is tested where its row has
    values per prompt of all these sets, and marked where two or more rows of its block do.
    baselines: row -> the row without an assistant that it is compared with.
    """
    values = [list(row.values) for row in rows]
    for block in blocks_in(rows):
        for column, (sets, higher) in enumerate(columns):
            tested = open_to_tests(block, [row[column] for row in values], sets, examples)
            if higher is not None and len(tested) > 1:
                _mark(values, column, tested, sets, higher, examples, baselines)
    return [replace(row, values=tuple(each)) for row, each in zip(rows, values, strict=True)]


def marked_by_means(rows: Sequence[Row], higher_is_better: Sequence[bool | None]) -> list[Row]:
    """The rows with the highest mean of every block marked as best and the next one as second, all of equals."""
    values = [list(row.values) for row in rows]
    for block in blocks_in(rows):
        for column, higher in enumerate(higher_is_better):
            means = {i: value.mean for i in block if (value := values[i][column]) is not None}
            if higher is None or len(means) < 2:
                continue
            ranked = sorted(set(means.values()), reverse=higher)
            for i, mean in means.items():
                _set(values, i, column, best=mean == ranked[0], second=mean in ranked[1:2])
    return [replace(row, values=tuple(each)) for row, each in zip(rows, values, strict=True)]


def _mark(
    values: list[list[Value | None]],
    column: int,
    tested: Sequence[int],
    sets: Sequence[str],
    higher: bool,
    examples: Examples,
    baselines: Mapping[int, int],
) -> None:
    means = {i: value.mean for i in tested if (value := values[i][column]) is not None}
    ranked = sorted(tested, key=lambda i: -means[i] if higher else means[i])  # stable: the first of equals leads
    best = ranked[0]
    second = next((means[i] for i in ranked if means[i] != means[best]), None)  # of equals that lead none is second
    every = compared(tested, sets, examples)
    for i in tested:
        interval = None if i == best else every.difference(i, best)
        is_best = not every.told_apart(i, best)
        _set(values, i, column, best=is_best, second=means[i] == second, to_best=interval)
    own = {
        (i, baselines[i]): every.found[min(i, baselines[i]), max(i, baselines[i])]
        for i in tested
        if i in baselines and baselines[i] in tested
    }
    differing = _rejected(own)
    for i, baseline in own:
        _set(values, i, column, differs=(i, baseline) in differing, to_none=every.difference(i, baseline))


def _compare(pairs: Sequence[Pair], sets: Sequence[str], examples: Examples) -> dict[Pair, tuple[Interval, float]]:
    """Left minus right of every pair, with its interval and p; those of one left row at once."""
    import numpy as np

    from amid.metrics.paired import paired_differences

    found: dict[Pair, tuple[Interval, float]] = {}
    for left, group in itertools.groupby(pairs, key=lambda pair: pair[0]):
        rights = [right for _, right in group]
        each = paired_differences(
            [examples[left][name][None] for name in sets],
            [np.stack([examples[right][name] for right in rights]) for name in sets],
        )
        for k, right in enumerate(rights):
            interval = Interval(float(each.difference[k]), float(each.low[k]), float(each.high[k]))
            found[left, right] = (interval, float(each.p[k]))
    return found


def _rejected(found: Mapping[Pair, tuple[Interval, float]]) -> set[Pair]:
    from amid.metrics.paired import holm

    decided = holm([p for _, p in found.values()], level=LEVEL)
    return {pair for pair, rejected in zip(found, decided, strict=True) if rejected}


def _set(values: list[list[Value | None]], row: int, column: int, **marks: object) -> None:
    value = values[row][column]
    assert value is not None
    values[row][column] = replace(value, **marks)  # type: ignore[arg-type]  # marks of Value by name


def comparable(
    rows: Sequence[int], names: Sequence[str], of: Callable[[int, str], tuple[str, npt.NDArray[np.float64]] | None]
) -> dict[int, dict[str, npt.NDArray[np.float64]]]:
    """Row -> set -> value per prompt, of the rows that were asked the same texts of a set as the first one that has it.

    of: the digest of the texts and the values of a row on a set. Sets of fewer than 2 prompts are left out.
    """
    found: dict[int, dict[str, npt.NDArray[np.float64]]] = {row: {} for row in rows}
    for name in names:
        first: str | None = None
        for row in rows:
            each = of(row, name)
            if each is None or len(each[1]) < 2:
                continue
            first = first or each[0]
            if each[0] == first:
                found[row][name] = each[1]
    return found
