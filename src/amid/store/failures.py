"""The one boundary around work on a cell, a stage or a model: what ends it leaves a reason, a traceback and a state.

Nothing that happens inside is lost, whatever launcher started the process: who asks later reads it in the store.
No torch here.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from amid.cells.cell import Cell
from amid.errors import RequestError, RunError, StoppedError, TakenOverError, reason_of
from amid.store import Entry, Store


@contextmanager
def recorded(store: Store, entry: Entry) -> Iterator[None]:
    """Records in the entry's folder why the work inside failed; the caller holds its claim.

    What was done stays done: then only the reason is added. After Ctrl-C or another request to stop nothing is
    recorded, and the entry counts as stopped. Raises RequestError or RunError for whatever was raised inside, also for
    sys.exit in a user's function.
    """
    try:
        yield
    except (TakenOverError, StoppedError):
        raise  # whoever has the entry now, or the same command, goes on with it
    except (Exception, SystemExit) as err:
        kept = store.set_failed(entry, reason_of(err), traceback.format_exc())
        if isinstance(err, (RequestError, RunError)):
            raise
        where = f"traceback: {store.error_path(entry)}" if kept else "its traceback could not be written"
        raise RunError(f"{name_of(entry)} failed: {reason_of(err)} ({where})") from err


def name_of(entry: Entry) -> str:
    """How a person calls an entry: `cell ID`, `stage teacher ID`, `model ID`."""
    if isinstance(entry, Cell):
        return f"cell {entry.id}"
    return f"model {entry.id}" if entry.kind == "model" else f"stage {entry.kind} {entry.id}"


def not_trained(cell: Cell) -> RequestError:
    """What task=evaluate says of a cell that has no model."""
    return RequestError(f"cell {cell.id} is not trained yet; run it without task=evaluate first")
