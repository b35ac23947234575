"""A known method as one word: its name, and the keys that make it what it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass
class MethodCfg:
    """Filled by conf/method/NAME.yaml; a label, not part of the identity: the values that a method sets are."""

    name: str | None = None
    fixes: list[str] = field(default_factory=list)  # keys or nodes that another value would make another method


def fixed_overrides(overrides: Iterable[str], fixes: Sequence[str]) -> list[str]:
    """The overrides, `KEY=VALUE` or `GROUP=OPTION`, of what the method fixes: a key, the node it is in, or a part."""
    found = []
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if any(_overlap(key, fixed) for fixed in fixes):
            found.append(override)
    return found


def _overlap(left: str, right: str) -> bool:
    return left == right or left.startswith(f"{right}.") or right.startswith(f"{left}.")
