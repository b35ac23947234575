"""Rows as a few long tensors for a checkpoint: thousands of small ones would make it slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from amid.data.batch import Row

COLUMNS = ("input_ids", "labels", "prompt_ids", "teacher_states")


def rows_state(rows: Sequence[Row]) -> dict[str, Any]:
    """All that the rows hold, as `rows_of_state` reads it."""
    state: dict[str, Any] = {"example_ids": [row.example_id for row in rows]}
    for name in COLUMNS:
        state |= _joined(name, [getattr(row, name) for row in rows])
    names = sorted({name for row in rows for name in row.inputs})
    if names:
        state["inputs"] = {name: _joined(name, [row.inputs.get(name) for row in rows]) for name in names}
    return state


def rows_of_state(state: Mapping[str, Any]) -> list[Row]:
    """The rows of a saved state."""
    columns = {name: _parted(state, name) for name in COLUMNS}
    inputs = {name: _parted(joined, name) for name, joined in state.get("inputs", {}).items()}
    return [
        Row(
            example_id=example_id,
            inputs={name: parts[index] for name, parts in inputs.items() if parts[index] is not None},
            **{name: parts[index] for name, parts in columns.items()},
        )
        for index, example_id in enumerate(state["example_ids"])
    ]


def _joined(name: str, parts: Sequence[Tensor | None]) -> dict[str, Any]:
    kept = [part for part in parts if part is not None]
    lengths = [-1 if part is None else len(part) for part in parts]
    return {name: torch.cat(kept) if kept else None, f"{name}_lengths": lengths}


def _parted(state: Mapping[str, Any], name: str) -> list[Any]:
    joined: Tensor | None = state[name]
    lengths: list[int] = state[f"{name}_lengths"]
    if joined is None:
        return [None] * len(lengths)
    parts = iter(torch.split(joined, [length for length in lengths if length >= 0]))
    return [next(parts).clone() if length >= 0 else None for length in lengths]
