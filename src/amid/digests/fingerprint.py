"""Content digests: of values, of files, of models. Identity is content, never a path or a clock."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amid.digests.seals import DamagedError, file_digest, seal, unseal

# What makes a local model folder the model it is; logs and optimiser states beside it do not count.
MODEL_FILE_PATTERNS = ("*.safetensors", "*.bin", "*.gguf", "*.json", "*.model", "*.txt", "*.jinja")


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN or infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def value_digest(value: Any, *, digits: int = 64) -> str:
    """The first `digits` hex digits of the sha256 of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:digits]


class FileDigests:
    """Digests of files, remembered by place, size and times in a JSONL file of the cache folder.

    The memory is only a shortcut: a lost or damaged line costs time, never a wrong digest. It serves listings; with
    `again` every byte is read again, and a file that has changed although its size and times have not is refused.
    """

    def __init__(self, cache: Path, *, again: bool = False) -> None:
        self._memory_path = cache / "file_digests.jsonl"
        self._again = again
        self._memory: dict[str, dict[str, str]] = {}
        try:
            lines = self._memory_path.read_bytes().split(b"\n")
        except OSError:
            lines = []
        for line in lines:
            with contextlib.suppress(ValueError):  # a damaged line is forgotten
                values, sealed = unseal(line)
                if sealed:
                    self._memory.setdefault(values.pop("file"), {}).update(values)

    def file(self, path: Path) -> str:
        """The sha256 (64 hex digits) of the file's bytes.

        Raises FileNotFoundError if there is no such file, DamagedError if it is not what its size and times say it is.
        """
        known = self._memory.get(_place(path), {})
        if "sha256" not in known:
            with path.open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            self._remember(path, sha256=sha256, quick=file_digest(path))
            return sha256
        if self._again and file_digest(path) != known["quick"]:
            raise DamagedError(
                path,
                "other bytes than when it was read first, with the same size and times",
                "restore it from where it came from; if it is meant to be so, touch it",
            )
        return known["sha256"]

    def quick(self, path: Path) -> str:
        """The digest by which seals vouch for the file. Raises FileNotFoundError if there is no such file."""
        known = self._memory.get(_place(path), {})
        if "quick" not in known:
            known = self._remember(path, quick=file_digest(path))
        return known["quick"]

    def folder(self, folder: Path) -> str:
        """The digest of a model folder: names and digests of its model and tokenizer files."""
        names = sorted({path for pattern in MODEL_FILE_PATTERNS for path in folder.glob(pattern)})
        return value_digest({path.name: self.file(path) for path in names})

    def _remember(self, path: Path, **digests: str) -> dict[str, str]:
        known = self._memory.setdefault(_place(path), {})
        known.update(digests)
        try:
            self._memory_path.parent.mkdir(parents=True, exist_ok=True)
            with self._memory_path.open("ab") as stream:
                stream.write(f"{seal({'file': _place(path), **digests})}\n".encode())
        except OSError:
            pass  # a read-only cache only makes the next start slower
        return known


def _place(path: Path) -> str:
    """What says, without reading a file, that it is the one that was read."""
    stat = path.stat()
    return f"{path.resolve()}|{stat.st_ino}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}"


def plain(value: Any) -> Any:
    """The value with every mapping as a dict and every sequence as a list, ready for JSON."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
