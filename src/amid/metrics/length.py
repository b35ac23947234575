"""How long responses are, how many are empty, and how many the model ended itself."""

from __future__ import annotations

from collections.abc import Sequence

from amid.metrics.metric import check_not_empty


def response_length(texts: Sequence[str]) -> float:
    """Mean number of words per text, words being separated by white space. Raises ValueError if there is no text."""
    check_not_empty(texts)
    return sum(response_lengths(texts)) / len(texts)


def response_lengths(texts: Sequence[str]) -> list[float]:
    """The number of words of each text, words being separated by white space."""
    return [float(len(text.split())) for text in texts]


def num_empty(texts: Sequence[str]) -> int:
    """The number of texts without a word; self-BLEU and ROUGE-L score them 0, so a table should name them."""
    return sum(1 for text in texts if not text.split())


def ended_by_eos(ended: Sequence[bool]) -> list[float]:
    """100 for each response that the model ended with EOS, else 0: a length limit or a stop string cut it."""
    return [100.0 if end else 0.0 for end in ended]
