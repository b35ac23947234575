"""Carrying out a sweep: say what will happen, build what is shared, launch the rest, show the table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from amid.cell import Cell, Stage
from amid.errors import RunError
from amid.failures import not_trained
from amid.preflight import check_run
from amid.store import Store
from amid.sweep import Overrides, PlannedCell, Sweep, distinct_overrides, is_evaluated, manifest_of
from amid.tables import build_table, render

log = logging.getLogger(__name__)
Launch = Callable[[Sequence[Overrides]], Sequence[str | None]]


def carry_out(sweep: Sweep, launch: Launch) -> None:
    """None; runs what is left of the sweep and prints its table.

    launch: runs a batch of jobs given by their overrides, and says for each why it failed, None if it did not. What
    counts is what is in the store; the answers tell what a job could not write there.
    Raises RequestError before anything runs, RunError at the end if a cell is not finished.
    """
    store = Store(sweep.cells[0].run.paths.results)
    tasks = {planned.run.task for planned in sweep.cells}
    for planned in sweep.pending:
        check_run(planned.run)
        if planned.run.task == "evaluate" and planned.state != "done":
            raise not_trained(planned.cell)
    for line in plan_lines(sweep):
        log.info("%s", line)
    store.write_sweep(sweep.name, manifest_of(sweep))
    preparations = _unprepared(sweep, store)
    said: dict[str, str] = {}  # cell id -> why its job failed, in the launcher's words
    if preparations:
        log.info("preparing what the cells share")
        reasons = launch([_with(planned.overrides, "task=prepare") for planned in preparations])
        said |= _by_cell(preparations, reasons)
    if sweep.pending and tasks != {"prepare"}:
        # The name goes with every cell: W&B groups its runs by it.
        reasons = launch([_with(planned.overrides, f"sweep.name={sweep.name}") for planned in sweep.pending])
        said |= _by_cell(sweep.pending, reasons)
    manifest = store.read_sweep(sweep.name)
    log.info("\n%s", render(build_table(manifest, store), "text"))
    log.info("results: %s   again: amid table %s", store.root, sweep.name)
    _raise_unfinished(sweep, store, tasks, said)


def plan_lines(sweep: Sweep) -> list[str]:
    """What will be done, one line for the sweep and one per cell."""
    finished = len(sweep.cells) - len(sweep.pending)
    todo = f"{len(sweep.pending)} to run" if sweep.pending else "nothing to run"
    again = f", {sweep.duplicates} named twice" if sweep.duplicates else ""
    lines = [f"sweep {sweep.name}: {len(sweep.cells)} cells, {finished} finished{again}, {todo}"]
    for planned, overrides in zip(sweep.cells, distinct_overrides(sweep), strict=True):
        lines.append(f"  {planned.cell.id}  {_what(planned):<10} {overrides}")
    return lines + [f"  note: {text}" for text in sweep.ignored]


def _what(planned: PlannedCell) -> str:
    if planned.finished:
        return "finished"
    if planned.state == "done":
        return "evaluate"
    return {"absent": "train", "running": "running", "stopped": "resume", "failed": "retry"}[planned.state]


def _unprepared(sweep: Sweep, store: Store) -> list[PlannedCell]:
    """One pending cell for every set of stages that is not built and evaluated yet."""
    missing: dict[tuple[str, ...], PlannedCell] = {}
    for planned in sweep.pending:
        stages = planned.cell.stages
        if not all(_is_ready(stage, planned, store) for stage in stages):
            missing.setdefault(tuple(stage.id for stage in stages), planned)
    return list(missing.values())


def _is_ready(stage: Stage, planned: PlannedCell, store: Store) -> bool:
    """Built; and evaluated, if it is a model."""
    is_reference = stage in (planned.cell.teacher, planned.cell.student_init)
    return store.state(stage) == "done" and (not is_reference or is_evaluated(store, stage, planned.protocol))


def _with(overrides: Overrides, new: str) -> Overrides:
    key = new.partition("=")[0]
    return (*(override for override in overrides if override.partition("=")[0] != key), new)


def _by_cell(cells: Sequence[PlannedCell], reasons: Sequence[str | None]) -> dict[str, str]:
    return {planned.cell.id: reason for planned, reason in zip(cells, reasons, strict=True) if reason is not None}


def _raise_unfinished(sweep: Sweep, store: Store, tasks: set[str], said: Mapping[str, str]) -> None:
    """None; raises RunError if a cell, or what a sweep of task=prepare prepares, is not finished, with every reason."""

    def why(entry: Cell | Stage, planned: PlannedCell) -> str:
        # The launcher first: what the store says may be left from an earlier attempt.
        return said.get(planned.cell.id) or store.status(entry).get("error") or store.state(entry)

    if tasks == {"prepare"}:
        unprepared = _unprepared(sweep, store)
        stages = {
            (stage.kind, stage.id): f"{stage.kind} {stage.id}: {why(stage, planned)}"
            for planned in unprepared
            for stage in planned.cell.stages
            if not _is_ready(stage, planned, store)
        }
        broken, of_what = list(stages.values()), f"{len(stages)} stages"
    else:
        broken = [
            f"{planned.cell.id} ({overrides}): {why(planned.cell, planned)}"
            for planned, overrides in zip(sweep.cells, distinct_overrides(sweep), strict=True)
            if store.state(planned.cell) != "done" or not is_evaluated(store, planned.cell, planned.protocol)
        ]
        of_what = f"{len(broken)} of {len(sweep.cells)} cells"
    if broken:
        raise RunError(f"{of_what} not finished: {'; '.join(broken)}")
