"""A drawn figure: what is saved, and what is said of it below it and on the terminal. No torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from amid.reports.figures.claims import Claim

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_SYMBOLS = ((r"\b(amid\.)?alpha\b", "α"), (r"\b(amid\.lam|lambda)\b", "λ"), (r" \|\| ", " ‖ "))


@dataclass(frozen=True)
class Said:
    """What stands below a figure: what is drawn under which settings, and the claims. lines: for the terminal only."""

    settings: str
    claims: tuple[Claim, ...] = ()
    lines: tuple[str, ...] = ()

    @property
    def below(self) -> list[str]:
        """The paragraphs below the figure."""
        return [as_printed(text) for text in (self.settings, *(claim.text for claim in self.claims))]


@dataclass(frozen=True)
class Picture:
    """A figure, and what was said of it. damage: a line for each file that could not be read."""

    figure: Figure
    said: Said
    damage: tuple[str, ...] = ()


def as_printed(text: str) -> str:
    """The text with the symbols of the paper in place of their names in code."""
    for name, symbol in _SYMBOLS:
        text = re.sub(name, symbol, text)
    return text
