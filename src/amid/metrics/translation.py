"""Corpus BLEU and chrF of translations, computed by sacrebleu."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from amid.metrics.metric import Predictions, References, check_paired


def bleu(predictions: Predictions, references: References) -> float:
    """Corpus BLEU of the predictions, in [0, 100], with sacrebleu's defaults (4-grams, 13a, smoothing "exp").

    Raises ValueError if the two sequences differ in length or are empty, or if an example has no reference.
    """
    check_paired(predictions, references)
    return float(BLEU().corpus_score(list(predictions), _by_stream(references)).score)


def chrf(predictions: Predictions, references: References) -> float:
    """Corpus chrF of the predictions, in [0, 100], with sacrebleu's defaults (6 characters, no words, beta 2).

    Raises ValueError if the two sequences differ in length or are empty, or if an example has no reference.
    """
    check_paired(predictions, references)
    return float(CHRF().corpus_score(list(predictions), _by_stream(references)).score)


def _by_stream(references: References) -> list[tuple[str | Any, ...]]:
    """The references as sacrebleu wants them: list k holds reference k of every example, None where there is none."""
    # sacrebleu takes None for a missing reference but does not say so in its types, so neither can we.
    return list(zip_longest(*references))
