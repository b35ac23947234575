"""The folder of an export: written beside its place and renamed into it, so that it is there whole or not. No torch.

`.NAME.partial-X/` beside it holds who writes (`owner.json`), what is written (`folder/`) and, for the moment of a
replacement, what was there before (`before/`). What a killed export leaves is removed by the next one to that place.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from amid.digests.seals import DamagedError, seal
from amid.errors import RequestError, RunError
from amid.store.files import read_object, replace_text, space_for
from amid.store.owners import life_of, own_identity

MARKER = "amid_export.json"
_KIND = "amid export"


def check_target(target: Path, *, overwrite: bool) -> None:
    """Raises RequestError unless an export may be put there: nothing is there, or --overwrite of one of ours."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise RequestError(f"{target} is no folder; give another one")
    for above in target.parents:
        if above.exists():
            if not above.is_dir():
                raise RequestError(f"{above} is no folder, so there can be none below it")
            if not os.access(above, os.W_OK):
                raise RequestError(f"{above} cannot be written; give another folder")
            break
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not overwrite:
        raise RequestError(f"{target} is not empty; give another folder, or --overwrite to replace an earlier export")
    marker = read_marker(target)
    if marker is None:
        raise RequestError(f"{target} is not empty, and no export of ours made it; --overwrite replaces only those")
    foreign = sorted(_files(target) - set(marker["files"]) - {MARKER})
    if foreign:
        raise RequestError(f"{target} holds {foreign[0]}, which the export did not write; move it away first")


def read_marker(folder: Path) -> dict[str, Any] | None:
    """What an export says of the folder it made: cell, options, files; None for a folder that none made."""
    try:
        found = read_object(
            folder / MARKER, remedy="export again to another folder", needs=("kind", "cell", "options", "files")
        )
    except DamagedError:
        return None
    return found if found is not None and found["kind"] == _KIND else None


def holds(folder: Path, cell_id: str, written: Mapping[str, Any]) -> bool:
    """Whether the folder is an export of the cell, made with these options. Raises RequestError for other options."""
    marker = read_marker(folder)
    if marker is None or marker["cell"] != cell_id:
        return False
    if marker["options"] != dict(written):
        before = ", ".join(f"{name} {value}" for name, value in marker["options"].items())
        raise RequestError(f"{folder} holds an export with other options ({before}); give those, or --overwrite")
    return True


@contextlib.contextmanager
def new_folder(target: Path, *, about: Mapping[str, Any], overwrite: bool, num_bytes: int) -> Iterator[Path]:
    """A context that fills a folder, about so large, which is the target at its end; after an error nothing stays.

    about: what the marker says besides the list of its files. Raises RequestError as `check_target`, RunError for a
    place that cannot be written.
    """
    check_target(target, overwrite=overwrite)
    target = target.absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear(target)
        work = target.parent / f"{_prefix(target)}{secrets.token_hex(4)}"
        work.mkdir()
    except OSError as err:
        raise RunError(f"{target.parent} cannot be written: {err.strerror}") from err
    try:
        replace_text(work / "owner.json", seal(own_identity()))
        folder = work / "folder"
        folder.mkdir()
        with space_for(target, num_bytes):
            yield folder
            marker = {"kind": _KIND, **about, "files": sorted(_files(folder))}
            replace_text(folder / MARKER, seal(marker, indent=1) + "\n")
            _to_disk(folder)
        check_target(target, overwrite=overwrite)  # another export may have been faster
        _put(folder, target, before=work / "before")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _put(folder: Path, target: Path, *, before: Path) -> None:
    if target.is_dir() and any(target.iterdir()):
        target.rename(before)
        try:
            folder.rename(target)
        except OSError:
            before.rename(target)
            raise
    else:
        folder.rename(target)


def _clear(target: Path) -> None:
    """Removes what killed exports to this place left; what one was about to replace goes back to its place."""
    for work in target.parent.glob(f"{_prefix(target)}*"):
        try:
            owner = read_object(work / "owner.json", remedy="")
        except DamagedError:
            owner = None
        if owner is None or life_of(owner) != "gone":
            continue
        if (work / "before").is_dir() and not target.exists():
            (work / "before").rename(target)
        shutil.rmtree(work, ignore_errors=True)


def _prefix(target: Path) -> str:
    return f".{target.name}.partial-"


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def _to_disk(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
