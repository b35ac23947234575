"""The rows of data files: JSONL, parquet and CSV, each an object with its place. No torch here."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from amid.errors import RequestError, one_line

Row = tuple[int, str, dict[str, Any]]  # its number, counted from 1; its place, for messages; what it holds
SUFFIXES = (".jsonl", ".parquet", ".csv")  # others are read as JSONL


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, by what its name ends in.

    A CSV file has a line of names first and holds texts only. Raises RequestError for a file that is missing,
    unreadable or empty, and for a row that is none.
    """
    return {".parquet": _parquet_rows, ".csv": _csv_rows}.get(path.suffix, read_objects)(path)


def read_objects(path: Path) -> Iterator[Row]:
    """(line number, "file:line", object) of every line of a JSONL file that is not blank.

    Raises RequestError for a file that is missing, unreadable or empty, and for a line that is no object.
    """
    try:
        # Read as bytes and split at line feeds only: other separators may stand inside a text.
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise RequestError(f"no data file {path}") from None
    except OSError as err:
        raise RequestError(f"data file {path} cannot be read: {err.strerror}") from err
    if not any(line.strip() for line in lines):
        raise RequestError(f"data file {path} holds no record")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path}:{number}"
            yield number, where, _object(line, where=where)


def _object(line: bytes, *, where: str) -> dict[str, Any]:
    try:
        item = json.loads(line)
    except ValueError as err:
        raise RequestError(f"{where}: not a JSON object ({err})") from err
    except RecursionError:
        raise RequestError(f"{where}: not a JSON object of records (nested too deeply)") from None
    if not isinstance(item, dict):
        raise RequestError(f"{where}: a JSON object is needed, got {type(item).__name__}")
    if b"\\ud" in line or b"\\uD" in line or b"\xed" in line:  # how half a character is written, as escape or raw
        _check_characters(item, where=where)
    return item


def _check_characters(item: Mapping[str, Any], *, where: str) -> None:
    """Raises RequestError for a text with half of a surrogate pair, which no tokenizer can read."""
    for field, value in item.items():
        try:
            json.dumps([field, value], ensure_ascii=False).encode()
        except UnicodeEncodeError as err:
            code = f"\\u{ord(err.object[err.start]):04x}"
            raise RequestError(
                f"{where}: field '{field}' holds {code}, half of a surrogate pair and no character; write the pair or "
                "the character itself"
            ) from None


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    if not path.is_file():
        raise RequestError(f"no data file {path}")
    try:
        batches = parquet.ParquetFile(path).iter_batches()
        number = 0
        for batch in batches:
            for item in batch.to_pylist():
                number += 1
                yield number, f"{path}: row {number}", item
    except (pyarrow.ArrowException, OSError) as err:
        raise RequestError(f"data file {path} is no whole parquet file ({one_line(str(err))[:100]})") from err
    if not number:
        raise RequestError(f"data file {path} holds no record")


def _csv_rows(path: Path) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            names = next(reader, [])
            if len(set(names)) < len(names):
                raise RequestError(f"data file {path} names a column twice: {', '.join(names)}")
            for number, texts in enumerate(filter(None, reader), start=1):
                where = f"{path}: row {number}"
                if len(texts) != len(names):
                    raise RequestError(f"{where}: {len(texts)} fields, its first line names {len(names)}")
                yield number, where, dict(zip(names, texts, strict=True))
    except FileNotFoundError:
        raise RequestError(f"no data file {path}") from None
    except UnicodeDecodeError as err:
        raise RequestError(f"data file {path} is no UTF-8 text (byte {err.start})") from err
    except csv.Error as err:
        raise RequestError(f"{path}: row {number + 1}: no CSV ({err})") from err
    except OSError as err:
        raise RequestError(f"data file {path} cannot be read: {err.strerror}") from err
    if not number:
        raise RequestError(f"data file {path} holds no record")
