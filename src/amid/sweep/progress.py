"""How far a sweep is when one of its cells begins, in one line. No torch here."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amid.digests.seals import DamagedError
from amid.store import State, Store
from amid.store.manifests import read_manifest
from amid.store.status import read_status, state_of
from amid.store.watch import is_owned

# Cells that this process has seen done, and how long they took: a worker looks at a sweep before each of its cells.
_done: dict[Path, float | None] = {}
_DOES: Mapping[State, str] = {"done": "evaluates", "stopped": "goes on", "failed": "tries again", "damaged": "rebuilds"}


def progress_line(store: Store, sweep: str | None, cell_id: str, *, before: State) -> str | None:
    """`cell 3 of 24 (2 done): trains; about 40 min left`; None for a cell of no sweep of several.

    before: the cell's state when this process came to it. The time left is that of the cells which are not done, this
    one among them, evaluation included, and of stages that are not built: each as long as the finished ones took on
    average, shared among the cells that are worked on now. Nothing is said of it before one is finished.
    """
    path = None if sweep is None else store.sweep_path(sweep)
    if path is None or not path.is_file():
        return None
    try:
        manifest = read_manifest(path)
    except DamagedError:
        return None  # which is said where it is read for its own sake
    ids = [str(cell["id"]) for cell in manifest["cells"]]
    if cell_id not in ids or len(ids) == 1:
        return None
    folders = {each: store.layout.folder_of("cell", each) for each in ids}
    others = [folder for each, folder in folders.items() if each != cell_id]
    for folder in others:
        if folder not in _done and (status := read_status(folder)).get("state") == "done":
            _done[folder] = status.get("seconds")
    left = [folder for folder in others if folder not in _done]
    num_done, num_left = len(others) - len(left), 1 + len(left)
    head = f"cell {ids.index(cell_id) + 1} of {len(ids)} ({num_done} done): {_DOES.get(before, 'trains')}"
    seconds = [float(took) for folder in others if (took := _done.get(folder)) is not None]
    if not seconds:
        return head
    at_once = max(1, 1 + sum(is_owned(folder) for folder in left))
    time_left = statistics.fmean(seconds) * num_left / min(at_once, num_left) + _stages_left(manifest, store)
    return f"{head}; about {duration(time_left)} left for {num_left} cell{'s' if num_left > 1 else ''}"


def duration(seconds: float) -> str:
    """A time as a person says it: 40 s, 14 min, 2 h 10 min, 3 d 4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h"


def _stages_left(manifest: Mapping[str, Any], store: Store) -> float:
    """Seconds that the stages will take which are not built, as far as others of their kind are."""
    folders: dict[str, list[Path]] = {}
    for each in manifest["references"]:
        folders.setdefault(each["kind"], []).append(store.layout.folder_of(each["kind"], each["id"]))
    total = 0.0
    for of_kind in folders.values():
        known = [read_status(folder) for folder in of_kind if state_of(folder) == "done"]
        seconds = [float(status["seconds"]) for status in known if "seconds" in status]
        if seconds:
            total += statistics.fmean(seconds) * (len(of_kind) - len(known))
    return total
