"""How steadily a training went: variation of its gradient norm, spikes of its loss, divergence. No torch here.

All of it is read from the journal, so between two of its lines nothing is seen (`trainer.log_every_steps`).
docs/diagnostics.md has the formulas.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from amid.reports.curves import series
from amid.reports.reading import has_diverged

LOSS, NORM = "train/loss", "train/grad_norm"
WINDOW = 20  # journal lines that a loss is compared with, and within which a norm varies
FEWEST = 10  # of them; a line with fewer before it is compared with nothing
# Median deviations above the median. Of normal noise one line in 14 000 lies there, one in 700 with only FEWEST before.
SPIKE_DEVIATIONS = 10.0
SHOWN = 8  # steps of spikes in a line


@dataclass(frozen=True)
class Stability:
    """How steadily one training went.

    num_lines: journal lines of steps. norm_variation: of the gradient norm before clipping, its standard deviation over
    its mean, over the run; local_norm_variation: the median of the same within windows, which a trend does not raise.
    Both None for fewer than two lines. spikes: the steps whose loss is one. diverged: it failed as such.
    """

    num_lines: int
    norm_variation: float | None
    local_norm_variation: float | None
    spikes: tuple[int, ...]
    diverged: bool


@dataclass(frozen=True)
class SeedStability:
    """The same of trainings that differ in their seed.

    num_diverged: of num_seeds. norm_variation, local_norm_variation: means over those that have them, None without.
    num_spikes: of num_lines, of all together.
    """

    num_seeds: int
    num_diverged: int
    norm_variation: float | None
    local_norm_variation: float | None
    num_spikes: int
    num_lines: int


def stability_of(folder: Path) -> Stability:
    """The stability of the training whose folder this is, as far as it has got."""
    norms = [value for _, value in series(folder, NORM)]
    losses = series(folder, LOSS)
    windows = [norms[start : start + WINDOW] for start in range(0, len(norms), WINDOW)]
    local = [found for found in map(variation, windows) if found is not None]
    return Stability(
        num_lines=len(losses),
        norm_variation=variation(norms),
        local_norm_variation=statistics.median(local) if local else None,
        spikes=loss_spikes(losses),
        diverged=has_diverged(folder),
    )


def over_seeds(found: Sequence[Stability]) -> SeedStability:
    """Trainings of several seeds together."""
    return SeedStability(
        num_seeds=len(found),
        num_diverged=sum(each.diverged for each in found),
        norm_variation=_mean([each.norm_variation for each in found]),
        local_norm_variation=_mean([each.local_norm_variation for each in found]),
        num_spikes=sum(len(each.spikes) for each in found),
        num_lines=sum(each.num_lines for each in found),
    )


def stability_lines(found: Stability) -> list[str]:
    """What is said of one training, in lines; none without two gradient norms."""
    if found.norm_variation is None or found.local_norm_variation is None:
        return []
    shown = ", ".join(map(str, found.spikes[:SHOWN])) + ", ..." * (len(found.spikes) > SHOWN)
    said = f"{len(found.spikes)} (steps {shown})" if found.spikes else "none"
    if found.num_lines <= FEWEST:
        said = f"none can be told in {found.num_lines} journal lines"
    return [
        f"gradient norm: varies by {found.norm_variation:.0%} over {found.num_lines} journal lines, by "
        f"{found.local_norm_variation:.0%} within {WINDOW}",
        f"loss spikes: {said}",
    ]


def seed_line(found: SeedStability, sweep: str) -> str:
    """What is said of the training seeds of a row of a sweep, of which there is more than one."""
    parts = [f"{found.num_diverged} of {found.num_seeds} diverged"]
    if found.norm_variation is not None and found.local_norm_variation is not None:
        parts.append(
            f"gradient norm varies by {found.norm_variation:.0%}, by {found.local_norm_variation:.0%} within {WINDOW} "
            "journal lines"
        )
    parts.append(f"loss spikes: {found.num_spikes} in {found.num_lines} journal lines")
    return f"training seeds of {sweep}: {'; '.join(parts)}"


def variation(values: Sequence[float]) -> float | None:
    """The coefficient of variation: standard deviation over mean; None for fewer than two values, or a mean of 0."""
    if len(values) < 2 or not any(values):
        return None
    return statistics.stdev(values) / statistics.fmean(values)


def loss_spikes(losses: Sequence[tuple[int, float]]) -> tuple[int, ...]:
    """The steps of (step, loss), in order, whose loss is above median + k MAD of the lines before it.

    The lines are the last WINDOW, of which FEWEST must be there; k is SPIKE_DEVIATIONS; MAD is the median of the
    distances to the median.
    """
    found = []
    for index, (step, loss) in enumerate(losses):
        before = [value for _, value in losses[max(0, index - WINDOW) : index]]
        if len(before) < FEWEST:
            continue
        median = statistics.median(before)
        deviation = statistics.median(abs(value - median) for value in before)
        if loss > median + SPIKE_DEVIATIONS * deviation:
            found.append(step)
    return tuple(found)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
