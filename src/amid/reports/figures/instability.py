"""Appendix D: gradient norm and loss over training at every alpha, of each divergence. No torch here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from amid.reports.facts import ALPHA
from amid.reports.figures.claims import Claim, Part, mean_of_series
from amid.reports.figures.lines import left_out, one_legend, same_limits
from amid.reports.figures.picture import Picture, Said, as_printed
from amid.reports.figures.style import COLOURS, DASHES, NONE_COLOUR, canvas, number, ordered_colours
from amid.reports.figures.sweep_view import DIVERGED, MISSING, Line, SweepView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NORM, LOSS = "train/grad_norm", "train/loss"
NAMED = {"divergence.name": "kl", "divergence.order": "rp"}  # D_KL(r || p), the paper's RKL(p || r)
ALPHA_NAMED = 1.0
SEGMENTS, FEWEST = 10, 3  # equal parts of a training, and the steps that each of them needs
DRAWN = 100  # points of a curve at most; of more the medians of equal parts
COLUMNS = 3  # panels beside each other at most


def draw(view: SweepView) -> Picture:
    """The curves, a panel for each divergence, and whether the named one is the unsteady one."""
    every, claim = view.lines(ALPHA), claim_of_instability(view)
    said = Said(
        "Appendix D. Gradient norm before clipping and loss over training, one training of each row; of more than "
        f"{DRAWN} logged steps medians of equal parts, shaded from smallest to largest at alpha 1; a cross: diverged "
        f"there. {left_out(every, COLUMNS)}{view.settings}",
        (claim,),
    )
    lines = every[:COLUMNS]
    panels = [[f"{name} {i}" for i in range(len(lines))] for name in (NORM, LOSS)]
    figure, axes = canvas(panels, height=4.4, below=said.below, sharex=True)
    alphas = sorted({alpha for line in lines for alpha, _ in line.points})
    colours = dict(zip(alphas, ordered_colours(len(alphas)), strict=True))
    for index, line in enumerate(lines):
        axes[f"{NORM} {index}"].set_title(as_printed(line.title), loc="left")
        axes[f"{LOSS} {index}"].set(xlabel="step")
        words = "\n".join(_gaps_in(view, line))
        axes[f"{NORM} {index}"].text(
            0.98, 0.98, words, transform=axes[f"{NORM} {index}"].transAxes, ha="right", va="top"
        )
        rows: list[tuple[float | None, str, int]] = []
        rows += [(alpha, f"α = {number(alpha)}", row) for alpha, row in line.points]
        rows += [] if line.without is None else [(None, "no assistant", line.without)]
        for place, (alpha, label, row) in enumerate(rows):
            colour = NONE_COLOUR if alpha is None else COLOURS[1] if alpha == ALPHA_NAMED else colours[alpha]
            style = {"color": colour, "linestyle": DASHES[place % len(DASHES)], "linewidth": 1.0}
            if alpha is None or alpha == ALPHA_NAMED:
                style |= {"linestyle": "--"} if alpha is None else {"linestyle": "-", "linewidth": 2.0}
            for name in (NORM, LOSS):
                axes[f"{name} {index}"].plot([], [], label=label, **style)
                _draw_curve(axes[f"{name} {index}"], view, row, name, shaded=alpha == ALPHA_NAMED, style=style)
    axes[f"{NORM} 0"].set_ylabel("log₁₀ gradient norm")
    axes[f"{LOSS} 0"].set_ylabel("loss")
    for name in (NORM, LOSS):
        same_limits([axes[f"{name} {index}"] for index in range(len(lines))])
    one_legend(figure)
    return Picture(figure, said, view.damage)


def _draw_curve(axis: Axes, view: SweepView, row: int, name: str, *, shaded: bool, style: Mapping[str, Any]) -> None:
    points = _curve(view, row, name)
    if not points:
        return
    parts = _parts(points, DRAWN)
    steps = [part[-1][0] for part in parts]
    middles = [statistics.median(value for _, value in part) for part in parts]
    axis.plot(steps, middles, **style)
    if shaded and len(points) > DRAWN:
        low, high = ([choose(value for _, value in part) for part in parts] for choose in (min, max))
        axis.fill_between(steps, low, high, color=style["color"], alpha=0.25, linewidth=0)
    if view.state(row) == DIVERGED:
        axis.plot(steps[-1:], middles[-1:], "x", color=NONE_COLOUR, markersize=9, zorder=5)


def _curve(view: SweepView, row: int, name: str) -> Sequence[tuple[int, float]]:
    """The curve of the first training of a row; the norm by its logarithm, of which the claim is too."""
    curves = view.curves(row, name)
    if not curves:
        return []
    return _logs(curves[0]) if name == NORM else curves[0]


def _gaps_in(view: SweepView, line: Line) -> list[str]:
    """What diverged and what has no curve, in words."""
    words: dict[str, list[str]] = {}
    for alpha, row in line.points:
        word = view.state(row) or ("" if _curve(view, row, NORM) else MISSING)
        if word:
            words.setdefault(word, []).append(number(alpha))
    return [f"{word}: α = {', '.join(alphas)}" for word, alphas in words.items()]


def _logs(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    return [(step, math.log10(value)) for step, value in points if value > 0.0]


def _parts(points: Sequence[tuple[int, float]], number_of: int) -> list[Sequence[tuple[int, float]]]:
    count = min(number_of, len(points))
    return [points[len(points) * i // count : len(points) * (i + 1) // count] for i in range(count)]


def claim_of_instability(view: SweepView) -> Claim:
    """How much more log10 of the gradient norm scatters at alpha 1 than at every other alpha, under D_KL(r || p)."""
    statement = "training on KL(r || p) diverges at alpha 1 and at no other alpha"
    line = next((each for each in view.lines(ALPHA) if _is_named(view, each)), None)
    row = None if line is None else dict(line.points).get(ALPHA_NAMED)
    if line is None or row is None:
        return Claim(statement, (), "", ("the sweep has no KL(r || p) at alpha 1",))
    parts, doubts = [], []
    for alpha, other in line.points:
        if other == row:
            continue
        found = _scatter_beyond(view, row, other)
        if found is None:
            doubts.append(f"alpha {alpha:g} or 1 has fewer than {SEGMENTS * FEWEST} logged steps")
        else:
            parts.append(Part(f"scatter at alpha 1 minus at {alpha:g}", *found, digits=3))
    diverged = [alpha for alpha, each in line.points if view.state(each) == DIVERGED]
    if diverged != [ALPHA_NAMED]:
        named = ", ".join(f"{alpha:g}" for alpha in diverged) or "no alpha"
        doubts.append(f"what diverged: {named}")
    return Claim(
        statement,
        tuple(parts),
        f"standard deviation of log10 gradient norm within {SEGMENTS} equal parts of the training, its mean difference "
        "and 95 % interval, neighbours taken as correlated",
        tuple(doubts),
    )


def _is_named(view: SweepView, line: Line) -> bool:
    members = [member for _, row in line.points for member in view.planned[row].members]
    return bool(members) and all(view.facts.of(members[0].id, key) == value for key, value in NAMED.items())


def _scatter_beyond(view: SweepView, row: int, other: int) -> tuple[float, float, float, float] | None:
    both = [_scatter(view, each) for each in (row, other)]
    if both[0] is None or both[1] is None:
        return None
    return mean_of_series([a - b for a, b in zip(both[0], both[1], strict=True)])


def _scatter(view: SweepView, row: int) -> list[float] | None:
    """The standard deviation of log10 gradient norm in each segment, the mean over the trainings of a row."""
    found = []
    for points in view.curves(row, NORM):
        logs = _logs(points)
        if len(logs) < SEGMENTS * FEWEST:
            return None
        found.append([statistics.stdev(value for _, value in part) for part in _parts(logs, SEGMENTS)])
    return [statistics.fmean(each) for each in zip(*found, strict=True)] if found else None
