"""The kinds of failure a user sees, each as one line on stderr and an exit code; and text that is safe to print."""

from __future__ import annotations

import difflib
import traceback
import unicodedata
from collections.abc import Iterable

EXIT_RUN_FAILED = 1
EXIT_BAD_REQUEST = 2
EXIT_TAKEN_OVER = 3
EXIT_STOPPED = 75  # as EX_TEMPFAIL of sysexits.h: try again later
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141  # as of a program that SIGPIPE ends
REASON_LENGTH = 300  # characters of a reason that a status and a line keep
SPEAKS = "amid_speaks"  # attribute of an error: whether this process is the one, of several, that says it
# Control characters, lone surrogates, line and paragraph separators, and formats such as a change of direction.
_HIDDEN_CATEGORIES = ("Cc", "Cs", "Zl", "Zp", "Cf")
# Line feeds and tabs are layout; soft hyphen and (non-)joiners belong to the spelling of words and emoji.
_KEPT = "\n\t\u00ad\u200c\u200d"


class RequestError(ValueError):
    """A request that cannot be carried out as written: says what was wrong, the value, and what is valid (exit 2)."""


class RunError(RuntimeError):
    """A valid request whose execution failed: says what failed and where the details lie (exit 1)."""


class TakenOverError(RunError):
    """Another process goes on with the work that this one held: nothing failed and nothing is lost (exit 3)."""


class StoppedError(RunError):
    """Cut short from outside (SIGTERM, a time limit that comes near): nothing failed; repeat the command (exit 75)."""


class RankLostError(StoppedError):
    """One of the processes that train a cell together has ended without a word (killed, its machine is gone)."""


def visible(text: str) -> str:
    r"""The text with every character spelled out (\x1b, \u202e) that a terminal would obey or that hides others.

    For every text that a model or a file wrote, on its way to a person. Line feeds and tabs stay.
    """
    if text.isprintable():  # nearly always: nothing of these categories is
        return text
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in _HIDDEN_CATEGORIES and char not in _KEPT
        else char
        for char in text
    )


def one_line(text: str) -> str:
    """The text, safe to print, with every run of white space folded to one space."""
    return visible(" ".join(str(text).split()))


def reason_of(err: BaseException) -> str:
    """Why something failed, in one line: what the error says, with its type where that is part of the answer."""
    said = str(err)
    if isinstance(err, (RequestError, RunError)):
        text = said
    elif isinstance(err, OSError) and err.strerror:
        text = f"{err.filename}: {err.strerror}" if err.filename else err.strerror
    elif isinstance(err, MemoryError):
        text = f"out of memory ({said})" if said else "out of memory"
    elif isinstance(err, SystemExit):
        text = f"it called sys.exit({'' if err.code is None else repr(err.code)})"
    else:
        text = f"{type(err).__name__}: {said}" if said else type(err).__name__
    line = one_line(text)
    return line if len(line) <= REASON_LENGTH else f"{line[: REASON_LENGTH - 3]}..."


def place_of(err: BaseException) -> str:
    """`FILE:LINE` where an error arose, outside of installed libraries if it went through any such place."""
    if isinstance(err, SyntaxError):
        return f"{err.filename}:{err.lineno}"
    frames = [frame for frame in traceback.extract_tb(err.__traceback__) if not frame.filename.startswith("<")]
    ours = [frame for frame in frames if "site-packages" not in frame.filename]
    found = (ours or frames)[-1:]
    return f"{found[0].filename}:{found[0].lineno}" if found else "an unknown place"


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
