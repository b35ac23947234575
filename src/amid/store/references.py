"""Who needs whom: the ids that entries are made from, as their values and the manifests name them. No torch here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amid.digests.seals import DamagedError
from amid.store.identity import recorded_values
from amid.store.layout import identity_path
from amid.store.manifests import read_manifest
from amid.store.status import REBUILT
from amid.store.store import Store


def made_from(folder: Path, names: dict[str, str]) -> set[str]:
    """Those of the stages that an entry's values name. names: id -> name of every stage there is.

    Raises DamagedError where the values cannot be read: then nobody knows.
    """
    values = recorded_values(folder)
    if values is None:
        raise DamagedError(identity_path(folder), "what the entry is made from cannot be read", REBUILT)
    return {names[text] for text in _texts(values) if text in names}


def stage_names(store: Store) -> dict[str, str]:
    """Id -> KIND-ID of every stage there is; a model that came from elsewhere is none."""
    stages = {name for name, path in store.layout.entries().items() if path.parent != store.root}
    return {name.rpartition("-")[2]: name for name in sorted(stages) if not name.startswith("model-")}


def users_of(store: Store, stage: str) -> list[str]:
    """Ids of the cells that are made from a stage, directly or by way of others."""
    names, users = stage_names(store), []
    for name, folder in sorted(store.layout.cells().items()):
        with contextlib.suppress(DamagedError):
            if stage in closure(store, made_from(folder, names), names):
                users.append(name)
    return users


def needed_stages(store: Store) -> set[str]:
    """KIND-ID of every stage that a cell or a sweep of the store needs.

    Raises DamagedError for a manifest or an entry that cannot be read: then nobody knows what it needs.
    """
    names = stage_names(store)
    found: set[str] = set()
    for folder in store.layout.cells().values():
        found |= made_from(folder, names)
    for path in store.layout.sweeps():
        found |= stages_in(read_manifest(path), names)
    return closure(store, found, names)


def stages_in(manifest: dict[str, Any], names: dict[str, str]) -> set[str]:
    """KIND-ID of the stages that a manifest names, as far as they are there."""
    ids = [str(each["id"]) for each in manifest["references"]]
    ids += [str(each) for cell in manifest["cells"] for each in cell.get("corpora", ())]
    return {names[each] for each in ids if each in names}


def closure(store: Store, stages: set[str], names: dict[str, str]) -> set[str]:
    """The stages, and those that they are made from."""
    found: set[str] = set()
    left = set(stages)
    while left:
        name = left.pop()
        found.add(name)
        left |= made_from(store.root / "stages" / name, names) - found
    return found


def _texts(values: object) -> Iterator[str]:
    """Every text in a tree of values."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, dict):
        for each in values.values():
            yield from _texts(each)
    elif isinstance(values, list):
        for each in values:
            yield from _texts(each)
