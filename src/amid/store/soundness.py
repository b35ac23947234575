"""Whether an entry is what was written, file by file: looked at before it is taken over elsewhere. No torch here."""

from __future__ import annotations

import re
from pathlib import Path

from amid.cells.canonical import ID_DIGITS
from amid.config.names import refuse_links
from amid.digests.seals import DamagedError, check_folder
from amid.store.files import read_lines, read_object
from amid.store.generations import read_rows
from amid.store.identity import values_of
from amid.store.layout import generations_path, journal_path, model_path, provenance_path
from amid.store.scores import SCORED_AGAIN, read_scores
from amid.store.status import REBUILT, read_status

# What an entry consists of; whatever else lies in its folder (a tracker's files, a claim) belongs to where it was made.
FILES = (
    "cell.yaml",
    "status.json",
    "provenance.json",
    "provenance.jsonl",
    "journal.jsonl",
    "scores.jsonl",
    "lineage",
    "error.log",
)
FOLDERS = ("examples", "generations", "model", "checkpoints")
_NAME = re.compile(rf"(?:[a-z_]+-)?[0-9a-f]{{{ID_DIGITS}}}")


def is_entry_name(name: str) -> bool:
    """Whether a cell's or stage's folder may be called so: ID or KIND-ID."""
    return _NAME.fullmatch(name) is not None


def check_entry(folder: Path, *, with_model: bool = True) -> None:
    """Reads all that is sealed in an entry's folder, whose name is the entry's.

    with_model: its weights too. Raises DamagedError for the first damage, RunError for a symbolic link.
    """
    refuse_links(folder)
    status = read_status(folder)
    if status.get("state") in (None, "damaged"):
        raise DamagedError(folder / "status.json", str(status.get("error", "it is missing")), REBUILT)
    values_of(folder, folder.name.rpartition("-")[2])
    read_scores(folder)
    for path in sorted(generations_path(folder).glob("*.jsonl")):
        read_rows(path)
    for path in sorted((folder / "examples").glob("*.json")):
        read_object(path, remedy=SCORED_AGAIN, needs=("score_id", "texts", "values"))
    for path in (journal_path(folder), provenance_path(folder)):
        read_lines(path, remedy=REBUILT)
    if with_model and model_path(folder).is_dir():
        check_folder(model_path(folder), expected=status.get("model"), remedy=REBUILT)
