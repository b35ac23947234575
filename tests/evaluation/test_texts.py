"""Scores of texts from elsewhere: which rows count, in which order, and what is refused with file and line."""

import json

import pytest

from amid.data.evaluation_sets import EvaluationSet
from amid.errors import RequestError
from amid.evaluation.texts import score_file
from amid.metrics.rouge import rouge_l
from amid.metrics.self_bleu import self_bleu
from amid.reports.file_scores import render_scores

RESPONSES = ["a cat sat", "a dog ran", "nothing"]
GOLD = [["the cat sat", "a cat"], ["dogs run"], ["nothing"]]


@pytest.fixture
def write(tmp_path):
    def write(rows, name="generations.jsonl"):
        path = tmp_path / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return write


def values(scores):
    return {score.metric: score.value for score in scores}


def test_references_may_be_in_the_rows_in_a_file_or_those_of_a_set(write):
    own = write([{"response": r, "references": g} for r, g in zip(RESPONSES, GOLD, strict=True)], "own.jsonl")
    bare = write([{"text": r} for r in RESPONSES])
    gold = write([{"output": g} for g in GOLD], "gold.jsonl")
    texts = EvaluationSet(("p",) * 3, ("q",) * 3, tuple(map(tuple, GOLD)), ("s",) * 3)
    metrics = ["rouge_l", "self_bleu"]
    expected = {"rouge_l": rouge_l(RESPONSES, GOLD), "self_bleu": self_bleu(RESPONSES)}
    assert values(score_file(own, metrics)) == expected
    assert values(score_file(bare, metrics, references=gold)) == expected
    assert values(score_file(bare, metrics, texts=texts)) == expected


def test_rows_are_in_the_order_of_their_index(write):
    rows = [{"index": i, "response": RESPONSES[i], "ended": i > 0} for i in (2, 0, 1)]
    gold = write([{"reference": g[0]} for g in GOLD], "gold.jsonl")
    found = values(score_file(write(rows), ["rouge_l", "eos_share"], references=gold))
    assert found["rouge_l"] == rouge_l(RESPONSES, [g[:1] for g in GOLD])
    assert found["eos_share"] == pytest.approx(200 / 3)


def test_a_metric_whose_input_is_missing_is_a_gap(write):
    (score,) = score_file(write([{"response": "x", "output": "x"}] * 2), ["eos_share"])
    assert score.value is None
    assert render_scores([score]).split()[1] == "-"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"response": "x", "output": "y"}, {"output": "y"}], r"generations.jsonl:2: field 'response' is missing"),
        ([{"response": 3, "output": "y"}], "jsonl:1: field 'response' must be a text, got int"),
        ([{"response": "x"}], "jsonl:1: no reference .*--references FILE or --set NAME"),
        ([{"response": "x", "references": []}], "jsonl:1: field 'references' must be a text or a non-empty list"),
        ([{"response": "x", "output": "y", "index": -1}], "jsonl:1: field 'index' must be an integer from 0, got -1"),
        (
            [{"response": "x", "output": "y", "index": 0}] * 2,
            "jsonl:2: example 0 has a response already .*jsonl:1",
        ),
        ([{"response": "x", "output": "y", "index": 1}], "no response for example 0, but 1 for others"),
        (["not json"], "jsonl:1: not a JSON object"),
        ([], "holds no record"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_row_that_cannot_be_scored_is_named_with_its_line(write, rows, message):
    with pytest.raises(RequestError, match=message):
        score_file(write(rows), ["rouge_l"])


def test_another_number_of_references_is_refused(write):
    gold = write([{"output": "x"}] * 3, "gold.jsonl")
    with pytest.raises(RequestError, match="holds 2 responses for 3 examples; one for each is needed"):
        score_file(write([{"response": "x"}] * 2), ["rouge_l"], references=gold)


def test_unknown_metrics_and_unusable_references_are_one_line(write):
    path = write([{"response": "x", "output": "y"}])
    with pytest.raises(RequestError, match="evaluation metric 'rouge' unknown; did you mean 'rouge_l'"):
        score_file(path, ["rouge"])
    with pytest.raises(RequestError, match="gsm8k_accuracy: references\\[0\\] must end in '#### number'"):
        score_file(path, ["gsm8k_accuracy"])
    with pytest.raises(RequestError, match="self_bleu: "):
        score_file(path, ["self_bleu"])


def test_the_report_says_what_was_computed(write):
    text = render_scores(score_file(write([{"response": "x", "output": "x"}] * 2), ["rouge_l", "exact_match"]))
    first, second = text.splitlines()
    assert first.split()[:3] == ["rouge_l", "100.0000", "2"]
    assert "stemmer:porter" in first
    assert second.split()[0] == "exact_match"
