"""The table of metrics by name."""

import subprocess
import sys

import pytest
import sacrebleu

from amid.metrics import (
    METRICS,
    SELF_BLEU_PER_PROMPT,
    TEACHER_METRICS,
    VALIDATION_METRICS,
    Generations,
    comet,
    self_bleu,
)
from amid.metrics.words import TOKENISER

PREDICTIONS = ["The cat sat. #### 4", "A dog barked loudly at the cat. #### 5", ""]
REFERENCES = [["A cat sat down. #### 4", "#### 4"], ["The dog barked at a cat. #### 6"], ["Nothing. #### 1"]]
GENERATIONS = Generations(PREDICTIONS, REFERENCES, sources=["a", "b", "c"], ended=[True, False, True])
OFFLINE = {name: metric for name, metric in METRICS.items() if name != "comet"}  # its model is 2.3 GB


# Scores in users' stores are named by these: a changed one has every set scored anew.
SIGNATURES = {
    "rouge_l": "rouge_l|f_measure|stemmer:porter|references:max|scale:100|like:rouge-score|version:1",
    "rouge_l_plain": "rouge_l|f_measure|stemmer:none|references:mean|scale:100|like:rouge-score|version:1",
    "self_bleu": "self_bleu|set:corpus|order:4|smooth:floor[0.1]|tok:13a|case:mixed|self:excluded|scale:1|version:1",
    "exact_match": "exact_match|case:lower|punctuation:ascii_removed|articles:kept|references:max|scale:100|version:1",
    "distinct_1": "distinct|order:1|tok:13a|case:mixed|scale:1|version:1",
    "distinct_2": "distinct|order:2|tok:13a|case:mixed|scale:1|version:1",
    "bleu": f"bleu|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}",
    "chrf": f"chrf|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{sacrebleu.__version__}",
    "comet": "comet|model:Unbabel/wmt22-comet-da|scale:100|version:1",
    "gsm8k_accuracy": "gsm8k_accuracy|marker:####|numeric:exact|removed:,$%|scale:100|version:1",
    "gsm8k_official": "gsm8k_accuracy|marker:####|numeric:rel1e-4,percent|text:equal|removed:,$%|scale:100|version:1",
    "response_length": "response_length|unit:words|split:whitespace|version:1",
    "eos_share": "eos_share|ended_by:eos|scale:100|version:1",
    "loss": "loss|unit:nats_per_token|version:1",
    "perplexity": "perplexity|exp(loss)|version:1",
    "teacher_kl": "teacher_kl|KL(p,q)|unit:nats_per_token|version:1",
    "teacher_top1": "teacher_top1|argmax:equal|scale:100|version:1",
}


def test_the_signatures_are_those_of_the_scores_in_the_stores():
    assert {
        name: metric.signature for name, metric in {**METRICS, **VALIDATION_METRICS, **TEACHER_METRICS}.items()
    } == SIGNATURES
    assert len(set(SIGNATURES.values())) == len(SIGNATURES)


def test_the_signatures_name_the_choices_that_the_code_makes():
    for choice in (f"order:{self_bleu.MAX_ORDER}", f"smooth:floor[{self_bleu.SMOOTHING}]", f"tok:{TOKENISER}"):
        assert choice in METRICS["self_bleu"].signature.split("|")
        assert choice in SELF_BLEU_PER_PROMPT.split("|")
    assert METRICS["self_bleu"].signature != SELF_BLEU_PER_PROMPT
    assert f"tok:{TOKENISER}" in METRICS["distinct_1"].signature
    assert f"model:{comet.DEFAULT_MODEL}" in METRICS["comet"].signature


def test_the_registry_imports_no_implementation():
    program = """
import sys
import amid.config
heavy = {"sacrebleu", "nltk", "rouge_score", "torch"} & set(sys.modules)
sys.exit(", ".join(heavy) or 0)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("name", list(METRICS))
def test_the_range_of_a_metric_is_that_of_its_unit(name):
    if name != "comet":
        value, unit = METRICS[name].score(GENERATIONS), METRICS[name].unit
        assert 0.0 <= value <= {"percent": 100.0, "share": 1.0, "words": 8.0}[unit]


@pytest.mark.parametrize("name", [name for name, metric in OFFLINE.items() if metric.per_example])
def test_the_score_is_the_mean_of_the_scores_per_example(name):
    per_example = METRICS[name].per_example(GENERATIONS)
    assert len(per_example) == len(PREDICTIONS)
    assert METRICS[name].score(GENERATIONS) == pytest.approx(sum(per_example) / len(per_example))


@pytest.mark.parametrize("name", list(OFFLINE))
def test_every_metric_gives_a_float_also_with_an_empty_prediction(name):
    value = METRICS[name].score(GENERATIONS)
    assert isinstance(value, float)


def test_only_self_bleu_is_better_when_lower_and_length_has_no_better_direction():
    assert [name for name, metric in METRICS.items() if metric.higher_is_better is False] == ["self_bleu"]
    assert [name for name, metric in METRICS.items() if metric.higher_is_better is None] == [
        "response_length",
        "eos_share",
    ]


def test_perfect_predictions_get_the_best_value_of_every_reference_metric():
    texts = ["The cat sat on the mat. #### 4", "Dogs bark loudly at night. #### 5"]
    for name in ("rouge_l", "rouge_l_plain", "exact_match", "bleu", "chrf", "gsm8k_accuracy", "gsm8k_official"):
        assert METRICS[name].score(Generations(texts, [[text] for text in texts])) == pytest.approx(100.0)


def test_no_metric_imports_torch():
    modules = [
        "distinct",
        "exact_match",
        "gsm8k",
        "length",
        "rouge",
        "self_bleu",
        "translation",
        "comet",
        "uncertainty",
        "words",
        "metric",
    ]
    program = "; ".join([*(f"import amid.metrics.{module}" for module in modules), "import sys"])
    program += "; from amid.metrics import METRICS, Generations; METRICS['bleu'].score(Generations(['a'], [['a']]))"
    program += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_share_ended_by_eos_counts_rows():
    assert METRICS["eos_share"].score(GENERATIONS) == pytest.approx(100 * 2 / 3)


def test_the_plain_rouge_averages_references_and_does_not_stem():
    both = Generations(["the cats sat"], [["the cats sat", "nothing here"]])
    assert METRICS["rouge_l_plain"].score(both) == pytest.approx(50.0)
    assert METRICS["rouge_l"].score(both) == pytest.approx(100.0)
    stemmed = Generations(["the runners sat"], [["the runner sat"]])
    assert METRICS["rouge_l_plain"].score(stemmed) == pytest.approx(100 * 2 / 3)
    assert METRICS["rouge_l"].score(stemmed) == pytest.approx(100.0)


def test_comet_reads_sources_and_the_first_reference(monkeypatch):
    def per_example(sources, predictions, references):
        assert (list(sources), list(predictions)) == (["a", "b", "c"], PREDICTIONS)
        return [float(len(reference)) for reference in references]

    monkeypatch.setattr("amid.metrics.comet.comet_per_example", per_example)
    assert METRICS["comet"].score(GENERATIONS) == pytest.approx(sum(len(texts[0]) for texts in REFERENCES) / 3)
