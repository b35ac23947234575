"""The state of a sweep's entries, a line each: what `amid status` says, once or again and again. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amid.errors import one_line
from amid.reports.columns import aligned
from amid.store import Store
from amid.store.damage import damage_of, is_pruned, older_version
from amid.store.files import file_system_now
from amid.store.status import is_unverified, read_status, state_of, warnings_in
from amid.store.watch import owner_of

ENDED = ("done", "failed", "damaged")


@dataclass(frozen=True)
class States:
    """What is said of a sweep: its lines, and whether every cell has ended, as far as nobody begins anew."""

    lines: tuple[str, ...]
    ended: bool


def states_of(manifest: Mapping[str, Any], store: Store) -> States:
    """The states of the stages and cells of a recorded sweep, at a glance: nothing is waited for."""
    folders = [
        (f"{reference['kind']} {reference['id']}", store.layout.folder_of(reference["kind"], reference["id"]), "")
        for reference in manifest["references"]
    ]
    for cell in manifest["cells"]:
        labels = "  ".join(f"{key}={value}" for key, value in cell["labels"].items())
        folders.append((cell["id"], store.layout.folder_of("cell", cell["id"]), labels))
    now = file_system_now(store.root)
    lines, states = [], []
    for title, folder, labels in folders:
        details = read_status(folder)
        state, damage = state_of(folder), damage_of(folder)
        shown = "damaged" if damage else state
        states.append(shown)
        seconds = f"{details['seconds']:.0f} s" if "seconds" in details else ""
        error = str(details.get("error", "")) if state in ("failed", "done") else ""
        if error and state == "done":
            error = f"its last evaluation failed: {error}"
        owner = owner_of(folder, now=now) if state == "running" else ""
        gone = "model gone: trained again when it is needed" if is_pruned(folder) else ""
        rest = filter(
            None, (labels, seconds, owner, error, gone, older_version(folder), *warnings_in(details), *damage)
        )
        lines.append((one_line(title), f"{shown:<8}", "  ".join(map(one_line, rest))))
    said = [f"sweep {manifest['name']} in {store.root}", *aligned(lines)]
    unverified = sum(is_unverified(folder) for _, folder, _ in folders)
    if unverified:
        said.append(f"unverified: {unverified} of {len(folders)} were written before digests were kept")
    of_cells = states[len(manifest["references"]) :]
    return States(tuple(said), all(state in ENDED for state in of_cells) and "running" not in states)
