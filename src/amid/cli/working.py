"""The verb that carries out a recorded sweep, as one of any number of workers: work."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amid.cli.exit_codes import failure_of
from amid.cli.options import Results, store_at
from amid.cli.printing import log_to_stderr, say
from amid.errors import RequestError, RunError

if TYPE_CHECKING:
    from amid.store import State, Store
    from amid.store.frozen import Request

log = logging.getLogger(__name__)
HOUR_S = 3600.0


def work(
    sweep: Annotated[str, typer.Argument(help="Name of a sweep that was recorded: amid plan SWEEP --record.")],
    max_cells: Annotated[int | None, typer.Option(help="Begin no further cell after so many.")] = None,
    max_hours: Annotated[float | None, typer.Option(help="Begin no cell after so long; one that runs ends.")] = None,
    results: Results = Path("results"),
) -> None:
    """Carry out the cells of a sweep that are not finished and that nobody holds, one after the other, as frozen.

    Any number of these may run, here and on other machines with the same results folder. Stages are built by whoever
    comes first. A cell that fails is recorded, and the worker goes on; what others run is waited for, and taken over
    if they end without a result.
    """
    from amid.config.checks import at_least
    from amid.store.frozen import Requests
    from amid.sweep.work import Limits, Worker

    at_least("--max-cells", max_cells, 1)
    at_least("--max-hours", max_hours, 0)
    store = store_at(results)
    manifest = store.read_sweep(sweep)
    log_to_stderr()
    limits = Limits(max_cells, None if max_hours is None else max_hours * HOUR_S)
    loggers = set[str]()

    def carry_out(request: Request) -> None:
        loggers.add(request.run.logger.name)
        if request.run.task == "prepare":  # all that was ever asked of the cell
            request = replace(request, run=replace(request.run, task="distill"))
        carry_out_request(request)

    worker = Worker(manifest, store, carry_out, limits=limits, requests=Requests(store))
    try:
        worker.work()
    finally:
        say(str(worker.account))
    if worker.account.ended_it and "wandb" in loggers:
        _show_in_wandb(manifest, store)
    if worker.account.failed:
        reasons = "; ".join(f"{id_}: {reason}" for id_, reason in worker.account.failed.items())
        raise RunError(f"{len(worker.account.failed)} cells failed: {reasons}")


def _show_in_wandb(manifest: Mapping[str, Any], store: Store) -> None:
    """What the end of a sweep leaves to do for W&B: its teachers and initial students as runs, and how to upload."""
    from amid.sweep.again import sweep_again
    from amid.sweep.wandb_runs import say_how_to_sync, show_references

    done: list[State] = ["done"]
    try:
        sweep = sweep_again(manifest, store, states=done)
    except RequestError as err:  # of a cell that was finished long ago
        log.info("note: the sweep's teachers and initial students are not shown in W&B: %s", err)
        return
    show_references(sweep.cells, store, sweep=sweep.name)
    say_how_to_sync(manifest, store)


def carry_out_request(request: Request) -> None:
    """Carries out one frozen request in this process; leaves a cell that another process has to that process.

    Raises RequestError or RunError for whatever went wrong.
    """
    from amid.experiment import run_task  # imports torch: not before there is something to do

    try:
        run_task(request.run, planned=request, waits=False)
    except (RequestError, RunError):
        raise
    except (Exception, SystemExit) as err:
        raise failure_of(err) from err
