"""What an offline W&B run has recorded, read from its file by the format alone: a LevelDB log of protobuf records."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32768  # bytes; no record crosses a block, a longer one is written in parts
RECORD_HEADER = 7  # crc (4), length (2), kind of part (1)
FILE_HEADER = 7  # ":W&B", magic, version


def history(folder: Path) -> list[tuple[int, dict[str, Any]]]:
    """(step, values) of every row that a finished run has logged, in order."""
    rows = []
    for record in _whole(folder, "history"):
        values = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        rows.append((int(record.history.step.num or values["_step"]), values))
    return rows


def summary(folder: Path) -> dict[str, Any]:
    """The summary of a finished run, without W&B's own entries."""
    found: dict[str, Any] = {}
    for record in _whole(folder, "summary"):
        for item in record.summary.update:
            found[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
    return {key: value for key, value in found.items() if not key.startswith("_")}


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a table in the summary of a finished run."""
    held = json.loads((folder / "files" / summary(folder)[name]["path"]).read_text())
    return [dict(zip(held["columns"], row, strict=True)) for row in held["data"]]


def opened(folder: Path) -> Any:
    """What a finished run was opened with, as W&B's own message: run_id, run_group, job_type, display_name."""
    (record, *_) = _whole(folder, "run")
    return record.run


def configuration(folder: Path) -> dict[str, Any]:
    """The config of a finished run; raises ValueError for a value that is no JSON (an infinity)."""

    def refuse(text: str) -> None:
        raise ValueError(f"{text} is no JSON")

    items = opened(folder).config.update
    return {item.key: json.loads(item.value_json, parse_constant=refuse) for item in items if item.key != "_wandb"}


def axes(folder: Path) -> dict[str, str]:
    """Pattern of measures -> the measure that is their axis."""
    metrics = [record.metric for record in _whole(folder, "metric")]
    return {metric.glob_name: metric.step_metric for metric in metrics if metric.glob_name}


def _whole(folder: Path, kind: str, *, wait_s: float = 20.0) -> list[Any]:
    """The records of a kind, of a run that has ended: W&B's service writes the file, maybe a moment after the run."""
    (file,) = folder.glob("*.wandb")
    deadline = time.monotonic() + wait_s
    while not any(record.WhichOneof("record_type") == "exit" for record in records(file)):
        assert time.monotonic() < deadline, f"{file} has no end"
        time.sleep(0.05)
    return [record for record in records(file) if record.WhichOneof("record_type") == kind]


def records(file: Path) -> Iterator[Any]:
    """Every record of an offline run's file, as W&B's own message."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, parts = file.read_bytes(), FILE_HEADER, b""
    while position + RECORD_HEADER <= len(data):
        if BLOCK - position % BLOCK < RECORD_HEADER:
            position += BLOCK - position % BLOCK  # the rest of a block is padding
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += RECORD_HEADER
        if position + length > len(data):
            return  # being written
        parts += data[position : position + length]
        position += length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""
