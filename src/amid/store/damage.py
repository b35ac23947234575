"""What a listing can say is wrong with an entry, or gone, without reading its weights. No torch here."""

from __future__ import annotations

import re
from pathlib import Path

from amid.cells.canonical import CELL_VERSION
from amid.cells.stage import STAGE_VERSIONS
from amid.store.layout import identity_path, model_path
from amid.store.scores import sift_scores
from amid.store.status import read_status


def damage_of(folder: Path) -> list[str]:
    """One line per damaged file of those that listings read: the status and the scores."""
    status = read_status(folder)
    found = [str(status["error"])] if status.get("state") == "damaged" and "error" in status else []
    return [*found, *map(str, sift_scores(folder)[1])]


def is_pruned(folder: Path) -> bool:
    """Whether the whole model of a done entry was removed, to save space; its scores stay what they are."""
    return read_status(folder).get("state") == "done" and not model_path(folder).exists()


def older_version(folder: Path) -> str:
    """Empty, or in words that an entry was made by an older version of the code, whose numbers are others today."""
    try:
        text = identity_path(folder).read_text()
    except (OSError, ValueError):
        return ""
    # A line of it, and not the whole: reading YAML takes milliseconds an entry
    found = re.search(r"^cell_version: (\d+)$", text, re.M)
    kind = re.search(r"^kind: (\w+)$", text, re.M)
    now = CELL_VERSION if kind is None else STAGE_VERSIONS.get(kind[1], CELL_VERSION)
    if found is None or int(found[1]) == now:
        return ""
    return f"of version {found[1]}, today's is {now}: the same request names another one now"
