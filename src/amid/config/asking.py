"""How a record is asked and when its answer ends: what a data set and an evaluation set say in the same words."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Protocol

from amid.config.checks import not_empty, one_of
from amid.errors import RequestError

# What the objects of a file hold, and our names of their fields
FIELDS_OF_FORMAT: Mapping[str, tuple[str, ...]] = {
    "instruction": ("id", "instruction", "input", "output"),
    "messages": ("id", "messages"),
    "prompt_completion": ("id", "prompt", "completion"),
}
FORMATS = tuple(FIELDS_OF_FORMAT)
# How they may be asked; the first is what is meant by null
PROMPTS_OF_FORMAT: Mapping[str, tuple[str, ...]] = {
    "instruction": ("alpaca", "chat"),
    "messages": ("chat",),
    "prompt_completion": ("verbatim", "chat"),
}
PROMPTS = ("alpaca", "chat", "verbatim")
TURNS = ("all", "last")


class Asked(Protocol):
    """What a data set and an evaluation set both say of their records."""

    format: str
    fields: dict[str, str]
    prompt: str | None
    template: str | None
    labels: dict[str, str]
    system: str | None
    chat_template: str | None
    stop: list[str]


def check_asking(node: str, asked: Asked, *, noun: str) -> None:
    """Raises RequestError unless the values of a node, such as data, make prompts; gives a prompt of null its value.

    noun: of what the node declares.
    """
    one_of(f"{noun} format", asked.format, FORMATS)
    valid = PROMPTS_OF_FORMAT[asked.format]
    if asked.prompt is None:
        asked.prompt = valid[0]
    one_of(f"{noun} prompt", asked.prompt, PROMPTS)
    if asked.prompt not in valid:
        raise RequestError(
            f"{node}.prompt={asked.prompt} does not go with {node}.format={asked.format}; valid: {', '.join(valid)}"
        )
    chat = asked.prompt == "chat"
    if asked.format == "instruction":
        if chat != (asked.template is not None):
            raise RequestError(f"{node}.template goes with prompt=chat, and only with it")
    else:
        for name in ("template", "labels"):
            if getattr(asked, name):
                raise RequestError(f"{node}.{name} is for {node}.format=instruction; got format={asked.format}")
        for name in asked.fields:
            one_of(f"{node}.fields", name, FIELDS_OF_FORMAT[asked.format])
    for name in ("system", "chat_template"):
        value = getattr(asked, name)
        not_empty(f"{node}.{name}", value)
        if value is not None and not chat:
            raise RequestError(f"{node}.{name} goes with {node}.prompt=chat, got {asked.prompt}")
    _check_template(node, asked.template or "", asked.labels)
    if not all(asked.stop):
        raise RequestError(f"{node}.stop must be non-empty texts")


def asks_in_turns(asked: Asked) -> bool:
    """Whether records are conversations, which end as their chat template ends a turn, and not in any case with EOS."""
    given = asked.system is not None or asked.chat_template is not None
    return asked.prompt == "chat" and (asked.format != "instruction" or given)


def _check_template(node: str, template: str, labels: Mapping[str, str]) -> None:
    """Raises RequestError unless every brace belongs to a {NAME} with a value, or is doubled."""
    valid = ["instruction", "input", *sorted(labels)]
    hint = f"valid: {', '.join(valid)}; a brace of its own is written twice: {{{{ or }}}}"
    try:
        fields = [(name, spec or conversion) for _, name, spec, conversion in Formatter().parse(template)]
    except ValueError as err:
        raise RequestError(f"{node}.template has an unpaired brace ({err}); {hint}") from err
    for name, how in fields:
        if name is not None and (name not in valid or how):
            raise RequestError(f"{node}.template has no value for {{{name}{':' if how else ''}}}; {hint}")
