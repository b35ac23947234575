"""What is known of a cell besides the labels of its table: its order, its method, how alpha reads. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amid.config import config_root
from amid.store import Store
from amid.store.identity import parsed, recorded_values

ALPHA = "amid.alpha"
NONE = "null"
# Left argument of the divergence -> what stands for the assistant where there is none: D(p, r) is D(p, q) then.
_WITHOUT = {"pr": "q", "rp": "q", "qr": "p", "rq": "p"}


class Facts:
    """Values of the configuration of a cell, from what its manifest says, its overrides, or what its folder records."""

    def __init__(self, manifest: Mapping[str, Any], store: Store) -> None:
        self._shared: Mapping[str, str] = manifest.get("shared", {})
        self._cells = {cell["id"]: cell for cell in manifest["cells"]}
        self._store = store
        self._recorded: dict[str, Mapping[str, Any]] = {}
        pairs = {reference["pair"] for reference in manifest["references"]}
        self._pair = pairs.pop() if len(pairs) == 1 else None

    def of(self, cell_id: str, key: str) -> str | None:
        """The value of a key as text, `null` for none; None where nothing says it."""
        cell = self._cells[cell_id]
        for known in (cell["labels"], self._shared, cell.get("values", {})):
            if known.get(key):
                return str(known[key])
        found = _from_overrides(cell.get("overrides", ()), key)
        if found is None:
            found = self._from_record(cell_id, key)
        if found is None and key == "pair.name":
            return self._pair
        return found

    def alpha(self, cell_id: str) -> str | None:
        """The alpha of a cell as its table shows it; `none (r = q)` or `none (r = p)` where it has no assistant."""
        value = self.of(cell_id, ALPHA)
        return self.without_assistant(cell_id) if value == NONE else value

    def without_assistant(self, cell_id: str) -> str:
        """How a cell without an assistant is called: what stands in its place follows from the order."""
        return without_assistant(self.of(cell_id, "divergence.order"))

    def _from_record(self, cell_id: str, key: str) -> str | None:
        if cell_id not in self._recorded:
            self._recorded[cell_id] = recorded_values(self._store.layout.folder_of("cell", cell_id)) or {}
        node: Any = self._recorded[cell_id]
        if key == ALPHA and "divergence" in node and "amid" not in node:
            return NONE  # what has no effect is no part of a cell
        for part in key.split("."):
            if not isinstance(node, Mapping) or part not in node:
                return None
            node = node[part]
        return _text(node)


def without_assistant(order: str | None) -> str:
    """`none (r = q)`, `none (r = p)`, or `none` where the order is not known."""
    stands_in = _WITHOUT.get(order or "")
    return f"none (r = {stands_in})" if stands_in else "none"


def _from_overrides(overrides: Any, key: str) -> str | None:
    """The value that overrides give a key: by itself, or by the choice of a file of its group."""
    given = dict(text.lstrip("+").partition("=")[::2] for text in overrides if isinstance(text, str))
    if key in given:
        return given[key]
    group, _, rest = key.partition(".")
    choice = given.get(group)
    if choice is None or not rest:
        return choice
    return _text(_of_group(group, choice).get(rest))


def _of_group(group: str, choice: str) -> Mapping[str, Any]:
    path: Path = config_root() / "conf" / group / f"{choice}.yaml"
    if not choice.isidentifier() or not path.is_file():
        return {}
    return parsed(path.read_text()) or {}


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return f"{value:g}" if isinstance(value, float) else str(value)
