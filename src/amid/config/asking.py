"""How a record is asked and when its answer ends: what a data set and an evaluation set say in the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter

from amid.config.checks import one_of
from amid.errors import RequestError

PROMPTS = ("alpaca", "chat")


def check_asking(
    node: str, *, noun: str, prompt: str, template: str | None, labels: Mapping[str, str], stop: Sequence[str]
) -> None:
    """Raises RequestError unless the values of a node, such as data, make prompts.

    noun: of what the node declares. prompt: alpaca, or chat with a template for the user's turn, in which every brace
    belongs to {instruction}, {input} or a label. stop: texts before which a response ends.
    """
    one_of(f"{noun} prompt", prompt, PROMPTS)
    if (prompt == "chat") != (template is not None):
        raise RequestError(f"{node}.template goes with prompt=chat, and only with it")
    _check_template(node, template or "", labels)
    if not all(stop):
        raise RequestError(f"{node}.stop must be non-empty texts")


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
