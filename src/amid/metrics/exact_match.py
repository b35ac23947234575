"""Exact match after a light normalisation."""

from __future__ import annotations

import string
from math import fsum

from amid.metrics.metric import Predictions, References, check_paired

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(predictions: Predictions, references: References) -> float:
    """The share of predictions that equal one of their references after normalisation, in [0, 100].

    Raises ValueError as `exact_match_per_example`.
    """
    return fsum(exact_match_per_example(predictions, references)) / len(predictions)


def exact_match_per_example(predictions: Predictions, references: References) -> list[float]:
    """100 for each prediction that equals one of its references after normalisation, else 0.

    Raises ValueError if the two sequences differ in length or are empty, or if an example has no reference.

    Source: reference rouge_metric.py.
    """
    check_paired(predictions, references)
    return [
        100.0 if normalise(prediction) in {normalise(reference) for reference in alternatives} else 0.0
        for prediction, alternatives in zip(predictions, references, strict=True)
    ]


def normalise(text: str) -> str:
    """The text in lower case, without ASCII punctuation, with single spaces; articles are kept."""
    return " ".join(text.lower().translate(_WITHOUT_PUNCTUATION).split())
