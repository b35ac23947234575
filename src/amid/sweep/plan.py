"""Sweeps: from overrides to cells, what is already done, and the manifest that tables are built from. No torch here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from amid.cells.canonical import ID_DIGITS
from amid.cells.cell import IDENTITY_NODES, Cell, cell_of
from amid.cells.stage import Stage
from amid.config import RunCfg, TableCfg, fixed_overrides
from amid.digests.fingerprint import FileDigests, plain, value_digest
from amid.errors import RequestError, near_match
from amid.evaluation.protocol import Protocol, protocol_of, set_protocols
from amid.store import State, Store

Overrides = tuple[str, ...]
SHARED = ("method", "seed")  # said of a whole table where they are the same for all its cells


@dataclass(frozen=True)
class PlannedCell:
    """A cell of a sweep, the overrides that name it, and whether anything is left to do for it."""

    overrides: Overrides
    run: RunCfg
    cell: Cell
    protocol: Protocol
    state: State
    evaluated: bool

    @property
    def finished(self) -> bool:
        """Trained, and evaluated under the protocol asked for."""
        return self.state == "done" and self.evaluated


@dataclass(frozen=True)
class Sweep:
    """A declared set of distinct cells and how to lay out their scores."""

    name: str
    cells: tuple[PlannedCell, ...]
    table: TableCfg
    duplicates: int  # requests that named a cell which another one had already named
    notes: tuple[str, ...] = ()  # what was left out of a request, each once

    @property
    def pending(self) -> tuple[PlannedCell, ...]:
        """The cells for which something is left to do."""
        return tuple(planned for planned in self.cells if not planned.finished)

    @property
    def evaluated_stages(self) -> tuple[Stage, ...]:
        """Teacher and initial student of every pair in the sweep, each once."""
        stages = [stage for planned in self.cells for stage in planned.cell.evaluated_stages.values()]
        return tuple({(stage.kind, stage.id): stage for stage in stages}.values())

    @property
    def ignored(self) -> tuple[str, ...]:
        """Warnings about knobs without effect, and about axes that a method fixes, each once."""
        return (*self.notes, *dict.fromkeys(text for planned in self.cells for text in planned.cell.ignored))


def expand(overrides: Sequence[Override]) -> list[Overrides]:
    """The product of all swept values, in the order given; a later override of a key replaces an earlier one.

    Raises RequestError for a sweep that is not a list, such as interval().
    """
    choices: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if override.is_delete() and override.value() is None:
            choices[key] = [key]  # `~KEY`: with a value it would mean "delete it if it has this value"
        elif override.is_sweep_override():
            if not override.is_discrete_sweep():
                raise RequestError(f"'{override.input_line}' is no list of values; valid: {key}=V1,V2,...")
            choices[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            choices[key] = [f"{key}={override.get_value_element_as_str()}"]
    return [tuple(product) for product in itertools.product(*choices.values())]


def plan_sweep(jobs: Sequence[Overrides], compose: Callable[[Overrides], RunCfg]) -> Sweep:
    """The sweep that the jobs name: every one composed, checked and identified before anything runs.

    Raises RequestError for the first job that cannot be carried out.
    """
    planned: dict[str, PlannedCell] = {}
    protocols: dict[str, Protocol] = {}
    notes: dict[str, None] = {}
    digests: dict[str, FileDigests] = {}
    swept = _swept_keys(jobs)
    for given in jobs:
        run, overrides = _of_its_method(given, compose, swept, notes)
        if run.request is not None or run.cell is not None:
            raise RequestError("request= and cell= name one cell, planned already; leave out -m")
        cell = cell_of(run)
        if cell.id in planned:
            continue
        teacher = cell.stages["teacher"].id
        key = value_digest([asdict(run.data), asdict(run.evaluation), asdict(run.train.validation), teacher])
        if key not in protocols:
            protocols[key] = protocol_of(
                set_protocols(run.data, run.evaluation), run.train.validation, cell.values["data"], teacher=teacher
            )
        protocol, store = protocols[key], Store(run.paths.results)
        memory = digests.setdefault(run.paths.cache, FileDigests(Path(run.paths.cache)))
        state = store.checked_state(cell, memory)
        planned[cell.id] = PlannedCell(overrides, run, cell, protocol, state, is_evaluated(store, cell, protocol))
    cells = tuple(planned.values())
    first = cells[0].run
    name = first.sweep.name or f"sweep-{value_digest(sorted(planned), digits=ID_DIGITS)}"
    _check_rows(first)
    return Sweep(name, cells, first.sweep.table, duplicates=len(jobs) - len(cells), notes=tuple(notes))


def _swept_keys(jobs: Sequence[Overrides]) -> set[str]:
    """The keys that do not have the same value in all jobs."""
    common = set(jobs[0]).intersection(*jobs)
    return {override.partition("=")[0] for job in jobs for override in job if override not in common}


def _of_its_method(
    overrides: Overrides, compose: Callable[[Overrides], RunCfg], swept: set[str], notes: dict[str, None]
) -> tuple[RunCfg, Overrides]:
    """The run of a job, without the values of an axis that its method fixes: those fall together into one cell.

    Raises RequestError for a value that is no axis: then another method was meant.
    """
    run = compose(overrides)
    fixed = fixed_overrides(overrides, run.method.fixes)
    if not fixed:
        return run, overrides
    check_method(run, [each for each in fixed if each.partition("=")[0] not in swept and "method" not in swept])
    for each in fixed:
        notes[f"method={run.method.name} fixes {each.partition('=')[0]}: one cell for all its values"] = None
    kept = tuple(each for each in overrides if each not in fixed)
    return compose(kept), kept


def check_method(run: RunCfg, overrides: Sequence[str]) -> None:
    """Raises RequestError if an override changes what makes the method what it is."""
    changed = fixed_overrides(overrides, run.method.fixes)
    if changed:
        raise RequestError(
            f"method={run.method.name} fixes {', '.join(run.method.fixes)}, got {', '.join(changed)}; "
            "leave it out, or leave out the method"
        )


def _check_rows(run: RunCfg) -> None:
    known = _flat(run)
    for key in run.sweep.table.rows:
        if key not in known:
            near = near_match(key, known)
            hint = f"did you mean '{near}'? " if near else ""
            raise RequestError(
                f"sweep.table.rows: '{key}' is no key of a run; {hint}every key: python run.py --cfg job"
            )


def _flat(run: RunCfg) -> dict[str, Any]:
    """The whole configuration with dotted keys; the name of its method as `method`."""
    flat = flatten(asdict(run))
    return {"method": run.method.name, **{key: value for key, value in flat.items() if not key.startswith("method.")}}


def is_evaluated(store: Store, entry: Cell | Stage, protocol: Protocol) -> bool:
    """Whether every score of the protocol is in the store, with its examples, and the validation score too."""
    known = {score.score_id for score in store.read([entry])}
    return (
        bool(known)
        and protocol.expected(entry.id) <= known
        and all(store.has_per_example(entry, id_) for id_ in protocol.expected_per_example(entry.id))
    )


def manifest_of(sweep: Sweep) -> dict[str, Any]:
    """Everything a table needs to know of the sweep, as plain data; protocols are named by their digest."""
    flat = [_flat(planned.run) for planned in sweep.cells]
    rows = sweep.table.rows or differing_keys(flat)
    protocols = {value_digest(planned.protocol.manifest()): planned.protocol.manifest() for planned in sweep.cells}
    references: dict[tuple[str, str, str], dict[str, str]] = {}
    for planned in sweep.cells:
        for stage in planned.cell.evaluated_stages.values():
            protocol = value_digest(planned.protocol.manifest())
            references.setdefault(
                (stage.kind, stage.id, protocol),
                {"kind": stage.kind, "id": stage.id, "pair": planned.run.pair.name, "protocol": protocol},
            )
    return {
        "name": sweep.name,
        "rows": list(rows),
        "metric": sweep.table.metric,
        "shared": {key: label(flat[0][key]) for key in SHARED if _is_shared(key, flat, rows)},
        "protocols": protocols,
        "references": list(references.values()),
        "cells": [
            {
                "id": planned.cell.id,
                "overrides": list(planned.overrides),
                "labels": {key: label(values.get(key)) for key in rows},
                "protocol": value_digest(planned.protocol.manifest()),
                **({"corpora": list(planned.cell.corpora)} if planned.cell.corpora else {}),
            }
            for planned, values in zip(sweep.cells, flat, strict=True)
        ],
    }


def _is_shared(key: str, flat: Sequence[Mapping[str, Any]], rows: Sequence[str]) -> bool:
    return key not in rows and flat[0][key] is not None and len({values[key] for values in flat}) == 1


def differing_keys(flat: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys of identity whose values differ between the runs; `amid.alpha` if none does.

    Options that follow from the name of their method, strategy or divergence are left out: the name says it all.
    """
    keys = [
        key
        for key in dict.fromkeys(itertools.chain.from_iterable(flat))
        if key.split(".")[0] in (*IDENTITY_NODES, "method") and len({str(values.get(key)) for values in flat}) > 1
    ]
    return [key for key in keys if not _follows_from_name(key, flat)] or ["amid.alpha"]


