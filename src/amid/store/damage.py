"""What a listing can say is wrong with an entry, without reading its weights. No torch here."""

from __future__ import annotations

from pathlib import Path

from amid.seals import DamagedError
from amid.store.layout import model_path
from amid.store.scores import sift_scores
from amid.store.status import REBUILT, read_status


def damage_of(folder: Path) -> list[str]:
    """One line per damaged file: a status or scores that cannot be read, a model that was published and is gone."""
    status = read_status(folder)
    found = [str(status["error"])] if status.get("state") == "damaged" and "error" in status else []
    model = model_path(folder)
    if status.get("state") == "done" and "model" in status and not model.is_dir():
        found.append(str(DamagedError(model, "it is missing", REBUILT)))
    return [*found, *map(str, sift_scores(folder)[1])]
