"""What a page holds as data: every score, per prompt where it can be, and the first texts. No torch here.

Nothing is averaged here: page.js does from these numbers what `amid.reports.aggregate` and `significance` do from the
store, and the page's own table comes from these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from amid.metrics import METRICS, TEACHER_METRICS, VALIDATION_METRICS
from amid.reports.aggregate import (
    DIVERSITY_COLUMN,
    RULE,
    TEMPERATURE_COLUMN,
    VALIDATION_COLUMN,
    Column,
    Plan,
    average_name,
    direction_of,
    texts_of,
    validation_key,
    values_of,
)
from amid.reports.layout import Member, Planned
from amid.reports.page.packing import Packing
from amid.reports.page.places import Place, kind_of_gap, lead_column
from amid.reports.table import Row, block_title
from amid.reports.tables import View
from amid.store import PerExample

Found = dict[tuple[str, str, str], list[PerExample | None]]  # entry, set, metric -> by decode seed


def embedded_scores(view: View, places: Sequence[Place], *, asked: str | None) -> dict[str, Any]:
    """The rows, columns and scores of a view by the names that page.js reads. asked: the metric of the sweep."""
    members = {member.id: member for row in view.planned for member in row.members}
    examples: Found = {}
    entries = {id_: _entry(member, view, examples) for id_, member in members.items()}
    series: dict[str, list[tuple[float, ...]]] = {}
    for (_, _, metric), found in examples.items():
        series.setdefault(metric, []).extend(each.values for each in found if each is not None)
    packings = {metric: Packing(each) for metric, each in sorted(series.items()) if each}
    texts: dict[str, int] = {}
    for (id_, name, metric), found in examples.items():
        if any(each is not None for each in found):
            entries[id_]["examples"].setdefault(name, {})[metric] = [
                None
                if each is None
                else [
                    texts.setdefault(_asked(each), len(texts)),
                    packings[metric].packed(each.values),
                ]
                for each in found
            ]
    return {
        "asked": asked,
        "rule": RULE,
        "metrics": {name: direction_of(name) for name in _metrics(view, entries)},
        "own": {name: _own(view, name) for name in view.plan.metric_of_set},
        "labels": list(view.table.label_names),
        "columns": [
            {**_column(column, view.plan), "name": name}
            for column, name in zip(view.plan.columns, view.table.columns, strict=True)
        ],
        "rows": [
            _row(number, row, planned, view)
            for number, (row, planned) in enumerate(zip(view.table.rows, view.planned, strict=True))
        ],
        "entries": entries,
        "packed": {name: packing.embedded() for name, packing in packings.items()},
        "places": [[place.row, place.alpha, place.series] for place in places],
        "lead": lead_column(view.table),
    }


def _asked(each: PerExample) -> str:
    """What two scores must share to be compared prompt by prompt."""
    return f"{each.texts} {len(each.values)}"


def _entry(member: Member, view: View, examples: Found) -> dict[str, Any]:
    reading, plan, protocol = view.reading, view.plan, member.protocol
    scores = reading.of(member.folder).scores
    seeds: dict[str, list[int]] = {}
    by_set: dict[str, dict[str, list[float | None]]] = {}
    for name in plan.metric_of_set:
        ids = texts_of(member, name, plan, reading)
        if not ids:
            continue
        declared = protocol.sets[plan.tuned.get(name, name)]
        seeds[name] = list(declared.decode_seeds)
        for metric in dict.fromkeys([plan.metric_of_set[name], *declared.metrics]):
            found = [scores.get((id_, metric)) for id_ in ids]
            if all(score is None for score in found):
                continue
            by_set.setdefault(name, {})[metric] = [None if score is None else score.value for score in found]
            examples[member.id, name, metric] = [
                None if score is None else reading.per_example(member.folder, score.score_id) for score in found
            ]
    validation = {}
    for metric in {*METRICS, *VALIDATION_METRICS, *TEACHER_METRICS}:
        key = validation_key(member, metric)
        if key is not None and key in scores:
            validation[metric] = scores[key].value
    return {"seeds": seeds, "scores": by_set, "examples": {}, "validation": validation, **_fixed(member, view)}


def _fixed(member: Member, view: View) -> dict[str, Any]:
    """What the page cannot make from scores per seed: the mean Self-BLEU over all of them, the chosen temperature."""
    alone = Planned((), (member,), {})
    values = dict(zip(view.plan.columns, values_of(alone, view.plan, view.reading), strict=True))
    found: dict[str, Any] = {"validated": member.protocol.validation is not None}
    for column, value in values.items():
        if value is not None and not column.sets and column.name in (DIVERSITY_COLUMN, TEMPERATURE_COLUMN):
            found[_kind(column)] = value.mean
    return found


def _metrics(view: View, entries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The metrics of which any set has a score, those with values per prompt first by their own order."""
    there = {metric for entry in entries.values() for each in entry["scores"].values() for metric in each}
    known = [name for name in METRICS if name in there]
    return [*known, *sorted(there - set(known))]


def _own(view: View, name: str) -> str:
    declared = view.plan.tuned.get(name, name)
    for row in view.planned:
        for member in row.members:
            if declared in member.protocol.sets:
                return member.protocol.sets[declared].metric
    return view.plan.metric_of_set[name]


def _kind(column: Column) -> str:
    if column.sets == (column.name,):
        return "set"
    kinds = {VALIDATION_COLUMN: "validation", TEMPERATURE_COLUMN: "temperature", DIVERSITY_COLUMN: "diversity"}
    return kinds.get(column.name, "average")


def _column(column: Column, plan: Plan) -> dict[str, Any]:
    kind = _kind(column)
    sets = list(column.sets)
    if kind == "average":  # of different metrics it has no sets, and may have some when one metric is chosen
        sets = next(list(each) for of, each in plan.decodings.items() if average_name(of) == column.name)
    return {"kind": kind, "sets": sets}


def _row(number: int, row: Row, planned: Planned, view: View) -> dict[str, Any]:
    paper = [
        None if value is None or value.paper is None else [value.paper.mean, value.paper.doubtful]
        for value in row.values
    ]
    return {
        "labels": list(row.labels),
        "block": list(row.block),
        "title": block_title(view.table.block_names, row.block) if view.table.block_names and row.block else None,
        "state": row.state,
        "gap": kind_of_gap(row),
        "warned": bool(row.warnings),
        "reference": row.is_reference,
        "baseline": view.baselines.get(number),
        "members": [member.id for member in planned.members],
        **({"paper": paper} if any(paper) else {}),
    }
