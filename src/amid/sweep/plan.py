"""Sweeps: from overrides to cells, what is already done, and the manifest that tables are built from. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from amid.cells.canonical import ID_DIGITS
from amid.cells.cell import Cell, cell_of
from amid.cells.stage import Stage
from amid.config import LAYOUT, RunCfg, SelectCfg, TableCfg, fixed_overrides
from amid.config.messages import hydra_message
from amid.digests.fingerprint import FileDigests, plain, value_digest
from amid.errors import RequestError, near_match
from amid.evaluation.protocol import Protocol, protocol_of, set_protocols
from amid.evaluation.tuning import tuned
from amid.reports.paper import paper_table
from amid.store import State, Store
from amid.sweep.expand import JobGroup, Overrides, swept_keys
from amid.sweep.invalid import InvalidCell, InvalidCellsError
from amid.sweep.labels import differing_keys, flat_of, label

PAPER_ROUNDS = 10  # the paper validates after each of 10 to 20 epochs
SHARED = ("method", "seed")  # said of a whole table where they are the same for all its cells
ORDER = "divergence.order"  # known of every cell, label or not: it says what an alpha of null means


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
class CellGroup:
    """One product of a sweep: ids of its cells, and which one of several is shown."""

    cells: tuple[str, ...]
    name: str | None = None
    select: SelectCfg | None = None


@dataclass(frozen=True)
class Sweep:
    """A declared set of distinct cells and how to lay out their scores."""

    name: str
    cells: tuple[PlannedCell, ...]
    table: TableCfg
    duplicates: int  # requests that named a cell which another one had already named
    notes: tuple[str, ...] = ()  # what was left out of a request, each once
    groups: tuple[CellGroup, ...] = ()  # the products it is the union of
    invalid: tuple[InvalidCell, ...] = ()  # requests that cannot be carried out
    num_jobs: int = 0  # requests in all
    at_once: int = 1  # cells that the launcher carries out at the same time, at most

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


def plan_sweep(
    jobs: Sequence[Overrides],
    compose: Callable[[Overrides], RunCfg],
    groups: Sequence[JobGroup] = (),
    *,
    keep_invalid: bool = False,
    at_once: int = 1,
) -> Sweep:
    """The sweep that the jobs name: every one composed, checked and identified before anything runs.

    groups: the products that the jobs come from, if there are several. at_once: as in `Sweep`.
    Raises InvalidCellsError, with every job that cannot be carried out; with `keep_invalid` only if none can.
    """
    planned: dict[str, PlannedCell] = {}
    notes: dict[str, None] = {}
    invalid: list[InvalidCell] = []
    ids: list[str | None] = []  # of each job, None if it is invalid
    swept, planner = swept_keys(jobs), _Planner()
    for given in jobs:
        try:
            run, overrides = _of_its_method(given, compose, swept, notes)
            if run.request is not None or run.cell is not None:
                raise RequestError("request= and cell= name one cell, planned already; leave out -m")
            cell = cell_of(run, digests=planner.digests(run))
            if cell.id not in planned:
                planned[cell.id] = planner.planned(overrides, run, cell)
            ids.append(cell.id)
        except (RequestError, HydraException, OmegaConfBaseException) as err:
            reason = str(err) if isinstance(err, RequestError) else hydra_message(err)
            invalid.append(InvalidCell(given, reason))
            ids.append(None)
    if invalid and not (keep_invalid and planned):
        raise InvalidCellsError(invalid, jobs)
    cells = tuple(planned.values())
    first = cells[0].run
    name = first.sweep.name or f"sweep-{value_digest(sorted(planned), digits=ID_DIGITS)}"
    found = tuple(_cell_group(group, ids) for group in groups or [JobGroup(tuple(range(len(jobs))))])
    _check_layout(first, found)
    return Sweep(
        name,
        cells,
        first.sweep.table,
        duplicates=len(jobs) - len(cells) - len(invalid),
        notes=(*notes, *_few_rounds(cells)),
        groups=tuple(group for group in found if group.cells),
        invalid=tuple(invalid),
        num_jobs=len(jobs),
        at_once=at_once,
    )


class _Planner:
    """What is known of each cell; what many cells share is worked out once."""

    def __init__(self) -> None:
        self._protocols: dict[str, Protocol] = {}
        self._digests: dict[str, FileDigests] = {}

    def digests(self, run: RunCfg) -> FileDigests:
        """The digests of files that are remembered in the cache of a run."""
        if run.paths.cache not in self._digests:
            self._digests[run.paths.cache] = FileDigests(Path(run.paths.cache))
        return self._digests[run.paths.cache]

    def planned(self, overrides: Overrides, run: RunCfg, cell: Cell) -> PlannedCell:
        """The cell with its protocol and its state in the store."""
        teacher = cell.stages["teacher"].id
        key = repr((run.data, run.evaluation, run.train.validation, teacher))
        if key not in self._protocols:
            self._protocols[key] = protocol_of(
                set_protocols(run.data, run.evaluation),
                run.train.validation,
                cell.values["data"],
                teacher=teacher,
                temperatures=run.evaluation.also_tuned or (),
            )
        protocol, store = self._protocols[key], Store(run.paths.results)
        state = store.checked_state(cell, self.digests(run))
        return PlannedCell(overrides, run, cell, protocol, state, is_evaluated(store, cell, protocol))


def _cell_group(group: JobGroup, ids: Sequence[str | None]) -> CellGroup:
    cells = dict.fromkeys(id_ for job in group.jobs if (id_ := ids[job]) is not None)
    return CellGroup(tuple(cells), group.name, group.select)


def _few_rounds(cells: Sequence[PlannedCell]) -> list[str]:
    """Says it where an adaptive strategy looks at fewer validations than in the paper."""
    few = {
        rounds
        for run in (planned.run for planned in cells)
        if run.strategy.name == "adaptive_off_policy"
        and (rounds := run.train.validation.rounds or (run.train.validation.every_steps is None and run.train.epochs))
        and rounds < PAPER_ROUNDS
    }
    return [
        f"strategy=adaptive_off_policy looks at {rounds} validations, in the paper at {PAPER_ROUNDS} to 20: "
        f"train.validation.rounds={PAPER_ROUNDS}"
        for rounds in sorted(few)
    ]


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


def _check_layout(run: RunCfg, groups: Sequence[CellGroup]) -> None:
    """Raises RequestError for a key of the table, or of a selection, that no run has, and for no table of the paper."""
    known, table = flat_of(run), run.sweep.table
    if table.paper is not None:
        paper_table(table.paper)
    places = {f"sweep.table.{place}": getattr(table, place) for place in LAYOUT}
    places |= {f"sweep.union[{i}].select.over": each.select.over for i, each in enumerate(groups) if each.select}
    for place, keys in places.items():
        for key in keys:
            if key not in known:
                near = near_match(key, known)
                hint = f"did you mean '{near}'? " if near else ""
                raise RequestError(f"{place}: '{key}' is no key of a run; {hint}every key: python run.py --cfg job")


def is_evaluated(store: Store, entry: Cell | Stage, protocol: Protocol) -> bool:
    """Whether every score of the protocol is in the store, with its examples, and the validation score too.

    Those at the temperature that validation chose are among them: before one can be chosen it is not.
    """
    scores = store.read([entry])
    known = {score.score_id for score in scores}
    protocol = tuned(protocol, entry.id, scores)
    return (
        bool(known)
        and protocol.expected(entry.id) <= known
        and all(store.has_per_example(entry, id_) for id_ in protocol.expected_per_example(entry.id))
    )


def manifest_of(sweep: Sweep) -> dict[str, Any]:
    """Everything a table needs to know of the sweep, as plain data; protocols are named by their digest."""
    flat = {planned.cell.id: flat_of(planned.run) for planned in sweep.cells}
    rows, table = rows_of(sweep, flat), sweep.table
    over = [key for group in sweep.groups if group.select for key in group.select.over]
    shown = (*rows, *table.blocks, *table.columns, *over)
    labelled = tuple(dict.fromkeys([*shown, *table.averaged]))
    protocols = {value_digest(planned.protocol.manifest()): planned.protocol.manifest() for planned in sweep.cells}
    references: dict[tuple[str, str, str], dict[str, str]] = {}
    for planned in sweep.cells:
        for stage in planned.cell.evaluated_stages.values():
            protocol = value_digest(planned.protocol.manifest())
            references.setdefault(
                (stage.kind, stage.id, protocol),
                {"kind": stage.kind, "id": stage.id, "pair": planned.run.pair.name, "protocol": protocol},
            )
    values = list(flat.values())
    return {
        "name": sweep.name,
        "rows": list(rows),
        "metric": table.metric,
        "table": {
            "blocks": list(table.blocks),
            "average": list(table.averaged),
            "columns": list(table.columns),
            "paper": table.paper,
            "note": note_of(sweep),
        },
        "groups": [
            {
                "name": group.name,
                "select": None if group.select is None else {"by": group.select.by, "over": list(group.select.over)},
                "cells": list(group.cells),
            }
            for group in sweep.groups
        ],
        "shared": {key: label(values[0][key]) for key in SHARED if _is_shared(key, values, shown)},
        "protocols": protocols,
        "references": list(references.values()),
        "cells": [
            {
                "id": planned.cell.id,
                "overrides": list(planned.overrides),
                "labels": {key: label(flat[planned.cell.id].get(key)) for key in labelled},
                "values": {ORDER: label(flat[planned.cell.id][ORDER])},
                "protocol": value_digest(planned.protocol.manifest()),
                **({"corpora": list(planned.cell.corpora)} if planned.cell.corpora else {}),
            }
            for planned in sweep.cells
        ],
    }


def rows_of(sweep: Sweep, flat: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The keys that name a row: those declared, else those that differ; and what else tells cells apart.

    flat: id of a cell -> its configuration.
    """
    table = sweep.table
    elsewhere = [*table.blocks, *table.columns, *table.averaged]
    rows = table.rows or [key for key in differing_keys(list(flat.values())) if key not in elsewhere]
    has_method = any(values.get("method") is not None for values in flat.values())
    rows = list(rows) or ["method" if has_method else "amid.alpha"]
    for group in sweep.groups:
        known = [*rows, *elsewhere, *(group.select.over if group.select else ())]
        alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
        for id_ in group.cells:
            alike.setdefault(tuple(label(flat[id_].get(key)) for key in known), []).append(flat[id_])
        for values in alike.values():
            if len(values) > 1:
                rows += [key for key in differing_keys(values) if key not in (*known, *rows) and _differs(key, values)]
    return tuple(rows)


