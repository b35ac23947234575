"""Lines over an ordered quantity, in which what is missing is a gap with a word and what diverged a cross. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from amid.reports.figures.style import NONE_COLOUR
from amid.reports.figures.sweep_view import Line, SweepView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


GAP = "gap"  # begins the name of a word at the lower edge


def plot_values(
    axis: Axes, view: SweepView, places: Sequence[float], rows: Sequence[int], column: int | None, *, sign: float = 1.0,
    **style: Any,
) -> None:  # fmt: skip
    """The numbers of a column for rows at places, times `sign`; gaps stay open and say why at the lower edge."""
    values = []
    for place, row in zip(places, rows, strict=True):
        value, gap = view.value(row, column), view.gap(row, column)
        values.append(math.nan if value is None else sign * value.mean)
        if gap is not None:
            mark_gap(axis, place, gap, colour=style["color"], value=None if value is None else sign * value.mean)
    axis.plot(list(places), values, **style)


def mark_gap(axis: Axes, place: float, word: str, *, colour: str, value: float | None = None) -> None:
    """A cross with its word: at the value of what diverged and has one, else at the lower edge, beside earlier ones."""
    if value is not None:
        axis.plot([place], [value], "x", color=NONE_COLOUR, markersize=9, zorder=5)
        return
    gid = f"{GAP} {place:g}"
    earlier = sum(text.get_gid() == gid for text in axis.texts)
    axis.annotate(
        f"× {word}",
        (place, 0.02),
        (8.0 * earlier, 0.0),
        xycoords=axis.get_xaxis_transform(),  # x in data, y from 0 at the lower edge to 1
        textcoords="offset points",
        rotation=90,
        ha="center",
        va="bottom",
        fontsize=6.5,
        color=colour,
        gid=gid,
    )


def dashed(axis: Axes, value: float | None, *, colour: str, label: str, vertical: bool = False) -> None:
    """The dashed line of what has no assistant; nothing while that is missing."""
    if value is not None:
        draw = axis.axvline if vertical else axis.axhline
        draw(value, color=colour, linestyle="--", linewidth=1, label=label)


def left_out(lines: Sequence[Line], most: int) -> str:
    """Which lines have no panel, of more than there is room for; nothing where all have one."""
    names = [line.title for line in lines[most:]]
    return f"No room for {', '.join(names)}: the claim is about all of them. " if names else ""


def same_limits(axes: Sequence[Axes]) -> None:
    """One range of y for all, the widest that any of them needs; one on which nothing is known needs none."""
    limits = [axis.get_ylim() for axis in axes if math.isfinite(axis.dataLim.y0) and math.isfinite(axis.dataLim.y1)]
    for axis in axes if limits else ():
        axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def room_for_gaps(axis: Axes) -> None:
    """Moves the numbers up where words of gaps stand at the lower edge, so that neither hides the other."""
    if any(str(text.get_gid()).startswith(GAP) for text in axis.texts):
        low, high = axis.get_ylim()
        axis.set_ylim(low - 0.35 * (high - low), high)


def one_legend(figure: Figure) -> None:
    """A legend beside all axes, with each label once."""
    found = {
        label: handle for axis in figure.axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(found.values()), list(found), loc="outside right upper")
