"""The curves of a training as text, from its journal: a line each: begin, end, best. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from amid.store.files import sift_lines
from amid.store.layout import journal_path

SHOWN = ("train/loss", "val/loss", "val/rouge_l")  # of what a journal holds
HIGHER_IS_BETTER = ("val/rouge_l",)
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


def series(folder: Path, name: str) -> list[tuple[int, float]]:
    """(step, value) of one quantity in the journal, in order of the steps; what is not finite is left out."""
    found = {
        int(line["step"]): float(line["metrics"][name])
        for line in sift_lines(journal_path(folder), needs=("step", "metrics")).sound
        if name in line["metrics"]
    }
    return [(step, found[step]) for step in sorted(found) if math.isfinite(found[step])]


def sparkline(values: Sequence[float], *, width: int = WIDTH) -> str:
    """The values as a row of bars, the lowest value the lowest bar; of more than `width` the means of equal parts."""
    count = min(width, len(values))
    parts = [values[len(values) * i // count : len(values) * (i + 1) // count] for i in range(count)]
    means = [math.fsum(part) / len(part) for part in parts]
    low, high = min(means, default=0.0), max(means, default=0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)
