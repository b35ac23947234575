"""What is in a store: its sweeps and single runs, when each was asked for last, and how far it is. No torch here."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amid.digests.seals import DamagedError
from amid.errors import one_line
from amid.reports.columns import aligned, ruled
from amid.store import Store
from amid.store.damage import damage_of, older_version
from amid.store.manifests import SINGLE, listed, read_manifest
from amid.store.status import state_of

HEADER = ("name", "asked for last (UTC)", "done", "others", "what")
LABELS_SHOWN = 60  # characters of what a sweep is over


def overview(store: Store) -> list[str]:
    """One line per sweep or single run, the one asked for last at the end; then the cells that none of them names."""
    lines, named = [], set[str]()
    for path in store.layout.sweeps():
        try:
            manifest = read_manifest(path)
        except DamagedError as err:
            lines.append((one_line(path.stem), _when(path), "-", "damaged", one_line(str(err))))
            continue
        named |= {str(cell["id"]) for cell in manifest["cells"]}
        lines.append((one_line(path.stem), _when(path), *_progress(manifest, store)))
    said = ruled(aligned([HEADER, *lines])) if lines else [f"no sweep and no single run in {store.root}"]
    others = sorted(set(store.layout.cells()) - named)
    if others:
        said.append(f"cells of none of these: {listed(others)} (amid show ID)")
    return said


def _progress(manifest: Mapping[str, Any], store: Store) -> tuple[str, str, str]:
    """How many cells are done, of how many; the states of the others; and what it is."""
    folders = [store.layout.folder_of("cell", cell["id"]) for cell in manifest["cells"]]
    states = Counter("damaged" if damage_of(folder) else state_of(folder) for folder in folders)
    others = [f"{number} {state}" for state, number in sorted(states.items()) if state != "done"]
    older = sum(bool(older_version(folder)) for folder in folders)
    if older:
        others.append(f"{older} of an older version")
    return f"{states['done']} of {len(folders)}", ", ".join(others) or "-", _what(manifest)


def _what(manifest: Mapping[str, Any]) -> str:
    """The keys over which a sweep goes, or the labels of a single run."""
    if str(manifest["name"]).startswith(SINGLE):
        overrides = " ".join(map(str, manifest["cells"][0].get("overrides", ()))) if manifest["cells"] else ""
        text = f"single run: {overrides or '(defaults)'}"
    else:
        text = ", ".join(map(str, manifest["rows"]))
    text = one_line(text)
    return text if len(text) <= LABELS_SHOWN else f"{text[: LABELS_SHOWN - 3]}..."


def _when(path: Path) -> str:
    return datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).strftime("%Y-%m-%d %H:%M")
