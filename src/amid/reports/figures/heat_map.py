"""Alpha by divergence as a heat map with its numbers. No torch here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from amid.reports.facts import ALPHA, NONE
from amid.reports.figures.claims import Claim, Part
from amid.reports.figures.picture import Picture, Said, as_printed
from amid.reports.figures.style import FAINT, NONE_COLOUR, canvas, number
from amid.reports.figures.sweep_view import Line, SweepView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEST_AT_SMALLEST = (("kl", "pr"), ("ab", "pr"))  # of Table 3


def draw(view: SweepView) -> Picture:
    """Columns of divergences, rows of alpha, the one without an assistant above."""
    lines, claim = view.lines(ALPHA), claim_of_smallest(view)
    said = Said(
        "Score by alpha (down) and divergence (across). Bold: best of its column and all that is not significantly "
        f"worse; †: differs from the row without an assistant. {view.settings}",
        (claim,),
    )
    alphas = sorted({alpha for line in lines for alpha, _ in line.points})
    names = ["none", *(number(alpha) for alpha in alphas)]
    height = 1.0 + 0.27 * len(names)
    figure, axes = canvas([["map"]], height=height, below=said.below)
    axis = axes["map"]
    rows = [[line.without, *(dict(line.points).get(alpha) for alpha in alphas)] for line in lines]
    found = [[view.value(row, view.quality) for row in column] for column in rows]
    means = np.array([[math.nan if each is None else each.mean for each in column] for column in found]).T
    image = axis.imshow(means, cmap="cividis", aspect="auto")
    low, high = image.get_clim()
    for across, column in enumerate(rows):
        for down, row in enumerate(column):
            _write(axis, view, row, across, down, dark=means[down, across] < (low + high) / 2)
    axis.set_xticks(range(len(lines)), [as_printed(line.title) or view.name for line in lines])
    axis.set_yticks(range(len(names)), names)
    axis.set(ylabel="α")
    axis.tick_params(length=0)
    axis.grid(visible=False)
    figure.colorbar(image, ax=axis, label=view.quality_label)
    return Picture(figure, said, view.damage)


def _write(axis: Axes, view: SweepView, row: int | None, across: int, down: int, *, dark: bool) -> None:
    """The number of one place with its marks, or why there is none."""
    from matplotlib.patches import Rectangle

    gap = "no such cell" if row is None else view.gap(row, view.quality)
    value = view.value(row, view.quality)
    if gap is not None:
        if value is None:
            axis.add_patch(
                Rectangle((across - 0.5, down - 0.5), 1, 1, facecolor="white", edgecolor=FAINT, hatch="////")
            )
        text = gap if value is None else f"{value.mean:.2f} ({gap})"
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        axis.text(across, down, text, ha="center", va="center", fontsize=7, color=NONE_COLOUR, bbox=box)
    elif value is not None:
        axis.text(
            across, down, f"{value.mean:.2f}{'†' if value.differs else ''}", ha="center", va="center",
            color="white" if dark else NONE_COLOUR, fontweight="bold" if value.best else "normal",
        )  # fmt: skip


def claim_of_smallest(view: SweepView) -> Claim:
    """The smallest alpha minus every other one, under the divergences for which Table 3 says that it is the best."""
    parts, doubts = [], []
    for line in view.lines(ALPHA):
        if not _is_claimed(view, line) or len(line.points) < 2:
            continue
        (smallest, ours), *others = line.points
        name = line.title or view.name
        for alpha, row in others:
            every = view.compared([ours, row], view.quality)
            if every is None:
                doubts.append(f"{name}: alpha {smallest:g} and {alpha:g} cannot be compared")
                continue
            each, p = every.difference(ours, row), next(iter(every.found.values()))[1]
            parts.append(Part(f"{name}, alpha {smallest:g} minus {alpha:g}", each.difference, each.low, each.high, p))
    return Claim(
        "under KL(p || r) and AB(p || r) the smallest alpha tried scores best (Table 3)",
        tuple(parts),
        "difference and its 95 % interval over prompts",
        tuple(doubts),
    )


def _is_claimed(view: SweepView, line: Line) -> bool:
    members = [member for _, row in line.points for member in view.planned[row].members]
    if not members:
        return False
    name, order = (view.facts.of(members[0].id, f"divergence.{key}") for key in ("name", "order"))
    return (name or NONE, order or "pr") in BEST_AT_SMALLEST
