"""Self-BLEU must equal two independent BLEU implementations that score each text against all the others."""

import math
import random
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from sacrebleu.metrics.bleu import BLEU

from amid.metrics.self_bleu import (
    self_bleu,
    self_bleu_per_prompt,
    self_bleu_per_text,
)

TOLERANCE = 1e-12  # float64; the logarithms of four fractions and one exponential

OPENINGS = ["The capital of France is", "I would suggest", "To bake bread,", "In 1969, astronauts", "She said:"]
MIDDLES = ["Paris", "reading more books", "mix flour, water, and salt", "landed on the moon", '"no way!"']
ENDINGS = [
    ". It is well-known.",
    "; see section 3.2.",
    " (about 1,000 people).",
    " \u2014 na\u00efve caf\u00e9.",
    "...",
]


def written(num_texts, seed=0):
    """Different texts with shared phrases, repetitions, exact duplicates, and some short or empty ones."""
    rng = random.Random(seed)
    texts = []
    for _ in range(num_texts):
        parts = [f"{rng.choice(OPENINGS)} {rng.choice(MIDDLES)}{rng.choice(ENDINGS)}" for _ in range(rng.randint(1, 4))]
        parts += [f"item{rng.randint(0, num_texts)}" for _ in range(rng.randint(0, 8))]
        texts.append(" ".join(parts))
    texts[:4] = ["", "  \n", "Yes", "the the the the the the"]
    return texts


def nltk_scores(texts):
    tokenise = BLEU(tokenize="13a").tokenizer
    tokens = [tokenise(text.rstrip()).split() for text in texts]
    smoothing = SmoothingFunction(epsilon=0.1).method1
    scores = []
    for index, hypothesis in enumerate(tokens):
        others = tokens[:index] + tokens[index + 1 :]
        # NLTK divides by the length of an empty hypothesis; ours is 0 by definition
        scores.append(float(sentence_bleu(others, hypothesis, smoothing_function=smoothing)) if hypothesis else 0.0)
    return scores


def sacrebleu_scores(texts):
    bleu = BLEU(tokenize="13a", smooth_method="floor", smooth_value=0.1, effective_order=False)
    scores = []
    for index, hypothesis in enumerate(texts):
        others = texts[:index] + texts[index + 1 :]
        scores.append(bleu.corpus_score([hypothesis], [[other] for other in others]).score / 100.0)
    return scores


def largest_gap(left, right):
    return max(abs(a - b) for a, b in zip(left, right, strict=True))


def test_every_text_of_a_written_set_has_the_score_of_nltk():
    texts = written(60)
    assert largest_gap(self_bleu_per_text(texts), nltk_scores(texts)) < TOLERANCE


def test_every_text_of_a_written_set_with_at_least_four_words_has_the_score_of_sacrebleu():
    texts = written(60)[3:]
    assert largest_gap(self_bleu_per_text(texts), sacrebleu_scores(texts)) < TOLERANCE


def test_sacrebleu_differs_only_where_a_text_has_fewer_than_four_words():
    texts = ["yes it is", "yes it is not so", "it is not so bad"]
    ours, theirs = self_bleu_per_text(texts), sacrebleu_scores(texts)
    assert theirs[0] == 0.0
    # precisions 1, 1, 1 and 0.1; 3 words against a closest length of 5
    assert ours[0] == pytest.approx(0.1**0.25 * math.exp(1 - 5 / 3), abs=TOLERANCE)
    assert largest_gap(ours[1:], theirs[1:]) < TOLERANCE


TOKENS = st.lists(st.sampled_from(["a", "b", "c", "d", ",", "e."]), max_size=9).map(" ".join)


