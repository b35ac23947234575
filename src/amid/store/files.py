"""Files of the store: written whole or not at all, checked when read; a full disk is one line. No torch here."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amid.digests.seals import DamagedError, seal, unseal
from amid.errors import RunError

MB = 10**6
FULL = (errno.ENOSPC, errno.EDQUOT)
TEMPORARY = ".tmp"
_WRITER = secrets.token_hex(4)


class NoSpaceError(RunError):
    """The disk is full: says where, and how much was to be written."""

    def __init__(self, path: Path, num_bytes: int) -> None:
        super().__init__(
            f"no space left: {max(1, -(-num_bytes // MB))} MB needed at {path}; "
            "free some and repeat the command: what is on disk is kept"
        )


@contextlib.contextmanager
def space_for(path: Path, num_bytes: int) -> Iterator[None]:
    """A context in which a library writes to `path`; what it raises for a full disk becomes NoSpaceError."""
    try:
        yield
    except Exception as err:
        # Every library has its own error for a full disk, some without its number.
        causes: list[BaseException | None] = [err, err.__cause__, err.__context__]
        full = any(isinstance(each, OSError) and each.errno in FULL for each in causes)
        full = full or any("No space left" in str(each) or "Disk quota" in str(each) for each in causes if each)
        if not full and not isinstance(err, OSError) and path.parent.exists():
            full = shutil.disk_usage(path.parent).free < num_bytes
        if full:
            raise NoSpaceError(path, num_bytes) from err
        raise


def replace_text(path: Path, text: str, *, check: Callable[[], None] | None = None) -> None:
    """Write a small file so that a reader or a crash sees the old text or the new one, never half of it.

    check: as in `replacing`.
    """
    data = text.encode()
    with replacing(path, len(data), check=check) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def replacing(path: Path, num_bytes: int, *, check: Callable[[], None] | None = None) -> Iterator[Path]:
    """A context that writes a file, about so large, beside `path`, and puts it in its place at the end, safe on disk.

    check: called when all but that last step is done. What it or the body raises leaves the old file.
    """
    temporary = temporary_path(path)
    try:
        with space_for(path, num_bytes):
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
        if check is not None:
            check()
        temporary.replace(path)
    except BaseException as err:
        with contextlib.suppress(OSError):  # what went wrong is being raised already
            temporary.unlink(missing_ok=True)
        if isinstance(err, FileNotFoundError) and check is not None:
            check()  # whoever took the folder over has removed what this writer left: that is what went wrong
        raise


def temporary_path(path: Path) -> Path:
    """A name beside a file that no other writer uses, on no host, not even one that was thought dead."""
    return path.with_name(f".{path.name}.{_WRITER}.{os.getpid()}.{threading.get_ident()}{TEMPORARY}")


def drop_temporaries(folder: Path, *, check: Callable[[], None]) -> None:
    """Removes what earlier writers left beside the files of a folder, killed ones or suspended ones that may wake.

    One that wakes finds its file gone, and so cannot put it in its place. check: called when it is known what to
    remove; as it raises for a writer that was succeeded, nothing is removed that a successor has made.
    """
    look_anew(folder)
    left = list(folder.glob(f".*{TEMPORARY}"))
    check()
    for path in left:
        path.unlink(missing_ok=True)


def look_anew(folder: Path) -> None:
    """What is read of the folder next is what the server has now.

    A client of NFS remembers which names a folder has, or has not, for up to a minute; the answer to a change, of the
    folder's own time here, carries the folder's present state.
    """
    with contextlib.suppress(OSError):  # one that is gone, or may not be written, says so when it is read
        os.utime(folder)


def append_line(path: Path, values: Mapping[str, Any]) -> None:
    """Adds one sealed line to a JSONL file."""
    append_lines(path, [values])


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Adds sealed lines to a JSONL file. A kill leaves some of them and perhaps a torn one."""
    data = "".join(f"{seal(row)}\n" for row in rows).encode()
    with space_for(path, len(data)), path.open("ab") as stream:
        stream.write(data)


