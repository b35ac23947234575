"""A single run, recorded as the sweep of one cell that it is, so that it is found and read like one. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from amid.cells.cell import Cell
from amid.config import RunCfg
from amid.evaluation.protocol import Protocol
from amid.store import Store
from amid.store.manifests import SINGLE
from amid.sweep.plan import PlannedCell, Sweep, is_evaluated, manifest_of


def record_single(run: RunCfg, cell: Cell, protocol: Protocol, overrides: Sequence[str], store: Store) -> None:
    """Records the run under the name of its cell. overrides: as it was asked for. Raises RunError as the store does."""
    planned = PlannedCell(tuple(overrides), run, cell, protocol, store.state(cell), is_evaluated(store, cell, protocol))
    name = f"{SINGLE}{cell.id}"
    store.write_sweep(name, manifest_of(Sweep(name=name, cells=(planned,), table=run.sweep.table, duplicates=0)))
