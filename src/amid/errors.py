"""The kinds of failure a user sees, each as one line on stderr and an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_RUN_FAILED = 1
EXIT_BAD_REQUEST = 2
EXIT_TAKEN_OVER = 3
EXIT_INTERRUPTED = 130


class RequestError(ValueError):
    """A request that cannot be carried out as written: says what was wrong, the value, and what is valid (exit 2)."""


class RunError(RuntimeError):
    """A valid request whose execution failed: says what failed and where the details lie (exit 1)."""


class TakenOverError(RunError):
    """Another process goes on with the work that this one held: nothing failed and nothing is lost (exit 3)."""


def one_line(text: str) -> str:
    """The text with every run of white space folded to one space."""
    return " ".join(str(text).split())


def near_match(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that looks most like the given one; None if none does."""
    near = difflib.get_close_matches(name, list(valid), n=1)
    return near[0] if near else None


def unknown_name(noun: str, name: str, valid: Iterable[str]) -> RequestError:
    """A RequestError that names the unknown value, its nearest match if any, and the valid names."""
    names = sorted(valid)
    near = near_match(name, names)
    hint = f"did you mean '{near}'? " if near else ""
    return RequestError(f"{noun} '{name}' unknown; {hint}valid: {', '.join(names)}")
