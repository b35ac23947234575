"""The prompt template of the field (Alpaca's, with a newline after the last colon). No torch here.

Source: MiniLLM, DistiLLM and AMiD tools/process_data_dolly.py, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping

from amid.data.records import Record
from amid.errors import RequestError

PROMPT_VERSION = 1  # part of every generation id
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


def user_turn(record: Record, *, template: str, labels: Mapping[str, str]) -> str:
    """The user's turn of a chat: the template with the record's {instruction} and {input} and the labels put in."""
    return template.format_map({**labels, "instruction": record.instruction, "input": record.input})


def no_chat_template(set_name: str) -> RequestError:
    """What a set in chat form says to a tokenizer without a chat template."""
    return RequestError(
        f"evaluation set '{set_name}' asks in chat form, but the model's tokenizer has no chat template; "
        "instruction-tuned models have one, for others set "
        f"evaluation.sets.{set_name}.prompt=alpaca evaluation.sets.{set_name}.template=null"
    )
