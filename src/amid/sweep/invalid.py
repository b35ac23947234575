"""Requests of a sweep that cannot be carried out, all of them, each with its reason. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amid.errors import RequestError, one_line
from amid.sweep.expand import Overrides

NAMED = 3  # cells named in the one line that ends a command, for each reason


@dataclass(frozen=True)
class InvalidCell:
    """A request as it was given, and why it cannot be carried out."""

    overrides: Overrides
    reason: str


class InvalidCellsError(RequestError):
    """Cells of a sweep cannot be carried out. Its text names each reason with the first of its cells.

    jobs: all that were asked for, so that a cell is named by what it does not share with all others.
    """

    def __init__(self, invalid: Sequence[InvalidCell], jobs: Sequence[Overrides]) -> None:
        self.invalid = tuple(invalid)
        self._shared = set(jobs[0]).intersection(*jobs) if len(jobs) > 1 else set()
        by_reason: dict[str, list[str]] = {}
        for each in invalid:
            by_reason.setdefault(each.reason, []).append(self._named(each))
        if len(by_reason) == 1 and len(invalid) == len(jobs):
            super().__init__(invalid[0].reason)
            return
        reasons = "; ".join(f"{reason} ({_listed(names)})" for reason, names in by_reason.items())
        super().__init__(f"{len(invalid)} of {len(jobs)} cells cannot be carried out: {reasons}")

    @property
    def lines(self) -> list[str]:
        """One line for every cell."""
        return [f"  invalid  {one_line(f'{self._named(each)}: {each.reason}')}" for each in self.invalid]

    def _named(self, cell: InvalidCell) -> str:
        return " ".join(text for text in cell.overrides if text not in self._shared) or "(defaults)"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
