"""The figures by name, and what each is drawn from. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from amid.errors import unknown_name
from amid.reports.columns import aligned
from amid.reports.figures import (
    figure1,
    figure2a,
    figure2b,
    figure3,
    figure4,
    figure5,
    heat_map,
    instability,
    temperature,
)
from amid.reports.figures.picture import Picture
from amid.reports.figures.sweep_view import SweepView


@dataclass(frozen=True)
class FigureOf:
    """One figure: a line that says what it shows, and what it is drawn from.

    kind: `formulas` (nothing is needed), `toy` (the fits of the toy experiment) or `sweep`. sweep: the one that is
    meant where none is named.
    """

    says: str
    kind: Literal["formulas", "toy", "sweep"]
    sweep: str | None = None


OF_FORMULAS: Mapping[str, Callable[[], Picture]] = {
    "figure1": figure1.draw,
    "figure2a": figure2a.draw,
    "figure2b": figure2b.draw,
}
OF_SWEEPS: Mapping[str, Callable[[SweepView], Picture]] = {
    "figure3": figure3.draw,
    "figure4": figure4.draw,
    "figure5": figure5.draw,
    "heat_map": heat_map.draw,
    "instability": instability.draw,
    "temperature": temperature.draw,
}
FIGURES: Mapping[str, FigureOf] = {
    "figure1": FigureOf("the family of assistants with prior work in it, and r at five alphas", "formulas"),
    "figure2a": FigureOf("the paths of r between p and q on the simplex", "formulas"),
    "figure2b": FigureOf("the gradient weight w over log p - log q", "formulas"),
    "figure2c": FigureOf("one normal distribution fitted to a mixture of two (about a minute)", "toy"),
    "figure3": FigureOf("validation ROUGE-L over training, by method", "sweep", "figure3"),
    "figure4": FigureOf("quality against diversity over alpha", "sweep", "figure4"),
    "figure5": FigureOf("the score over lambda", "sweep", "figure5"),
    "heat_map": FigureOf("the score by alpha and divergence, with its numbers", "sweep", "table3"),
    "instability": FigureOf("Appendix D: gradient norm and loss at every alpha", "sweep", "table3"),
    "temperature": FigureOf("the score over sampling temperature, a line for each alpha", "sweep", "table3"),
}


def figure_of(name: str) -> FigureOf:
    """The figure of that name. Raises RequestError for another."""
    if name not in FIGURES:
        raise unknown_name("figure", name, FIGURES)
    return FIGURES[name]


def listed_figures() -> list[str]:
    """A line for each figure: its name, what it shows, and the sweep it is of."""
    return aligned([(name, each.says, f"sweep {each.sweep}" if each.sweep else "") for name, each in FIGURES.items()])
