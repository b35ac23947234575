"""Range checks that name the key, the value and what is valid."""

from __future__ import annotations

import math

from amid.errors import RequestError, unknown_name


def one_of(key: str, value: str, valid: tuple[str, ...]) -> None:
    """Raises RequestError, with the nearest valid name, unless the value is one of them."""
    if value not in valid:
        raise unknown_name(key, value, valid)


def not_empty(key: str, value: str | None) -> None:
    """Raises RequestError for a text without characters, which would silently mean something else."""
    if value is not None and not value.strip():
        raise RequestError(f"{key} is empty; give it a value, or leave it out")


def at_least(key: str, value: float | None, low: float) -> None:
    """Raises RequestError unless the value is finite and at least `low`, or None."""
    if value is not None and not (value >= low and math.isfinite(value)):
        raise RequestError(f"{key} must be at least {low:g}, got {value:g}")


def number_of_launcher(key: str, value: object, low: int, *, whole: bool = False) -> None:
    """Raises RequestError unless an option of hydra.launcher, which no schema has checked, is such a number."""
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise RequestError(f"hydra.launcher.{key} must be {'an integer' if whole else 'a number'}, got {value!r}")
    at_least(f"hydra.launcher.{key}", value, low)


def within(key: str, value: float, low: float, high: float) -> None:
    """Raises RequestError unless the value lies in [low, high]."""
    if not low <= value <= high:  # also refuses NaN
        raise RequestError(f"{key} must lie in [{low:g}, {high:g}], got {value:g}")


def check_top_p(key: str, value: float | None) -> None:
    """Raises RequestError unless the value lies in (0, 1], or is None."""
    if value is not None and not 0.0 < value <= 1.0:
        raise RequestError(f"{key} must lie in (0, 1], got {value:g}")
