"""Figure 1: the family of assistants with prior work in it, and r at five alphas. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amid.reports.figures.formulas import log_assistant, log_normal
from amid.reports.figures.picture import Picture, Said
from amid.reports.figures.style import COLOURS, FAINT, NONE_COLOUR, REFERENCE_COLOUR, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALPHAS = (-5.0, -1.0, 0.0, 1.0, 3.0)  # the paper does not print those of its panels
LAM = 0.3
P, Q = {"mean": 0.0, "std": 0.5}, {"mean": 3.0, "std": 1.0}
# Method of conf/method -> (alpha, lambda) of its assistant; a test compares them with what the methods are.
POINTS = {
    "amid": (-5.0, 0.1, "AMiD, best of Table 3"),
    "distillm_skl": (-1.0, 0.1, "DistiLLM skewed KL(p ‖ r); GKD"),
    "distillm_srkl": (-1.0, 0.9, "DistiLLM skewed KL(q ‖ r)"),
}
TAID = (1.0, 0.4, 1.0)  # alpha, and the first and last lambda of its schedule
_NAMED = {-5.0: "−5", -1.0: "−1: arithmetic", 0.0: "0", 1.0: "1: geometric", 3.0: "3: harmonic"}


def draw() -> Picture:
    """The map and five panels."""
    said = Said(
        "Figure 1. (a) Every assistant r(alpha, lambda), prior work as single points of the family. (b-f) r (filled) "
        f"for p = N(0, 0.5²), q = N(3, 1²), lambda = {LAM:g}; the alphas of the panels are ours, the paper does not "
        "print its own. No claim is tested: these are definitions."
    )
    panels = [f"alpha {alpha:g}" for alpha in ALPHAS]
    figure, axes = canvas([["map"] * len(panels), panels], height=4.6, below=said.below, height_ratios=[1.25, 1])
    _draw_map(axes["map"])
    for index, (panel, alpha) in enumerate(zip(panels, ALPHAS, strict=True)):
        _draw_panel(axes[panel], alpha, letter="bcdef"[index], first=index == 0)
    return Picture(figure, said)


def _draw_map(axes: Axes) -> None:
    axes.set_title("(a) the family", loc="left")
    axes.set(xlim=(-6.6, 5.4), ylim=(-0.06, 1.1), xlabel="α", ylabel="λ, weight of the teacher p")
    axes.set_xticks([-6.2, -5, -3, -1, 0, 1, 3, 5], ["−∞\nmax", "−5", "−3", "−1", "0", "1", "3", "∞\nmin"])
    axes.axhline(0.0, color=NONE_COLOUR, linewidth=2)
    axes.axhline(1.0, color=NONE_COLOUR, linewidth=2)
    axes.text(5.3, 0.02, "r = q, no assistant: KD, ABKD, AKL, MiniLLM", va="bottom", ha="right", fontsize=7)
    axes.text(-6.5, 1.02, "r = p: nothing to learn under D(p, r)", va="bottom", fontsize=7)
    for alpha, name in ((-1.0, "arithmetic (m-mixture)"), (1.0, "geometric (e-mixture)"), (3.0, "harmonic")):
        axes.axvline(alpha, color=FAINT, linewidth=1, zorder=0)
        axes.text(alpha + 0.07, 0.47, name, rotation=90, va="center", fontsize=7, color=REFERENCE_COLOUR)
    for (alpha, lam, name), colour, marker in zip(POINTS.values(), COLOURS, "*os", strict=False):
        axes.plot(alpha, lam, marker, color=colour, markersize=9 if marker == "*" else 6)
        # Left of the lines, where nothing else stands; the star is alone
        place, side = ((alpha, lam + 0.06), "center") if marker == "*" else ((alpha - 0.15, lam), "right")
        axes.text(*place, name, fontsize=7, color=colour, ha=side, va="bottom" if marker == "*" else "center")
    alpha, first, last = TAID
    axes.annotate("", (alpha, last), (alpha, first), arrowprops={"arrowstyle": "-|>", "color": COLOURS[3], "lw": 2})
    axes.text(alpha + 0.12, 0.93, "TAID: λ from 0.4 to 1", fontsize=7, color=COLOURS[3], va="center")
    axes.grid(visible=False)


def _draw_panel(axes: Axes, alpha: float, *, letter: str, first: bool) -> None:
    x = np.linspace(-2.5, 7.0, 1901)
    log_p, log_q = log_normal(x, **P), log_normal(x, **Q)
    density = np.exp(log_assistant(log_p, log_q, alpha=alpha, lam=LAM)) / (x[1] - x[0])
    axes.fill_between(x, density, color=COLOURS[4], alpha=0.55, linewidth=0)
    axes.plot(x, density, color=COLOURS[1], label="r")
    axes.plot(x, np.exp(log_p), color=NONE_COLOUR, linewidth=1, linestyle=(0, (4, 1.5)), label="p")
    axes.plot(x, np.exp(log_q), color=REFERENCE_COLOUR, linewidth=1, linestyle=(0, (1, 1)), label="q")
    axes.set_title(f"({letter}) α = {_NAMED[alpha]}", loc="left", fontsize=7.5)
    axes.set(ylim=(0, 1.22), xlim=(-2.5, 7.0))
    axes.tick_params(labelleft=first)
    if first:
        axes.set_ylabel("density")
        axes.legend(loc="upper right")
