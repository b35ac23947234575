"""Recording a sweep without running it, for workers that find it in the store. No torch here."""

from __future__ import annotations

from amid.errors import RequestError
from amid.store import Store
from amid.store.failures import not_trained
from amid.sweep.carry_out import request_of
from amid.sweep.plan import Sweep, manifest_of


def check_recordable(sweep: Sweep) -> None:
    """Raises RequestError for a sweep that no worker can carry out."""
    for planned in sweep.cells:
        if planned.run.task == "prepare":
            raise RequestError("task=prepare has no cells that a worker could carry out; leave it out, or run it")
        if planned.run.task == "evaluate" and planned.state not in ("done", "damaged"):
            raise not_trained(planned.cell)


def record(sweep: Sweep, store: Store) -> int:
    """How many requests were frozen: one for every cell for which something is left to do. The sweep is recorded last.

    So whoever finds the sweep finds what its cells were asked to be. Raises as `check_recordable`, and RunError if the
    results folder cannot be written.
    """
    check_recordable(sweep)
    for planned in sweep.pending:
        request_of(planned, store, sweep, task=planned.run.task)
    store.write_sweep(sweep.name, manifest_of(sweep))
    return len(sweep.pending)
