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


def history(folder: Path, *, wait_s: float = 20.0) -> list[tuple[int, dict[str, Any]]]:
    """(step, values) of every row that a finished run has logged, in order.

    W&B's service writes the file; it may end a moment after the run did.
    """
    (file,) = folder.glob("*.wandb")
    deadline = time.monotonic() + wait_s
    while not any(record.WhichOneof("record_type") == "exit" for record in records(file)):
        assert time.monotonic() < deadline, f"{file} has no end"
        time.sleep(0.05)
    rows = []
    for record in records(file):
        if record.WhichOneof("record_type") == "history":
            values = {
                item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
            }
            rows.append((int(record.history.step.num or values["_step"]), values))
    return rows


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
