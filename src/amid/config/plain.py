"""Configuration objects from plain data and back: what a frozen request is made of."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from amid.config.keys import EACH, check_keys, dataclass_in

Node = TypeVar("Node")


def from_plain(schema: type[Node], values: Mapping[str, Any]) -> Node:
    """The configuration object whose `dataclasses.asdict` these values are; what they lack has its default.

    Raises RequestError for an unknown key or a value out of range.
    """
    check_keys(values, schema)
    return _made(schema, values)


def _made(schema: type[Node], values: Mapping[str, Any]) -> Node:
    assert is_dataclass(schema)
    types_of = typing.get_type_hints(schema)
    arguments: dict[str, Any] = {}
    for field in fields(schema):
        if field.name not in values:
            continue
        value = values[field.name]
        each, inner = field.metadata.get(EACH), dataclass_in(types_of[field.name])
        if each is not None:
            value = {name: _made(each, item) for name, item in value.items()}
        elif inner is not None and value is not None:
            value = _made(inner, value)
        arguments[field.name] = value
    return schema(**arguments)
