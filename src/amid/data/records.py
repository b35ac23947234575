"""Instruction records, read from JSONL files or drawn from the toy generator. No torch here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amid.config import DataCfg
from amid.data.turns import Turn, answers_in, turns_of
from amid.errors import RequestError


@dataclass(frozen=True)
class Record:
    """One instruction with its optional input and one or more reference outputs; the first is the training target.

    prompt: the whole prompt where the file holds it. turns: the conversation where it holds one, with an empty
    instruction. num_given: first turns that belong to the prompt, so that none of them is an answer.
    where: the record's place in its file, for messages.
    """

    id: str
    instruction: str
    input: str
    outputs: tuple[str, ...]
    prompt: str | None = None
    turns: tuple[Turn, ...] = ()
    num_given: int = 0
    where: str = dataclasses.field(default="", compare=False)


@dataclass(frozen=True)
class Form:
    """What the objects of a file hold: a key of FIELDS_OF_FORMAT, and our field -> the file's name for it.

    templated: a template asks, which may need no instruction. chat: a prompt and its completion are turns.
    """

    format: str = "instruction"
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    templated: bool = False
    chat: bool = False

    def name_of(self, field: str) -> str:
        """What the file calls one of our fields."""
        return self.fields.get(field, field)


INSTRUCTIONS = Form()


def read_jsonl(path: Path, form: Form = INSTRUCTIONS) -> list[Record]:
    """The records of a JSONL file: one object per line with the fields of its form.

    Of an instruction `output` is a text or a list of reference texts; `id` is optional, by default the line's number.
    Raises RequestError naming file and line for the first record that is not of this form.
    """
    return [record_of(item, form, where=where, number=number) for number, where, item in read_objects(path)]


def record_of(item: Mapping[str, Any], form: Form, *, where: str, number: int) -> Record:
    """The record that an object holds. Raises RequestError, naming the place, for one that is not of this form."""
    if form.format != "instruction":
        renamed = {ours: theirs for ours, theirs in form.fields.items() if ours != theirs}
        read = _conversation if form.format == "messages" else _completion
        return read(_renamed(item, renamed, where=where), form, where=where, number=number)
    named = _renamed(item, form.fields, where=where)
    if form.templated:
        named.setdefault("instruction", "")
    return _record(named, where=where, number=number)


def read_evaluation_jsonl(path: Path, form: Form, *, filter_by: Mapping[str, Any]) -> list[Record]:
    """The records of an evaluation file: as `read_jsonl`, or with the field `prompt` of the published MiniLLM files.

    `prompt`, of instructions, is a rendered prompt, in which a literal <n> stands for a line feed; instruction and
    input may be missing beside it. filter_by: field -> the value of the records that are kept; a record without the
    field is kept.
    Raises RequestError as `read_jsonl`, and if no record is left.
    """
    records = []
    for number, where, item in read_objects(path):
        if any(field in item and item[field] != value for field, value in filter_by.items()):
            continue
        if form.format != "instruction":
            records.append(record_of(item, form, where=where, number=number))
            continue
        named = _renamed(item, form.fields, where=where)
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
    return Record(str(item.get("id", number)), instruction, text_input, tuple(outputs), prompt, where=where)


def _conversation(item: Mapping[str, Any], form: Form, *, where: str, number: int) -> Record:
    turns = turns_of(_needed(item, "messages", form, where), field=form.name_of("messages"), where=where)
    return _in_turns(item, turns, where=where, number=number)


def _completion(item: Mapping[str, Any], form: Form, *, where: str, number: int) -> Record:
    """A record of a prompt and its completion: two lists of messages, or two texts, in a chat of one turn each."""
    values = {name: _needed(item, name, form, where) for name in ("prompt", "completion")}
    kinds = {name: type(value).__name__ for name, value in values.items()}
    if len(set(kinds.values())) > 1 or not isinstance(values["prompt"], (str, list)):
        raise RequestError(
            f"{where}: '{form.name_of('prompt')}' and '{form.name_of('completion')}' must be two texts or two lists of "
            f"messages, got {kinds['prompt']} and {kinds['completion']}"
        )
    if isinstance(values["prompt"], str):
        if not values["prompt"].strip():
            raise RequestError(f"{where}: the prompt is empty")
        if not form.chat:
            texts = (values["completion"],)
            return Record(str(item.get("id", number)), "", "", texts, prompt=values["prompt"], where=where)
        prompt, completion = (Turn("user", values["prompt"]),), (Turn("assistant", values["completion"]),)
        return _in_turns(item, (*prompt, *completion), where=where, number=number, num_given=1)
    if not form.chat:
        raise RequestError(
            f"{where}: '{form.name_of('prompt')}' is a list of messages; prompt=chat beside format=prompt_completion "
            "puts it into the chat template"
        )
    given, follows = (turns_of(value, field=form.name_of(name), where=where) for name, value in values.items())
    if follows[0].role != "assistant" or given[-1].role == "assistant":
        raise RequestError(
            f"{where}: '{form.name_of('completion')}' must begin with the assistant's answer to "
            f"'{form.name_of('prompt')}'"
        )
    return _in_turns(item, (*given, *follows), where=where, number=number, num_given=len(given))


def _in_turns(
    item: Mapping[str, Any], turns: tuple[Turn, ...], *, where: str, number: int, num_given: int = 0
) -> Record:
    answers = answers_in(turns)
    if not answers:
        raise RequestError(f"{where}: no message of the assistant answers a user's, so that there is nothing to learn")
    outputs = (turns[answers[-1]].content,)
    return Record(str(item.get("id", number)), "", "", outputs, turns=turns, num_given=num_given, where=where)


def _needed(item: Mapping[str, Any], field: str, form: Form, where: str) -> Any:
    if field not in item:
        raise RequestError(
            f"{where}: field '{field}' is missing; found: {', '.join(sorted(item)) or 'none'} (format={form.format}; "
            f"fields.{field}=NAME says what it is called)"
        )
    return item[field]


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
