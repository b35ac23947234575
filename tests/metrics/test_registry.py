"""The table of metrics by name."""

import subprocess
import sys

import pytest

from amid.metrics import METRICS, Generations

PREDICTIONS = ["The cat sat. #### 4", "A dog barked loudly at the cat. #### 5", ""]
REFERENCES = [["A cat sat down. #### 4", "#### 4"], ["The dog barked at a cat. #### 6"], ["Nothing. #### 1"]]
GENERATIONS = Generations(PREDICTIONS, REFERENCES, sources=["a", "b", "c"], ended=[True, False, True])
OFFLINE = {name: metric for name, metric in METRICS.items() if name != "comet"}  # its model is 2.3 GB


def test_the_names_are_those_of_the_evaluation_configs():
    assert list(METRICS) == [
        "rouge_l",
        "rouge_l_plain",
        "self_bleu",
        "exact_match",
        "distinct_1",
        "distinct_2",
        "bleu",
        "chrf",
        "comet",
        "gsm8k_accuracy",
        "gsm8k_official",
        "response_length",
        "eos_share",
    ]
    assert all(name == metric.name for name, metric in METRICS.items())


def test_no_two_metrics_share_a_signature():
    assert len({metric.signature for metric in METRICS.values()}) == len(METRICS)


@pytest.mark.parametrize("name", [name for name, metric in OFFLINE.items() if metric.per_example])
def test_the_score_is_the_mean_of_the_scores_per_example(name):
    per_example = METRICS[name].per_example(GENERATIONS)
    assert len(per_example) == len(PREDICTIONS)
    assert METRICS[name].score(GENERATIONS) == pytest.approx(sum(per_example) / len(per_example))


@pytest.mark.parametrize("name", list(OFFLINE))
def test_every_metric_gives_a_float_in_its_range_also_with_an_empty_prediction(name):
    value = METRICS[name].score(GENERATIONS)
    assert isinstance(value, float)
    assert 0.0 <= value <= (1.0 if name in {"self_bleu", "distinct_1", "distinct_2"} else 100.0)


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
