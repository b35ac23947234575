"""Taking over the results of another store: what is new is checked, copied and shown; what differs is left. No torch.

Entry by entry, each visible only when it is whole, so that a merge that was killed is repeated and goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from amid.config.names import is_name
from amid.digests.seals import DamagedError
from amid.errors import RequestError, RunError, one_line, reason_of
from amid.store.claims import try_claim
from amid.store.combine import combine
from amid.store.frozen import check_frozen
from amid.store.incoming import copied_aside, copy_runs, copy_whole, put_in_place, take_runs
from amid.store.manifests import read_manifest
from amid.store.scores import read_texts
from amid.store.soundness import is_entry_name
from amid.store.status import state_of
from amid.store.store import Store
from amid.store.watch import is_owned

NEW, REPLACED, ADDED, SAME, LEFT = "new", "unfinished here, replaced", "added to", "nothing new", "left"
Check = Callable[[Path], object]  # raises DamagedError for a file that is not what was written
OUTCOMES = (NEW, REPLACED, ADDED, SAME, LEFT)
NOUNS = ("stages", "cells", "texts", "requests", "sweeps")  # a sweep last: what it names is there already


@dataclass
class Merged:
    """How many of each noun had which outcome, and a line for everything that was left."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: {noun: Counter() for noun in NOUNS})
    problems: list[str] = field(default_factory=list)

    def add(self, noun: str, name: str, take: Callable[[], str]) -> None:
        """Counts what becomes of one thing; of one that raises, why."""
        try:
            outcome = take()
        except (RunError, OSError) as err:
            self.problems.append(f"{noun.removesuffix('s')} {one_line(name)}: {reason_of(err)}")
            outcome = LEFT
        self.counts[noun][outcome] += 1


def merge_store(store: Store, source: Store) -> Merged:
    """Takes over what the source has and the store lacks. Inside `incoming.receiving`.

    Raises RequestError for a source without results, or one that is the store itself.
    """
    check_source(store, source)
    merged = Merged()
    for name, folder in sorted(source.layout.entries().items()):
        noun, target = ("cells", store.root) if folder.parent == source.root else ("stages", store.root / "stages")
        merged.add(noun, name, partial(_take_entry, folder, target / folder.name))
    files: tuple[tuple[str, list[Path], Check], ...] = (
        ("texts", source.layout.all_texts(), read_texts),
        ("requests", source.layout.requests(), check_frozen),
        ("sweeps", source.layout.sweeps(), read_manifest),
    )
    for noun, paths, check in files:
        for path in paths:
            merged.add(noun, path.stem, partial(_take_file, path, store.root / noun / path.name, check))
    return merged


def check_source(store: Store, source: Store) -> None:
    """Raises RequestError for a source that there is nothing to be taken from."""
    if not source.root.is_dir():
        raise RequestError(f"{source.root} is neither a results folder nor a bundle")
    if store.root.is_dir() and source.root.resolve() == store.root.resolve():
        raise RequestError(f"{source.root} is the results folder itself; --results names the one that is added to")
    if not (source.layout.entries() or source.layout.sweeps()):
        raise RequestError(f"{source.root} holds no cell, no stage and no sweep")


def _take_entry(source: Path, target: Path) -> str:
    if not is_entry_name(source.name):
        raise RunError("no cell and no stage is called so")
    if is_owned(source):
        raise RunError("a process works on it there; merge when it has ended")
    finished = state_of(source) == "done"
    if not target.exists():
        put_in_place(copied_aside(source, target), target, None)
        return NEW
    if is_owned(target):
        raise RunError("a process works on it here; merge when it has ended")
    if not finished:
        return SAME
    if state_of(target) == "done":
        more = combine(source, target)
        return ADDED if take_runs(source, target) or more else SAME
    aside = copied_aside(source, target)
    claim = try_claim(target)
    if claim is None:
        raise RunError("a process works on it here; merge when it has ended")
    try:
        if state_of(target) == "done":
            raise RunError("it was finished here meanwhile; merge again")
        copy_runs(target, aside)
        put_in_place(aside, target, claim)
    finally:
        claim.release()
    return REPLACED


def _take_file(source: Path, target: Path, check: Check) -> str:
    if not is_name(source.stem):
        raise RunError("nothing of ours is called so")
    if source.is_symlink():
        raise RunError("it is a symbolic link")
    check(source)
    if not target.exists():
        copy_whole(source, target)
        return NEW
    if target.read_bytes() == source.read_bytes():
        return SAME
    try:
        check(target)
    except DamagedError:
        copy_whole(source, target)
        return REPLACED
    raise RunError(f"another one of that name is here ({target}); rename one of them")