@settings(max_examples=400, deadline=None)
@given(st.lists(TOKENS, min_size=2, max_size=7))
def test_any_small_set_with_ties_and_duplicates_has_the_scores_of_nltk(texts):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NLTK warns about missing overlaps
        expected = nltk_scores(texts)
    assert largest_gap(self_bleu_per_text(texts), expected) < TOLERANCE


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=20), min_size=2, max_size=5))
def test_any_unicode_set_has_the_scores_of_nltk(texts):
    assert largest_gap(self_bleu_per_text(texts), nltk_scores(texts)) < TOLERANCE


def test_the_sole_owner_of_the_largest_count_is_clipped_by_the_second_largest():
    # unigram "a": 4, 2, 1 times. The owner of 4 is clipped by 2; the others by 4.
    owner, second, _ = self_bleu_per_text(["a a a a", "a a b b", "a c d e"])
    no_match = 0.1
    assert owner == pytest.approx((2 / 4 * 1 / 3 * no_match / 2 * no_match / 1) ** 0.25, abs=TOLERANCE)
    assert second == pytest.approx((2 / 4 * 1 / 3 * no_match / 2 * no_match / 1) ** 0.25, abs=TOLERANCE)


def test_two_owners_of_the_largest_count_do_not_clip_each_other():
    assert self_bleu_per_text(["a a a a", "a a a a", "b"])[:2] == [1.0, 1.0]


def test_the_brevity_penalty_takes_the_shorter_of_two_equally_close_lengths():
    # 6 words between 5 and 7: the reference length is 5, so there is no penalty; all n-grams occur in the longer text
    assert self_bleu_per_text(["a b c d e", "a b c d e f", "a b c d e f g"])[1] == 1.0


def test_a_text_shorter_than_all_others_pays_the_brevity_penalty():
    assert self_bleu_per_text(["a b c d", "a b c d e", "a b c d e f"])[0] == pytest.approx(math.exp(1 - 5 / 4))


def test_identical_texts_have_self_bleu_one_and_disjoint_texts_zero():
    assert self_bleu(["a b c d e"] * 3) == 1.0
    assert self_bleu(["a b c d", "e f g h", "i j k l"]) == 0.0


def test_an_empty_text_scores_zero_and_counts_in_the_mean():
    assert self_bleu_per_text(["a b c d", "a b c d", ""]) == [1.0, 1.0, 0.0]
    assert self_bleu(["a b c d", "a b c d", ""]) == pytest.approx(2 / 3)
    assert self_bleu(["", "", ""]) == 0.0


def test_the_order_of_the_texts_does_not_change_their_scores():
    texts = written(40)
    order = list(range(len(texts)))
    random.Random(1).shuffle(order)
    scores = self_bleu_per_text(texts)
    assert self_bleu_per_text([texts[index] for index in order]) == [scores[index] for index in order]


def test_the_per_prompt_variant_is_the_mean_over_prompts():
    same, different = ["a b c d e"] * 5, ["a b c d", "e f g h", "i j k l", "m n o p", "q r s t"]
    assert self_bleu_per_prompt([same, different]) == pytest.approx(0.5)


@pytest.mark.parametrize(("texts", "message"), [([], "at least 1 text"), (["alone"], "at least 2 texts")])
def test_fewer_than_two_texts_are_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        self_bleu(texts)
    with pytest.raises(ValueError, match=message):
        self_bleu_per_prompt([texts])


def test_no_prompt_is_refused():
    with pytest.raises(ValueError, match="at least 1 prompt"):
        self_bleu_per_prompt([])


def test_eight_times_as_many_texts_take_far_less_than_the_quadratic_factor():
    texts = [f"{text} {index}" for index, text in enumerate(written(4000))]

    def seconds(num_texts):
        start = time.process_time()
        self_bleu_per_text(texts[:num_texts])
        return time.process_time() - start

    self_bleu_per_text(texts)  # the tokeniser's cache is filled: the counting alone is timed
    # linear is 8, quadratic 64; half way in logarithms leaves room for a busy machine
    assert min(seconds(4000) for _ in range(3)) < 8**1.5 * min(seconds(500) for _ in range(3))
