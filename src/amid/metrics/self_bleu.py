"""Self-BLEU, exact and linear in the number of texts.

Every text is scored against all the others. Done naively that is quadratic: each text meets a reference set of its own.
But the reference counts of two texts differ only where one of them is the sole owner of a maximum, so per n-gram three
numbers suffice: the largest count in any text, the text that owns it, and the largest count in any other text. The
closest reference length is the same kind of question about a sorted list of lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

import numpy as np
import numpy.typing as npt

from amid.metrics.metric import check_not_empty
from amid.metrics.words import bleu_words

MAX_ORDER = 4
SMOOTHING = 0.1  # NLTK's method 1: the numerator of a precision without a match


_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU of each text against all the other texts, in [0, 1]; lower is more diverse.

    This is the corpus variant: the set is everything one system wrote under one seed. An empty text has BLEU 0 and
    counts like any other. Raises ValueError if there are fewer than 2 texts.

    Source: paper Eqs. 48-50.
    """
    return fsum(self_bleu_per_text(texts)) / len(texts)


def self_bleu_per_prompt(groups: Sequence[Sequence[str]]) -> float:
    """Mean over prompts of the self-BLEU of the prompt's responses, in [0, 1].

    groups: for each prompt its responses, one per decode seed. Raises ValueError if there is no prompt, or a prompt has
    fewer than 2 responses.

    Source: paper Eqs. 48-50, with the responses to one prompt as the set.
    """
    if len(groups) == 0:
        raise ValueError("groups must hold at least 1 prompt, got 0")
    return fsum(self_bleu(responses) for responses in groups) / len(groups)


def self_bleu_per_text(texts: Sequence[str]) -> list[float]:
    """BLEU of each text against all the other texts, each in [0, 1].

    Uniform weights over orders 1 to 4, counts clipped by the largest count in any other text, brevity penalty with the
    closest other length (the shorter one on a tie). A precision without a match has the numerator 0.1; an order longer
    than the text has the denominator 1; a text without any common word scores 0. These are NLTK's rules with smoothing
    method 1, and sacrebleu's with smooth_method "floor", which differs only for texts of fewer than 4 words (there it
    gives 0). Raises ValueError if there are fewer than 2 texts.
    """
    check_not_empty(texts)
    if len(texts) < 2:
        raise ValueError("self-BLEU compares a text with the others of its set: at least 2 texts are needed, got 1")
    words_of_text = [bleu_words(text) for text in texts]
    lengths = np.array([len(words) for words in words_of_text], dtype=np.int64)
    matches = _clipped_matches(words_of_text, lengths)
    totals = np.maximum(lengths - np.arange(MAX_ORDER)[:, None], 1)
    log_precisions = np.log(np.where(matches == 0, SMOOTHING, matches) / totals)
    closest = _closest_other_length(lengths)
    brevity_penalty = np.exp(np.minimum(0.0, 1.0 - closest / np.maximum(lengths, 1)))
    bleu = brevity_penalty * np.exp(log_precisions.mean(axis=0))
    return [float(value) for value in np.where(matches[0] == 0, 0.0, bleu)]


def _clipped_matches(words_of_text: Sequence[Sequence[str]], lengths: _Ints) -> _Ints:
    """Matched n-grams of each text against all others, by order: [MAX_ORDER, num_texts].

    Texts lie behind one another in one array of word numbers. An n-gram gets a number from the number of its first
    n - 1 words and its last word, so the key of any order is a pair and fits an int64.
    """
    number_of_word: dict[str, int] = {}
    stream = (number_of_word.setdefault(word, len(number_of_word)) for words in words_of_text for word in words)
    words = np.fromiter(stream, dtype=np.int64, count=int(lengths.sum()))
    text_of = np.repeat(np.arange(len(lengths)), lengths)
    left_in_text = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))
    gram_at = np.zeros_like(words)  # number of the n-gram that starts here; the single "0-gram" has number 0
    starts = np.arange(len(words))
    matches = np.zeros((MAX_ORDER, len(lengths)), dtype=np.int64)
    for order in range(1, MAX_ORDER + 1):
        starts = starts[left_in_text[starts] >= order]
        if len(starts) == 0:
            break
        keys = gram_at[starts] * len(number_of_word) + words[starts + order - 1]
        # Starts run text by text, so a stable sort by n-gram leaves the texts of one n-gram in order too.
        sorting = np.argsort(keys, kind="stable")
        starts_by_gram, keys = starts[sorting], keys[sorting]
        texts = text_of[starts_by_gram]
        opens_gram = np.append(True, keys[1:] != keys[:-1])
        opens_pair = opens_gram | np.append(True, texts[1:] != texts[:-1])
        grams = np.cumsum(opens_gram) - 1
        gram_at[starts_by_gram] = grams
        pairs = np.flatnonzero(opens_pair)  # a pair: one n-gram in one text
        counts = np.diff(np.append(pairs, len(keys)))
        matched = np.minimum(counts, _largest_elsewhere(counts, grams[pairs]))
        matches[order - 1] = np.bincount(texts[pairs], weights=matched, minlength=len(lengths)).astype(np.int64)
    return matches


def _largest_elsewhere(counts: _Ints, grams: _Ints) -> _Ints:
    """For each pair the largest count of its n-gram in any other text: [num_pairs]; grams is sorted and starts at 0."""
    first_pair = np.flatnonzero(np.append(True, grams[1:] != grams[:-1]))
    largest = np.maximum.reduceat(counts, first_pair)
    candidates = np.flatnonzero(counts == largest[grams])
    owners = candidates[np.append(True, np.diff(grams[candidates]) > 0)]  # one owner per n-gram, also on a tie
    without_owner = counts.copy()
    without_owner[owners] = 0
    elsewhere = largest[grams]
    elsewhere[owners] = np.maximum.reduceat(without_owner, first_pair)
    return elsewhere


def _closest_other_length(lengths: _Ints) -> _Floats:
    """For each text the length of the other text that is closest to its own, the shorter one on a tie: [num_texts]."""
    distinct, rank, num_texts = np.unique(lengths, return_inverse=True, return_counts=True)
    bounded = np.concatenate([[-np.inf], distinct, [np.inf]])
    shorter, longer = bounded[rank], bounded[rank + 2]
    neighbour = np.where(lengths - shorter <= longer - lengths, shorter, longer)
    return np.where(num_texts[rank] > 1, lengths, neighbour)
