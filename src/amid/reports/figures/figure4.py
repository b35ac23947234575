"""Figure 4: quality against diversity over alpha, a line for each divergence. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from amid.reports.aggregate import DIVERSITY_COLUMN
from amid.reports.facts import ALPHA
from amid.reports.figures.claims import Claim, Part, slope
from amid.reports.figures.lines import dashed, plot_values, room_for_gaps
from amid.reports.figures.picture import Picture, Said, as_printed
from amid.reports.figures.style import COLOURS, DASHES, MARKERS, canvas, number
from amid.reports.figures.sweep_view import Line, SweepView

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(view: SweepView) -> Picture:
    """Quality against diversity, and each of them over alpha, with dashed lines for what has no assistant."""
    lines, claim = view.lines(ALPHA), claim_of_tradeoff(view)
    said = Said(
        "Figure 4. Quality against diversity (negative Self-BLEU), alpha at every point; dashed: without an assistant, "
        f"in the colour of the line. {view.settings}",
        (claim,),
    )
    figure, axes = canvas(
        [["both", "quality"], ["both", "diversity"]], height=3.7, below=said.below, width_ratios=[1.35, 1]
    )
    diversity = view.column(DIVERSITY_COLUMN)
    alphas = sorted({alpha for line in lines for alpha, _ in line.points})
    for index, line in enumerate(lines):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        style = {"color": colour, "marker": marker, "linestyle": DASHES[index % len(DASHES)]}
        _draw_both(axes["both"], view, line, diversity, style)
        places = [alphas.index(alpha) for alpha, _ in line.points]
        rows = [row for _, row in line.points]
        label = as_printed(line.title) or view.name
        plot_values(axes["quality"], view, places, rows, view.quality, label=label, **style)
        plot_values(axes["diversity"], view, places, rows, diversity, sign=-1.0, **style)
        for name, column, sign in (("quality", view.quality, 1.0), ("diversity", diversity, -1.0)):
            found = view.value(line.without, column)
            dashed(axes[name], None if found is None else sign * found.mean, colour=colour, label=f"{label}, none")
    axes["both"].locator_params(axis="x", nbins=5)
    axes["both"].set(xlabel="diversity, −Self-BLEU", ylabel=view.quality_label)
    axes["quality"].set(ylabel="quality")
    axes["diversity"].set(ylabel="diversity", xlabel="α")
    for name in ("quality", "diversity"):
        axes[name].set_xticks(range(len(alphas)), [number(alpha) if name == "diversity" else "" for alpha in alphas])
        axes[name].set_xlim(-0.4, len(alphas) - 0.6)
        room_for_gaps(axes[name])
    handles, labels = axes["quality"].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=max(1, len(lines)))
    return Picture(figure, said, view.damage)


def _draw_both(axis: Axes, view: SweepView, line: Line, diversity: int | None, style: dict[str, object]) -> None:
    points = [(alpha, view.value(row, diversity), view.value(row, view.quality)) for alpha, row in line.points]
    x = [math.nan if each is None else -each.mean for _, each, _ in points]
    y = [math.nan if each is None else each.mean for _, _, each in points]
    axis.plot(x, y, **style)  # type: ignore[arg-type]  # a style by name
    for (alpha, _, _), a, b in zip(points, x, y, strict=True):
        if math.isfinite(a) and math.isfinite(b):
            axis.annotate(
                number(alpha), (a, b), (4, 4), textcoords="offset points", fontsize=7, color=str(style["color"])
            )
    without = view.value(line.without, diversity), view.value(line.without, view.quality)
    for value, vertical in zip(without, (True, False), strict=True):
        mean = None if value is None else (-value.mean if vertical else value.mean)
        dashed(axis, mean, colour=str(style["color"]), label="", vertical=vertical)


def claim_of_tradeoff(view: SweepView) -> Claim:
    """The slopes of quality and diversity over alpha, of every line."""
    parts, doubts = [], []
    for line in view.lines(ALPHA):
        for what, column, sign, claimed, digits in (
            ("quality", view.quality, 1.0, -1, 3),
            ("diversity", view.column(DIVERSITY_COLUMN), -1.0, 1, 4),
        ):
            name = " ".join(filter(None, (line.title, what)))
            found, gaps = _slope(view, line.points, column, sign)
            if gaps:
                doubts.append(f"{name} is not there at alpha {', '.join(f'{alpha:g}' for alpha in gaps)}")
            if found is None and not gaps:
                doubts.append(f"{name} is known at fewer than 3 alphas")
            if found is not None:
                parts.append(Part(f"{name} per unit of alpha", *found, claimed, digits))
    return Claim(
        "as alpha rises, quality falls and diversity rises",
        tuple(parts),
        "least-squares slope over the finite alphas and 95 % interval from how the trainings scatter about it",
        tuple(doubts),
    )


def _slope(
    view: SweepView, points: Sequence[tuple[float, int]], column: int | None, sign: float
) -> tuple[tuple[float, float, float, float] | None, list[float]]:
    finite = [(alpha, view.value(row, column)) for alpha, row in points if math.isfinite(alpha)]
    known = [(alpha, sign * value.mean) for alpha, value in finite if value is not None]
    gaps = [alpha for alpha, value in finite if value is None]
    return slope([alpha for alpha, _ in known], [value for _, value in known]), gaps
