"""What a table calls the cells of a sweep: keys and values of their configurations. No torch here."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from amid.cells.cell import IDENTITY_NODES
from amid.config import RunCfg


def flat_of(run: RunCfg) -> dict[str, Any]:
    """The whole configuration with dotted keys; the name of its method as `method`."""
    flat = flatten(asdict(run))
    return {"method": run.method.name, **{key: value for key, value in flat.items() if not key.startswith("method.")}}


def differing_keys(flat: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys of identity whose values differ between the runs; `amid.alpha` if none does.

    Options that follow from the name of their method, strategy or divergence are left out: the name says it all.
    """
    keys = [
        key
        for key in dict.fromkeys(itertools.chain.from_iterable(flat))
        if key.split(".")[0] in (*IDENTITY_NODES, "method") and len({str(values.get(key)) for values in flat}) > 1
    ]
    return [key for key in keys if not _follows_from_name(key, flat)] or ["amid.alpha"]


def _follows_from_name(key: str, flat: Sequence[Mapping[str, Any]]) -> bool:
    """True for an option of a named thing that is the same wherever the name is the same."""
    names = ["method"] if any(values.get("method") is not None for values in flat) else []
    if key.startswith(("strategy.", "divergence.params.")):
        names.append(f"{key.split('.')[0]}.name")
    for name in names:
        pairs = {(str(values.get(name)), str(values.get(key))) for values in flat}
        if key != name and len(pairs) == len({named for named, _ in pairs}) > 1:
            return True
    return False


def flatten(values: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """The same values with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, prefix=f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def label(value: Any) -> str:
    """A value as a person writes it: -5, 0.1, null, kl."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(label(item) for item in value) + "]"
    return str(value)
