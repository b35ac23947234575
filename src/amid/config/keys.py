"""Which keys a configuration may have: those of its dataclasses, and any in the few open mappings."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from amid.errors import RequestError, near_match

EACH = "each"  # metadata of an open mapping whose values are all of one dataclass


def check_keys(values: Mapping[Any, Any], schema: type, *, prefix: str = "") -> None:
    """Raises RequestError, with the nearest valid key, for a key that the dataclass does not have.

    Hydra adds any key that is written with a plus sign; without this it would be silently ignored.
    """
    known = {field.name: field for field in fields(schema)}
    types_of = typing.get_type_hints(schema)
    for key, value in values.items():
        if key not in known:
            raise unknown_key(f"{prefix}{key}", list(known), prefix=prefix)
        each = known[key].metadata.get(EACH)
        inner = each or dataclass_in(types_of[key])
        if inner is None or not isinstance(value, Mapping):
            continue
        nodes = {f"{prefix}{key}.": value} if each is None else {f"{prefix}{key}.{n}.": v for n, v in value.items()}
        for where, node in nodes.items():
            if isinstance(node, Mapping):
                check_keys(node, inner, prefix=where)


def unknown_key(key: str, valid: list[str], *, prefix: str) -> RequestError:
    """What is said to a key that does not exist."""
    near = near_match(key.removeprefix(prefix).partition(".")[0], valid)
    hint = f"did you mean '{prefix}{near}'? " if near else ""
    where = f"in {prefix.removesuffix('.')}" if prefix else "at the top"
    return RequestError(f"unknown key '{key}'; {hint}valid {where}: {', '.join(sorted(valid))}")


def explain_unknown(key: str, schema: type) -> str | None:
    """What to say of a dotted key that cannot be overridden; None if every part of it exists.

    In an open mapping a new key is allowed, with a plus sign.
    """
    prefix, node = "", schema
    for part in key.split("."):
        known = {field.name: field for field in fields(node)}
        if part not in known:
            return str(unknown_key(key, list(known), prefix=prefix))
        prefix += f"{part}."
        inner = dataclass_in(typing.get_type_hints(node)[part])
        if inner is None:
            is_open = _is_mapping(typing.get_type_hints(node)[part])
            return f"'{key}' is not there yet; add it with a plus sign: +{key}=VALUE" if is_open else None
        node = inner
    return None


def all_keys(schema: type, *, prefix: str = "") -> Iterator[str]:
    """Every dotted key that ends in a value or an open mapping."""
    types_of = typing.get_type_hints(schema)
    for field in fields(schema):
        inner = dataclass_in(types_of[field.name])
        if inner is None:
            yield f"{prefix}{field.name}"
        else:
            yield from all_keys(inner, prefix=f"{prefix}{field.name}.")


def nodes_of(schema: type, *, prefix: str = "") -> dict[str, tuple[str, list[str]]]:
    """Name of every dataclass below one -> where it is first met, with a dot at the end, and its keys."""
    found = {schema.__name__: (prefix, [field.name for field in fields(schema)])}
    for field in fields(schema):
        hint = typing.get_type_hints(schema)[field.name]
        for part in (hint, *typing.get_args(hint)):  # also those in a list or a mapping
            inner = dataclass_in(part)
            if inner is not None:
                found = {**nodes_of(inner, prefix=f"{prefix}{field.name}."), **found}
    return found


def dataclass_in(hint: Any) -> type | None:
    """The dataclass that a type names, alone or beside None."""
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    found = [part for part in parts if isinstance(part, type) and is_dataclass(part)]
    return found[0] if found else None


def _is_mapping(hint: Any) -> bool:
    return typing.get_origin(hint) is dict
