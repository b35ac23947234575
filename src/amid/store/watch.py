"""Watching owners: who holds a folder, and whether that process is alive, without comparing two clocks. No torch here.

What this process has seen it remembers, so that one wait serves for all the folders it has looked at.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from amid.digests.seals import seal, unseal
from amid.store.files import file_system_now
from amid.store.owners import described, life_of

log = logging.getLogger(__name__)
HEARTBEAT_S = 5.0
# An owner on another host is gone when its heartbeat has not changed for this long on the observer's own clock.
STALE_AFTER_S = 60.0
# An owner whose claim changed so many heartbeats ago, by the clock of the file system, is alive without being watched.
FRESH_BEATS = 2
SAY_AGAIN_S = 60.0  # between two lines on what is waited for
POLL_S = 1.0
LONGER = 1.2  # each of the pauses of one wait than the one before

Standing = Literal["free", "held", "unknown"]
own_claims: set[Path] = set()  # of this process, not released; absolute


def is_live(folder: Path, *, stale_after_s: float | None = None) -> bool:
    """Whether a live process holds the folder. Watches an owner on another host, as long as it takes."""
    said = False
    while (standing := look(folder, stale_after_s=stale_after_s)) == "unknown":
        if not said:
            log.info("%s: watching whether its owner is alive (%s)", folder, owner_of(folder))
            said = True
        time.sleep(min(POLL_S, (STALE_AFTER_S if stale_after_s is None else stale_after_s) / 10))
    return standing == "held"


@dataclass(frozen=True)
class _Sighting:
    """A claim as this process saw it: what was in it, since when, and whether it is known to have changed."""

    content: bytes
    since: float
    changed: bool


_sightings: dict[Path, _Sighting] = {}  # the first look at many folders starts one window for all of them


def look(folder: Path, *, stale_after_s: float | None = None) -> Standing:
    """The standing of a folder, without waiting: free, held, or unknown for an owner that must be watched longer.

    An owner on another host is held for alive while its claim changes, and for gone when it has not changed for
    `stale_after_s` seconds since this process first looked.
    """
    path, content, owner = _read_owner(folder)
    standing = _standing(owner, path)
    if path is None or standing != "unknown":
        return standing
    now, seen = time.monotonic(), _sightings.get(path)
    if seen is None or seen.content != content:
        changed = seen is not None or _is_fresh(path)
        _sightings[path] = _Sighting(content, now, changed)
        return "held" if changed else "unknown"
    if now - seen.since >= (STALE_AFTER_S if stale_after_s is None else stale_after_s):
        return "free"
    return "held" if seen.changed else "unknown"


def is_owned(folder: Path) -> bool:
    """Whether the folder has an owner that is not known to be gone, at a glance; for listings."""
    path, _, owner = _read_owner(folder)
    return _standing(owner, path) != "free"


def owner_of(folder: Path, *, now: float | None = None) -> str:
    """Who owns a folder, in words, with its last sign of life.

    now: the present of the folder's file system, where it is known already.
    """
    path, _, owner = _read_owner(folder)
    if path is None or owner is None:
        return "nobody"
    who = described(owner) if "pid" in owner else f"{path} cannot be read"
    return f"{who}, last sign of life: {sign_of_life(path, now=now)}"


def sign_of_life(path: Path, *, now: float | None = None) -> str:
    """How long ago a claim changed, by the clock of its file system; "unknown" where that cannot be told."""
    now = file_system_now(path.parent) if now is None else now
    try:
        age = None if now is None else now - path.stat().st_mtime
    except OSError:
        age = None
    return "unknown" if age is None else f"{max(0.0, age):.0f} s ago"


def attempts(folder: Path) -> int:
    """How many processes have claimed the folder so far."""
    return highest_claim(folder)


class Patience:
    """Waiting for other processes, never silently: says for what, at once and then every minute.

    The longer it takes the longer is a moment, up to a heartbeat: a hundred that wait must not keep a disk busy.
    """

    def __init__(self) -> None:
        self._said: float | None = None
        self._pause = POLL_S

    def wait(self, what: str | Callable[[], str]) -> None:
        """Waits a moment; `what` completes "waiting for ...", a function of it is called only when it is said."""
        now = time.monotonic()
        if self._said is None or now - self._said >= SAY_AGAIN_S:
            log.info("waiting for %s", what if isinstance(what, str) else what())
            self._said = now
        time.sleep(self._pause)
        self._pause = max(POLL_S, min(LONGER * self._pause, HEARTBEAT_S))


def _is_fresh(path: Path) -> bool:
    now = file_system_now(path.parent)
    try:
        # Not of the future, as after that clock was set back: there the dead would look alive until it has caught up
        return now is not None and 0 <= now - path.stat().st_mtime <= FRESH_BEATS * HEARTBEAT_S
    except OSError:
        return False


def _standing(owner: Mapping[str, Any] | None, path: Path | None) -> Standing:
    if owner is None or owner.get("released"):
        return "free"
    life = life_of(owner)
    if life == "self":  # left by this very process, it is nobody's: a process does not wait for itself
        return "held" if path is not None and path.absolute() in own_claims else "free"
    standing: Mapping[str, Standing] = {"running": "held", "gone": "free", "unknown": "unknown"}
    return standing[life]


def _read_owner(folder: Path) -> tuple[Path | None, bytes, dict[str, Any] | None]:
    """The highest claim, its bytes and its owner: None for nobody, without a process number if it cannot be read."""
    number = highest_claim(folder)
    if not number:
        return None, b"", None
    path = claim_path(folder, number)
    owner = read_claim(path)
    return (None, b"", None) if owner is None else (path, seal(owner).encode(), owner or None)


def read_claim(path: Path) -> dict[str, Any] | None:
    """The owner in a claim: None if there is no file, {} for an empty one, {"host": None} if it cannot be read."""
    for _ in range(3):  # a claim is renewed in place: a reader may meet the renewal
        try:
            content = path.read_bytes()
            # Claims appear whole, so that an empty one is one that was released on a full disk.
            return unseal(content)[0] if content.strip() else {}
        except FileNotFoundError:
            return None
        except ValueError:
            time.sleep(0.01)
    return {"host": None}


def highest_claim(folder: Path) -> int:
    """The number of the latest claim; 0 if there is none."""
    try:
        names = os.listdir(folder / "claims")
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return max((int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit()), default=0)


def claim_path(folder: Path, number: int) -> Path:
    """The file of a claim."""
    return folder / "claims" / f"{number:06d}.json"
