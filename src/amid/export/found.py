"""The cell that is exported, as the store has it: finished, sound, and as it was asked for. No torch here."""

from __future__ import annotations

from amid.cells.cell import Cell
from amid.errors import RequestError, RunError
from amid.store import Store
from amid.store.identity import values_of
from amid.store.status import read_status, state_of

# What is to be done about a cell that is not finished.
_REMEDIES = {
    "running": "wait for it (amid status)",
    "stopped": "continue it: python run.py cell={id}",
    "failed": "its reason: {error}",
}


def find_cell(store: Store, name: str) -> Cell:
    """The finished cell whose id begins with `name`, its stages aside; its model is what was published.

    Raises RequestError for none, several, a stage, or one that is not finished; DamagedError or RunError for one that
    is damaged or whose model is gone.
    """
    folder = store.find_entry(name)
    if folder.parent != store.root:
        raise RequestError(f"'{name}' names {folder.name}, which is no cell; amid export takes cells")
    state, status = state_of(folder), read_status(folder)
    if state == "damaged":
        raise RunError(str(status.get("error")))
    if state != "done":
        remedy = _REMEDIES.get(state, "run it").format(id=folder.name, error=status.get("error", "unknown"))
        raise RequestError(f"cell {folder.name} is not finished ({state}); {remedy}")
    cell = Cell(folder.name, values_of(folder, folder.name), {})
    if store.is_pruned(cell):
        raise RunError(f"cell {cell.id} has no model any more; python run.py cell={cell.id} trains it again")
    store.check_model(cell)
    return cell
