"""What is known of each cell of a sweep: its command, configuration, provenance, cost and curves. No torch here."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from amid.reports.costs import COST_COLUMNS, cost_rows, shown_costs
from amid.reports.page.markup import element, simple_table, text
from amid.reports.page.pictures import curves
from amid.reports.reading import Reading
from amid.store import Store
from amid.store.identity import recorded_values
from amid.store.provenance import read_provenance

OF_THE_MACHINE = "paths."  # overrides that name folders of one machine: of no use elsewhere, and nobody's business


def configurations(manifest: Mapping[str, Any], store: Store) -> dict[str, dict[str, str]]:
    """What decides the weights of each cell, key by key, as its folder records it; of one not begun, its labels."""
    found = {}
    for cell in manifest["cells"]:
        recorded = _flat(recorded_values(store.layout.folder_of("cell", cell["id"])) or {})
        found[str(cell["id"])] = recorded or {**manifest.get("shared", {}), **cell["labels"]}
    return found


def parted(configured: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What all cells have in common once, and of each what is its own."""
    every = list(configured.values())
    common = {key: value for key, value in every[0].items() if all(o.get(key) == value for o in every)} if every else {}
    own = {id_: {k: v for k, v in values.items() if k not in common} for id_, values in configured.items()}
    return {"common": common, "own": own}


def models_part(manifest: Mapping[str, Any], store: Store, reading: Reading) -> str:
    """A section for each cell that opens on demand, after what they all have in common."""
    configured = parted(configurations(manifest, store))
    sources = {str(cell["id"]): _source(store, str(cell["id"])) for cell in manifest["cells"]}
    shared = parted(sources)
    common = {**configured["common"], **shared["common"]}
    parts = []
    if common:
        title = "What all cells have in common"
        listed = simple_table(title, ("key", "value"), sorted(common.items()))
        parts.append(element("details", element("summary", title), listed))
    for number, cell in enumerate(manifest["cells"]):
        id_ = str(cell["id"])
        folder = store.layout.folder_of("cell", id_)
        found = reading.of(folder)
        labels = ", ".join(f"{key} {value}" for key, value in cell["labels"].items())
        own = {**configured["own"][id_], **shared["own"][id_]}
        body = [
            element("p", "Asked for as ", element("code", text(_command(cell)))),
            element("p", "Again, as it was asked for: ", element("code", text(f"python run.py cell={id_}"))),
            simple_table(f"What {id_} has of its own", ("key", "value"), sorted(own.items())) if own else "",
            *(element("p", text(warning)) for warning in found.warnings),
            curves(folder, id_=f"cell{number}"),
        ]
        title = element("summary", element("code", text(id_)), " ", text(labels), f" [{text(found.state)}]")
        parts.append(element("details", title, *body, class_="cell"))
    return "".join(parts)


def costs_part(manifest: Mapping[str, Any], store: Store) -> str:
    """The table of `amid costs`."""
    rows = cost_rows(manifest, store)
    labels = list(dict.fromkeys(key for row in rows for key in row.labels))
    lines: Sequence[Sequence[str]] = [
        (row.cell_id, *(str(row.labels.get(key, "")) for key in labels), row.state, *shown_costs(row)) for row in rows
    ]
    return simple_table("What each cell used up", ("cell", *labels, "state", *COST_COLUMNS), lines)


def _command(cell: Mapping[str, Any]) -> str:
    overrides = [str(each) for each in cell.get("overrides", ()) if not str(each).startswith(OF_THE_MACHINE)]
    return " ".join(["python run.py", *map(shlex.quote, overrides)])


def _source(store: Store, cell_id: str) -> dict[str, str]:
    """The code and libraries of the last attempt at a cell; neither times nor machines."""
    attempts = read_provenance(store.layout.folder_of("cell", cell_id))
    if not attempts:
        return {}
    last = attempts[-1]
    git, packages = last.get("git") or {}, last.get("packages") or {}
    found = {f"version of {name}": str(version) for name, version in packages.items()}
    if "python" in last:
        found["version of python"] = str(last["python"])
    if git:
        changed = " with changes" if git.get("dirty") else ""
        found["code (git commit)"] = f"{git.get('commit', '')}{changed}"
    return found


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            found |= _flat(value, f"{name}.")
        else:
            found[name] = f"{value:g}" if isinstance(value, float) else str(value)
    return found
