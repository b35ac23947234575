"""The one way of text to a person: what a model or a file has written in it is spelled out, so no terminal obeys it."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterable

from amid.errors import one_line, visible

MARKED, PLAIN = "\x1b[32m", "\x1b[0m"  # green, and as before


class PlainFormatter(logging.Formatter):
    """Log lines that are safe to print, whatever text of a model or a file they quote."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text; line feeds stay."""
        return visible(super().format(record))


def say(text: str, *, end: str = "\n") -> None:
    """Prints text on stdout; line feeds stay. Raises OSError where it cannot be written."""
    print(visible(text), end=end)


def say_spans(spans: Iterable[tuple[str, bool]], *, color: bool) -> None:
    """Prints a text in pieces, those that are marked in colour or between [[ and ]]. Raises OSError as `say`."""
    begin, end = (MARKED, PLAIN) if color else ("[[", "]]")
    print("".join(f"{begin}{visible(text)}{end}" if marked else visible(text) for text, marked in spans))


def complain(text: str) -> None:
    """Prints one line on stderr; where nobody reads it, the exit code tells."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"amid: {one_line(text)}", file=sys.stderr)


def log_to_stderr() -> None:
    """Progress of a long command, apart from what it prints."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("httpx", "urllib3", "filelock", "fsspec"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
