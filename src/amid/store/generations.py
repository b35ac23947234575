"""Generated texts: one JSONL file per generation id, to which rows are added for good or not at all. No torch here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from amid.config.names import file_part
from amid.digests.seals import DamagedError, seal
from amid.errors import RunError
from amid.store.files import append_lines, drop_damaged_lines, drop_temporaries, read_lines, read_object, replace_text

log = logging.getLogger(__name__)
PENDING_ROWS = "pending.json"  # rows on their way into several files
ROW = ("index", "response", "ended")  # what is read of one
GENERATED_AGAIN = "evaluate again (task=evaluate, or amid evaluate): what is damaged is generated again"


def rows_path(folder: Path, generation_id: str) -> Path:
    """The file of one generation id in a folder of generations."""
    return folder / f"{file_part(generation_id, found_in=folder)}.jsonl"


def read_rows(path: Path, *, num_rows: int | None = None) -> list[dict[str, Any]]:
    """The rows of one generation file in the order of the prompts; nothing if there is no file.

    num_rows: how many there must be. Raises DamagedError for a damaged row, RunError if rows are missing.
    """
    rows = {row["index"]: row for row in read_lines(path, remedy=GENERATED_AGAIN, needs=ROW)}
    if num_rows is not None and sorted(rows) != list(range(num_rows)):
        raise RunError(f"{path} holds {len(rows)} of {num_rows} responses; run task=evaluate again to add the others")
    return [rows[index] for index in sorted(rows)]


def commit_rows(
    folder: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]], *, check: Callable[[], None] = lambda: None
) -> None:
    """Appends rows (with an "index" each) to the files of several generation ids: all of them, also if killed.

    What a kill left is completed by `complete_commit`, which the next writer calls first. check: called before each
    write; what it raises leaves the files as a kill would.
    """
    replace_text(folder / PENDING_ROWS, seal(rows), check=check)
    _carry_out(folder, rows, check=check)


def complete_commit(folder: Path, *, check: Callable[[], None] = lambda: None) -> None:
    """Carries out what is left of the last `commit_rows`, and cuts torn and damaged lines off, which are said.

    The folder is this process's own: what a killed writer left half-written beside its files is removed.
    """
    drop_temporaries(folder, check=check)
    for path in sorted(folder.glob("*.jsonl")):
        for number, what in drop_damaged_lines(path, needs=ROW, check=check).items():
            log.warning("%s, line %d is damaged (%s): it is generated again", path, number, what)
    pending = folder / PENDING_ROWS
    try:
        rows = read_object(pending, remedy="its rows are generated again")
    except DamagedError as err:
        log.warning("%s", err)
        pending.unlink()
        return
    if rows is not None:
        _carry_out(folder, rows, check=check)


def _carry_out(folder: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]], *, check: Callable[[], None]) -> None:
    for generation_id, items in rows.items():
        path = rows_path(folder, generation_id)
        done = {row["index"] for row in read_rows(path)}
        check()
        append_lines(path, [item for item in items if item["index"] not in done])
    check()
    (folder / PENDING_ROWS).unlink()
