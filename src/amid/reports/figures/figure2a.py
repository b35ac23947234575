"""Figure 2a: the paths of r from q to p on the simplex of three tokens, for several alphas. No torch here."""

from __future__ import annotations

import numpy as np

from amid.reports.figures.formulas import Array, log_assistant
from amid.reports.figures.picture import Picture, Said
from amid.reports.figures.style import MARKERS, NONE_COLOUR, REFERENCE_COLOUR, canvas, number, ordered_colours

ALPHAS = (-5.0, -3.0, -1.0, 0.0, 1.0, 3.0)
P, Q = (0.90, 0.07, 0.03), (0.04, 0.16, 0.80)
MARKED = (0.1, 0.3, 0.5, 0.7, 0.9)  # lambdas with a marker on each path
_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3.0) / 2.0]])


def draw() -> Picture:
    """The paths, with markers at the same lambdas."""
    said = Said(
        f"Figure 2a. r between q = {Q} and p = {P} over three tokens as lambda goes from 0 to 1, markers at lambda = "
        f"{', '.join(f'{each:g}' for each in MARKED)}. A small alpha keeps to the side of what either finds likely, a "
        "large one bends to what both allow. The claim that belongs to it is measured in figure2b."
    )
    figure, axes = canvas([["simplex"]], height=4.2, below=said.below)
    axis = axes["simplex"]
    outline = np.vstack([_CORNERS, _CORNERS[:1]])
    axis.plot(*outline.T, color=REFERENCE_COLOUR, linewidth=1)
    for (x, y), name, (dx, dy) in zip(
        _CORNERS, ("token 1", "token 2", "token 3"), ((-6, -3), (6, -3), (0, 7)), strict=True
    ):
        axis.annotate(name, (x, y), (dx, dy), textcoords="offset points", ha="center", va="top" if dy < 0 else "bottom")
    for alpha, colour, marker in zip(ALPHAS, ordered_colours(len(ALPHAS)), MARKERS, strict=False):
        axis.plot(*path(np.linspace(0.001, 0.999, 400), alpha).T, color=colour)
        axis.plot(*path(np.array(MARKED), alpha).T, marker, color=colour)
        axis.plot([], [], color=colour, marker=marker, label=f"α = {number(alpha)}")
    for name, point in (("p", P), ("q", Q)):
        x, y = np.array(point) @ _CORNERS
        axis.plot(x, y, "o", color=NONE_COLOUR, markersize=6)
        axis.annotate(name, (x, y), (-9, 6), textcoords="offset points", fontsize=9, ha="center")
    axis.set_aspect("equal")
    axis.axis("off")
    axis.legend(loc="upper right")
    return Picture(figure, said)


def path(lams: Array, alpha: float) -> Array:
    """Places in the plane of r at each lambda [L, 2]."""
    log_p, log_q = np.log(P), np.log(Q)
    r = np.array([np.exp(log_assistant(log_p, log_q, alpha=alpha, lam=float(lam))) for lam in lams])
    places: Array = r @ _CORNERS
    return places
