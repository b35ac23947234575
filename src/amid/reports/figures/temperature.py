"""Score over sampling temperature, a line for each alpha: does alpha do more than a temperature? No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from amid.errors import RequestError
from amid.reports.aggregate import AVERAGE, TUNED
from amid.reports.facts import ALPHA
from amid.reports.figures.claims import Claim, Part
from amid.reports.figures.lines import dashed, left_out, one_legend, plot_values, room_for_gaps, same_limits
from amid.reports.figures.picture import Picture, Said, as_printed
from amid.reports.figures.style import (
    COLOURS,
    DASHES,
    MARKERS,
    NONE_COLOUR,
    REFERENCE_COLOUR,
    canvas,
    number,
    ordered_colours,
)
from amid.reports.figures.sweep_view import Line, SweepView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TUNED_COLUMN = f"{AVERAGE} {TUNED}"
COLUMNS = 3  # panels beside each other at most


def draw(view: SweepView) -> Picture:
    """Validation over temperature, then the scores at the sets' temperature and at each model's own, over alpha.

    Raises RequestError for a sweep whose models were validated at no further temperature.
    """
    if len(view.temperatures) < 2:
        raise RequestError(
            f"sweep '{view.name}' was validated at one temperature; repeat its command with "
            "evaluation.also_tuned=[0.3,0.6,1]: nothing is trained again"
        )
    every, claim = view.lines(ALPHA), claim_of_alpha(view)
    said = Said(
        "Score over sampling temperature. Above: validation ROUGE-L, by which each model's own temperature is chosen; "
        f"below: {AVERAGE} at the sets' own temperature (hollow) and at each model's (filled), dashed without an "
        f"assistant. {left_out(every, COLUMNS)}{view.settings}",
        (claim,),
    )
    lines = every[:COLUMNS]
    panels = [[f"{kind} {i}" for i in range(len(lines))] for kind in ("validation", "scores")]
    figure, axes = canvas(panels, height=4.6, below=said.below, height_ratios=[1.3, 1])
    alphas = sorted({alpha for line in lines for alpha, _ in line.points})
    colours = dict(zip(alphas, ordered_colours(len(alphas)), strict=True))
    for index, line in enumerate(lines):
        above, below = axes[f"validation {index}"], axes[f"scores {index}"]
        above.set_title(as_printed(line.title), loc="left")
        _draw_validation(above, view, line, colours)
        _draw_scores(below, view, line, alphas)
    for kind in ("validation", "scores"):
        same_limits([axes[f"{kind} {index}"] for index in range(len(lines))])
    for index in range(len(lines)):
        room_for_gaps(axes[f"scores {index}"])
    same_limits([axes[f"scores {index}"] for index in range(len(lines))])
    axes["validation 0"].set_ylabel("validation ROUGE-L")
    axes["scores 0"].set_ylabel(view.quality_label.partition(",")[0])
    one_legend(figure)
    return Picture(figure, said, view.damage)


def _draw_validation(axis: Axes, view: SweepView, line: Line, colours: dict[float, str]) -> None:
    for index, (alpha, row) in enumerate(line.points):
        axis.plot(
            view.temperatures, _validations(view, row), color=colours[alpha], marker=MARKERS[index % len(MARKERS)],
            linestyle=DASHES[index % len(DASHES)], label=f"α = {number(alpha)}",
        )  # fmt: skip
    if line.without is not None:
        axis.plot(view.temperatures, _validations(view, line.without), "--", color=NONE_COLOUR, label="no assistant")
    for row, dashes in zip(_references(view), (":", "-."), strict=False):
        axis.plot(
            view.temperatures, _validations(view, row), dashes, color=REFERENCE_COLOUR, label=view.rows[row].labels[0]
        )
    axis.set(xlabel="temperature")
    axis.set_xticks(view.temperatures, [number(each) for each in view.temperatures])


def _draw_scores(axis: Axes, view: SweepView, line: Line, alphas: Sequence[float]) -> None:
    places, rows = [alphas.index(alpha) for alpha, _ in line.points], [row for _, row in line.points]
    for column, colour, fill, label in (
        (view.column(AVERAGE), COLOURS[1], "none", "at the sets' T"),
        (view.column(TUNED_COLUMN), COLOURS[0], "full", "at its own T"),
    ):
        plot_values(axis, view, places, rows, column, color=colour, marker="o", fillstyle=fill, label=label)
        without = view.value(line.without, column)
        dashed(axis, None if without is None else without.mean, colour=colour, label=f"none, {label}")
    axis.set(xlabel="α", xlim=(-0.4, len(alphas) - 0.6))
    axis.set_xticks(range(len(alphas)), [number(alpha) for alpha in alphas])


def _validations(view: SweepView, row: int) -> list[float]:
    found = [view.validation_at(row, each) for each in view.temperatures]
    return [math.nan if each is None else each for each in found]


def _references(view: SweepView) -> list[int]:
    """Teachers and initial students, of which a sweep of one pair has two."""
    return [index for index, row in enumerate(view.rows) if row.is_reference]


def claim_of_alpha(view: SweepView) -> Claim:
    """The alpha that validation chooses minus no assistant, each at its own temperature, of every line."""
    parts, doubts, column = [], [], view.column(TUNED_COLUMN)
    for line in view.lines(ALPHA):
        name = line.title or view.name
        best = {row: max(_validations(view, row)) for _, row in line.points}
        known = {row: value for row, value in best.items() if math.isfinite(value)}
        if len(known) < len(best) or not best:
            doubts.append(f"{name}: not all alphas are validated at all temperatures")
            continue
        chosen = max(known, key=lambda row: known[row])
        every = None
        if column is not None and line.without is not None:
            every = view.compared([chosen, line.without], column)
        if every is None or line.without is None:
            doubts.append(f"{name}: no scores at their own temperatures to compare with none")
            continue
        each, p = every.difference(chosen, line.without), next(iter(every.found.values()))[1]
        what = f"{name}, alpha {view.alpha(chosen):g} minus none"
        parts.append(Part(what + _at_the_sets_own(view, chosen, line.without), each.difference, each.low, each.high, p))
    return Claim(
        "alpha does more than a temperature: the alpha that validation chooses beats no assistant, each at its own one",
        tuple(parts),
        "difference and its 95 % interval over prompts",
        tuple(doubts),
    )


def _at_the_sets_own(view: SweepView, chosen: int, without: int) -> str:
    column = view.column(AVERAGE)
    ours, none = view.value(chosen, column), view.value(without, column)
    return "" if ours is None or none is None else f" ({ours.mean - none.mean:+z.2f} at the sets' temperature)"
