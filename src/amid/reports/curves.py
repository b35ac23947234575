"""The curves of a training as text, from its journal: a line each: begin, end, best. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from amid.reports.columns import aligned
from amid.store.files import sift_lines
from amid.store.layout import journal_path

SHOWN = ("train/loss", "val/loss", "val/rouge_l")  # of what a journal holds
HIGHER_IS_BETTER = ("val/rouge_l",)
DIAGNOSTICS = "diagnostics/"  # the group of what is measured at sampled positions
BARS = "".join(chr(0x2581 + height) for height in range(8))  # lower eighths of a block
WIDTH = 40  # bars of a curve at most


def curve_lines(folder: Path) -> list[str]:
    """One line per curve of the entry whose folder this is; none for one without a journal."""
    lines = []
    for name in SHOWN:
        points = series(folder, name)
        if points:
            choose = max if name in HIGHER_IS_BETTER else min
            step, best = choose(points, key=lambda point: point[1])
            (first_step, first), (last_step, last) = points[0], points[-1]
            lines.append(
                f"{name:<11}  {sparkline([value for _, value in points]):<{WIDTH}}  {first:.4g} (step {first_step}) to "
                f"{last:.4g} (step {last_step}), best {best:.4g} (step {step})"
            )
    return lines


def diagnostic_lines(folder: Path) -> list[str]:
    """One line per diagnostic measure of the entry: where it began, and where it is; none for one without them."""
    lines = []
    for name, points in all_series(folder, DIAGNOSTICS).items():
        (first_step, first), (last_step, last) = points[0], points[-1]
        bars = sparkline([float(f"{value:.4g}") for _, value in points])  # of a constant rounding is no curve
        said = f"{first:.4g} (step {first_step}) to {last:.4g} (step {last_step})"
        lines.append((name.removeprefix(DIAGNOSTICS), bars, said))
    return aligned(lines, num_left=3)


def series(folder: Path, name: str) -> list[tuple[int, float]]:
    """(step, value) of one quantity in the journal, in order of the steps; what is not finite is left out."""
    return all_series(folder, name).get(name, [])


def all_series(folder: Path, prefix: str) -> dict[str, list[tuple[int, float]]]:
    """The same of every quantity whose name begins so, by name, in the journal's order."""
    found: dict[str, dict[int, float]] = {}
    for line in sift_lines(journal_path(folder), needs=("step", "metrics")).sound:
        for name, value in line["metrics"].items():
            if name.startswith(prefix):
                found.setdefault(name, {})[int(line["step"])] = float(value)
    by_step = {name: sorted(values.items()) for name, values in found.items()}
    finite = {
        name: [(step, value) for step, value in points if math.isfinite(value)] for name, points in by_step.items()
    }
    return {name: points for name, points in finite.items() if points}


def sparkline(values: Sequence[float], *, width: int = WIDTH) -> str:
    """The values as a row of bars, the lowest value the lowest bar; of more than `width` the means of equal parts."""
    count = min(width, len(values))
    parts = [values[len(values) * i // count : len(values) * (i + 1) // count] for i in range(count)]
    means = [math.fsum(part) / len(part) for part in parts]
    low, high = min(means, default=0.0), max(means, default=0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)
