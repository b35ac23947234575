"""Seals: a digest that travels with what it was made of, so that a changed bit is found when it is read. No torch here.

A JSON text carries its seal as its last entry, a checkpoint in the comment that every zip file may end with: text and
seal are one file, published by one rename, so that no kill comes between them. A model folder carries a list of its
files, and whoever publishes it keeps the digest of that list. What was written before there were seals has none and is
"unverified"; a damaged seal is recognised and does not pass for none.

Digests are xxh3 (64 bits): they find accidents. What names a thing (`fingerprint`) is a sha256.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import xxhash

from amid.errors import RunError

# In model folders; its name must match none of fingerprint.MODEL_FILE_PATTERNS: a seal does not change what a model is.
SEAL_FILE = "SEAL"
_DIGITS = 16
_JSON_FRAME = (b'"digest": "', b'"}')
_ZIP_FRAME = (b"amid-xxh3-64:", b"")
_ZIP_END = b"PK\x05\x06"  # begins the last record of a zip file, which is 22 bytes long without a comment
_BUFFER_BYTES = 2**20


class DamagedError(RunError):
    """A file of ours does not hold what was written: says which, how it shows, and what to do."""

    def __init__(self, path: Path, what: str, remedy: str) -> None:
        super().__init__(f"{path} is damaged ({what}); {remedy}")
        self.path = path


def digest_of(data: bytes) -> str:
    """The digest, 16 hex digits, of the bytes."""
    return xxhash.xxh3_64_hexdigest(data)


def file_digest(path: Path, *, num_bytes: int | None = None) -> str:
    """The digest of a file, or of its first `num_bytes`."""
    hasher, left = xxhash.xxh3_64(), path.stat().st_size if num_bytes is None else num_bytes
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    with path.open("rb", buffering=0) as stream:
        while left > 0 and (count := stream.readinto(buffer[: min(left, _BUFFER_BYTES)])):
            hasher.update(buffer[:count])
            left -= count
    return hasher.hexdigest()


# JSON


def seal(values: Mapping[str, Any], *, indent: int | None = None) -> str:
    """The JSON text of the values with their seal as last entry, "digest"; one line without `indent`."""
    assert "digest" not in values
    body = json.dumps(values, indent=indent)[:-1].rstrip() + (", " if values else "")
    return f'{body}"digest": "{digest_of(body.encode())}"}}'


def unseal(data: bytes) -> tuple[dict[str, Any], bool]:
    """The values of a JSON object, and whether a seal vouches for them. Raises ValueError that says what is damaged."""
    text = data.rstrip(b" \n")
    found = _sealed(text[-_length(_JSON_FRAME) :], _JSON_FRAME)
    if found is not None and digest_of(text[: -_length(_JSON_FRAME)]) != found:
        raise ValueError("its digest does not match")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):  # text nested without end is none of ours either
        raise ValueError("it is not JSON") from None
    if not isinstance(values, dict):
        raise ValueError("it is not a JSON object")
    if found is not None:
        del values["digest"]
    return values, found is not None


# Checkpoints


def seal_zip(path: Path) -> None:
    """A zip file without a comment, such as torch.save makes, ends with its seal afterwards."""
    length = _length(_ZIP_FRAME)
    with path.open("r+b") as stream:
        end = stream.seek(-22, os.SEEK_END)
        assert stream.read(4) == _ZIP_END, f"{path} does not end as a zip file without a comment"
        stream.seek(end + 20)
        stream.write(struct.pack("<H", length))
        stream.flush()
        before, after = _ZIP_FRAME
        seal_text = before + file_digest(path).encode() + after
        stream.seek(0, os.SEEK_END)
        stream.write(seal_text)


def check_zip(path: Path, *, remedy: str) -> bool:
    """Whether a seal vouches for the zip file; False if it has none. Raises DamagedError if it has changed."""
    length, size = _length(_ZIP_FRAME), path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - length))
        tail = stream.read()
    try:
        found = _sealed(tail, _ZIP_FRAME)
    except ValueError as err:
        raise DamagedError(path, str(err), remedy) from None
    if found is not None and file_digest(path, num_bytes=size - length) != found:
        raise DamagedError(path, "its digest does not match", remedy)
    return found is not None


# Folders


def seal_folder(folder: Path) -> str:
    """The digest of the folder, which carries a list of its files and their digests afterwards."""
    files = _listing(folder)
    path = folder / SEAL_FILE
    with path.open("w") as stream:
        stream.write(seal({"files": files}, indent=1) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return _listing_digest(files)


def check_folder(
    folder: Path, *, expected: str | None, remedy: str, digest: Callable[[Path], str] = file_digest
) -> str | None:
    """The digest of the list that vouches for the folder; None if it has none. Raises DamagedError naming what changed.

    expected: what `seal_folder` returned, if that was kept: it vouches for the files too if their list is damaged, and
    for there having been one. digest: of a file; from a memory, where a look is enough.
    """
    path = folder / SEAL_FILE
    try:
        files, sealed = unseal(path.read_bytes())
        if not sealed:
            raise ValueError("it carries no digest")
    except FileNotFoundError:
        if expected is None:
            return None
        problem = "it is missing"
    except ValueError as err:
        problem = str(err)
    else:
        listed = files["files"]
        if expected is not None and _listing_digest(listed) != expected:
            raise DamagedError(path, "it is not the list that was published", remedy)
        for name, facts in listed.items():
            _check_file(folder / name, facts, remedy=remedy, digest=digest)
        return _listing_digest(listed)
    if expected is None or _listing_digest(_listing(folder)) != expected:
        raise DamagedError(path, problem, remedy)
    return expected


def is_sealed_folder(folder: Path) -> bool:
    """True if the folder carries a list of its files; whether they are sound is not looked at."""
    return (folder / SEAL_FILE).is_file()


def _check_file(path: Path, facts: Mapping[str, Any], *, remedy: str, digest: Callable[[Path], str]) -> None:
    try:
        size = path.stat().st_size
        if size != facts["size"]:
            raise DamagedError(path, f"it has {size} bytes, {facts['size']} were written", remedy)
        if digest(path) != facts["digest"]:
            raise DamagedError(path, "its digest does not match", remedy)
    except FileNotFoundError:
        raise DamagedError(path, "it is missing", remedy) from None


def _listing(folder: Path) -> dict[str, dict[str, Any]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SEAL_FILE)
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "digest": file_digest(path)}
        for path in paths
    }


def _listing_digest(files: Mapping[str, Any]) -> str:
    return digest_of(json.dumps(files, sort_keys=True).encode())


# Frames


def _length(frame: tuple[bytes, bytes]) -> int:
    return len(frame[0]) + _DIGITS + len(frame[1])


def _sealed(tail: bytes, frame: tuple[bytes, bytes]) -> str | None:
    """The digest in the last bytes of something; None if there is no seal. Raises ValueError if it is damaged."""
    before, after = frame
    if len(tail) != _length(frame):
        return None
    found = tail[len(before) : len(before) + _DIGITS]
    around = tail[: len(before)] + tail[len(before) + _DIGITS :]
    differing = sum(one != other for one, other in zip(around, before + after, strict=True))
    if differing > 3:
        return None  # three bytes of a frame are not damaged at once; other texts differ in nearly all
    if differing or not all(byte in b"0123456789abcdef" for byte in found):
        raise ValueError("its digest is damaged")
    return found.decode()
