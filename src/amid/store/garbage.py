"""What may go: stages that nobody needs, checkpoints of what is finished, what killed writers left. No torch here.

Nothing that a process holds is ever touched: what is found is claimed before it is deleted, and looked at again.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from amid.errors import RunError
from amid.store.claims import try_claim
from amid.store.files import TEMPORARY, file_system_now
from amid.store.layout import INCOMING, checkpoints_path, model_path
from amid.store.references import needed_stages, stage_names
from amid.store.sizes import bytes_of
from amid.store.status import state_of
from amid.store.store import Store
from amid.store.watch import is_owned

LEFT_S = 3600.0  # a file of a writer that no claim tells of counts as left by a killed one when it is so old


@dataclass(frozen=True)
class Garbage:
    """Something that may be deleted: what it takes, why it may go, and whose entry it is part of, if of one."""

    path: Path
    num_bytes: int
    why: str
    entry: Path | None = None


def garbage_in(store: Store) -> list[Garbage]:
    """What may be deleted without losing a result. Raises DamagedError where nobody knows what is needed."""
    needed = needed_stages(store)
    unneeded = {store.root / "stages" / name for name in stage_names(store).values() if name not in needed}
    found: list[Garbage] = []
    for folder in _idle(store):
        if folder in unneeded:
            found.append(_garbage(folder, "no cell and no sweep needs it", folder))
            continue
        if state_of(folder) == "done" and checkpoints_path(folder).is_dir():
            found.append(_garbage(checkpoints_path(folder), "checkpoints of a finished training", folder))
        left = [*folder.glob(f"{model_path(folder).name}.partial*"), *folder.rglob(f".*{TEMPORARY}")]
        found += [_garbage(path, "left by a killed process", folder) for path in sorted(left) if path.exists()]
    return [*found, *_left_in_rooms(store)]


def models_in(store: Store) -> list[Garbage]:
    """The models of finished cells: without them all scores stay, and a model that is needed is trained again."""
    cells = set(store.layout.cells().values())
    return [
        _garbage(model_path(folder), "model of a finished cell", folder)
        for folder in _idle(store)
        if folder in cells and state_of(folder) == "done" and model_path(folder).is_dir()
    ]


def delete(found: Iterable[Garbage]) -> Iterator[tuple[Garbage, str]]:
    """Deletes one after the other: each with why it was left, empty if it is gone."""
    for each in found:
        try:
            yield each, _delete_in_room(each.path) if each.entry is None else _delete_of_entry(each, each.entry)
        except RunError as err:
            yield each, str(err)
        except OSError as err:
            yield each, f"it cannot be deleted: {err.strerror}"


def _delete_of_entry(each: Garbage, entry: Path) -> str:
    was = state_of(entry)
    claim = try_claim(entry)
    if claim is None:
        return "a process works on it now"
    try:
        if state_of(entry) != was:
            return "a process has worked on it meanwhile"
        if each.path != entry:
            return _delete_in_room(each.path)
        # Out of sight at once: a listing, or a kill, never meets half an entry
        aside = entry.parent / INCOMING / f"unneeded-{entry.name}"
        aside.parent.mkdir(exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        entry.rename(aside)
        shutil.rmtree(aside)
        with contextlib.suppress(OSError):
            aside.parent.rmdir()
        return ""
    finally:
        claim.release()


def _delete_in_room(path: Path) -> str:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return ""


def _idle(store: Store) -> list[Path]:
    """The folders of all entries that no process holds, as far as a glance tells."""
    return [folder for _, folder in sorted(store.layout.entries().items()) if not is_owned(folder)]


def _left_in_rooms(store: Store) -> list[Garbage]:
    now = file_system_now(store.root)
    if now is None:
        return []
    left = [path for room in store.layout.rooms() for path in room.glob(f".*{TEMPORARY}")]
    if not is_owned(store.root / INCOMING):
        left += [room / INCOMING for room in store.layout.rooms() if (room / INCOMING).is_dir()]
    return [_garbage(path, "left by a killed process") for path in sorted(left) if now - _changed(path) > LEFT_S]


def _changed(path: Path) -> float:
    """When the youngest file of a folder was changed, or the file."""
    with contextlib.suppress(FileNotFoundError):
        return max(each.stat().st_mtime for each in (path, *path.rglob("*")))
    return float("inf")  # gone already


def _garbage(path: Path, why: str, entry: Path | None = None) -> Garbage:
    return Garbage(path, bytes_of(path), why, entry)
