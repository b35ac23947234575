"""The state of a cell or stage as it is on disk: absent, running, stopped, failed, done, or damaged. No torch here."""

from __future__ import annotations

import datetime
import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from amid.config.names import link_text
from amid.digests.seals import DamagedError, is_sealed_folder, seal
from amid.store.files import is_sealed, read_object, replace_text
from amid.store.layout import model_path, status_path
from amid.store.watch import attempts, is_owned

State = Literal["absent", "running", "stopped", "failed", "done", "damaged"]
# What a finished training leaves to later attempts: the seal of its model, its seconds, its best validation, what is
# wrong with the student it ended with, and what it used up.
TRAINED = ("model", "train_seconds", "best", "warnings", "spent")
UNANSWERED = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
REBUILT = "repeat the command that made it: it is rebuilt from what is sound"


def read_status(folder: Path, *, to_write: bool = False) -> dict[str, Any]:
    """The recorded status with its details; empty if there is none, "damaged" with its error if it cannot be read.

    to_write: for who writes on what is there; then a disk that does not answer raises OSError, and is no damage.
    """
    path = status_path(folder)
    link = link_text(folder)
    if link is not None:
        return {"state": "failed", "error": link}
    try:
        status = read_object(path, remedy=REBUILT, needs=("state",))
        if status is not None and status["state"] not in get_args(State):
            raise DamagedError(path, f"state '{status['state']}' is none of ours", REBUILT)
    except DamagedError as err:
        if to_write and isinstance(err.__cause__, OSError) and err.__cause__.errno in UNANSWERED:
            raise err.__cause__ from None
        return {"state": "damaged", "error": str(err)}
    return status or {}


def warnings_in(status: Mapping[str, Any]) -> list[str]:
    """What is wrong with the student that a training ended with, one line each."""
    found = status.get("warnings", [])
    return [str(text) for text in found] if isinstance(found, list) else []


def spent_in(status: Mapping[str, Any]) -> dict[str, float]:
    """What the training used up, by name; empty for one that recorded nothing."""
    found = status.get("spent", {})
    return {str(name): float(value) for name, value in found.items()} if isinstance(found, dict) else {}


def write_status(folder: Path, state: State, *, check: Callable[[], None], **details: Any) -> None:
    """Records the state with its details and the number of the attempt; what is trained stays recorded."""
    before = read_status(folder, to_write=True)
    trained = {name: before[name] for name in TRAINED if name in before}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    status = {"state": state, "attempt": attempts(folder), "at": now, **trained, **details}
    replace_text(status_path(folder), seal(status), check=check)


def state_of(folder: Path) -> State:
    """The state of the entry whose folder this is, at a glance: an owner on another host counts as running."""
    state: State = read_status(folder).get("state", "absent")
    if state == "running":
        return "running" if is_owned(folder) else "stopped"
    return state


def is_unverified(folder: Path) -> bool:
    """True for an entry that was written, in part at least, before seals: its damage would not be found."""
    status = status_path(folder)
    if read_status(folder).get("state") in (None, "damaged"):
        return False
    model = model_path(folder)
    return not is_sealed(status) or (model.is_dir() and not is_sealed_folder(model))