def _differs(key: str, flat: Sequence[Mapping[str, Any]]) -> bool:
    return len({label(values.get(key)) for values in flat}) > 1


def note_of(sweep: Sweep) -> str | None:
    """The declared note; beside the paper's numbers also how cells were trained, and what stands in for its data."""
    table, runs = sweep.table, [planned.run for planned in sweep.cells]
    parts = [] if table.note is None else [table.note]
    if table.paper is not None:
        strategies = dict.fromkeys(run.strategy.name for run in runs)
        weights = dict.fromkeys(f"{run.objective.lm_coef:g}" for run in runs)
        parts.append(f"strategy {', '.join(strategies)}; pretraining loss x {', '.join(weights)}")
        if any(run.data.source == "toy" for run in runs):
            parts.append("toy texts stand in for the paper's data")
    return "; ".join(parts) or None


def _is_shared(key: str, flat: Sequence[Mapping[str, Any]], rows: Sequence[str]) -> bool:
    return key not in rows and flat[0][key] is not None and len({values[key] for values in flat}) == 1


def distinct_overrides(sweep: Sweep) -> list[str]:
    """For each cell the overrides that not all cells share, on one line."""
    shared = set.intersection(*(set(planned.overrides) for planned in sweep.cells)) if len(sweep.cells) > 1 else set()
    return [" ".join(o for o in planned.overrides if o not in shared) or "(defaults)" for planned in sweep.cells]


def resolved_config(run: RunCfg) -> dict[str, Any]:
    """The whole configuration as plain data, for W&B."""
    return {name: plain(value) for name, value in asdict(run).items()}
