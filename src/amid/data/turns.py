"""The turns of a conversation, as files of messages hold them. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from amid.errors import RequestError, one_line

ROLES = ("system", "user", "assistant")
# What others call them: ShareGPT's names, and Gemma's of its own turn.
OTHER_ROLES: Mapping[str, str] = MappingProxyType({"human": "user", "gpt": "assistant", "model": "assistant"})


class Turn(NamedTuple):
    """One message of a conversation: who speaks, and what is said."""

    role: str
    content: str


def turns_of(value: Any, *, field: str, where: str) -> tuple[Turn, ...]:
    """The turns of a list of {role, content}, or of ShareGPT's {from, value}; other keys are ignored.

    Raises RequestError, with the place of the record and the number of the message, for anything else.
    """
    if not isinstance(value, list) or not value:
        raise RequestError(
            f"{where}: field '{field}' must be a non-empty list of messages, got {_called(value)}; "
            "a message is {role, content}"
        )
    return tuple(_turn(item, f"{where}: field '{field}', message {number}") for number, item in enumerate(value, 1))


def answers_in(turns: Sequence[Turn]) -> list[int]:
    """Positions of the assistant's turns that answer something: a greeting before any user has spoken does not."""
    asked = next((place for place, turn in enumerate(turns) if turn.role == "user"), len(turns))
    return [place for place in range(asked, len(turns)) if turns[place].role == "assistant"]


def _turn(item: Any, where: str) -> Turn:
    if not isinstance(item, Mapping):
        raise RequestError(f"{where}: {{role, content}} is needed, got {_called(item)}")
    role_key, content_key = ("from", "value") if "role" not in item and "from" in item else ("role", "content")
    for key in (role_key, content_key):
        if key not in item:
            raise RequestError(f"{where}: '{key}' is missing; found: {', '.join(map(str, item)) or 'none'}")
    role, content = item[role_key], item[content_key]
    known = OTHER_ROLES.get(role, role) if isinstance(role, str) else role
    if known not in ROLES:
        valid = ", ".join([*ROLES, *OTHER_ROLES])
        raise RequestError(f"{where}: role '{one_line(str(role))[:40]}' unknown; valid: {valid}")
    if not isinstance(content, str):
        raise RequestError(f"{where}: '{content_key}' must be a text, got {_called(content)}")
    if item.get("tool_calls"):
        raise RequestError(f"{where}: it calls tools, which are not trained on; leave such conversations out")
    return Turn(known, content)


def _called(value: Any) -> str:
    return "an empty list" if value == [] else type(value).__name__
