"""What a recorded sweep says of its table; what an older record does not say has its default. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from amid.errors import RequestError, near_match

AVERAGED = ("seed",)


@dataclass(frozen=True)
class Group:
    """Cells that were declared together. over: keys of which validation chooses the values; none = every cell shows.

    name: what a chosen row is called in place of these labels.
    """

    cells: tuple[str, ...]
    over: tuple[str, ...] = ()
    name: str | None = None


@dataclass(frozen=True)
class Declaration:
    """Keys by their part in the table: rows down, blocks of rows, columns of a pivot, and what is averaged over."""

    rows: tuple[str, ...]
    blocks: tuple[str, ...]
    columns: tuple[str, ...]
    average: tuple[str, ...]
    groups: tuple[Group, ...]
    paper: str | None
    note: str | None


def declaration_of(manifest: Mapping[str, Any]) -> Declaration:
    """The declaration in a manifest. Raises RequestError for one that is not as a sweep is recorded."""
    try:
        table = manifest.get("table") or {}
        every = tuple(cell["id"] for cell in manifest["cells"])
        groups = tuple(_group(each) for each in manifest.get("groups") or [{"cells": every}])
        average = _keys(table.get("average"), AVERAGED)
        blocks, columns = _keys(table.get("blocks")), _keys(table.get("columns"))
        elsewhere = {*average, *blocks, *columns}
        rows = tuple(key for key in _keys(manifest["rows"]) if key not in elsewhere)
        found = Declaration(rows, blocks, columns, average, groups, table.get("paper"), table.get("note"))
        if set().union(*(group.cells for group in groups)) <= set(every):
            return found
    except (AttributeError, KeyError, TypeError):
        pass
    raise RequestError(f"the record of sweep '{manifest['name']}' does not say how its table is laid out; run it again")


def asked_for(
    declared: Declaration, manifest: Mapping[str, Any], *, rows: Sequence[str] | None, columns: Sequence[str] | None
) -> Declaration:
    """The declaration with other rows or columns, for a table that is asked for.

    Raises RequestError for a key that the sweep has no labels of, for a key in both, and for training seeds as rows.
    """
    known = label_keys(manifest)
    for option, keys in (("--rows", rows or ()), ("--columns", columns or ())):
        for key in keys:
            if key in declared.average:
                raise RequestError(f"{option}: '{key}' is averaged over in this sweep and is no row")
            if key not in known:
                near = near_match(key, known)
                hint = f"did you mean '{near}'? " if near else ""
                valid = ", ".join(each for each in known if each not in declared.average)
                raise RequestError(f"{option}: '{key}' is no label of this sweep; {hint}valid: {valid or 'none'}")
    both = set(rows or ()) & set(columns or ())
    if both:
        raise RequestError(f"'{min(both)}' is named in --rows and in --columns; give it once")
    across = declared.columns if columns is None else tuple(columns)
    if rows is not None:
        down = tuple(rows)
        blocks = () if across else tuple(key for key in declared.blocks if key not in down)
    else:  # a pivot has no blocks: their keys go down with the others
        down = (*declared.blocks, *declared.rows) if across else declared.rows
        blocks = () if across else declared.blocks
    across = tuple(key for key in across if key not in (rows or ()))
    return replace(declared, rows=tuple(key for key in down if key not in across), blocks=blocks, columns=across)


def label_keys(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Every key that the cells of a sweep have a label of, in the order of the record."""
    keys = [*manifest["rows"], *(key for cell in manifest["cells"] for key in cell["labels"])]
    return tuple(dict.fromkeys(keys))


def _group(group: Mapping[str, Any]) -> Group:
    select = group.get("select") or {}
    return Group(tuple(group["cells"]), _keys(select.get("over")), group.get("name"))


def _keys(value: Sequence[str] | None, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    if value is None:
        return default
    if isinstance(value, str) or not all(isinstance(key, str) for key in value):
        raise TypeError
    return tuple(value)
