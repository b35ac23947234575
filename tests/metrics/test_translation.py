import math

import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from amid.metrics import METRICS
from amid.metrics.translation import bleu, chrf

PREDICTIONS = ["Der Hund bellt laut im Garten.", "Wir haben 4 Monate alte M\u00e4use, sagte er.", ""]
REFERENCES = [
    ["Der Hund bellt im Garten laut."],
    ["Wir haben jetzt 4 Monate alte M\u00e4use, f\u00fcgte er hinzu."],
    ["Ja."],
]


def test_corpus_scores_equal_those_of_sacrebleu():
    stream = [alternatives[0] for alternatives in REFERENCES]
    assert bleu(PREDICTIONS, REFERENCES) == BLEU().corpus_score(PREDICTIONS, [stream]).score
    assert chrf(PREDICTIONS, REFERENCES) == CHRF().corpus_score(PREDICTIONS, [stream]).score


def test_bleu_equals_the_hand_computed_value():
    # 5 of 6 words match, 3 of 5 bigrams, 2 of 4 trigrams, 1 of 3 four-grams; equal lengths
    expected = 100 * math.exp((math.log(5 / 6) + math.log(3 / 5) + math.log(2 / 4) + math.log(1 / 3)) / 4)
    assert bleu(["a b c d x f"], [["a b c d e f"]]) == pytest.approx(expected)


def test_a_missing_second_reference_is_absent_rather_than_empty():
    predictions = ["a b c d e", "f g h i j"]
    assert bleu(predictions, [["x", "a b c d e"], ["f g h i j"]]) == pytest.approx(100.0)
    # an empty string as second reference would be a closest length of its own
    longer = [["a b c d e f g h i", "y"], ["f g h i j k l m n"]]
    expected = BLEU().corpus_score(predictions, [["a b c d e f g h i", "f g h i j k l m n"], ["y", None]]).score
    assert bleu(predictions, longer) == expected


@pytest.mark.parametrize(("metric", "name"), [(BLEU(), "bleu"), (CHRF(), "chrf")])
def test_the_signature_is_what_sacrebleu_reports_without_the_number_of_references(metric, name):
    metric.corpus_score(["a"], [["a"]])
    reported = str(metric.get_signature()).split("|")
    assert METRICS[name].signature.split("|")[1:] == [field for field in reported if not field.startswith("nrefs:")]


def test_unpaired_input_is_refused():
    for metric in (bleu, chrf):
        with pytest.raises(ValueError, match="same length"):
            metric(["a"], [])
