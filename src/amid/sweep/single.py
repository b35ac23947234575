"""A single run, recorded as the sweep of one cell that it is, so that it is found and read like one. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from amid.cells.cell import Cell
from amid.config import RunCfg
from amid.evaluation.protocol import Protocol
from amid.store import Store
from amid.store.manifests import SINGLE
from amid.sweep.plan import PlannedCell, Sweep, is_evaluated, manifest_of


def planned_single(run: RunCfg, cell: Cell, protocol: Protocol, overrides: Sequence[str], store: Store) -> PlannedCell:
    """The cell of a single run as one of a sweep. overrides: as it was asked for."""
    return PlannedCell(tuple(overrides), run, cell, protocol, store.state(cell), is_evaluated(store, cell, protocol))


def sweep_of_single(planned: PlannedCell) -> Sweep:
    """The sweep that a single run is, under the name of its cell."""
    return Sweep(name=f"{SINGLE}{planned.cell.id}", cells=(planned,), table=planned.run.sweep.table, duplicates=0)


def record_single(run: RunCfg, cell: Cell, protocol: Protocol, overrides: Sequence[str], store: Store) -> None:
    """Records the run under the name of its cell. overrides: as it was asked for. Raises RunError as the store does."""
    sweep = sweep_of_single(planned_single(run, cell, protocol, overrides, store))
    store.write_sweep(sweep.name, manifest_of(sweep))