def _follows_from_name(key: str, flat: Sequence[Mapping[str, Any]]) -> bool:
    """True for an option of a named thing that is the same wherever the name is the same."""
    names = ["method"] if any(values.get("method") is not None for values in flat) else []
    if key.startswith(("strategy.", "divergence.params.")):
        names.append(f"{key.split('.')[0]}.name")
    for name in names:
        pairs = {(str(values.get(name)), str(values.get(key))) for values in flat}
        if key != name and len(pairs) == len({named for named, _ in pairs}) > 1:
            return True
    return False


def flatten(values: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """The same values with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, prefix=f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def label(value: Any) -> str:
    """A value as a person writes it: -5, 0.1, null, kl."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(label(item) for item in value) + "]"
    return str(value)


def distinct_overrides(sweep: Sweep) -> list[str]:
    """For each cell the overrides that not all cells share, on one line."""
    shared = set.intersection(*(set(planned.overrides) for planned in sweep.cells)) if len(sweep.cells) > 1 else set()
    return [" ".join(o for o in planned.overrides if o not in shared) or "(defaults)" for planned in sweep.cells]


def resolved_config(run: RunCfg) -> dict[str, Any]:
    """The whole configuration as plain data, for W&B."""
    return {name: plain(value) for name, value in asdict(run).items()}
