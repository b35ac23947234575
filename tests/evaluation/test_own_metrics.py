"""A user's own metric by its name, and what is said of a function that cannot be one."""

import pytest

from amid.errors import RequestError
from amid.evaluation.own_metrics import metric_of, signature_of
from amid.metrics import METRICS, Generations

TEXTS = Generations(["one two", "three"], [["one"], ["three four", "three"]])


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "mine_for_tests.py").write_text(
        """
def longer(predictions, references):
    return [float(len(text) > len(golds[0])) for text, golds in zip(predictions, references)]
def total(predictions, references):
    return sum(len(text.split()) for text in predictions)
def short(predictions, references):
    return [1.0]
def infinite(predictions, references):
    return [float("inf"), 1.0]
def words(predictions, references):
    return "many"
def fails(predictions, references):
    return [1 / 0]
def changes(predictions, references):
    return [1.0, 2.0] if predictions[0] == "a cat sat" else 1.0
"""
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_a_list_is_a_value_per_example_whose_mean_is_the_score(module):
    metric = metric_of("mine_for_tests:longer")
    assert metric.per_example(TEXTS) == [1.0, 0.0]
    assert metric.score(TEXTS) == 0.5


def test_a_number_is_of_the_whole_set(module):
    metric = metric_of("mine_for_tests:total")
    assert metric.per_example is None
    assert metric.score(TEXTS) == 3.0


def test_the_name_is_the_signature_so_that_a_version_is_another_score_and_nothing_is_imported():
    assert signature_of("nowhere:at_all") == "own|nowhere:at_all"
    assert signature_of("nowhere:at_all@2") != signature_of("nowhere:at_all")
    assert signature_of("rouge_l") == METRICS["rouge_l"].signature


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine_for_tests:longr", "did you mean 'longer'"),
        ("not_there:f", "module 'not_there' cannot be imported"),
        ("mine_for_tests:short", "for 2 examples it returns 1 values"),
        ("mine_for_tests:infinite", "not finite: "),
        ("mine_for_tests:words", "it returns 'many'"),
        ("mine_for_tests:fails", r"ZeroDivisionError: division by zero \(at .*mine_for_tests\.py:13\)"),
        ("roug_l", "did you mean 'rouge_l'"),
        ("a:b:c", "unknown"),
    ],
)
def test_what_cannot_be_a_metric_is_one_line(name, said, module):
    with pytest.raises(RequestError, match=said) as caught:
        metric_of(name)
    assert "\n" not in str(caught.value)


def test_a_function_that_changes_its_mind_is_told_so(module):
    with pytest.raises(RequestError, match="one number for some texts and a list for others"):
        metric_of("mine_for_tests:changes").score(TEXTS)