def read_object(path: Path, *, remedy: str, needs: Iterable[str] = ()) -> dict[str, Any] | None:
    """The JSON object of a file; None if there is no file. Raises DamagedError if it is not what was written."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as err:
        raise DamagedError(path, f"it cannot be read: {err.strerror}", remedy) from err
    try:
        return _complete(unseal(data)[0], needs)
    except ValueError as err:
        raise DamagedError(path, str(err), remedy) from None


def is_sealed(path: Path) -> bool:
    """Whether a seal vouches for a JSON file that can be read."""
    try:
        return unseal(path.read_bytes())[1]
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class Lines:
    """The objects of a JSONL file, and for each damaged line (counted from 1) how it shows."""

    sound: list[dict[str, Any]]
    damaged: dict[int, str]


def sift_lines(path: Path, *, needs: Iterable[str] = (), whole: bool = False, to_write: bool = False) -> Lines:
    """The lines of a JSONL file, the sound and the damaged ones; nothing if there is no file.

    needs: entries without which a line is damaged. A torn last line is what a killed writer leaves, and neither sound
    nor damaged, unless the file was written whole. to_write: for who writes on what is there; then a file that cannot
    be read raises OSError, so that nothing is lost of it. Otherwise it counts as damaged.
    """
    lines = Lines([], {})
    try:
        *complete, tail = path.read_bytes().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return lines
    except OSError as err:
        if to_write:
            raise
        return Lines([], {1: f"it cannot be read: {err.strerror}"})
    if (tail and whole) or _is_whole(tail[:-1]):
        complete.append(tail)  # not torn: a line of which only the line feed is damaged
    for number, line in enumerate(complete, start=1):
        try:
            lines.sound.append(_complete(unseal(line)[0], needs))
        except ValueError as err:
            lines.damaged[number] = str(err)
    return lines


def read_lines(path: Path, *, remedy: str, needs: Iterable[str] = (), whole: bool = False) -> list[dict[str, Any]]:
    """The objects of a JSONL file, as `sift_lines`. Raises DamagedError for the first damaged line."""
    lines = sift_lines(path, needs=needs, whole=whole)
    for number, problem in lines.damaged.items():
        raise DamagedError(path, f"line {number}: {problem}", remedy)
    return lines.sound


def drop_torn_line(path: Path) -> None:
    """Cuts what a killed writer left after the last complete line of a JSONL file, before appending to it."""
    if path.exists():
        data = path.read_bytes()
        complete = data.rfind(b"\n") + 1
        if complete < len(data):
            with path.open("r+b") as stream:
                stream.truncate(complete)


def drop_damaged_lines(
    path: Path, *, needs: Iterable[str] = (), check: Callable[[], None] | None = None
) -> dict[int, str]:
    """The damaged lines, by number, that were cut out of a JSONL file; a torn last line goes too, silently.

    check: as in `replacing`.
    """
    damaged = sift_lines(path, needs=needs, to_write=True).damaged
    if damaged:
        lines = path.read_bytes().split(b"\n")
        kept = [line for number, line in enumerate(lines[:-1], start=1) if number not in damaged]
        replace_text(path, b"".join(line + b"\n" for line in kept).decode(), check=check)
    drop_torn_line(path)
    return damaged


def file_system_now(folder: Path) -> float | None:
    """The present of the file system that holds the folder, in its own seconds; None where nothing can be written.

    Times of files are compared with it, never with this machine's clock.
    """
    probe = temporary_path(folder / "now")
    try:
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
    except OSError:
        return None
    return now


def _complete(values: dict[str, Any], needs: Iterable[str]) -> dict[str, Any]:
    missing = [name for name in needs if name not in values]
    if missing:
        raise ValueError(f"it has no {', '.join(missing)}")
    return values


def _is_whole(line: bytes) -> bool:
    try:
        return unseal(line)[1]
    except ValueError:
        return False
