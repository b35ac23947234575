"""ROUGE-L must give the bits of the package rouge-score."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from amid.metrics.rouge import longest_common_subsequence, rouge_l, rouge_l_per_example, rouge_tokens

ORIGINAL = {stemmed: RougeScorer(["rougeL"], use_stemmer=stemmed) for stemmed in (True, False)}

ADVERSARIAL = [
    "",
    " ",
    "\n\n\t",
    "...!?",
    "#### $$ %%",
    "The runners were running quickly; the happier runner's relational databases were generalised.",
    "the runner ran, quickly? Happily relate the database generalization!",
    "A a A a a A",
    "caf\u00e9 na\u00efve \u00fcber stra\u00dfe",
    "\u0130stanbul and \u212aelvin",  # lower-casing gives a plus a combining dot, and the letter k
    "\u4f60\u597d \u4e16\u754c hello",
    "\u0645\u0631\u062d\u0628\u0627",
    "\U0001f600\U0001f680 rocket",
    "\u0660\u0661\u0662 012",  # digits outside a-z0-9 are no word characters
    "x\u00a0y\u2003z\u200bw",
    "a\x00b\x1cc",
    "under_score hyphen-ated it's 3.14 1,000",
    "skies dying lying news innings inning outing cannings",  # irregular forms in NLTK's stemmer
    "word " * 300,
    " ".join(f"w{number % 7}" for number in range(150)),
]


def original(predictions, references, *, use_stemmer):
    scorer = ORIGINAL[use_stemmer]
    return [
        100.0 * scorer.score_multi(list(alternatives), prediction)["rougeL"].fmeasure
        for prediction, alternatives in zip(predictions, references, strict=True)
    ]


@pytest.mark.parametrize("use_stemmer", [True, False])
def test_every_pair_of_adversarial_texts_scores_bit_identically_to_rouge_score(use_stemmer):
    predictions = [prediction for prediction in ADVERSARIAL for _ in ADVERSARIAL]
    references = [[reference] for _ in ADVERSARIAL for reference in ADVERSARIAL]
    expected = original(predictions, references, use_stemmer=use_stemmer)
    assert rouge_l_per_example(predictions, references, use_stemmer=use_stemmer) == expected
    assert rouge_l_per_example(predictions, references, use_stemmer=use_stemmer, engine="rouge_score") == expected


WORDS = st.sampled_from(
    [
        "the",
        "cats",
        "cat",
        "running",
        "runs",
        "relational",
        "relate",
        "ties",
        "tied",
        "a",
        "of",
        "Feed",
        "agreed",
        "12",
        "x,",
        "\u00e9t\u00e9",
    ]
)
TEXTS = st.one_of(st.text(max_size=40), st.lists(WORDS, max_size=25).map(" ".join))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), min_size=1, max_size=3), st.booleans())
def test_any_text_with_any_references_scores_bit_identically_to_rouge_score(examples, use_stemmer):
    predictions, references = [example[0] for example in examples], [example[1] for example in examples]
    expected = original(predictions, references, use_stemmer=use_stemmer)
    assert rouge_l_per_example(predictions, references, use_stemmer=use_stemmer) == expected


def naive_subsequence(left, right):
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from("abcd"), max_size=90), st.lists(st.sampled_from("abcde"), max_size=90))
def test_bit_parallel_subsequence_has_the_length_of_the_dynamic_programme(left, right):
    assert longest_common_subsequence(left, right) == naive_subsequence(left, right)


def test_rouge_l_follows_the_hand_computed_example():
    # "police kill the gunman" / "police killed the gunman": 4 of 4 with stems, 3 of 4 without
    assert rouge_l(["police kill the gunman"], [["police killed the gunman"]]) == 100.0
    assert rouge_l(["police kill the gunman"], [["police killed the gunman"]], use_stemmer=False) == 75.0


def test_the_best_reference_counts_and_the_mean_runs_over_examples():
    predictions = ["a b c d", "nothing here"]
    assert rouge_l(predictions, [["x y", "a b c d"], ["else entirely", "other"]]) == 50.0


@pytest.mark.parametrize("silent", ["", "   ", "?!...", "\u4f60\u597d"])
def test_text_without_a_latin_letter_or_digit_scores_zero_even_against_itself(silent):
    assert rouge_l([silent], [[silent]]) == 0.0


def test_words_of_three_letters_are_not_stemmed():
    assert rouge_tokens("dies died DOGS dog's", use_stemmer=True) == ["die", "die", "dog", "dog", "s"]
    assert rouge_tokens("ses", use_stemmer=True) == ["ses"]


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["a"], [], "same length, got 1 and 0"),
        ([], [], "at least 1 text"),
        (["a"], [[]], r"references\[0\] is empty"),
        (["a"], ["a"], r"references\[0\] must be a list of strings"),
    ],
)
def test_unpaired_input_is_refused(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        rouge_l(predictions, references)


def test_an_unknown_engine_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match="engine 'rust' unknown; valid: native, rouge_score"):
        rouge_l(["a"], [["a"]], engine="rust")
