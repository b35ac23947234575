"""Figure 3: validation ROUGE-L over training, one line for each row of the sweep. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from amid.errors import one_line
from amid.reports.figures.claims import Claim, Part, mean_of_series
from amid.reports.figures.picture import Picture, Said, as_printed
from amid.reports.figures.style import COLOURS, DASHES, MARKERS, NONE_COLOUR, canvas
from amid.reports.figures.sweep_view import MISSING, SweepView

CURVE = "val/rouge_l"
AMID = "amid"
HALVES = ("first half", "second half")
FEWEST = 6  # validations that make two halves with an interval each


def draw(view: SweepView) -> Picture:
    """The curves, AMiD's in front, and whether it lies above every other one in both halves of the training."""
    claim = claim_of_curves(view)
    said = Said(
        f"Figure 3. Validation ROUGE-L over training; thin: single trainings of a mean. {view.settings}", (claim,)
    )
    figure, axes = canvas([["curves"]], height=3.3, below=said.below)
    axis = axes["curves"]
    for index, row in enumerate(_rows(view)):
        is_amid, name = method_of(view, row) == AMID, _name(view, row)
        colour = NONE_COLOUR if is_amid else COLOURS[index % len(COLOURS)]
        curve, word = mean_curve(view, row), view.state(row)
        label = as_printed(f"{name} ({word or MISSING})" if word or not curve else name)
        axis.plot(
            list(curve), list(curve.values()), color=colour, marker=MARKERS[index % len(MARKERS)], label=label,
            linestyle="-" if is_amid else DASHES[index % len(DASHES)], linewidth=2.2 if is_amid else 1.3,
            zorder=4 if is_amid else 2, markersize=5 if is_amid else 3.5,
        )  # fmt: skip
        singles = view.curves(row, CURVE)
        for points in singles if len(singles) > 1 else ():
            axis.plot(*zip(*points, strict=True), color=colour, linewidth=0.5, alpha=0.6)
    axis.set(xlabel="step", ylabel="validation ROUGE-L")
    figure.legend(loc="outside right center")
    return Picture(figure, said, view.damage)


def claim_of_curves(view: SweepView) -> Claim:
    """AMiD minus every other row, in each half of the training, over the validations that both have."""
    ours = [row for row in _rows(view) if method_of(view, row) == AMID]
    others = [row for row in _rows(view) if row not in ours]
    parts, doubts = [], [] if ours else ["there is no row with method=amid"]
    for mine in ours:
        for other in others:
            left, right = mean_curve(view, mine), mean_curve(view, other)
            steps = [step for step in left if step in right]
            if len(steps) < FEWEST:
                doubts.append(f"{_name(view, other)} shares {len(steps)} validations with AMiD, of {FEWEST} needed")
                continue
            differences = [left[step] - right[step] for step in steps]
            parts += _in_halves(f"minus {_name(view, other)}", differences)
    return Claim(
        "AMiD's validation curve lies above the others throughout",
        tuple(parts),
        "mean over the validations of a half and 95 % interval, neighbours taken as correlated",
        tuple(doubts),
    )


def _in_halves(what: str, differences: Sequence[float]) -> list[Part]:
    middle = len(differences) // 2
    parts = []
    for name, half in zip(HALVES, (differences[:middle], differences[middle:]), strict=True):
        found = mean_of_series(half)
        assert found is not None  # FEWEST
        above = sum(each > 0.0 for each in half)
        parts.append(Part(f"{what}, {name} (above at {above} of {len(half)})", *found))
    return parts


def mean_curve(view: SweepView, row: int) -> Mapping[int, float]:
    """Step -> validation ROUGE-L, the mean over the trainings of a row where all of them have it."""
    curves = [dict(points) for points in view.curves(row, CURVE)]
    steps = [step for step in (curves[0] if curves else {}) if all(step in curve for curve in curves)]
    return {step: math.fsum(curve[step] for curve in curves) / len(curves) for step in steps}


def method_of(view: SweepView, row: int) -> str | None:
    """The method of a row, where one is known."""
    planned = view.planned[row]
    return planned.raw.get("method") or (view.facts.of(planned.members[0].id, "method") if planned.members else None)


def _rows(view: SweepView) -> list[int]:
    return [index for index, row in enumerate(view.rows) if not row.is_reference]


def _name(view: SweepView, row: int) -> str:
    return one_line(" ".join(part for part in (view.title(row), *view.rows[row].labels) if part))
