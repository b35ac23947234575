"""Names of what is measured while training: `GROUP/NAME`, with one group of its own for what depends on the clock."""

from __future__ import annotations

# Given where a number is measured: it is recorded, but a repeated step need not repeat it.
CLOCK = "clock/"


def depends_on_clock(name: str) -> bool:
    """True for a measure that is not expected to repeat."""
    return name.startswith(CLOCK)
