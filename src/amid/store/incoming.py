"""Copies of entries and files on their way into a store: made aside, checked, put in place whole. No torch here."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from amid.errors import RunError
from amid.store.claims import Claim, held, try_claim
from amid.store.files import replacing, space_for
from amid.store.layout import INCOMING, checkpoints_path
from amid.store.sizes import bytes_of, files_below
from amid.store.soundness import FILES, FOLDERS, check_entry
from amid.store.status import state_of
from amid.store.store import Store
from amid.store.trackers import ROOM, offline_runs
from amid.store.watch import highest_claim, owner_of


@contextlib.contextmanager
def receiving(store: Store) -> Iterator[Path]:
    """A context in which this process alone takes things into the store; its folder is for what is not whole yet.

    What a killed one left is gone afterwards. Raises RunError if another process does the same.
    """
    folder = store.root / INCOMING
    claim = try_claim(folder)
    if claim is None:
        raise RunError(f"another process merges into {store.root} now ({owner_of(folder)})")
    try:
        with held(claim):
            try:
                yield folder
            finally:
                _clear(store, folder)
    finally:
        if highest_claim(folder) == claim.number:  # nobody has come since
            shutil.rmtree(folder, ignore_errors=True)


def _clear(store: Store, folder: Path) -> None:
    """Removes all that is not whole, and leaves the claim, whose heartbeat looks for it."""
    for room in store.layout.rooms():
        for path in (room / INCOMING).glob("*"):
            if path != folder / "claims":
                shutil.rmtree(path, ignore_errors=True)
        if room / INCOMING != folder:
            shutil.rmtree(room / INCOMING, ignore_errors=True)


def copied_aside(source: Path, target: Path) -> Path:
    """A checked copy of an entry, in a folder beside its target that is no entry yet.

    Raises DamagedError for a source that is not what was written, NoSpaceError for a full disk.
    """
    aside = target.parent / INCOMING / target.name
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    with space_for(aside, bytes_of(source)):
        for name in FILES:
            if (source / name).is_file():
                _copy(source / name, aside / name)
        for name in FOLDERS:
            if source / name == checkpoints_path(source) and state_of(source) == "done":
                continue
            copy_below(source / name, aside / name)
        copy_runs(source, aside)
    check_entry(aside)
    return aside


def copy_runs(source: Path, target: Path) -> None:
    """Copies the offline runs of a tracker that the target lacks into a folder that nobody else sees yet."""
    there = offline_runs(target)
    for name, files in offline_runs(source).items():
        for path in files if name not in there else ():
            copied = target / path.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            _copy(path, copied)


def take_runs(source: Path, target: Path) -> bool:
    """Whether an entry lacked offline runs of a tracker and has them now, each whole; what it has is not looked at.

    Raises RunError if a process works on the target.
    """
    missing = offline_runs(source).keys() - {path.name for path in (target / ROOM).glob("*")}
    if not missing:
        return False
    aside = target.parent / INCOMING / f"{target.name}.{ROOM}"
    shutil.rmtree(aside, ignore_errors=True)
    with space_for(aside.parent, bytes_of(source / ROOM)):
        copy_runs(source, aside)
    claim = try_claim(target)
    if claim is None:
        raise RunError("a process works on it here; merge when it has ended")
    try:
        (target / ROOM).mkdir(exist_ok=True)
        for name in sorted(missing):
            claim.check()
            (aside / ROOM / name).rename(target / ROOM / name)
    finally:
        claim.release()
    return True


def put_in_place(aside: Path, target: Path, claim: Claim | None) -> None:
    """The copy becomes the entry, in one step; claim: on the unfinished entry that is in its place."""
    if claim is None:
        aside.rename(target)
        return
    replaced = aside.with_name(f"replaced-{target.name}")
    shutil.rmtree(replaced, ignore_errors=True)
    claim.check()
    target.rename(replaced)
    aside.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)


def copy_below(source: Path, target: Path) -> None:
    """Copies a folder's files, safe on disk; links are left out."""
    for path in files_below(source):
        copied = target / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        _copy(path, copied)


def copy_whole(source: Path, target: Path) -> None:
    """Puts a copy of a file in its place, with the times of the source: which request is the latest stays so."""
    target.parent.mkdir(parents=True, exist_ok=True)
    times = source.stat()
    with replacing(target, times.st_size) as temporary:
        shutil.copyfile(source, temporary)
        os.utime(temporary, ns=(times.st_atime_ns, times.st_mtime_ns))


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as stream:
        os.fsync(stream.fileno())
