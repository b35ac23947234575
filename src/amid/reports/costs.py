"""What the cells of a sweep used up, beside each other. No torch here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amid.errors import one_line
from amid.reports.columns import aligned, ruled
from amid.store import Store
from amid.store.status import read_status, spent_in, state_of

GAP = "-"
# By column: the name it is recorded under, and how a person reads it.
_COLUMNS: Mapping[str, tuple[str, float, str]] = {
    "steps": ("steps", 1, "{:.0f}"),
    "generated": ("generated_share", 0.01, "{:.0f} %"),
    "student Mtok": ("student_tokens", 1e6, "{:.2f}"),
    "teacher Mtok": ("teacher_tokens", 1e6, "{:.2f}"),
    "teacher calls": ("teacher_calls", 1, "{:.0f}"),
    "written Mtok": ("generated_tokens", 1e6, "{:.2f}"),
    "writing s": ("generation_seconds", 1, "{:.0f}"),
    "training s": ("train_seconds", 1, "{:.0f}"),
    "all s": ("seconds", 1, "{:.0f}"),
    "peak MB": ("peak_memory_mb", 1, "{:.0f}"),
    "corpus Mtok": ("corpus_tokens", 1e6, "{:.2f}"),
    "corpus s": ("corpus_seconds", 1, "{:.0f}"),
}
# What is recorded of a written corpus, which is no part of what its cells record: by our name, that of its own status.
_OF_CORPUS: Mapping[str, str] = {"corpus_tokens": "generated_tokens", "corpus_seconds": "generation_seconds"}
# What is recorded of a cell that has ended, in the order of the columns.
NAMES = tuple(name for name, *_ in _COLUMNS.values())
COST_COLUMNS = tuple(_COLUMNS)


@dataclass(frozen=True)
class CostRow:
    """A cell: its labels, its state, and what it used up by name; what was not recorded is missing.

    corpora: ids of the written corpora that it was trained on, shared by all cells that name them; none for gold ones.
    """

    labels: Mapping[str, str]
    cell_id: str
    state: str
    values: Mapping[str, float]
    corpora: tuple[str, ...] = ()


def cost_rows(manifest: Mapping[str, Any], store: Store) -> list[CostRow]:
    """The cells of a recorded sweep, in its order."""
    rows = []
    for cell in manifest["cells"]:
        folder = store.layout.folder_of("cell", cell["id"])
        status = read_status(folder)
        values = spent_in(status)
        if values.get("steps"):
            values["generated_share"] = values["generated_steps"] / values["steps"]
        values |= {name: float(status[name]) for name in ("train_seconds", "seconds") if name in status}
        corpora = tuple(cell.get("corpora", ()))  # missing for gold, and in a sweep of before they were recorded
        of_corpora = [spent_in(read_status(store.layout.folder_of("corpus", each))) for each in corpora]
        for name, own in _OF_CORPUS.items():
            if corpora and all(own in spent for spent in of_corpora):
                values[name] = sum(spent[own] for spent in of_corpora)
        found = {name: values[name] for name in NAMES if name in values}
        rows.append(CostRow(cell["labels"], cell["id"], state_of(folder), found, corpora))
    return rows


def shown_costs(row: CostRow) -> list[str]:
    """What a cell used up as a person reads it, column by column of COST_COLUMNS."""
    return [
        form.format(row.values[name] / unit) if name in row.values else GAP for name, unit, form in _COLUMNS.values()
    ]


def render_costs(rows: Sequence[CostRow], style: str) -> str:
    """The rows as text for people, or unrounded for programs as CSV or JSON; ends with a line feed."""
    if style == "json":
        plain = [
            {
                "labels": dict(row.labels),
                "id": row.cell_id,
                "state": row.state,
                "corpora": list(row.corpora),
                **{name: row.values.get(name) for name in NAMES},
            }
            for row in rows
        ]
        return json.dumps({"rows": plain}, indent=2) + "\n"
    labels = list(rows[0].labels) if rows else []
    if style == "csv":
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*labels, "id", "state", "corpora", *NAMES])
        for row in rows:
            numbers = ("" if name not in row.values else repr(row.values[name]) for name in NAMES)
            writer.writerow([*row.labels.values(), row.cell_id, row.state, " ".join(row.corpora), *numbers])
        return stream.getvalue()
    lines = [(*labels, "state", *COST_COLUMNS)]
    for row in rows:
        lines.append((*map(one_line, row.labels.values()), row.state, *shown_costs(row)))
    shown = ruled(aligned(lines, num_left=len(labels) + 1))
    if any(row.corpora for row in rows):
        shown.append("(corpus: to write the responses trained on, once for all cells that share them; not in all s)")
    return "\n".join(shown) + "\n"
