"""Carrying out a sweep: say what will happen, build what is shared, launch the rest, show the table."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from amid.cells.cell import Cell
from amid.cells.stage import Stage
from amid.errors import RunError
from amid.reports.tables import build_table, render
from amid.store import Store
from amid.store.failures import not_trained
from amid.store.frozen import freeze, request_overrides
from amid.store.watch import Patience
from amid.sweep.expand import Overrides
from amid.sweep.plan import PlannedCell, Sweep, distinct_overrides, is_evaluated, manifest_of
from amid.sweep.preflight import check_sweep
from amid.sweep.wandb_runs import say_how_to_sync, show_references

log = logging.getLogger(__name__)
Launch = Callable[[Sequence[Overrides]], Sequence[str | None]]


def carry_out(sweep: Sweep, launch: Launch, *, recorded: Mapping[str, Any] | None = None) -> None:
    """Runs what is left of the sweep and prints its table.

    recorded: the manifest of a sweep of which these are only some cells; it stays as it is, and its table is printed.

    launch: runs a batch of jobs given by their overrides, and says for each why it failed, None if it did not. What
    counts is what is in the store; the answers tell what a job could not write there.
    Raises RequestError before anything runs, RunError at the end if a cell is not finished.
    """
    store = Store(sweep.cells[0].run.paths.results)
    tasks = {planned.run.task for planned in sweep.cells}
    check_trained(sweep)
    check_sweep(sweep)
    for line in plan_lines(sweep):
        log.info("%s", line)
    manifest = manifest_of(sweep) if recorded is None else recorded
    store.write_sweep(sweep.name, manifest)
    store.notice([*sweep.evaluated_stages, *(planned.cell for planned in sweep.pending)])
    preparations = unprepared(sweep, store)
    said: dict[str, str] = {}  # cell id -> why its job failed, in the launcher's words
    if preparations:
        log.info("preparing what the cells share")
        reasons = launch([_frozen(planned, store, sweep, task="prepare") for planned in preparations])
        said |= _by_cell(preparations, reasons)
    if sweep.pending and tasks != {"prepare"}:
        if in_wandb(sweep):
            show_references(sweep.pending, store, sweep=str(manifest["name"]))
        said |= _launch_cells(sweep, store, launch)
    conclude(sweep, store, manifest, said)


def check_trained(sweep: Sweep) -> None:
    """Raises RequestError for a cell that is to be evaluated and is not trained."""
    for planned in sweep.pending:
        if planned.run.task == "evaluate" and planned.state != "done":
            raise not_trained(planned.cell)


def conclude(sweep: Sweep, store: Store, manifest: Mapping[str, Any], said: Mapping[str, str]) -> None:
    """Prints the table of a sweep that has ended. Raises RunError if a cell is not finished.

    said: cell id -> why its job failed, in the launcher's words.
    """
    if not store.root.is_dir():
        raise RunError(f"results folder {store.root} was removed while the sweep ran; repeat the command to begin anew")
    table = build_table(manifest, store)
    log.info("\n%s", render(table, "text"))
    for text in table.damage:
        log.warning("%s", text)
    log.info("results: %s   again: amid table %s", store.root, sweep.name)
    if in_wandb(sweep):
        say_how_to_sync(manifest, store)
    _raise_unfinished(sweep, store, {planned.run.task for planned in sweep.cells}, said)


def in_wandb(sweep: Sweep) -> bool:
    """Whether any of the cells is shown in W&B."""
    return any(planned.run.logger.name == "wandb" for planned in sweep.cells)


def _launch_cells(sweep: Sweep, store: Store, launch: Launch) -> dict[str, str]:
    """Runs the pending cells: first what is free, then, as other processes end, what they have left.

    Cell id -> why its job failed, in the launcher's words.
    """
    left, said = list(sweep.pending), dict[str, str]()
    patience = Patience()
    while left:
        before = {planned.cell.id: store.attempts(planned.cell) for planned in left if store.is_owned(planned.cell)}
        reasons = launch([_frozen(planned, store, sweep, task=planned.run.task) for planned in left])
        said |= _by_cell(left, reasons)
        # Left alone, because another process had them, which has ended since without a result.
        untried = [
            each for each in left if before.get(each.cell.id) == store.attempts(each.cell) and _is_left(each, store)
        ]
        others = [planned for planned in sweep.pending if store.is_owned(planned.cell)]
        left = untried or _left_by_others(others, store, patience)
    return said


def _left_by_others(others: list[PlannedCell], store: Store, patience: Patience) -> list[PlannedCell]:
    """What the first of other processes to end leaves unfinished; waits as long as they run."""
    while others:
        ended = [planned for planned in others if not store.is_owned(planned.cell)]
        left = [planned for planned in ended if _is_left(planned, store)]
        if left:
            return left
        others = [planned for planned in others if planned not in ended]
        if others:
            patience.wait(functools.partial(_named, others, store))
    return []


def _named(others: list[PlannedCell], store: Store) -> str:
    names = ", ".join(f"{planned.cell.id} ({store.owner(planned.cell)})" for planned in others)
    return f"other processes to finish {len(others)} of the cells: {names}"


def _is_left(planned: PlannedCell, store: Store) -> bool:
    """Whether a cell without an owner has been left unfinished; one that failed has ended as it ends."""
    if store.is_owned(planned.cell):
        return False
    state = store.state(planned.cell)
    return state != "failed" and not (state == "done" and is_evaluated(store, planned.cell, planned.protocol))


def plan_lines(sweep: Sweep) -> list[str]:
    """What will be done, one line for the sweep and one per cell."""
    finished = len(sweep.cells) - len(sweep.pending)
    todo = f"{len(sweep.pending)} to run" if sweep.pending else "nothing to run"
    kinds = Counter(_what(planned) for planned in sweep.pending)
    if set(kinds) - {"train"}:
        todo += " (" + ", ".join(f"{number} {what}" for what, number in kinds.items()) + ")"
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
    what = {"absent": "train", "running": "running", "stopped": "resume", "failed": "retry", "damaged": "rebuild"}
    return what[planned.state]


def unprepared(sweep: Sweep, store: Store) -> list[PlannedCell]:
    """One cell for every set of stages that a pending cell needs and that is not built and evaluated yet.

    Also one for stages whose rows in the table are damaged, although all their cells are finished.
    """
    missing: dict[tuple[str, ...], PlannedCell] = {}
    for planned in sweep.cells:
        stages = tuple(planned.cell.stages.values())
        if planned.finished:
            ready = not any(store.is_damaged(stage) for stage in planned.cell.evaluated_stages.values())
        else:
            ready = all(is_ready(stage, planned, store) for stage in stages)
        if not ready:
            missing.setdefault(tuple(stage.id for stage in stages), planned)
    return list(missing.values())


def _frozen(planned: PlannedCell, store: Store, sweep: Sweep, *, task: str) -> Overrides:
    return request_overrides(request_of(planned, store, sweep, task=task), store)


def request_of(planned: PlannedCell, store: Store, sweep: Sweep, *, task: str) -> str:
    """The digest of what a job is given: the request, frozen as it was checked.

    W&B groups the runs by the sweep's name.
    """
    named = replace(planned.run.sweep, name=sweep.name, union=[], gives_way={})  # a job is one cell
    return freeze(replace(planned.run, task=task, sweep=named), planned.cell, store)


def is_ready(stage: Stage, planned: PlannedCell, store: Store) -> bool:
    """Built; and evaluated, if it is a model."""
    return store.state(stage) == "done" and (stage.evaluated_as is None or is_evaluated(store, stage, planned.protocol))


def _by_cell(cells: Sequence[PlannedCell], reasons: Sequence[str | None]) -> dict[str, str]:
    return {planned.cell.id: reason for planned, reason in zip(cells, reasons, strict=True) if reason is not None}


def _raise_unfinished(sweep: Sweep, store: Store, tasks: set[str], said: Mapping[str, str]) -> None:
    """Raises RunError if a cell, or what a sweep of task=prepare prepares, is not finished, with every reason."""

    def why(entry: Cell | Stage, planned: PlannedCell) -> str:
        # The launcher first: what the store says may be left from an earlier attempt.
        return said.get(planned.cell.id) or store.status(entry).get("error") or store.state(entry)

    if tasks == {"prepare"}:
        stages = {
            (stage.kind, stage.id): f"{stage.kind} {stage.id}: {why(stage, planned)}"
            for planned in unprepared(sweep, store)
            for stage in planned.cell.stages.values()
            if not is_ready(stage, planned, store)
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
