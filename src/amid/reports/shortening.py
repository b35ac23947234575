"""Long texts of a model, folded and cut for a person to look at. No torch here."""

from __future__ import annotations

import textwrap

from amid.errors import visible

TEXT_WIDTH = 110
TEXT_LINES = 8  # shown of a question or response


def shortened(text: str) -> list[str]:
    """The text in lines that fit; of a long one its beginning and its end."""
    lines = [part for line in visible(text).splitlines() for part in (textwrap.wrap(line, TEXT_WIDTH) or [""])] or [
        "(empty)"
    ]
    if len(lines) <= TEXT_LINES:
        return lines
    half = TEXT_LINES // 2
    return [*lines[:half], f"... ({len(lines) - TEXT_LINES} lines left out)", *lines[-half:]]
