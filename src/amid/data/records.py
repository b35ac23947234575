"""Records: what the rows of files hold, or the toy generator draws. No torch here."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from amid.config import DataCfg
from amid.data.rows import Row
from amid.data.turns import Turn, answers_in, turns_of
from amid.errors import RequestError

if TYPE_CHECKING:
    from amid.data.toy import ToyCorpus

MOST_CHARACTERS = 10_000_000  # of a record: millions of tokens


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

    def __post_init__(self) -> None:
        """Raises RequestError for one that no model reads: tokenised it would fill the memory, and then be cut."""
        texts = [turn.content for turn in self.turns] or [
            self.instruction,
            self.input,
            self.prompt or "",
            *self.outputs,
        ]
        length = sum(map(len, texts))
        if length > MOST_CHARACTERS:
            raise RequestError(
                f"{self.where}: a record of {length / 1e6:.0f} million characters, where "
                f"{MOST_CHARACTERS / 1e6:.0f} million are the most: is it a file in one line?"
            )


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


def records_of(rows: Iterable[Row], form: Form = INSTRUCTIONS) -> list[Record]:
    """The records of rows, such as those of a file: one object each with the fields of its form.

    Of an instruction `output` is a text or a list of reference texts; `id` is optional, by default the row's number.
    Raises RequestError naming file and line for the first record that is not of this form.
    """
    return [record_of(item, form, where=where, number=number) for number, where, item in rows]


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


def evaluation_records(rows: Iterable[Row], form: Form, *, filter_by: Mapping[str, Any], place: object) -> list[Record]:
    """The records of an evaluation set's rows: as `records_of`, or with the `prompt` of MiniLLM's published files.

    `prompt`, of instructions, is a rendered prompt, in which a literal <n> stands for a line feed; instruction and
    input may be missing beside it. filter_by: field -> the value of the records that are kept; a record without the
    field is kept. place: of the rows, for messages.
    Raises RequestError as `records_of`, and if no record is left.
    """
    records = []
    for number, where, item in rows:
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
        raise RequestError(f"{place} holds no record with {dict(filter_by)}")
    return records


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
    assert data.num_records is not None and data.num_dev is not None and data.num_eval is not None
    try:
        corpus = _drawn(data.seed, data.num_records, data.num_dev, data.num_eval)
    except ValueError as err:
        raise RequestError(str(err)) from err
    splits = {"train": corpus.train, "dev": corpus.dev, **corpus.evaluation}
    return {
        name: [Record(item.id, item.instruction, item.input, (item.output,)) for item in items]
        for name, items in splits.items()
    }


@functools.lru_cache(maxsize=2)  # a plan asks for each of its evaluation sets
def _drawn(seed: int, num_train: int, num_dev: int, num_eval: int) -> ToyCorpus:
    from amid.data.toy import toy_corpus

    return toy_corpus(seed=seed, num_train=num_train, num_dev=num_dev, num_eval=num_eval)
