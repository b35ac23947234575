"""The scores of texts that were generated elsewhere, as text. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from amid.evaluation.texts import FileScore
from amid.reports.columns import aligned


def render_scores(scores: Sequence[FileScore]) -> str:
    """One line per metric: name, value, number of responses, and what exactly it is."""
    numbers = [
        [score.metric, "-" if score.value is None else f"{score.value:.4f}", str(score.num_samples)] for score in scores
    ]
    lines = zip(aligned(numbers, num_left=1), scores, strict=True)
    return "".join(f"{line}  {score.signature}\n" for line, score in lines)
