"""What W&B recorded offline beside a cell, as far as `wandb sync` needs it. No torch here.

Its own logs and links stay where they are. What it records names the machine, its user, its folders and the command
line, no login and no environment: so a merge of one's own results takes it along, a bundle only when it is asked to.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from amid.store.files import replace_text
from amid.store.sizes import files_below

ROOM = "wandb"  # as W&B calls it, in a cell's folder, unless WANDB_DIR names another place
# A run's record, the mark that it was uploaded, and the files that belong to it.
PATTERN = rf"{ROOM}/offline-run-[\w-]+/(?:run-[\w-]+\.wandb(?:\.synced)?|files/[\w./-]+)"
_FILE = re.compile(PATTERN, re.ASCII)


def offline_runs(folder: Path) -> dict[str, list[Path]]:
    """The name of every offline run in an entry's folder -> its files."""
    room = folder / ROOM
    if room.is_symlink():
        return {}
    runs = [path for path in sorted(room.glob("offline-run-*")) if path.is_dir() and not path.is_symlink()]
    files = {
        run.name: [each for each in files_below(run) if _FILE.fullmatch(each.relative_to(folder).as_posix())]
        for run in runs
    }
    return {name: found for name, found in files.items() if found}


def waiting_runs(room: Path, run_ids: Sequence[str]) -> list[Path]:
    """The folders of offline runs that `wandb sync` has not uploaded yet, oldest first.

    room: where W&B puts them. run_ids: of the runs, each whole or as it begins.
    """
    return [
        folder
        for folder in sorted(room.glob("offline-run-*"))
        if folder.is_dir()
        and any(folder.name.split("-", 3)[-1].startswith(run_id) for run_id in run_ids)
        and not list(folder.glob("*.wandb.synced"))
    ]


def recorded_path(folder: Path, run_id: str) -> Path:
    """The file in an entry's folder that says what is known of one of its runs: its group, or what it was told last."""
    return folder / ROOM / "recorded" / run_id


def recorded_texts(folder: Path) -> list[str]:
    """What is known of every run of an entry."""
    return [path.read_text().strip() for path in sorted((folder / ROOM / "recorded").glob("*")) if path.is_file()]


@dataclass(frozen=True)
class Told:
    """What a run holds for certain: the rows up to a step, and the names of its offline recordings that were ended.

    A recording that was not ended, as after a kill, lacks what was not written yet, and nobody can say what.
    """

    step: int = -1
    recordings: tuple[str, ...] = ()


def told_path(folder: Path, run_id: str) -> Path:
    """The file in an entry's folder that says what one of its runs holds."""
    return folder / ROOM / "told" / run_id


def read_told(path: Path) -> Told | None:
    """What the file says; None where there is none, and nothing at all for a damaged one."""
    try:
        found = json.loads(path.read_text())
        return Told(step=int(found["step"]), recordings=tuple(map(str, found["recordings"])))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        return Told()


def write_told(path: Path, told: Told) -> None:
    """Keeps what a run holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(asdict(told)) + "\n")


def drop_recordings(room: Path, run_id: str, *, but: Sequence[str] = ()) -> None:
    """Removes the offline recordings of a run that nobody has uploaded, but for those of some names.

    What they hold is in the journal, and is told again.
    """
    for folder in waiting_runs(room, [run_id]):
        if folder.name.endswith(f"-{run_id}") and folder.name not in but and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
