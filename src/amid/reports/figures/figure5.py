"""Figure 5: the score over lambda at one alpha, beside the one without an assistant. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from amid.reports.figures.claims import Claim, Part
from amid.reports.figures.lines import dashed, plot_values, room_for_gaps
from amid.reports.figures.picture import Picture, Said, as_printed
from amid.reports.figures.style import COLOURS, DASHES, MARKERS, canvas, number
from amid.reports.figures.sweep_view import Line, SweepView

LAM = "amid.lam"


def draw(view: SweepView) -> Picture:
    """Scores with the intervals of their differences from the dashed line."""
    lines = view.lines(LAM)
    said = Said(
        "Figure 5. Score over lambda; dashed: without an assistant. A bar is the 95 % interval of the difference from "
        f"the dashed line, prompt by prompt: one that does not meet it is told apart from it. {view.settings}",
        (claim_above(view, lines), claim_stable(view, lines)),
    )
    figure, axes = canvas([["scores"]], height=3.0, below=said.below)
    axis = axes["scores"]
    for index, line in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        lams, rows = [lam for lam, _ in line.points], [row for _, row in line.points]
        style = {"color": colour, "marker": MARKERS[index % len(MARKERS)], "linestyle": DASHES[index % len(DASHES)]}
        plot_values(axis, view, lams, rows, view.quality, label=as_printed(line.title) or _alphas(view, rows), **style)
        without = view.value(line.without, view.quality)
        dashed(axis, None if without is None else without.mean, colour=colour, label="no assistant")
        for lam, row in line.points:
            difference = _difference(view, row, line.without)
            if difference is not None and without is not None:
                axis.vlines(
                    lam, without.mean + difference.low, without.mean + difference.high, color=colour, linewidth=1
                )
    axis.set(xlabel="λ", ylabel=view.quality_label, xlim=(0, 1))
    room_for_gaps(axis)
    axis.legend(loc="best")
    return Picture(figure, said, view.damage)


def _alphas(view: SweepView, rows: Sequence[int]) -> str:
    found = {alpha for row in rows if (alpha := view.alpha(row)) is not None}
    return f"α = {number(next(iter(found)))}" if len(found) == 1 else view.name


def _difference(view: SweepView, row: int, without: int | None, *, what: str = "") -> Part | None:
    """A row minus the one without an assistant."""
    every = None if without is None else view.compared([row, without], view.quality)
    if every is None or without is None:
        return None
    each, p = every.difference(row, without), next(iter(every.found.values()))[1]
    return Part(what, each.difference, each.low, each.high, p)


def claim_above(view: SweepView, lines: Sequence[Line]) -> Claim:
    """Every lambda minus no assistant."""
    parts, doubts = [], []
    for line in lines:
        for lam, row in line.points:
            name = " ".join(filter(None, (line.title, f"lambda {lam:g}")))
            found = _difference(view, row, line.without, what=f"{name} minus none")
            if found is None:
                doubts.append(
                    f"{name} cannot be compared with none ({view.gap(row, view.quality) or 'no such row or scores'})"
                )
            else:
                parts.append(found)
    return Claim(
        "the score lies above the one without an assistant at every lambda", tuple(parts), PAIRED, tuple(doubts)
    )


PAIRED = "difference and its 95 % interval over prompts"


def claim_stable(view: SweepView, lines: Sequence[Line]) -> Claim:
    """The mean gain over no assistant minus the largest difference between two lambdas."""
    parts, doubts, sets = [], [], view.sets(view.quality)
    for line in lines:
        rows, name = [row for _, row in line.points], line.title or "it"
        if line.without is None or len(rows) < 2 or view.compared([*rows, line.without], view.quality) is None:
            doubts.append(f"{name} lacks scores of a lambda or of none")
            continue
        every = view.compared(rows, view.quality)
        assert every is not None
        best, worst = max(
            ((a, b) if every.difference(a, b).difference >= 0.0 else (b, a) for a, b in combinations(rows, 2)),
            key=lambda pair: every.difference(*pair).difference,
        )
        parts.append(_contrast(view, rows, line.without, best, worst, sets, name=line.title))
    return Claim(
        "it is stable in lambda: its lambdas differ by less than they gain over no assistant",
        tuple(parts),
        f"mean gain minus the largest difference between two lambdas; {PAIRED}",
        tuple(doubts),
    )


def _contrast(
    view: SweepView, rows: Sequence[int], without: int, best: int, worst: int, sets: Sequence[str], *, name: str
) -> Part:
    from amid.metrics.paired import paired_differences

    examples = view.examples
    left = [np.mean([examples[row][each] for row in rows], axis=0)[None] for each in sets]
    right = [(examples[without][each] + examples[best][each] - examples[worst][each])[None] for each in sets]
    found = paired_differences(left, right)
    difference, low, high, p = (float(each[0]) for each in (found.difference, found.low, found.high, found.p))
    return Part(" ".join(filter(None, (name, "gain minus spread"))), difference, low, high, p)
