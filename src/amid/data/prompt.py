"""How a record is asked: in the template of the field, or as the user's turn of a chat. No torch here.

The template is Alpaca's, with a newline after the last colon.
Source: MiniLLM, DistiLLM and AMiD tools/process_data_dolly.py, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from amid.config import DataCfg, EvaluationSetCfg, asks_in_turns
from amid.data.chat_templates import template_text
from amid.data.records import Form, Record
from amid.data.turns import Turn, answers_in
from amid.errors import RequestError

PROMPT_VERSION = 1  # part of every generation id
NAME_OF_DATA = ("data", "data")  # as `name_of_set`
_HEAD = "Below is an instruction that describes a task"
_TASK = "Write a response that appropriately completes the request.\n\n### Instruction:\n"
_ALONE = f"{_HEAD}. {_TASK}"
_WITH_INPUT = f"{_HEAD}, paired with an input that provides further context. {_TASK}"
_INPUT = "\n\n### Input:\n"
_RESPONSE = "\n\n### Response:\n"
# A tokenizer trained here keeps each whole: the template then costs a small model no more than three tokens.
TEMPLATE_PIECES = (_ALONE, _WITH_INPUT, _INPUT, _RESPONSE)


def render_prompt(record: Record) -> str:
    """The prompt of a record; instruction and input are inserted verbatim."""
    if record.input:
        return f"{_WITH_INPUT}{record.instruction}{_INPUT}{record.input}{_RESPONSE}"
    return f"{_ALONE}{record.instruction}{_RESPONSE}"


Question = str | tuple[Turn, ...]  # a prompt or a user's turn; the turns of a conversation before its answer


@dataclass(frozen=True)
class Asking:
    """How records are asked: chat, in the model's chat template; template, of the user's turn, None = Alpaca's prompt.

    labels: words for the template, besides the record's {instruction} and {input}.
    in_turns: records are conversations, in a chat that ends as its template ends a turn. system: the first message of
    those that have none. chat_template: the text of a template in place of the tokenizer's own.
    last_only: of a conversation only the last answer is learnt.
    """

    chat: bool = False
    template: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    in_turns: bool = False
    system: str | None = None
    chat_template: str | None = None
    last_only: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that the template reads of a record."""
        return tuple(name for name in ("instruction", "input") if f"{{{name}}}" in (self.template or ""))

    def text(self, record: Record) -> str:
        """The prompt of a record, in a chat the user's turn; what the record says is inserted verbatim."""
        if self.template is None:
            return record.prompt or render_prompt(record)
        return self.template.format_map(
            {**self.labels, "instruction": record.instruction, "input": record.input},
        )

    def turns(self, record: Record) -> tuple[tuple[Turn, ...], int]:
        """The conversation of a record, its answer included, and how many of its first turns are given."""
        turns, num_given = record.turns, record.num_given
        if not turns:
            turns, num_given = (Turn("user", self.text(record)), Turn("assistant", record.outputs[0])), 1
        if self.system is None or any(turn.role == "system" for turn in turns):
            return turns, num_given
        return (Turn("system", self.system), *turns), num_given + 1

    def question(self, record: Record) -> Question:
        """What is asked: the prompt or user's turn, or the conversation before its last answer."""
        if not self.in_turns:
            return self.text(record)
        turns, _ = self.turns(record)
        return turns[: answers_in(turns)[-1]]

    def check(self, record: Record, *, noun: str, path: object) -> None:
        """Raises RequestError for a record of a file that lacks what the template reads."""
        for name in self.fields:
            if not getattr(record, name).strip():
                raise RequestError(f"{noun}: its template needs '{name}'; record {record.id} of {path} has none")


def asking_of(declared: DataCfg | EvaluationSetCfg, *, node: str = "data") -> Asking:
    """How a data set or an evaluation set says that its records are asked. node: of the configuration, for messages.

    Raises RequestError for a chat template that cannot be read.
    """
    name = declared.chat_template
    return Asking(
        chat=declared.prompt == "chat",
        template=declared.template,
        labels=declared.labels,
        in_turns=asks_in_turns(declared),
        system=declared.system,
        chat_template=None if name is None else template_text(name, key=f"{node}.chat_template"),
        last_only=isinstance(declared, DataCfg) and declared.turns == "last",
    )


def form_of(declared: DataCfg | EvaluationSetCfg) -> Form:
    """What a data set or an evaluation set says that its files hold."""
    return Form(declared.format, declared.fields, declared.template is not None, declared.prompt == "chat")


def no_chat_template(noun: str, node: str, *, in_turns: bool = False) -> RequestError:
    """What records in chat form say to a tokenizer without a chat template. node: of the configuration that says so."""
    if in_turns:
        way_out = f"for others {node}.chat_template=plain gives one (or another name, or a .jinja file)"
    else:
        way_out = f"for others set {node}.prompt=alpaca {node}.template=null"
    return RequestError(
        f"{noun} asks in chat form, but the model's tokenizer has no chat template; instruction-tuned models have one, "
        f"{way_out}"
    )


def name_of_set(set_name: str) -> tuple[str, str]:
    """What an evaluation set is called in messages, and its node of the configuration."""
    return f"evaluation set '{set_name}'", f"evaluation.sets.{set_name}"
