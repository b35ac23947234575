"""What W&B recorded offline beside a cell, as far as `wandb sync` needs it. No torch here.

Its own logs and links stay where they are. What it records names the machine, its user, its folders and the command
line, no login and no environment: so a merge of one's own results takes it along, a bundle only when it is asked to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

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
