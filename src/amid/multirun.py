"""Carrying out a sweep: say what will happen, build what is shared, launch the rest, show the table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from amid.errors import RunError
from amid.frozen import freeze, request_overrides
from amid.preflight import check_run
from amid.store import Store
from amid.sweep import Overrides, PlannedCell, Sweep, distinct_overrides, is_evaluated, manifest_of
from amid.tables import build_table, render

log = logging.getLogger(__name__)
Launch = Callable[[Sequence[Overrides]], None]


def carry_out(sweep: Sweep, launch: Launch) -> None:
    """None; runs what is left of the sweep and prints its table.

    launch: runs a batch of jobs given by their overrides; may raise, because what counts is what is in the store.
    Raises RequestError before anything runs, RunError at the end if a cell is not finished.
    """
    store = Store(sweep.cells[0].run.paths.results)
    for planned in sweep.pending:
        check_run(planned.run)
    for line in plan_lines(sweep):
        log.info("%s", line)
    store.write_sweep(sweep.name, manifest_of(sweep))
    preparations = [_frozen(planned, store, sweep, task="prepare") for planned in _unprepared(sweep, store)]
    tasks = {planned.run.task for planned in sweep.cells}
    if preparations:
        log.info("preparing what the cells share")
        launch(preparations)
    if sweep.pending and tasks != {"prepare"}:
        launch([_frozen(planned, store, sweep, task=planned.run.task) for planned in sweep.pending])
    manifest = store.read_sweep(sweep.name)
    log.info("\n%s", render(build_table(manifest, store), "text"))
    log.info("results: %s   again: amid table %s", store.root, sweep.name)
    _raise_unfinished(sweep, store, tasks)


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
        references = (planned.cell.teacher, planned.cell.student_init)
        ready = all(store.state(stage) == "done" for stage in stages) and all(
            is_evaluated(store, stage, planned.protocol) for stage in references
        )
        if not ready:
            missing.setdefault(tuple(stage.id for stage in stages), planned)
    return list(missing.values())


def _frozen(planned: PlannedCell, store: Store, sweep: Sweep, *, task: str) -> Overrides:
    """What a job is given: the request, frozen as it was checked. W&B groups the runs by the sweep's name."""
    named = replace(planned.run.sweep, name=sweep.name)
    return request_overrides(freeze(replace(planned.run, task=task, sweep=named), planned.cell, store), store)


def _raise_unfinished(sweep: Sweep, store: Store, tasks: set[str]) -> None:
    if tasks == {"prepare"}:
        broken = [f"{stage.kind} {stage.id}" for stage in sweep.references if store.state(stage) != "done"]
    else:
        broken = [
            f"{planned.cell.id} ({overrides}): {store.status(planned.cell).get('error') or store.state(planned.cell)}"
            for planned, overrides in zip(sweep.cells, distinct_overrides(sweep), strict=True)
            if store.state(planned.cell) != "done" or not is_evaluated(store, planned.cell, planned.protocol)
        ]
    if broken:
        raise RunError(f"{len(broken)} of {len(sweep.cells)} cells not finished: {'; '.join(broken)}")
