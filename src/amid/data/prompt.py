"""How a record is asked: in the template of the field, or as the user's turn of a chat. No torch here.

The template is Alpaca's, with a newline after the last colon.
Source: MiniLLM, DistiLLM and AMiD tools/process_data_dolly.py, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from amid.config import DataCfg, EvaluationSetCfg
from amid.data.records import Record
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


@dataclass(frozen=True)
class Asking:
    """How records are asked: chat, in the model's chat template; template, of the user's turn, None = Alpaca's prompt.

    labels: words for the template, besides the record's {instruction} and {input}.
    """

    chat: bool = False
    template: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

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

    def check(self, record: Record, *, noun: str, path: object) -> None:
        """Raises RequestError for a record of a file that lacks what the template reads."""
        for name in self.fields:
            if not getattr(record, name).strip():
                raise RequestError(f"{noun}: its template needs '{name}'; record {record.id} of {path} has none")


def asking_of(declared: DataCfg | EvaluationSetCfg) -> Asking:
    """How a data set or an evaluation set says that its records are asked."""
    return Asking(declared.prompt == "chat", declared.template, declared.labels)


def no_chat_template(noun: str, node: str) -> RequestError:
    """What records in chat form say to a tokenizer without a chat template. node: of the configuration that says so."""
    return RequestError(
        f"{noun} asks in chat form, but the model's tokenizer has no chat template; instruction-tuned models have one, "
        f"for others set {node}.prompt=alpaca {node}.template=null"
    )


def name_of_set(set_name: str) -> tuple[str, str]:
    """What an evaluation set is called in messages, and its node of the configuration."""
    return f"evaluation set '{set_name}'", f"evaluation.sets.{set_name}"
