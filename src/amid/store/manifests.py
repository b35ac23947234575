"""Manifests: the record of a sweep, or of a single run, found by its name or by how its id begins. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amid.config.names import check_name
from amid.digests.seals import DamagedError
from amid.errors import RequestError, one_line
from amid.store.files import read_object
from amid.store.layout import Layout

MANIFEST = ("name", "rows", "metric", "protocols", "references", "cells")
REFERENCE = ("kind", "id", "pair", "protocol")
CELL = ("id", "labels", "protocol")
SINGLE = "run-"  # before the cell's id: the name of a single run
UNNAMED = ("sweep-", SINGLE)  # before an id of ours: names that nobody chose, and that may be shortened like the id
NAMES_SAID = 8  # of many that would be valid


def sweep_path(layout: Layout, name: str | None) -> Path:
    """The manifest of that name, the one requested last for None.

    `sweep-ID` and `run-ID`, which nobody chose, may be shortened, and their id alone will do, as far as it names one.
    Raises RequestError for none or several.
    """
    paths = {path.stem: path for path in layout.sweeps()}
    if name is None:
        if not paths:
            raise RequestError(f"no sweep in {layout.root}; start one with: python run.py -m amid.alpha=-1,0,1")
        return list(paths.values())[-1]
    if name in paths:  # only what is there is read, so that no name leads elsewhere
        return paths[name]
    check_name("sweep", name)
    found = [
        each
        for each in sorted(paths)
        for start in UNNAMED
        if each.startswith(start) and (each.removeprefix(start).startswith(name) or each.startswith(name))
    ]
    if len(found) != 1:
        what = f"names {len(found)} sweeps ({listed(found)})" if found else f"is not in {layout.root}"
        raise RequestError(f"sweep '{one_line(name)}' {what}; valid: {listed(sorted(paths)) or 'none yet'}")
    return paths[found[0]]


def read_manifest(path: Path, *, others: Sequence[str] = ()) -> dict[str, Any]:
    """The manifest in a file. Raises DamagedError, which says what else can be read. others: names of the others."""
    remedy = "repeat the sweep: nothing is trained twice"
    if others:
        remedy += f"; others can be read by name: {listed(sorted(others))}"
    manifest = read_object(path, remedy=remedy, needs=MANIFEST)
    if manifest is None or not _is_manifest(manifest):  # not by us, or unsealed and changed, or just removed
        raise DamagedError(path, "it does not describe a sweep", remedy)
    return manifest


def listed(names: Sequence[str]) -> str:
    """The first of some names, with commas between, and how many there are beside them."""
    more = f" and {len(names) - NAMES_SAID} more" if len(names) > NAMES_SAID else ""
    return ", ".join(names[:NAMES_SAID]) + more


def _is_manifest(manifest: Mapping[str, Any]) -> bool:
    rows, protocols = manifest["rows"], manifest["protocols"]
    if not isinstance(rows, list) or not isinstance(protocols, dict):
        return False
    for name, needed in (("references", REFERENCE), ("cells", CELL)):
        items = manifest[name]
        if not isinstance(items, list) or not all(
            isinstance(item, dict) and set(needed) <= set(item) for item in items
        ):
            return False
        if not all(isinstance(protocols.get(item["protocol"]), dict) for item in items):
            return False
    cells = manifest["cells"]
    known = all(isinstance(item.get("values", {}), dict) for item in cells)  # as of later manifests
    return known and all(isinstance(item["labels"], dict) and set(rows) <= set(item["labels"]) for item in cells)
