"""Content digests: of values, of files, of models. Identity is content, never a path or a clock."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amid.errors import RequestError, one_line

# What makes a local model folder the model it is; logs and optimiser states beside it do not count.
MODEL_FILE_PATTERNS = ("*.safetensors", "*.bin", "*.gguf", "*.json", "*.model", "*.txt", "*.jinja")


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN or infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def value_digest(value: Any, *, digits: int = 64) -> str:
    """The first `digits` hex digits of the sha256 of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:digits]


class FileDigests:
    """sha256 of files, remembered by path, size and modification time in one JSON file of the cache folder.

    The memory is only a shortcut: a lost or damaged memory file costs time, never a wrong digest.
    """

    def __init__(self, cache: Path) -> None:
        self._memory_path = cache / "file_digests.json"
        try:
            self._memory: dict[str, str] = json.loads(self._memory_path.read_text())
        except (OSError, ValueError):
            self._memory = {}

    def file(self, path: Path) -> str:
        """The sha256 (64 hex digits) of the file's bytes. Raises FileNotFoundError if there is no such file."""
        stat = path.stat()
        key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
        if key not in self._memory:
            with path.open("rb") as stream:
                self._memory[key] = hashlib.file_digest(stream, "sha256").hexdigest()
            self._remember()
        return self._memory[key]

    def folder(self, folder: Path) -> str:
        """The digest of a model folder: names and digests of its model and tokenizer files."""
        names = sorted({path for pattern in MODEL_FILE_PATTERNS for path in folder.glob(pattern)})
        return value_digest({path.name: self.file(path) for path in names})

    def _remember(self) -> None:
        try:
            self._memory_path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._memory_path.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps(self._memory))
            temporary.replace(self._memory_path)
        except OSError:
            return  # a read-only cache only makes the next start slower


def hub_revision(name: str, revision: str | None) -> str:
    """The commit (40 hex digits) that a model-hub name stands for, from the local hub cache or the hub itself.

    Raises RequestError if the model is neither cached nor reachable.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(name, revision=revision, local_files_only=True, allow_patterns="config.json")
        ).name
    except HFValidationError as err:
        raise RequestError(f"model '{name}' is neither a local folder nor a hub name: {one_line(str(err))}") from err
    except LocalEntryNotFoundError:
        pass
    try:
        sha = HfApi().model_info(name, revision=revision, timeout=10).sha
    except Exception as err:
        # The hub client lets errors of its HTTP library through, which differs between its versions.
        reason = one_line(str(err)).split(". ")[0][:160]
        raise RequestError(
            f"model '{name}' is not a local folder, not in the hub cache, and the hub did not answer ({reason}); "
            "give a folder with config.json and weights, or download it first"
        ) from err
    if sha is None:
        raise RequestError(f"model '{name}': the hub names no commit for revision '{revision}'")
    return sha


def hub_file(name: str, revision: str | None, file: str) -> Path:
    """The local copy of one file of a hub model, downloaded if it is not there.

    Raises RequestError if it is neither cached nor reachable.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except Exception as err:
        # The hub client lets errors of its HTTP library through, which differs between its versions.
        raise RequestError(f"model '{name}': its {file} could not be read: {one_line(str(err))[:160]}") from err


def plain(value: Any) -> Any:
    """The value with every mapping as a dict and every sequence as a list, ready for JSON."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
