"""The best row of a sweep, and the rows that cannot be told from it: those of its table, by its tests. No torch here.

A candidate is a row of the table: training seeds together, and of values that validation chooses among, the chosen one.
All rows count as one block here, whatever blocks the table has.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from amid.errors import RequestError, one_line, unknown_name
from amid.reports.aggregate import ALL, AVERAGE, Column, examples_in, plan_of, planned_rows, rule_of, validation_of
from amid.reports.aggregate import values_of as values_of_row
from amid.reports.columns import aligned, ruled
from amid.reports.declaration import declaration_of
from amid.reports.facts import Facts
from amid.reports.layout import Planned, protocols_of, short_ids
from amid.reports.reading import Reading
from amid.reports.significance import Compared, compared, open_to_tests
from amid.reports.table import Value
from amid.store import Store

log = logging.getLogger(__name__)
VALIDATION = "val"
RULES = {"rouge_l": "validation ROUGE-L", "loss": "validation loss"}
GAP = "-"


@dataclass(frozen=True)
class Ranking:
    """Rows from the best on, and what tells them from it.

    rows: numbers of those that have all that they are chosen by. chosen_by, mean: of every row, what it is chosen by,
    and its value in the column that is compared. pairs: of the rows in `tested`. names: of the labels of a row, block
    first. what: the name of what they are chosen by.
    """

    planned: Sequence[Planned]
    rows: Sequence[int]
    chosen_by: Sequence[Value | None]
    mean: Sequence[Value | None]
    tested: Sequence[int]
    pairs: Compared
    names: Sequence[str]
    what: str
    column: Column
    damage: Sequence[str]

    def told_apart(self, row: int) -> bool | None:
        """Whether a row differs significantly from the best one; None where that is not known."""
        best = self.rows[0]
        return self.pairs.told_apart(row, best) if row in self.tested and best in self.tested else None


def ranking_of(manifest: Mapping[str, Any], store: Store, *, by: str = VALIDATION) -> Ranking:
    """The rows of a sweep from the best on; by: `val` or an evaluation set. Raises RequestError for another."""
    declared = declaration_of(manifest)
    blocks = (*declared.blocks, *declared.columns)
    declared = replace(declared, blocks=blocks, columns=())
    facts, reading = Facts(manifest, store), Reading()
    planned = planned_rows(manifest, store, declared, facts, reading)
    plan = plan_of(list(protocols_of(manifest).values()), metric=manifest["metric"], decoding=ALL)
    if by != VALIDATION and by not in plan.metric_of_set:
        raise unknown_name("--by", by, [VALIDATION, *plan.metric_of_set])
    shown = AVERAGE if by == VALIDATION else by
    place = next(i for i, column in enumerate(plan.columns) if column.name == shown)
    column, mean = plan.columns[place], [values_of_row(row, plan, reading)[place] for row in planned]
    rule = rule_of(planned, facts)
    chosen_by = [validation_of(row, rule, reading) for row in planned] if by == VALIDATION else mean
    lower = rule == "loss" if by == VALIDATION else column.higher_is_better is False
    # Of a row with gaps nothing is said: fewer seeds would be fewer chances
    scored = {i: value.mean for i, value in enumerate(chosen_by) if value is not None and value.complete}
    examples = examples_in(planned, plan, reading)
    tested = open_to_tests(range(len(planned)), mean, column.sets, examples)
    return Ranking(
        planned=planned,
        rows=sorted(scored, key=lambda i: scored[i] if lower else -scored[i]),
        chosen_by=chosen_by,
        mean=mean,
        tested=tested,
        pairs=compared(tested, column.sets, examples),
        names=(*blocks, *(declared.rows or ("cell",))),
        what=RULES[rule] if by == VALIDATION else f"{by} {column.metric}",
        column=column,
        damage=reading.damage,
    )


def best_lines(manifest: Mapping[str, Any], store: Store, *, by: str = VALIDATION) -> list[str]:
    """The best row, those that cannot be told from it, and all from the best on, each with its difference to the best.

    by: `val` or an evaluation set. Raises RequestError for another, and where no row has a score of it yet.
    """
    ranking = ranking_of(manifest, store, by=by)
    if not ranking.rows:
        raise RequestError(f"no cell of {manifest['name']} has a score on {by} yet; amid status says what is done")
    for line in ranking.damage:
        log.warning("%s", line)
    names, column = ranking.names, ranking.column
    lines = [f"best of {manifest['name']} by {ranking.what}: {called(ranking.planned[ranking.rows[0]], names)}"]
    if len(ranking.rows) > 1:
        lines += _same(ranking, names)
    lines += ["", *_table(ranking, names, what=ranking.what, compared=None if by != VALIDATION else _name_of(column))]
    lines += _remarks(ranking, column, by=by)
    return lines


def _same(ranking: Ranking, names: Sequence[str]) -> list[str]:
    others = ranking.rows[1:]
    same = [called(ranking.planned[row], names) for row in others if not ranking.told_apart(row)]
    if len(same) < 2:
        return [f"cannot be told from it: {''.join(same) or 'none'}"]
    return [f"cannot be told from it: {len(same)} of {len(others)}", *(f"  {each}" for each in same)]


def _name_of(column: Column) -> str:
    return column.sets[0] if len(column.sets) == 1 else column.name


def _table(ranking: Ranking, names: Sequence[str], *, what: str, compared: str | None) -> list[str]:
    """A line per row; compared: the column that is compared, None if it is the one that they are chosen by."""
    numbers = [ranking.chosen_by] + ([] if compared is None else [ranking.mean])
    titles = [what] + ([] if compared is None else [compared])
    lines = [(*map(one_line, names), *titles, "best - this", "95 % interval", "told apart")]
    for row in ranking.rows:
        values = [GAP if (value := each[row]) is None else f"{value.mean:.2f}" for each in numbers]
        lines.append((*_labels(ranking.planned[row]), *values, *_told(ranking, row)))
    return ruled(aligned(lines, num_left=len(names)))


def _told(ranking: Ranking, row: int) -> tuple[str, str, str]:
    best, apart = ranking.rows[0], ranking.told_apart(row)
    if row == best:
        return "", "", "best"
    if apart is None:
        return GAP, GAP, "unknown"
    found = ranking.pairs.difference(best, row)
    return f"{found.difference:+z.2f}", f"[{found.low:+z.2f}, {found.high:+z.2f}]", "yes" if apart else "no"


def _remarks(ranking: Ranking, column: Column, *, by: str) -> list[str]:
    lines, num_tested = [], len(ranking.tested)
    if num_tested > 2:
        pairs = num_tested * (num_tested - 1) // 2
        lines.append(f"(told apart: at 5 % over all {pairs} pairs, by Holm; an interval is of its own pair)")
    if not column.sets:
        lines.append("(sets of different metrics have no average to compare: --by SET compares on one)")
    if by != VALIDATION:
        lines.append("(chosen on the set that it is reported on: --by val does not favour it)")
    if len(ranking.planned) > len(ranking.rows):
        missing = len(ranking.planned) - len(ranking.rows)
        lines.append(f"({missing} of {len(ranking.planned)} have no score yet)")
    return lines


def _labels(row: Planned) -> list[str]:
    return [one_line(label) for label in (*row.block, *row.labels)]


def called(row: Planned, names: Sequence[str]) -> str:
    """The labels of a row and its ids; what validation chose is said in its own words, without the key."""
    chosen = {key for key, value in row.raw.items() if row.chosen and not value}
    labels = [
        label if name in chosen else f"{name}={label}"
        for name, label in zip(names, _labels(row), strict=True)
        if label or name not in chosen
    ]
    return one_line(f"{', '.join(labels)} ({short_ids(row.members)})")
