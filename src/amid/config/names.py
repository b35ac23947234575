"""Names that become file names, and paths: neither a name, nor a file of the store, nor a link leads out of it."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from amid.errors import RequestError, RunError, one_line

MAX_LENGTH = 100  # characters: with what is put around a name still a file name everywhere
ROOMS = ("claims", "checkpoints", "generations", "examples", "model")  # of an entry's folder; others are not ours
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?")


def is_name(text: object) -> bool:
    """True for at most 100 letters, digits, `.`, `_` and `-`, with no dot at either end."""
    return isinstance(text, str) and len(text) <= MAX_LENGTH and _NAME.fullmatch(text) is not None


def check_name(noun: str, name: str) -> None:
    """Raises RequestError unless the name can be a file name."""
    if not is_name(name):
        shown = name if len(name) <= MAX_LENGTH else f"{name[:20]}... ({len(name)} characters)"
        raise RequestError(
            f"{noun} '{one_line(shown)}' is no name; valid: letters, digits, '.', '_' and '-', "
            f"at most {MAX_LENGTH} of them, no dot at either end"
        )


def expanded(key: str, folder: str) -> str:
    """The folder with a leading `~` replaced by the home it stands for; quotes and a later `~` are part of a name.

    Raises RequestError for the home of nobody, or an empty name.
    """
    if not folder.strip():
        raise RequestError(f"{key} must name a folder, got '{folder}'")
    found = os.path.expanduser(folder)
    if found.startswith("~"):
        raise RequestError(f"{key}: '{one_line(folder)}' is the home of nobody; a folder of that name is ./{folder}")
    return found


def file_part(text: object, *, found_in: Path) -> str:
    """The text, read from a file of the store, as the name of a file or folder.

    Raises RunError if it is none: a damaged or foreign file must not lead out of the store.
    """
    if not isinstance(text, str) or not text or text[0] == "." or set(text) & {"/", "\\", "\0"}:
        raise RunError(f"{found_in} is damaged: {one_line(repr(text))[:80]} is no id; remove it and run its cell again")
    return text


def link_text(path: Path) -> str | None:
    """What is said of a symbolic link in the store, which is never followed; None for anything else."""
    if not path.is_symlink():
        return None
    return f"{path} is a symbolic link to {one_line(os.readlink(path))}, and links inside a store are not followed"


def refuse_links(folder: Path) -> None:
    """Raises RunError if an entry's folder, or anything written in it, is a symbolic link.

    Appending to a link, or making files behind one, would change what belongs to somebody else. The results folder
    itself, and the rooms in it that hold entries, may be links: that is how a store is put on another disk.
    """
    inside: list[Path] = []
    for place in (folder, *(folder / room for room in ROOMS)):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # its owner may remove one meanwhile
            inside += place.iterdir()
    for path in (folder, *inside):
        text = link_text(path)
        if text is not None:
            raise RunError(f"{text}; put what it holds in its place, or link the whole results folder")
