"""Instruction records, read from JSONL files or drawn from the toy generator. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amid.config import DataCfg
from amid.errors import RequestError, unknown_name


@dataclass(frozen=True)
class Record:
    """One instruction with its optional input and one or more reference outputs; the first is the training target."""

    id: str
    instruction: str
    input: str
    outputs: tuple[str, ...]


def training_records(data: DataCfg) -> tuple[list[Record], list[Record]]:
    """The training and the validation records that the configuration names, in file order.

    Raises RequestError (with file and line number) for a missing file or a record that cannot be used.
    """
    if data.source == "toy":
        corpus = _toy(data)
        return corpus["train"], corpus["dev"]
    assert data.root is not None and data.train is not None and data.dev is not None
    train = read_jsonl(Path(data.root) / data.train)
    dev = read_jsonl(Path(data.root) / data.dev)
    return train[: data.num_train], dev[: data.num_dev]


def evaluation_records(data: DataCfg, sets: Mapping[str, str], *, limit: int | None) -> dict[str, list[Record]]:
    """Set name -> its first `limit` records. Raises RequestError as `training_records`."""
    if data.source == "toy":
        corpus = _toy(data)
        splits = [split for split in corpus if split != "train"]
        for split in sets.values():
            if split not in splits:
                raise unknown_name("evaluation set", split, splits)
        return {name: corpus[split][:limit] for name, split in sets.items()}
    assert data.root is not None
    return {name: read_jsonl(Path(data.root) / file)[: data.num_eval][:limit] for name, file in sets.items()}


def read_jsonl(path: Path) -> list[Record]:
    """The records of a JSONL file: one object per line with instruction, input (optional) and output.

    `output` is a text or a list of reference texts; `id` is optional and defaults to the line's number.
    Raises RequestError naming file and line for the first record that is not of this form.
    """
    records = []
    try:
        # Read as bytes and split at line feeds only: other separators may stand inside a text.
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise RequestError(f"no data file {path}") from None
    except OSError as err:
        raise RequestError(f"data file {path} cannot be read: {err.strerror}") from err
    for number, line in enumerate(lines, start=1):
        if line.strip():
            records.append(_record(line, where=f"{path}:{number}", number=number))
    if not records:
        raise RequestError(f"data file {path} holds no record")
    return records


def _record(line: bytes, *, where: str, number: int) -> Record:
    try:
        item = json.loads(line)
    except ValueError as err:
        raise RequestError(f"{where}: not a JSON object ({err})") from err
    if not isinstance(item, dict):
        raise RequestError(f"{where}: a JSON object is needed, got {type(item).__name__}")
    for field in ("instruction", "output"):
        if field not in item:
            raise RequestError(f"{where}: field '{field}' is missing; found: {', '.join(sorted(item)) or 'none'}")
    instruction, text_input = _text(item, "instruction", where), _text(item, "input", where)
    if not instruction.strip() and not text_input.strip():
        raise RequestError(f"{where}: the prompt is empty (instruction and input hold no text)")
    output = item["output"]
    outputs = output if isinstance(output, list) else [output]
    if not outputs or not all(isinstance(text, str) for text in outputs):
        raise RequestError(f"{where}: field 'output' must be a text or a non-empty list of texts")
    return Record(str(item.get("id", number)), instruction, text_input, tuple(outputs))


def _text(item: Mapping[str, Any], field: str, where: str) -> str:
    value = item.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestError(f"{where}: field '{field}' must be a text, got {type(value).__name__}")
    return value


def _toy(data: DataCfg) -> dict[str, list[Record]]:
    from amid.data.toy import toy_corpus

    assert data.num_train is not None and data.num_dev is not None and data.num_eval is not None
    try:
        corpus = toy_corpus(seed=data.seed, num_train=data.num_train, num_dev=data.num_dev, num_eval=data.num_eval)
    except ValueError as err:
        raise RequestError(str(err)) from err
    splits = {"train": corpus.train, "dev": corpus.dev, **corpus.evaluation}
    return {
        name: [Record(item.id, item.instruction, item.input, (item.output,)) for item in items]
        for name, items in splits.items()
    }
