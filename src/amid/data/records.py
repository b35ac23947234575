"""Instruction records, read from JSONL files or drawn from the toy generator. No torch here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from amid.config import DataCfg
from amid.errors import RequestError

NO_FIELDS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Record:
    """One instruction with its optional input and one or more reference outputs; the first is the training target.

    prompt: the whole prompt where the file of an evaluation set holds it already rendered.
    """

    id: str
    instruction: str
    input: str
    outputs: tuple[str, ...]
    prompt: str | None = None


def read_jsonl(path: Path, *, fields: Mapping[str, str] = NO_FIELDS, templated: bool = False) -> list[Record]:
    """The records of a JSONL file: one object per line with instruction, input (optional) and output.

    `output` is a text or a list of reference texts; `id` is optional and defaults to the line's number.
    fields: our field -> the file's name for it. templated: a template asks, which may need no instruction.
    Raises RequestError naming file and line for the first record that is not of this form.
    """
    records = []
    for number, where, item in read_objects(path):
        named = _renamed(item, fields, where=where)
        if templated:
            named.setdefault("instruction", "")
        records.append(_record(named, where=where, number=number))
    return records


def read_evaluation_jsonl(path: Path, *, fields: Mapping[str, str], filter_by: Mapping[str, Any]) -> list[Record]:
    """The records of an evaluation file: as `read_jsonl`, or with the field `prompt` of the published MiniLLM files.

    `prompt` is a rendered prompt, in which a literal <n> stands for a line feed; instruction and input may be missing
    beside it. fields: our field -> the file's name for it. filter_by: field -> the value of the records that are kept;
    a record without the field is kept.
    Raises RequestError as `read_jsonl`, and if no record is left.
    """
    records = []
    for number, where, item in read_objects(path):
        if any(field in item and item[field] != value for field, value in filter_by.items()):
            continue
        named = _renamed(item, fields, where=where)
        prompt = _text(named, "prompt", where).replace("<n>", "\n") or None
        # What the prompt is made of may be missing: it is there already, or the set's template asks for less.
        named.setdefault("instruction", "")
        records.append(_record(named, where=where, number=number, prompt=prompt))
    if not records:
        raise RequestError(f"data file {path} holds no record with {dict(filter_by)}")
    return records


def read_objects(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
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


def _renamed(item: Mapping[str, Any], fields: Mapping[str, str], *, where: str) -> dict[str, Any]:
    """The object under our names of its fields. Raises RequestError for one that is missing."""
    for theirs in fields.values():
        if theirs not in item:
            raise RequestError(f"{where}: field '{theirs}' is missing; found: {', '.join(sorted(item)) or 'none'}")
    return {**item, **{ours: item[theirs] for ours, theirs in fields.items()}}


def _record(item: Mapping[str, Any], *, where: str, number: int, prompt: str | None = None) -> Record:
    for field in ("instruction", "output"):
        if field not in item:
            raise RequestError(f"{where}: field '{field}' is missing; found: {', '.join(sorted(item)) or 'none'}")
    instruction, text_input = _text(item, "instruction", where), _text(item, "input", where)
    if not instruction.strip() and not text_input.strip() and prompt is None:
        raise RequestError(f"{where}: the prompt is empty (instruction and input hold no text)")
    output = item["output"]
    outputs = output if isinstance(output, list) else [output]
    if not outputs or not all(isinstance(text, str) for text in outputs):
        raise RequestError(f"{where}: field 'output' must be a text or a non-empty list of texts")
    return Record(str(item.get("id", number)), instruction, text_input, tuple(outputs), prompt)


def _text(item: Mapping[str, Any], field: str, where: str) -> str:
    value = item.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestError(f"{where}: field '{field}' must be a text, got {type(value).__name__}")
    return value


def toy_records(data: DataCfg) -> dict[str, list[Record]]:
    """Split name -> records of the generated corpus. Raises RequestError for numbers it cannot make."""
    from amid.data.toy import toy_corpus

    assert data.num_records is not None and data.num_dev is not None and data.num_eval is not None
    try:
        corpus = toy_corpus(seed=data.seed, num_train=data.num_records, num_dev=data.num_dev, num_eval=data.num_eval)
    except ValueError as err:
        raise RequestError(str(err)) from err
    splits = {"train": corpus.train, "dev": corpus.dev, **corpus.evaluation}
    return {
        name: [Record(item.id, item.instruction, item.input, (item.output,)) for item in items]
        for name, items in splits.items()
    }
