"""Single files of a model folder, read with one clear line for each way in which they can be damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from amid.errors import RequestError, one_line

LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def size_of(path: Path) -> int:
    """The size of a file in bytes. Raises RequestError for one that is missing, empty, unreadable or an LFS pointer."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(len(LFS_POINTER))
    except FileNotFoundError:
        raise RequestError(f"{path} does not exist") from None
    except OSError as err:
        raise RequestError(f"{path} cannot be read: {err.strerror}") from err
    if size == 0:
        raise RequestError(f"{path} is empty; copy or download it again")
    if head == LFS_POINTER:
        raise RequestError(
            f"{path} is a pointer file of git LFS ({size} bytes), not the file itself; run in its folder: git lfs pull"
        )
    return size


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds. Raises RequestError for a file that holds anything else."""
    size_of(path)
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as err:  # UnicodeDecodeError is a ValueError
        raise RequestError(f"{path} is no JSON ({one_line(str(err))[:100]}); copy or download it again") from err
    except OSError as err:
        raise RequestError(f"{path} cannot be read: {err.strerror}") from err
    if not isinstance(value, dict):
        raise RequestError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value
