"""What a listing can say is wrong with an entry, or gone, without reading its weights. No torch here."""

from __future__ import annotations

from pathlib import Path

from amid.store.layout import model_path
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
