"""Figure 2b: the weight w that the gradient gives to a token, over log p - log q, for several alphas. No torch here."""

from __future__ import annotations

import numpy as np

from amid.reports.figures.claims import Claim, Part
from amid.reports.figures.formulas import gradient_weight
from amid.reports.figures.picture import Picture, Said
from amid.reports.figures.style import DASHES, NONE_COLOUR, canvas, number, ordered_colours

ALPHAS = (-5.0, -3.0, -1.0, 0.0, 1.0, 3.0)
LAMS = (0.1, 0.3)
RANGE = 6.0  # of log p - log q to both sides
NEAREST = 0.1  # to p = q, where w is the same for every alpha, that is part of the claim


def draw() -> Picture:
    """w at two lambdas, and its claim."""
    claim = claim_of_weights()
    said = Said(
        "Figure 2b. w, the share of the gradient through r that reaches the student's own log-probability of a token "
        "(Prop. 3.5). Right of 0 the teacher finds it likelier than the student does. An exact statement, so the "
        "interval is the smallest and the largest value drawn.",
        (claim,),
    )
    panels = [f"lambda {lam:g}" for lam in LAMS]
    figure, axes = canvas([panels], height=2.9, below=said.below, sharey=True)
    ratio = np.linspace(-RANGE, RANGE, 481)
    for panel, lam in zip(panels, LAMS, strict=True):
        axis = axes[panel]
        axis.axvline(0.0, color=NONE_COLOUR, linewidth=0.8)
        for index, (alpha, colour) in enumerate(zip(ALPHAS, ordered_colours(len(ALPHAS)), strict=True)):
            weight = gradient_weight(ratio, alpha=alpha, lam=lam)
            axis.plot(ratio, weight, color=colour, linestyle=DASHES[index % len(DASHES)], label=f"α = {number(alpha)}")
        axis.set_title(f"λ = {lam:g}", loc="left")
        axis.set(xlabel="p < q        log p − log q        p > q", ylim=(-0.03, 1.03), xlim=(-RANGE, RANGE))
    axes[panels[0]].set_ylabel("gradient weight w")
    handles, labels = axes[panels[0]].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    return Picture(figure, said)


def claim_of_weights() -> Claim:
    """That w grows with alpha where p > q and falls where p < q, over all that is drawn."""
    right = np.linspace(NEAREST, RANGE, 241)
    parts = []
    for what, ratios, claimed in (
        ("w from the smallest alpha to the largest, p > q", right, 1),
        ("the same, p < q", -right, -1),
    ):
        weights = np.array([[gradient_weight(ratios, alpha=alpha, lam=lam) for alpha in ALPHAS] for lam in LAMS])
        steps, change = np.diff(weights, axis=1), weights[:, -1] - weights[:, 0]
        every = bool((claimed * steps > 0.0).all())  # at each step of alpha, not only over the whole way
        parts.append(
            Part(
                what, float(change.mean()), float(change.min()), float(change.max()), 0.0 if every else 1.0, claimed, 3
            )
        )
    return Claim(
        "w grows with alpha where p > q and falls where p < q (Prop. 3.5)",
        tuple(parts),
        f"mean [smallest, largest] change for {NEAREST:g} <= |log p - log q| <= {RANGE:g}, lambda "
        f"{' and '.join(f'{lam:g}' for lam in LAMS)}; every step of alpha has this sign"
        if all(part.p == 0.0 for part in parts)
        else "not every step of alpha has this sign",
    )
