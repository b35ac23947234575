"""Tables: a pure view of the scores of a sweep, in which gaps, failures and missing seeds show. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from amid.errors import RequestError, one_line
from amid.evaluation.protocol import Protocol
from amid.reports.aggregate import ALL, Plan, examples_in, plan_of, planned_rows, values_of
from amid.reports.declaration import Declaration, asked_for, declaration_of
from amid.reports.facts import Facts
from amid.reports.layout import Member, Planned, references_of, short_ids
from amid.reports.notes import BY_TESTS, note_of, student_text_said, trainings_said, warned_said
from amid.reports.paper import paper_table
from amid.reports.paper_beside import with_paper
from amid.reports.pivot import pivoted
from amid.reports.reading import Reading
from amid.reports.render import render
from amid.reports.significance import marked_by_tests
from amid.reports.table import Row, Table, Value
from amid.store import Store

__all__ = ["Row", "Table", "Value", "View", "build_model_table", "build_table", "build_view", "render"]


@dataclass(frozen=True)
class View:
    """A table of a sweep with what it was made from, row by row; planned: in the order of the table's rows.

    baselines: row -> the row without an assistant that it is compared with.
    """

    table: Table
    planned: Sequence[Planned]
    plan: Plan
    reading: Reading
    facts: Facts
    baselines: Mapping[int, int]


def build_table(
    manifest: Mapping[str, Any],
    store: Store,
    *,
    metric: str | None = None,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    column: str | None = None,
    ids: bool = False,
    decoding: str | None = None,
) -> Table:
    """The table of a recorded sweep: its teachers and initial students, then its cells, under its own protocol.

    metric: the one in the set columns; default is the sweep's, else each set's own. The last columns are the mean over
    the sets, a gap if they show different metrics, the same over the sets of each other decoding, if there are any, and
    the Self-BLEU of one prompt's responses over seeds, averaged over the sets that have it.
    decoding: `greedy`, `tuned` or `sampled` has the sets of that one alone, `all` those of every one; the default shows
    the declared sets, and of other decodings the mean.
    rows, columns: keys of labels in place of the declared ones; with columns it is a pivot, whose numbers are those of
    `column` (Avg. by default). ids: with a label of the method, where one is known, and of the short ids.
    Raises RequestError for what the sweep has no labels or column of.
    """
    declared = asked_for(declaration_of(manifest), manifest, rows=rows, columns=columns)
    # A pivot may be of any column
    decoding = ALL if decoding is None and column is not None else decoding
    view = _view(manifest, store, declared, metric=metric, decoding=decoding)
    table = view.table
    if ids:
        table = _with_ids(table, view.planned, view.facts)
    if declared.columns:
        across = [row.block for row in view.planned]
        table = pivoted(table, column=column, across=across, keys=declared.columns)
    elif column is not None:
        raise RequestError("--column chooses the numbers of a pivot; give --columns KEY too")
    return table


def build_view(manifest: Mapping[str, Any], store: Store, *, metric: str | None = None) -> View:
    """The table of a recorded sweep as it was declared, with what it was made from; the columns of a pivot are blocks.

    metric: as in `build_table`.
    """
    declared = asked_for(declaration_of(manifest), manifest, rows=None, columns=None)
    return _view(manifest, store, declared, metric=metric, decoding=None)


def build_model_table(
    label: str, folder: Path, entry_id: str, protocol: Protocol, store: Store, *, metric: str | None = None
) -> Table:
    """The table of one model that was not trained here: one row, and no column of validation."""
    planned = Planned((label,), (Member(entry_id, folder, protocol),), {})
    plan = _plan([planned], metric=metric, decoding=ALL)
    return _table([planned], plan, Reading(), label_names=("model",))


def _view(
    manifest: Mapping[str, Any], store: Store, declared: Declaration, *, metric: str | None, decoding: str | None
) -> View:
    if declared.columns:  # marks are found per column, so the columns are blocks first
        declared = replace(declared, blocks=declared.columns)
    facts, reading = Facts(manifest, store), Reading()
    label_names = declared.rows or ("cell",)
    planned = [
        *references_of(manifest, store, num_labels=len(label_names)),
        *planned_rows(manifest, store, declared, facts, reading),
    ]
    plan = _plan(planned, metric=metric or manifest["metric"], decoding=decoding)
    shared = manifest.get("shared", {})  # missing in a sweep of before it was recorded
    table = _table(planned, plan, reading, label_names=label_names, declared=declared, shared=shared, facts=facts)
    return View(table, planned, plan, reading, facts, _baselines(planned))


def _plan(planned: Sequence[Planned], *, metric: str | None, decoding: str | None) -> Plan:
    return plan_of(_protocols(planned), metric=metric, decoding=decoding)


def _protocols(planned: Sequence[Planned]) -> list[Protocol]:
    return [member.protocol for row in planned for member in row.members]


def _table(
    planned: Sequence[Planned],
    plan: Plan,
    reading: Reading,
    *,
    label_names: tuple[str, ...],
    declared: Declaration | None = None,
    shared: Mapping[str, str] | None = None,
    facts: Facts | None = None,
) -> Table:
    protocols = _protocols(planned)
    rows = [_row(row, plan, reading) for row in planned]
    rows = _marked(rows, planned, plan, reading)
    said_of_paper: list[str] = []
    if declared is not None and declared.paper is not None and facts is not None:
        rows, said_of_paper = with_paper(rows, planned, plan, paper_table(declared.paper), facts)
    cells = [reading.of(member.folder) for row in planned if not row.is_reference for member in row.members]
    note = [
        *note_of(protocols, plan, validated=any(p.validation is not None for p in protocols), shared=shared or {}),
        *student_text_said(cells),
        *([declared.note] if declared is not None and declared.note else []),
        *(trainings_said(rows, declared.average) if declared is not None else []),
        *said_of_paper,
        *warned_said(rows),
    ]
    return Table(
        tuple(map(one_line, label_names)),
        tuple(one_line(column.name) for column in plan.columns),
        tuple(rows),
        one_line("; ".join(note)),
        reading.damage,
        block_names=tuple(map(one_line, declared.blocks)) if declared is not None else (),
        marks=BY_TESTS,
    )


def _row(row: Planned, plan: Plan, reading: Reading) -> Row:
    found = [reading.of(member.folder) for member in row.members]
    return Row(
        labels=tuple(map(one_line, row.labels)),
        state=_state([each.state for each in found]),
        values=values_of(row, plan, reading),
        warnings=tuple(dict.fromkeys(text for each in found for text in each.warnings)),
        block=tuple(map(one_line, row.block)),
        ids=tuple(member.id for member in row.members),
        is_reference=row.is_reference,
    )


def _state(states: Sequence[str]) -> str:
    """The state of a row: that of its only cell, or how many of its cells are in which."""
    if len(set(states)) < 2:
        return states[0] if states else "absent"
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _marked(rows: Sequence[Row], planned: Sequence[Planned], plan: Plan, reading: Reading) -> list[Row]:
    if sum(not row.is_reference for row in rows) < 2:
        return list(rows)
    columns = [(column.sets, column.higher_is_better) for column in plan.columns]
    return marked_by_tests(rows, columns, examples_in(planned, plan, reading), _baselines(planned))


def _baselines(planned: Sequence[Planned]) -> dict[int, int]:
    """Row -> the row without an assistant of its block, if it is the only one or agrees in every other label."""
    found = {}
    for index, row in enumerate(planned):
        without = [
            i
            for i, other in enumerate(planned)
            if other.without_assistant and not other.is_reference and other.block == row.block
        ]
        alike = [i for i in without if _others(planned[i]) == _others(row)]
        chosen = without if len(without) == 1 else alike
        if len(chosen) == 1 and chosen[0] != index and not row.is_reference and not row.without_assistant:
            found[index] = chosen[0]
    return found


def _others(row: Planned) -> Mapping[str, str]:
    return {key: value for key, value in row.raw.items() if not key.startswith("amid.")}


def _with_ids(table: Table, planned: Sequence[Planned], facts: Facts) -> Table:
    methods = [
        (facts.of(row.members[0].id, "method") or "") if row.members and not row.is_reference else "" for row in planned
    ]
    named = any(methods) and "method" not in table.label_names
    return replace(
        table,
        label_names=(*table.label_names, *(["method"] if named else []), "id"),
        rows=tuple(
            replace(
                row, labels=(*row.labels, *([one_line(method)] if named else []), one_line(short_ids(each.members)))
            )
            for row, method, each in zip(table.rows, methods, planned, strict=True)
        ),
    )
