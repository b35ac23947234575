"""Sweeps: from overrides to cells, what is already done, and the manifest that tables are built from. No torch here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from amid.cell import ID_DIGITS, IDENTITY_NODES, Cell, Stage, cell_of
from amid.config import RunCfg, TableCfg
from amid.errors import RequestError
from amid.fingerprint import FileDigests, value_digest
from amid.protocol import Protocol, protocol_of
from amid.store import State, Store

Overrides = tuple[str, ...]


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

    @property
    def pending(self) -> tuple[PlannedCell, ...]:
        """The cells for which something is left to do."""
        return tuple(planned for planned in self.cells if not planned.finished)

    @property
    def references(self) -> tuple[Stage, ...]:
        """Teacher and initial student of every pair in the sweep, each once."""
        stages = [stage for planned in self.cells for stage in (planned.cell.teacher, planned.cell.student_init)]
        return tuple({(stage.kind, stage.id): stage for stage in stages}.values())

    @property
    def ignored(self) -> tuple[str, ...]:
        """Warnings about knobs without effect, each once."""
        return tuple(dict.fromkeys(text for planned in self.cells for text in planned.cell.ignored))


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
    digests: dict[str, FileDigests] = {}
    for overrides in jobs:
        run = compose(overrides)
        cell = cell_of(run)
        if cell.id in planned:
            continue
        key = value_digest([asdict(run.data), asdict(run.evaluation), asdict(run.train.validation)])
        if key not in protocols:
            protocols[key] = protocol_of(run, cell.values["data"])
        protocol, store = protocols[key], Store(run.paths.results)
        memory = digests.setdefault(run.paths.cache, FileDigests(Path(run.paths.cache)))
        state = store.checked_state(cell, memory)
        planned[cell.id] = PlannedCell(overrides, run, cell, protocol, state, is_evaluated(store, cell, protocol))
    cells = tuple(planned.values())
    first = cells[0].run
    name = first.sweep.name or f"sweep-{value_digest(sorted(planned), digits=ID_DIGITS)}"
    return Sweep(name=name, cells=cells, table=first.sweep.table, duplicates=len(jobs) - len(cells))


def is_evaluated(store: Store, entry: Cell | Stage, protocol: Protocol) -> bool:
    """Whether every score of the protocol is in the store, with its examples, and the validation score too."""
    known = {score.score_id for score in store.read([entry])}
    return (
        bool(known)
        and protocol.expected(entry.id) <= known
        and all(store.has_examples(entry, id_) for id_ in protocol.expected_examples(entry.id))
    )


def manifest_of(sweep: Sweep) -> dict[str, Any]:
    """Everything a table needs to know of the sweep, as plain data; protocols are named by their digest."""
    flat = [flatten(asdict(planned.run)) for planned in sweep.cells]
    rows = sweep.table.rows or differing_keys(flat)
    protocols = {value_digest(planned.protocol.manifest()): planned.protocol.manifest() for planned in sweep.cells}
    references: dict[tuple[str, str, str], dict[str, str]] = {}
    for planned in sweep.cells:
        for stage in (planned.cell.teacher, planned.cell.student_init):
            protocol = value_digest(planned.protocol.manifest())
            references.setdefault(
                (stage.kind, stage.id, protocol),
                {"kind": stage.kind, "id": stage.id, "pair": planned.run.pair.name, "protocol": protocol},
            )
    return {
        "name": sweep.name,
        "rows": list(rows),
        "metric": sweep.table.metric,
        "protocols": protocols,
        "references": list(references.values()),
        "cells": [
            {
                "id": planned.cell.id,
                "overrides": list(planned.overrides),
                "labels": {key: label(values.get(key)) for key in rows},
                "protocol": value_digest(planned.protocol.manifest()),
            }
            for planned, values in zip(sweep.cells, flat, strict=True)
        ],
    }


def differing_keys(flat: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys of identity whose values differ between the runs; `amid.alpha` if none does.

    Options that follow from the name of their strategy or divergence are left out: the name says it all.
    """
    keys = [
        key
        for key in dict.fromkeys(itertools.chain.from_iterable(flat))
        if key.split(".")[0] in IDENTITY_NODES and len({str(values.get(key)) for values in flat}) > 1
    ]
    return [key for key in keys if not _follows_from_name(key, flat)] or ["amid.alpha"]


def _follows_from_name(key: str, flat: Sequence[Mapping[str, Any]]) -> bool:
    """True for an option of a named thing that is the same wherever the name is the same."""
    if not key.startswith(("strategy.", "divergence.params.")):
        return False
    name = f"{key.split('.')[0]}.name"
    pairs = {(str(values.get(name)), str(values.get(key))) for values in flat}
    return key != name and len(pairs) == len({named for named, _ in pairs})


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
    container = OmegaConf.to_container(OmegaConf.structured(run), resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
