"""Distinct-n: how many of the n-grams of a set are different ones."""

from __future__ import annotations

from collections.abc import Sequence

from amid.metrics.metric import check_not_empty
from amid.metrics.words import bleu_words


def distinct_n(texts: Sequence[str], *, order: int) -> float:
    """The number of different n-grams of a set of texts over the number of all its n-grams, in [0, 1].

    order: the n of the n-grams, at least 1. A set without any n-gram of that order has the value 0.
    Falls with the size of the set: compare only sets of about equal length. Raises ValueError if there is no text or
    the order is below 1.

    Source: Li et al. (2016), "A Diversity-Promoting Objective Function for Neural Conversation Models".
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    check_not_empty(texts)
    different: set[tuple[str, ...]] = set()
    num_grams = 0
    for text in texts:
        words = bleu_words(text)
        grams = list(zip(*(words[shift:] for shift in range(order)), strict=False))  # ends with the shortest shift
        different.update(grams)
        num_grams += len(grams)
    return len(different) / num_grams if num_grams else 0.0
