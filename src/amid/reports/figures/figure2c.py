"""Figure 2c: one normal distribution fitted to a mixture of two, at several alphas. No torch here: fits are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from amid.reports.columns import aligned, ruled
from amid.reports.figures.claims import Claim, Part
from amid.reports.figures.formulas import Array, log_normal
from amid.reports.figures.picture import Picture, Said
from amid.reports.figures.style import COLOURS, DASHES, FAINT, MARKERS, NONE_COLOUR, canvas, number, ordered_colours
from amid.toy_experiment.result import PARAMETRISATIONS, Fit, Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {"variance": "Adam on μ, σ²", "log_std": "Adam on μ, log σ"}
SHORT = {"variance": "σ²", "log_std": "log σ"}
APART = 0.05  # of mean or standard deviation: two fits of one loss that end further apart are at two minima
STILL_MOVING = 0.01  # over the last tenth of the steps


def draw(fits: Sequence[Fit], setting: Setting) -> Picture:
    """Densities by parametrisation and lambda, and mean and standard deviation over alpha."""
    claim = claim_of_fits(fits, setting)
    said = Said(
        f"Figure 2c. q = N(μ, σ²) from N(0, 1) by {setting.steps} steps of Adam at {setting.lr:g} on KL(p || r); p "
        f"(filled) = {' + '.join(f'{each.weight:g} N({each.mean:g}, {each.variance:g})' for each in setting.peaks)}. "
        "That these are variances, lambda and alphas are our choice: the paper does not print them. "
        + " ".join(departures(fits)),
        (claim,),
        tuple(table_of(fits)),
    )
    densities = [[f"{each} {lam:g}" for lam in setting.lams] for each in PARAMETRISATIONS]
    columns = max(2, len(setting.lams))
    figure, axes = canvas(
        [*densities, (["mean", *["std"] * (columns - 1)])], height=6.6, below=said.below, height_ratios=[1, 1, 0.9]
    )
    x = np.linspace(-9.0, 8.0, 681)
    density = np.sum(
        [each.weight * np.exp(log_normal(x, mean=each.mean, std=each.variance**0.5)) for each in setting.peaks], axis=0
    )
    for parametrisation in PARAMETRISATIONS:
        for lam in setting.lams:
            axis = axes[f"{parametrisation} {lam:g}"]
            _draw_densities(axis, [f for f in fits if (f.parametrisation, f.lam) == (parametrisation, lam)], x, density)
            axis.set_title(f"{NAMES[parametrisation]}; λ = {lam:g}", loc="left")
    axes[densities[0][0]].legend(loc="upper right", ncols=2)
    _draw_moments(axes, fits, setting)
    return Picture(figure, said)


def _draw_densities(axis: Axes, fits: Sequence[Fit], x: Array, density: Array) -> None:
    axis.fill_between(x, density, color=FAINT, alpha=0.6, linewidth=0, label="p")
    for index, (fit, colour) in enumerate(zip(fits, ordered_colours(len(fits)), strict=True)):
        fitted = np.exp(log_normal(x, mean=fit.mean, std=fit.std))
        axis.plot(x, fitted, color=colour, linestyle=DASHES[index % len(DASHES)], label=f"α = {number(fit.alpha)}")
    axis.set(xlim=(x[0], x[-1]), ylim=(0, None), ylabel="density")


def _draw_moments(axes: dict[str, Axes], fits: Sequence[Fit], setting: Setting) -> None:
    places = range(len(setting.alphas))
    series = [(each, lam) for each in PARAMETRISATIONS for lam in setting.lams]
    for name, of_p, label in (("mean", setting.mean, "mean of q"), ("std", setting.std, "standard deviation of q")):
        axis = axes[name]
        axis.axhline(of_p, color=NONE_COLOUR, linestyle="--", linewidth=1, label="of p")
        for index, (parametrisation, lam) in enumerate(series):
            values = [getattr(f, name) for f in fits if (f.parametrisation, f.lam) == (parametrisation, lam)]
            axis.plot(
                places,
                values,
                color=COLOURS[index],
                marker=MARKERS[index],
                linestyle=DASHES[index % len(DASHES)],
                fillstyle="none" if parametrisation == "log_std" else "full",
                markersize=7 if parametrisation == "log_std" else 4,
                label=f"{SHORT[parametrisation]}; λ = {lam:g}",
            )
        axis.set(xlabel="α", ylabel=label)
        axis.set_xticks(list(places), [number(alpha) for alpha in setting.alphas])
    axes["mean"].legend(loc="lower right")


def claim_of_fits(fits: Sequence[Fit], setting: Setting) -> Claim:
    """That a small alpha seeks one mode and a large one covers: by widths and by the distance from the mean of p."""
    low, high = min(setting.alphas), max(setting.alphas)
    at = {(f.parametrisation, f.lam, f.alpha): f for f in fits}
    settings = [(each, lam) for each in PARAMETRISATIONS for lam in setting.lams]
    smallest = [at[(*each, low)] for each in settings]
    largest = [at[(*each, high)] for each in settings]
    parts = (
        _range(f"std of q minus that of p at alpha {low:g}", [f.std - setting.std for f in smallest], claimed=-1),
        _range(
            f"std of q at alpha {high:g} minus at {low:g}",
            [b.std - a.std for a, b in zip(smallest, largest, strict=True)],
            claimed=1,
        ),
        _range(
            "the same of the distance of its mean from that of p",
            [abs(b.mean - setting.mean) - abs(a.mean - setting.mean) for a, b in zip(smallest, largest, strict=True)],
            claimed=-1,
        ),
    )
    return Claim(
        "a small alpha seeks one mode, a larger one covers both",
        parts,
        "mean [smallest, largest] over lambda and parametrisation; nothing is drawn at random",
    )


def _range(what: str, values: Sequence[float], *, claimed: int) -> Part:
    one_sided = min(values) > 0.0 or max(values) < 0.0
    return Part(what, float(np.mean(values)), min(values), max(values), 0.0 if one_sided else 1.0, claimed)


def departures(fits: Sequence[Fit]) -> list[str]:
    """Where theory and fit part: fits of one loss at two minima, widths that fall with alpha, unfinished fits."""
    at = {(f.alpha, f.lam, f.parametrisation): f for f in fits}
    said = []
    for (alpha, lam, parametrisation), by_variance in at.items():
        by_log = at.get((alpha, lam, "log_std"))
        if parametrisation != "variance" or by_log is None:
            continue
        if max(abs(by_variance.mean - by_log.mean), abs(by_variance.std - by_log.std)) > APART and not _moves(
            by_variance, by_log
        ):
            said.append(
                f"The loss is one, its minima are several: at alpha {alpha:g}, lambda {lam:g} Adam on σ² ends at σ "
                f"{by_variance.std:.2f} (KL {by_variance.loss:.4f}), on log σ at {by_log.std:.2f} ({by_log.loss:.4f})."
            )
    ordered = sorted(fits, key=lambda f: (f.parametrisation, f.lam, f.alpha))
    falls = [
        f"lambda {a.lam:g}, {a.alpha:g} to {b.alpha:g}"
        for a, b in zip(ordered, ordered[1:], strict=False)
        if (a.parametrisation, a.lam) == (b.parametrisation, b.lam) and b.std < a.std
    ]
    if falls:
        said.append(f"The width falls with alpha at {'; '.join(dict.fromkeys(falls))}.")
    moving = [f"alpha {f.alpha:g}, lambda {f.lam:g} ({NAMES[f.parametrisation]})" for f in fits if _moves(f)]
    if moving:
        said.append(f"Not at a minimum when the steps ended: {'; '.join(moving)}.")
    return said


def _moves(*fits: Fit) -> bool:
    return any(fit.moved > STILL_MOVING for fit in fits)


def table_of(fits: Sequence[Fit]) -> list[str]:
    """The fits as a table in text."""
    rows = [
        (
            f.parametrisation,
            f"{f.lam:g}",
            f"{f.alpha:g}",
            f"{f.mean:.3f}",
            f"{f.std:.3f}",
            f"{f.loss:.4f}",
            f"{f.moved:.3f}",
        )
        for f in fits
    ]
    return ruled(
        aligned([("Adam moves", "lambda", "alpha", "mean", "std", "KL(p || r)", "still moved"), *rows], num_left=1)
    )
