"""What a metric is, and what every metric with references requires of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum

Predictions = Sequence[str]
References = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Generations:
    """What there is to score; entry i of each belongs to example i.

    sources: what was translated; only COMET reads it. ended: whether the model ended the response with EOS, rather than
    a length limit or a stop string; only eos_share reads it.
    """

    predictions: Predictions
    references: References
    sources: Sequence[str] | None = None
    ended: Sequence[bool] | None = None


@dataclass(frozen=True)
class Metric:
    """A metric by name: what exactly it computes, which direction is good, and the functions that compute it.

    signature: everything that decides the number (options, tokeniser, version); if the number may change, so does this.
    higher_is_better: None for a quantity that only describes, such as a length. unit: percent, share (of 1), words, ...
    score: generations to the value of the whole set; None for what the trainer measures itself.
    per_example: generations to one value per example whose mean is `score`, in the same unit; None where the value
        belongs to the set and is no mean of independent examples (self-BLEU, distinct-n, corpus BLEU, chrF).
    needs: what must not be None among the generations' `sources` and `ended`.
    """

    name: str
    signature: str
    higher_is_better: bool | None
    unit: str
    score: Callable[[Generations], float] | None
    per_example: Callable[[Generations], list[float]] | None = None
    needs: str | None = None


def mean_metric(
    name: str,
    signature: str,
    higher_is_better: bool | None,
    unit: str,
    per_example: Callable[[Generations], list[float]],
    *,
    needs: str | None = None,
) -> Metric:
    """The metric whose score is the mean of its values per example."""

    def score(generations: Generations) -> float:
        check_not_empty(generations.predictions)
        values = per_example(generations)
        return fsum(values) / len(values)

    return Metric(name, signature, higher_is_better, unit, score, per_example, needs)


def check_paired(predictions: Predictions, references: References) -> None:
    """Raises ValueError unless there is a prediction and every prediction has at least one reference."""
    if len(predictions) != len(references):
        raise ValueError(
            f"predictions and references must have the same length, got {len(predictions)} and {len(references)}; "
            "pass one list of references per prediction"
        )
    check_not_empty(predictions)
    for index, alternatives in enumerate(references):
        if isinstance(alternatives, str):
            raise ValueError(f"references[{index}] must be a list of strings, got one string; wrap it in a list")
        if len(alternatives) == 0:
            raise ValueError(f"references[{index}] is empty; every example needs at least 1 reference")


def check_not_empty(predictions: Predictions) -> None:
    """Raises ValueError if there is no prediction, because a mean over nothing is not a score."""
    if len(predictions) == 0:
        raise ValueError("predictions must hold at least 1 text, got 0; check that the generations were written")
