"""The evaluation protocol: what names a file of generations, and what it leaves out."""

import copy
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from amid.config import DataCfg, EvaluationSetCfg
from amid.errors import RequestError
from amid.evaluation.protocol import decoding_of, protocol_from_manifest, protocol_of, score_id, set_protocols
from amid.generation.decoding import Decoding
from amid.metrics import SELF_BLEU_PER_PROMPT
from amid.sweep.compose import run_of_overrides

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


def protocol(run, identity):
    return protocol_of(set_protocols(run.data, run.evaluation), run.train.validation, identity)


def id_of(run, name="first", seed=10, checkpoint="c"):
    return protocol(run, IDENTITY).generation_id(checkpoint, name, seed)


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
    [{"metric": "exact_match"}, {"metrics": ["chrf"]}, {"sha256": None}, {"stop": []}, {"version": 1}],
    ids=lambda values: next(iter(values)),
)
def test_what_a_set_says_of_scoring_or_by_default_changes_no_id(jsonl_run, values):
    before = id_of(jsonl_run)
    jsonl_run.evaluation.sets["first"] = file_set("one.jsonl", **values)
    assert id_of(jsonl_run) == before


def test_a_value_for_all_sets_replaces_that_of_each_and_names_the_same_texts(jsonl_run):
    of_all = id_of(changed(jsonl_run, evaluation__max_new_tokens=7, evaluation__temperature=0.5))
    jsonl_run.evaluation.sets["first"] = file_set("one.jsonl", max_new_tokens=7, temperature=0.5)
    assert id_of(jsonl_run) == of_all


@pytest.mark.parametrize("value", [64, 300])
def test_the_prompts_of_a_set_are_not_cut_at_the_limit_of_the_training_prompts(jsonl_run, value):
    before = id_of(jsonl_run)
    assert id_of(changed(jsonl_run, data__max_prompt_tokens=value)) == before
    assert protocol(jsonl_run, IDENTITY).sets["first"].max_prompt_tokens is None


def decodings(*evaluation):
    run = run_of_overrides([f"evaluation=[{','.join(evaluation)}]"])
    return {name: (declared, decoding_of(run.evaluation, declared)) for name, declared in run.evaluation.sets.items()}


@pytest.mark.parametrize("pair", [("dolly", "toy"), ("toy", "jsonl"), ("gsm8k", "vicuna"), ("paper", "tasks")], ids=str)
def test_a_union_of_sets_is_what_each_is_alone_in_either_order(pair):
    alone = decodings(pair[0]) | decodings(pair[1])
    assert decodings(*pair) == decodings(*reversed(pair)) == alone
    assert len({decoding for _, decoding in alone.values()}) > 1  # else there is nothing to leak


def test_the_sampler_is_given_the_decoding_of_the_protocol_itself(jsonl_run):
    jsonl_run.evaluation.sets["first"] = file_set("one.jsonl", temperature=0.5, stop=["x", "y"])
    assert protocol(jsonl_run, IDENTITY).sets["first"].decoding == Decoding(
        max_new_tokens=256, temperature=0.5, stop=("x", "y")
    )


def test_generations_of_before_stop_strings_and_penalties_keep_their_names(jsonl_run):
    identity = protocol(jsonl_run, IDENTITY).sets["first"].identity
    assert set(identity["decoding"]) == {"max_new_tokens", "temperature", "top_k", "top_p", "no_repeat_ngram_size"}


def test_the_ids_of_the_demo_are_frozen(run):
    found = protocol(run, IDENTITY)
    ids = [found.generation_id("c", name, seed) for name, seed in (("in_distribution", 10), ("long_unseen", 50))]
    assert ids == ["69ac3dc8cf2b", "116e271c0816"]


def test_a_greedy_set_has_one_decode_seed_and_its_own_metric_first(jsonl_run):
    jsonl_run.evaluation.sets["first"] = file_set(
        "one.jsonl", temperature=0.0, metric="exact_match", metrics=["rouge_l", "exact_match"]
    )
    jsonl_run.evaluation.metrics = None
    sets = protocol(jsonl_run, IDENTITY).sets
    assert sets["first"].decode_seeds == (10,)
    assert sets["first"].metrics == ("exact_match", "rouge_l")
    assert sets["second"].decode_seeds == (10, 20, 30, 40, 50)


def with_twins(run, **values):
    return protocol(changed(run, evaluation__also_greedy=True, **values), IDENTITY)


