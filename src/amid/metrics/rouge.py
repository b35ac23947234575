"""ROUGE-L as the field computes it: the package rouge-score, its Porter stemmer, the best of several references."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from math import fsum
from typing import Literal

from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer

from amid.metrics.metric import Predictions, References, check_paired

# "native" is our own longest common subsequence; "rouge_score" calls the package. The tests prove them bit-identical.
Engine = Literal["native", "rouge_score"]

_WORD = re.compile("[a-z0-9]+")
_STEMMER = PorterStemmer()


def rouge_l(
    predictions: Predictions, references: References, *, use_stemmer: bool = True, engine: Engine = "native"
) -> float:
    """Mean ROUGE-L F over the examples, in [0, 100].

    Arguments and errors as in `rouge_l_per_example`.

    Source: paper Eqs. 46-47; reference rouge_metric.py.
    """
    return fsum(rouge_l_per_example(predictions, references, use_stemmer=use_stemmer, engine=engine)) / len(predictions)


def rouge_l_per_example(
    predictions: Predictions, references: References, *, use_stemmer: bool = True, engine: Engine = "native"
) -> list[float]:
    """ROUGE-L F of each prediction against the best of its references, in [0, 100].

    use_stemmer: Porter-stem words of more than 3 characters; DialogSum is scored without.
    engine: who computes; both give the same bits, "rouge_score" is the slow original.
    Text without a letter a-z or a digit scores 0. Raises ValueError if the two sequences differ in length or are empty,
    if an example has no reference, or if the engine is unknown.

    Source: reference rouge_metric.py; the definition is that of the package rouge-score (rougeL, F-measure).
    """
    if engine not in _ENGINES:
        raise ValueError(f"engine '{engine}' unknown; valid: {', '.join(sorted(_ENGINES))}")
    check_paired(predictions, references)
    f_measure = _ENGINES[engine](use_stemmer)
    return [
        100.0 * max(f_measure(reference, prediction) for reference in alternatives)
        for prediction, alternatives in zip(predictions, references, strict=True)
    ]


def rouge_l_plain_per_example(predictions: Predictions, references: References) -> list[float]:
    """ROUGE-L F of each prediction without stemmer, averaged over its references, in [0, 100].

    For DialogSum this is the mean over the rows of SKD's test file, where each reference is a row of its own.
    Raises ValueError as `rouge_l_per_example`.

    Source: SKD eval_summ.py, without its bootstrap, whose middle only approximates this mean.
    """
    check_paired(predictions, references)
    f_measure = _native_f_measure(False)
    return [
        100.0 * fsum(f_measure(reference, prediction) for reference in alternatives) / len(alternatives)
        for prediction, alternatives in zip(predictions, references, strict=True)
    ]


def longest_common_subsequence(left: list[str], right: list[str]) -> int:
    """The length of the longest common subsequence of two token lists.

    Bit-parallel: one big integer holds a row of the dynamic programme, so a row costs a few integer operations.

    Source: Hyyro (2004), "Bit-parallel LCS-length computation revisited".
    """
    shorter, longer = sorted((left, right), key=len)
    places: dict[str, int] = {}
    for index, token in enumerate(longer):
        places[token] = places.get(token, 0) | (1 << index)
    everywhere = (1 << len(longer)) - 1
    row = everywhere  # bit i is cleared where the row grows at column i
    for token in shorter:
        if token in places:
            matched = row & places[token]
            row = ((row + matched) | (row - matched)) & everywhere
    return len(longer) - row.bit_count()


def rouge_tokens(text: str, *, use_stemmer: bool) -> list[str]:
    """The lower-cased runs of a-z and 0-9 in a text, stemmed when longer than 3 characters and the stemmer is on."""
    tokens = _WORD.findall(text.lower())
    return [_stem(token) if len(token) > 3 else token for token in tokens] if use_stemmer else tokens


@lru_cache(maxsize=2**16)
def _stem(word: str) -> str:
    stem: str = _STEMMER.stem(word)
    return stem


def _native_f_measure(use_stemmer: bool) -> Callable[[str, str], float]:
    # One prediction meets several references, and one reference several decode seeds.
    tokens_of = lru_cache(maxsize=256)(partial(rouge_tokens, use_stemmer=use_stemmer))

    def f_measure(reference: str, prediction: str) -> float:
        reference_tokens, prediction_tokens = tokens_of(reference), tokens_of(prediction)
        if not reference_tokens or not prediction_tokens:
            return 0.0
        common = longest_common_subsequence(reference_tokens, prediction_tokens)
        # Same operations in the same order as rouge-score: the result must agree in the last bit.
        precision, recall = common / len(prediction_tokens), common / len(reference_tokens)
        return 2 * precision * recall / (precision + recall) if common > 0 else 0.0

    return f_measure


def _rouge_score_f_measure(use_stemmer: bool) -> Callable[[str, str], float]:
    scorer = RougeScorer(["rougeL"], use_stemmer=use_stemmer)
    return lambda reference, prediction: float(scorer.score(reference, prediction)["rougeL"].fmeasure)


_ENGINES: dict[str, Callable[[bool], Callable[[str, str], float]]] = {
    "native": _native_f_measure,
    "rouge_score": _rouge_score_f_measure,
}
