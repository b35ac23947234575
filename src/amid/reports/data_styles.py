"""A table for programs: unrounded, as CSV and JSON. No torch here.

What a table has nothing of, such as training seeds, marks, or numbers of the paper, has no column and no entry.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

from amid.reports.table import Interval, Table, Value

_Part = Callable[[Value], Any]


def csv_of(table: Table) -> str:
    """A row per row, several columns per column; numbers with all their digits, gaps empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    parts = _parts(table)
    names = [f"{column} {part}".rstrip() for column in table.columns for part in ("", "std", "seeds", *parts)]
    writer.writerow([*table.block_names, *table.label_names, "state", "warnings", *names])
    for row in table.rows:
        cells: list[str] = []
        for value in row.values:
            if value is None:
                cells += ["", "", "0", *[""] * len(parts)]
                continue
            given = [part(value) for part in parts.values()]
            cells += [repr(value.mean), _number(value.std), str(value.num_seeds), *map(_number, given)]
        block = row.block or ("",) * len(table.block_names)
        writer.writerow([*block, *row.labels, row.state, "; ".join(row.warnings), *cells])
    return stream.getvalue()


def json_of(table: Table) -> str:
    """An object with the note and the rows; null for every gap."""
    parts = _parts(table)
    rows = [
        {
            **({"block": dict(zip(table.block_names, row.block, strict=False))} if table.block_names else {}),
            "labels": dict(zip(table.label_names, row.labels, strict=True)),
            "state": row.state,
            "warnings": list(row.warnings),
            "values": {
                column: None if value is None else _json(value, parts)
                for column, value in zip(table.columns, row.values, strict=True)
            },
        }
        for row in table.rows
    ]
    return json.dumps({"note": table.note, "rows": rows}, indent=1, ensure_ascii=False) + "\n"


def _parts(table: Table) -> Mapping[str, _Part]:
    """What is said of every value of this table besides mean, spread and number of seeds, by name."""
    values = table.values
    parts: dict[str, _Part] = {}
    if any(value.expected_trainings > 1 for value in values):
        parts |= {"training seeds": lambda value: value.trainings, "training std": lambda value: value.train_std}
    if any(len(value.temperatures) > 1 for value in values):
        parts["temperatures"] = lambda value: list(value.temperatures) or None
    if any(value.best for value in values):
        parts |= {"best": lambda value: value.best, "second": lambda value: value.second}
    if any(value.to_best for value in values):
        parts |= _interval("to best", lambda value: value.to_best)
    if any(value.to_none for value in values):
        parts |= {"differs": lambda value: value.differs, **_interval("to none", lambda value: value.to_none)}
    if any(value.paper for value in values):
        parts |= {
            "paper": lambda value: None if value.paper is None else value.paper.mean,
            "paper std": lambda value: None if value.paper is None else value.paper.std,
            "paper doubtful": lambda value: None if value.paper is None else value.paper.doubtful,
        }
    if any(value.doubtful for value in values):
        parts["doubtful"] = lambda value: value.doubtful
    return parts


def _interval(name: str, of: Callable[[Value], Interval | None]) -> dict[str, _Part]:
    def part(field: str) -> _Part:
        return lambda value: None if (found := of(value)) is None else getattr(found, field)

    return {name: part("difference"), f"{name} low": part("low"), f"{name} high": part("high")}


def _json(value: Value, parts: Mapping[str, _Part]) -> dict[str, Any]:
    more = {name.replace(" ", "_"): part(value) for name, part in parts.items()}
    return {"mean": value.mean, "std": value.std, "seeds": value.num_seeds, **more}


def _number(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(map(repr, value))
    return str(int(value)) if isinstance(value, bool) else repr(value)
