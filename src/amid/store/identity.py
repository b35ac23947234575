"""What decides the weights of an entry, as its folder records it. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from amid.cells.canonical import ID_DIGITS
from amid.digests.fingerprint import value_digest
from amid.digests.seals import DamagedError
from amid.store.layout import identity_path
from amid.store.status import REBUILT

# The fast one where libyaml is there: a store may hold a thousand cells.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def recorded_values(folder: Path) -> dict[str, Any] | None:
    """The canonical form of a cell or stage, nested; None if it was not begun, or cannot be read."""
    try:
        return parsed(identity_path(folder).read_text())
    except (OSError, ValueError):
        return None


def values_of(folder: Path, entry_id: str) -> dict[str, Any]:
    """The canonical form of the cell or stage of that id. Raises DamagedError unless the folder records just it."""
    values, path = recorded_values(folder), identity_path(folder)
    if values is None:
        raise DamagedError(path, "it does not describe a cell or stage", REBUILT)
    if value_digest(values, digits=ID_DIGITS) != entry_id:
        raise DamagedError(path, "it describes another one", REBUILT)
    return values


def parsed(text: str) -> dict[str, Any] | None:
    """A mapping from its YAML; None if it is none."""
    try:
        values = yaml.load(text, Loader=_LOADER)
    except (ValueError, yaml.YAMLError):
        return None
    return values if isinstance(values, dict) else None
