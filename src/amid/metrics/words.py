"""Word tokens as BLEU counts them."""

from __future__ import annotations

from functools import cache

from sacrebleu.metrics.bleu import BLEU

TOKENISER = "13a"


def bleu_words(text: str) -> list[str]:
    """The words and punctuation marks of a text under sacrebleu's 13a rules, case kept; empty for white space only."""
    # sacrebleu strips the end of a segment before it tokenises; without this "so-\n" would differ from sacrebleu.
    tokenised: str = _bleu().tokenizer(text.rstrip())
    return tokenised.split()


@cache
def _bleu() -> BLEU:
    return BLEU(tokenize=TOKENISER)