def test_greedy_twins_stand_beside_the_sampled_sets_whose_texts_keep_their_names(jsonl_run):
    alone, both = protocol(jsonl_run, IDENTITY), with_twins(jsonl_run)
    assert list(both.sets) == ["first", "second", "first_greedy", "second_greedy"]
    assert {name: both.sets[name] for name in alone.sets} == alone.sets
    assert alone.expected("c") < both.expected("c")
    twin = both.sets["first_greedy"]
    assert (twin.decoding.temperature, twin.decode_seeds, twin.twin_of) == (0.0, (10,), "first")
    assert (twin.digest, twin.metric, twin.metrics) == (
        alone.sets["first"].digest,
        "rouge_l",
        alone.sets["first"].metrics,
    )
    # A greedy text has no seed: one score per metric and set, and no pool over seeds
    assert len(both.expected("c")) == len(alone.expected("c")) + 2 * 2


def test_a_twin_is_greedy_whatever_the_sampled_set_is_asked_for(jsonl_run):
    twin = with_twins(jsonl_run).sets["first_greedy"]
    for values in ({"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.5}):
        found = with_twins(jsonl_run, **{f"evaluation__{name}": value for name, value in values.items()})
        assert found.sets["first"].identity != protocol(jsonl_run, IDENTITY).sets["first"].identity
        assert found.sets["first_greedy"] == twin, "what it does not read does not rename its texts"
    other = with_twins(jsonl_run, evaluation__max_new_tokens=7, evaluation__no_repeat_ngram_size=6).sets["first_greedy"]
    assert (other.decoding.max_new_tokens, other.decoding.no_repeat_ngram_size) == (7, 6)


def test_what_is_greedy_already_has_no_twin(jsonl_run):
    jsonl_run.evaluation.sets["first"] = file_set("one.jsonl", temperature=0.0)
    assert list(with_twins(jsonl_run).sets) == ["first", "second", "second_greedy"]
    assert list(with_twins(jsonl_run, evaluation__temperature=0.0).sets) == ["first", "second"]


def test_a_twin_whose_name_is_taken_is_refused(jsonl_run):
    jsonl_run.evaluation.sets["first_greedy"] = file_set("two.jsonl", temperature=0.0)
    with pytest.raises(RequestError, match="answers the set 'first' as 'first_greedy' too, which is a set already"):
        with_twins(jsonl_run)


@pytest.mark.parametrize("name", ["first_t0.3", "first_greedy", "first_tuned"])
def test_a_set_with_the_name_of_another_one_at_a_temperature_is_refused(jsonl_run, name):
    jsonl_run.evaluation.sets[name] = file_set("two.jsonl", temperature=0.0)
    protocol(jsonl_run, IDENTITY)
    with pytest.raises(RequestError, match=f"also_tuned answers the set 'first' as '{name}' too, which is a set"):
        protocol(changed(jsonl_run, evaluation__also_tuned=[0.0, 0.3]), IDENTITY)


def test_twins_come_back_from_a_manifest_and_one_without_them_is_as_before_there_were_any(jsonl_run):
    alone, both = protocol(jsonl_run, IDENTITY), with_twins(jsonl_run)
    again = protocol_from_manifest(json.loads(json.dumps(both.manifest())))
    assert again == both
    assert again.sets["second_greedy"].twin_of == "second"
    assert "twin_of" not in json.dumps(alone.manifest())


def test_precision_names_other_generations_unless_it_is_float32(jsonl_run):
    before = id_of(jsonl_run)
    assert id_of(changed(jsonl_run, evaluation__precision="32-true")) == before
    others = {id_of(changed(jsonl_run, evaluation__precision=name)) for name in ("bf16-mixed", "bf16-true")}
    assert len(others | {before}) == 3


def test_comet_without_its_package_is_refused_before_anything_is_generated(jsonl_run, monkeypatch):
    monkeypatch.setattr("amid.evaluation.protocol.find_spec", lambda name: None)
    jsonl_run.evaluation.sets["first"] = file_set("one.jsonl", metrics=["comet"])
    jsonl_run.evaluation.metrics = None
    with pytest.raises(RequestError, match=r"'first': comet needs an extra: pip install 'amid-lab\[comet\]'"):
        protocol(jsonl_run, IDENTITY)


def test_a_new_version_of_a_metric_is_an_expected_score_and_no_new_text(jsonl_run, monkeypatch):
    from amid.metrics import METRICS

    found = protocol(jsonl_run, IDENTITY)
    before = found.expected("c")
    monkeypatch.setitem(METRICS, "rouge_l", replace(METRICS["rouge_l"], signature="version 2"))
    after = protocol(jsonl_run, IDENTITY).expected("c")
    assert len(after) == len(before)
    assert len(after - before) == 2 * 5 + 1  # two sets, five seeds, one validation
    assert found.generation_id("c", "first", 10) == id_of(jsonl_run)


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
        return protocol(run, data).validation_id("c")

    before = validation_id(jsonl_run)
    for name, value in (("temperature", 0.0), ("seed", 11), ("max_new_tokens", 9), ("num_examples", 2)):
        other = copy.deepcopy(jsonl_run)
        setattr(other.train.validation, name, value)
        assert validation_id(other) != before
    assert validation_id(jsonl_run, {"source": "other"}) != before
    assert validation_id(changed(jsonl_run, evaluation__temperature=0.5)) == before


def test_a_full_evaluation_has_every_set_seed_and_metric_and_the_pooled_and_validation_scores(jsonl_run):
    found = protocol(changed(jsonl_run, evaluation__decode_seeds=[1, 2, 3]), IDENTITY)
    expected = found.expected("c")
    # two sets x three seeds x two metrics, one Self-BLEU over the seeds of each set, three validation scores
    assert len(expected) == 2 * 3 * 2 + 2 + 3
    assert score_id(found.pooled_id("c", "first"), "self_bleu", SELF_BLEU_PER_PROMPT) in expected
    single = protocol(changed(jsonl_run, evaluation__decode_seeds=[1]), IDENTITY)
    assert len(single.expected("c")) == 2 * 1 * 2 + 3


def test_the_pooled_id_depends_on_every_seed(jsonl_run):
    found = protocol(jsonl_run, IDENTITY)
    first = found.sets["first"]
    fewer = replace(found, sets={"first": replace(first, decode_seeds=first.decode_seeds[:-1])})
    assert found.pooled_id("c", "first") != fewer.pooled_id("c", "first")


def test_a_protocol_comes_back_from_its_manifest(jsonl_run):
    found = protocol(jsonl_run, IDENTITY)
    again = protocol_from_manifest(json.loads(json.dumps(found.manifest())))
    assert again == found
    assert again.expected("c") == found.expected("c")
    assert "one 0" not in json.dumps(found.manifest())


# What a set cannot be asked for


def write_records(run, *records):
    (Path(run.data.root) / "one.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.mark.parametrize("metric", ["gsm8k_accuracy", "gsm8k_official"])
def test_references_without_a_number_have_no_gsm8k_accuracy(jsonl_run, metric):
    write_records(jsonl_run, {"instruction": "1?", "output": "#### 1"}, {"instruction": "2?", "output": "two"})
    jsonl_run.evaluation.metrics = ["rouge_l", metric]
    with pytest.raises(RequestError) as caught:
        protocol(jsonl_run, IDENTITY)
    said = f"evaluation set 'first': {metric}: references[1] must end in '#### number', got 'two'"
    assert str(caught.value).startswith(said)


def test_translations_without_a_source_have_no_comet(jsonl_run, monkeypatch):
    monkeypatch.setattr("amid.evaluation.protocol.find_spec", lambda name: True)
    write_records(jsonl_run, {"instruction": "a", "output": "b"}, {"prompt": "whole prompt", "output": "b"})
    jsonl_run.evaluation.metrics = ["comet"]
    with pytest.raises(RequestError) as caught:
        protocol(jsonl_run, IDENTITY)
    said = "evaluation set 'first': comet needs the source of every translation; example 1 has none"
    assert str(caught.value) == said


def test_one_response_alone_has_no_self_bleu(jsonl_run):
    write_records(jsonl_run, {"instruction": "a", "output": "b"})
    with pytest.raises(RequestError, match="evaluation set 'first' holds 1 record; self_bleu"):
        protocol(jsonl_run, IDENTITY)
    jsonl_run.evaluation.metrics = ["rouge_l"]
    assert set(protocol(jsonl_run, IDENTITY).sets) == {"first", "second"}


def test_the_ids_of_the_embedded_sets_are_those_of_the_texts_in_the_stores(run):
    """Golden: generations and scores are named by them, so a moved one has every model of every store asked again."""
    run.train.validation.num_examples = None
    found, entry_id = protocol(run, IDENTITY), "c" * 12
    assert found.validation_id(entry_id) == "9a76ab901765"
    for name, ids in (
        ("in_distribution", ("4677d54dbe91", "653f8d786681", "fa17105e0674")),
        ("paraphrased", ("700a9596814f", "ecf144ae6540", "2eaea26063f0")),
    ):
        at = (found.group_id(name), found.generation_id(entry_id, name, 10), found.pooled_id(entry_id, name))
        assert at == ids
    expected = " ".join(sorted(found.expected(entry_id)))  # with every signature in it
    assert hashlib.sha256(expected.encode()).hexdigest()[:16] == "0d34c8ee9b0246f7"
