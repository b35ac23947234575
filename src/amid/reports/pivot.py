"""A pivot: one number of each row, by two kinds of label, such as alpha down and divergence across. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from amid.errors import RequestError, unknown_name
from amid.reports.notes import average_of
from amid.reports.table import FINISHED, Row, Table, Value, block_title


def pivoted(table: Table, *, column: str | None, across: Sequence[tuple[str, ...]], keys: tuple[str, ...]) -> Table:
    """The table whose columns are the values of `keys` and whose numbers are those of one column of `table`.

    across: for each row of the table its values of `keys`; of teachers and initial students it is not used: their
    number stands in every column. column: Avg. by default, or the only set's. Marks stay those of the blocks.
    Raises RequestError for an unknown column, and where two rows would share a place.
    """
    place = _column(table, column)
    titles = dict.fromkeys(
        block_title(keys, labels) for row, labels in zip(table.rows, across, strict=True) if not row.is_reference
    )
    rows: dict[tuple[str, ...], dict[str, Row]] = {}
    for row, labels in zip(table.rows, across, strict=True):
        cells = rows.setdefault((str(row.is_reference), *row.labels), {})
        for title in titles if row.is_reference else [block_title(keys, labels)]:
            if title in cells:
                raise RequestError(
                    f"two rows are called {' '.join(row.labels)} at {title}: they differ in another label; name it in "
                    "--rows too"
                )
            cells[title] = row
    made = tuple(_row(cells, tuple(titles), place) for cells in rows.values())
    return replace(
        table,
        columns=tuple(titles),
        rows=made,
        note=f"{table.columns[place]} by {', '.join(keys)}; {table.note}",
        block_names=(),
    )


def _column(table: Table, name: str | None) -> int:
    if name is None:
        there = [i for i, _ in enumerate(table.columns) if any(row.values[i] is not None for row in table.rows)]
        average = average_of(table)
        return (there or [0])[0] if average is None else average
    if name not in table.columns:
        raise unknown_name("column", name, table.columns)
    return table.columns.index(name)


def _row(cells: Mapping[str, Row], titles: tuple[str, ...], place: int) -> Row:
    rows = {title: cells[title] for title in titles if title in cells}
    values: list[Value | None] = [rows[title].values[place] if title in rows else None for title in titles]
    states = {title: row.state for title, row in rows.items() if row.state not in FINISHED}
    with_values = [f"{state} at {title}" for title, state in states.items() if rows[title].values[place] is not None]
    distinct = list({id(row): row for row in rows.values()}.values())
    return Row(
        labels=distinct[0].labels,
        state=distinct[0].state if len(distinct) == 1 else ", ".join(with_values) or "done",
        values=tuple(values),
        warnings=tuple(text for row in distinct for text in row.warnings),
        ids=tuple(each for row in distinct for each in row.ids),
        is_reference=distinct[0].is_reference,
        gaps=tuple(states.get(title, "-") for title in titles),
    )
