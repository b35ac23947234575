"""The evaluation protocol: what names a file of generations, and what it leaves out."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from amid.config import DataCfg, EvaluationSetCfg
from amid.errors import RequestError
from amid.metrics.self_bleu import SIGNATURE_PER_PROMPT
from amid.protocol import protocol_from_manifest, protocol_of, score_id

IDENTITY = {"source": "test"}


def file_set(file, **values):
    return EvaluationSetCfg(files=[file], **values)


@pytest.fixture
def jsonl_run(run, tmp_path):
    root = tmp_path / "corpus"
    root.mkdir()
    for name in ("train", "dev", "one", "two"):
        lines = [json.dumps({"instruction": f"{name} {i}", "output": [str(i)]}) for i in range(4)]
        (root / f"{name}.jsonl").write_text("\n".join(lines))
    run.data = DataCfg(source="jsonl", root=str(root), train="train.jsonl", dev="dev.jsonl")
    run.evaluation.sets = {"first": file_set("one.jsonl"), "second": file_set("two.jsonl")}
    run.evaluation.metrics = ["rouge_l", "self_bleu"]
    return run


def id_of(run, name="first", seed=10, checkpoint="c"):
    return protocol_of(run, IDENTITY).generation_id(checkpoint, name, seed)


def changed(run, **values):
    other = copy.deepcopy(run)
    for key, value in values.items():
        node, name = key.split("__")
        setattr(getattr(other, node), name, value)
    return other


def test_checkpoint_set_and_seed_name_different_generations(jsonl_run):
    ids = [
        id_of(jsonl_run, name, seed, checkpoint)
        for name in ("first", "second")
        for seed in (10, 20)
        for checkpoint in ("c", "d")
    ]
    assert len(set(ids)) == 8
    assert all(len(text) == 12 for text in ids)


@pytest.mark.parametrize(
    "values",
    [
        {"evaluation__temperature": 0.5},
        {"evaluation__top_k": 5},
        {"evaluation__top_p": 0.5},
        {"evaluation__max_new_tokens": 7},
        {"evaluation__no_repeat_ngram_size": 6},
        {"evaluation__num_prompts": 2},
        {"data__max_prompt_tokens": 64},
    ],
    ids=lambda values: next(iter(values)),
)
def test_everything_that_changes_a_text_changes_its_id(jsonl_run, values):
    assert id_of(changed(jsonl_run, **values)) != id_of(jsonl_run)


@pytest.mark.parametrize(
    "values",
    [
        {"max_new_tokens": 7},
        {"temperature": 0.5},
        {"top_k": 5},
        {"top_p": 0.5},
        {"no_repeat_ngram_size": 6},
        {"stop": ["x"]},
        {"max_prompt_tokens": 64},
        {"prompt": "chat", "template": "{instruction}"},
        {"num_examples": 3},
        {"version": 2},
    ],
    ids=lambda values: next(iter(values)),
)
def test_what_a_set_says_itself_counts_for_it_alone(jsonl_run, values):
    before, other = id_of(jsonl_run), id_of(jsonl_run, "second")
    jsonl_run.evaluation.sets["first"] = file_set("one.jsonl", **values)
    assert id_of(jsonl_run) != before
    assert id_of(jsonl_run, "second") == other


@pytest.mark.parametrize(
    "values",
    [{"metric": "exact_match"}, {"metrics": ["chrf"]}, {"split": "x"}, {"sha256": None}, {"stop": []}, {"version": 1}],
    ids=lambda values: next(iter(values)),
)
def test_what_a_set_says_of_scoring_or_by_default_changes_no_id(jsonl_run, values):
    before = id_of(jsonl_run)
    jsonl_run.evaluation.sets["first"] = file_set("one.jsonl", **values)
    assert id_of(jsonl_run) == before


def test_a_value_that_equals_the_shared_one_names_the_same_texts(jsonl_run):
    before = id_of(jsonl_run)
    jsonl_run.evaluation.sets["first"] = file_set("one.jsonl", max_new_tokens=jsonl_run.evaluation.max_new_tokens)
    assert id_of(jsonl_run) == before


def test_the_ids_of_the_demo_are_frozen(run):
    protocol = protocol_of(run, IDENTITY)
    ids = [protocol.generation_id("c", name, seed) for name, seed in (("in_distribution", 10), ("long_unseen", 50))]
    assert ids == ["69ac3dc8cf2b", "116e271c0816"]


def test_a_greedy_set_has_one_decode_seed_and_its_own_metric_first(jsonl_run):
    jsonl_run.evaluation.sets["first"] = file_set(
        "one.jsonl", temperature=0.0, metric="exact_match", metrics=["rouge_l", "exact_match"]
    )
    sets = protocol_of(jsonl_run, IDENTITY).sets
    assert sets["first"].decode_seeds == (10,)
    assert sets["first"].metrics == ("exact_match", "rouge_l")
    assert sets["second"].decode_seeds == (10, 20, 30, 40, 50)


def test_precision_names_other_generations_unless_it_is_float32(jsonl_run):
    before = id_of(jsonl_run)
    assert id_of(changed(jsonl_run, evaluation__precision="32-true")) == before
    others = {id_of(changed(jsonl_run, evaluation__precision=name)) for name in ("bf16-mixed", "bf16-true")}
    assert len(others | {before}) == 3


def test_comet_without_its_package_is_refused_before_anything_is_generated(jsonl_run, monkeypatch):
    monkeypatch.setattr("amid.protocol.find_spec", lambda name: None)
    jsonl_run.evaluation.sets["first"] = file_set("one.jsonl", metrics=["comet"])
    with pytest.raises(RequestError, match=r"'first': comet needs an extra: pip install 'amid-lab\[comet\]'"):
        protocol_of(jsonl_run, IDENTITY)


def test_a_new_version_of_a_metric_is_an_expected_score_and_no_new_text(jsonl_run, monkeypatch):
    from amid.metrics import METRICS

    protocol = protocol_of(jsonl_run, IDENTITY)
    before = protocol.expected("c")
    monkeypatch.setitem(METRICS, "rouge_l", replace(METRICS["rouge_l"], signature="version 2"))
    after = protocol_of(jsonl_run, IDENTITY).expected("c")
    assert len(after) == len(before)
    assert len(after - before) == 2 * 5 + 1  # two sets, five seeds, one validation
    assert protocol.generation_id("c", "first", 10) == id_of(jsonl_run)


def test_a_manifest_of_another_version_is_one_clear_line():
    with pytest.raises(RequestError, match="recorded by an older version; run it again"):
        protocol_from_manifest({"set_digests": {}, "decode_seeds": []})


@pytest.mark.parametrize(
    "values",
    [
        {"evaluation__metrics": ["rouge_l", "distinct_1"]},
        {"evaluation__decode_seeds": [10, 99]},
        {"trainer__generation_batch_size": 3},
        {"logger__name": "none"},
    ],
    ids=lambda values: next(iter(values)),
)
def test_what_changes_no_text_changes_no_id(jsonl_run, values):
    assert id_of(changed(jsonl_run, **values)) == id_of(jsonl_run)


def test_the_path_of_a_set_does_not_count(jsonl_run, tmp_path):
    before = id_of(jsonl_run)
    shutil.copytree(jsonl_run.data.root, tmp_path / "copy")
    (tmp_path / "copy" / "one.jsonl").rename(tmp_path / "copy" / "uno.jsonl")
    moved = changed(jsonl_run, data__root=str(tmp_path / "copy"))
    moved.evaluation.sets = {"first": file_set("uno.jsonl")}
    assert id_of(moved) == before


def test_the_name_of_a_set_counts_because_it_is_part_of_the_random_key(jsonl_run):
    before = id_of(jsonl_run)
    jsonl_run.evaluation.sets = {"other": file_set("one.jsonl")}
    assert id_of(jsonl_run, "other") != before


def test_one_byte_of_a_prompt_or_of_a_reference_changes_the_id(jsonl_run):
    before = id_of(jsonl_run)
    path = Path(jsonl_run.data.root) / "one.jsonl"
    text = path.read_text()
    path.write_text(text.replace("one 0", "one 9"))
    prompt = id_of(jsonl_run)
    path.write_text(text.replace('["0"]', '["0", "zero"]'))
    reference = id_of(jsonl_run)
    assert len({before, prompt, reference}) == 3


def test_ids_and_categories_of_records_do_not_count(jsonl_run):
    before = id_of(jsonl_run)
    path = Path(jsonl_run.data.root) / "one.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("\n".join(json.dumps({"id": "x", "category": "y", **record}) for record in records))
    assert id_of(jsonl_run) == before


def test_validation_is_named_by_what_selects_the_weights(jsonl_run):
    def validation_id(run, data=IDENTITY):
        return protocol_of(run, data).validation_id("c")

    before = validation_id(jsonl_run)
    for name, value in (("temperature", 0.0), ("seed", 11), ("max_new_tokens", 9), ("num_examples", 2)):
        other = copy.deepcopy(jsonl_run)
        setattr(other.train.validation, name, value)
        assert validation_id(other) != before
    assert validation_id(jsonl_run, {"source": "other"}) != before
    assert validation_id(changed(jsonl_run, evaluation__temperature=0.5)) == before


def test_a_full_evaluation_has_every_set_seed_and_metric_and_the_pooled_and_validation_scores(jsonl_run):
    protocol = protocol_of(changed(jsonl_run, evaluation__decode_seeds=[1, 2, 3]), IDENTITY)
    expected = protocol.expected("c")
    # two sets x three seeds x two metrics, one Self-BLEU over the seeds of each set, three validation scores
    assert len(expected) == 2 * 3 * 2 + 2 + 3
    assert score_id(protocol.pooled_id("c", "first"), "self_bleu", SIGNATURE_PER_PROMPT) in expected
    single = protocol_of(changed(jsonl_run, evaluation__decode_seeds=[1]), IDENTITY)
    assert len(single.expected("c")) == 2 * 1 * 2 + 3


def test_the_pooled_id_depends_on_every_seed(jsonl_run):
    protocol = protocol_of(jsonl_run, IDENTITY)
    first = protocol.sets["first"]
    fewer = replace(protocol, sets={"first": replace(first, decode_seeds=first.decode_seeds[:-1])})
    assert protocol.pooled_id("c", "first") != fewer.pooled_id("c", "first")


def test_a_protocol_comes_back_from_its_manifest(jsonl_run):
    protocol = protocol_of(jsonl_run, IDENTITY)
    again = protocol_from_manifest(json.loads(json.dumps(protocol.manifest())))
    assert again == protocol
    assert again.expected("c") == protocol.expected("c")
    assert "one 0" not in json.dumps(protocol.manifest())
