"""Evaluation sets: from declarations and the two layouts of files to prompts and references."""

import hashlib
import json

import pytest

from amid.config import DataCfg, EvaluationCfg, EvaluationSetCfg
from amid.data import evaluation_sets as module
from amid.data.evaluation_sets import CHECKSUM_SUFFIX, evaluation_sets
from amid.data.prompt import render_prompt
from amid.data.records import Record
from amid.errors import RequestError
from amid.sweep.compose import run_of_overrides

TOY = DataCfg(source="toy", num_records=20, num_dev=2, num_eval=4)


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows(name, number=5):
    return [{"instruction": f"{name} {i}", "input": "", "output": str(i)} for i in range(number)]


@pytest.fixture
def data(tmp_path):
    for name in ("train", "dev", "test"):
        write(tmp_path / "mine" / f"{name}.jsonl", rows(name))
    return DataCfg(source="jsonl", root=str(tmp_path / "mine"), train="train.jsonl", dev="dev.jsonl")


def one(data, *, evaluation=None, **declared):
    """The only set of a declaration, with the options of the evaluation."""
    sets = {"it": EvaluationSetCfg(**declared)}
    return evaluation_sets(data, EvaluationCfg(sets=sets, **(evaluation or {})))["it"]


def test_a_set_is_cut_to_the_smaller_of_both_limits(data):
    assert len(one(data, files=["test.jsonl"])) == 5
    assert len(one(data, files=["test.jsonl"], evaluation={"num_prompts": 2})) == 2
    assert len(one(data, files=["test.jsonl"], num_examples=3)) == 3
    data.num_eval = 1
    assert len(one(data, files=["test.jsonl"], evaluation={"num_prompts": 2})) == 1


def test_the_size_of_the_toy_sets_does_not_cut_files(tmp_path):
    write(tmp_path / "set.jsonl", rows("x", 9))
    assert len(one(TOY, files=["set.jsonl"], evaluation={"root": str(tmp_path)})) == 9
    assert len(one(TOY, source="toy", split="paraphrased")) == 4


@pytest.mark.parametrize("split", ["paraphrasd", "train"])
def test_an_unknown_toy_split_names_the_known_ones_and_train_is_none_of_them(split):
    with pytest.raises(RequestError, match=f"evaluation set '{split}' unknown; .*paraphrased"):
        one(TOY, source="toy", split=split)


def test_a_toy_split_needs_the_toy_data(data):
    with pytest.raises(RequestError, match="source=toy need data=toy, got data.source=jsonl"):
        one(data, source="toy", split="paraphrased")


def test_the_published_layout_and_ours_give_the_same_set(tmp_path):
    records = [("Name a city.", "", "Rome"), ("Add.", "1\n2", "3")]
    ours = [{"instruction": i, "input": t, "output": o} for i, t, o in records]
    published = [
        {"prompt": render_prompt(Record("", i, t, ())).replace("\n", "<n>"), "output": [o]} for i, t, o in records
    ]
    write(tmp_path / "a" / "vicuna" / "test.jsonl", ours)
    write(tmp_path / "b" / "vicuna" / "valid.jsonl", published)
    files = ["vicuna/valid.jsonl", "vicuna/test.jsonl"]
    left, right = (one(TOY, files=files, evaluation={"root": str(tmp_path / name)}) for name in "ab")
    assert left.prompts == right.prompts == tuple(render_prompt(Record("", i, t, ())) for i, t, _ in records)
    assert left.references == right.references == (("Rome",), ("3",))
    assert left.questions == ("Name a city.", "Add.\n1\n2")
    assert right.questions == right.prompts  # a published file may hold nothing but the rendered prompt
    assert left.digest == right.digest


def test_the_digest_is_the_sha256_of_the_canonical_pairs(data):
    found = one(data, files=["test.jsonl"])
    pairs = [[render_prompt(Record("", f"test {i}", "", ())), [str(i)]] for i in range(5)]
    text = json.dumps(pairs, separators=(",", ":"), ensure_ascii=True)
    assert found.digest == hashlib.sha256(text.encode()).hexdigest()


def test_a_list_of_outputs_is_a_list_of_references(tmp_path):
    write(tmp_path / "set.jsonl", [{"instruction": "x", "output": ["a", "b"]}] * 2)
    assert one(TOY, files=["set.jsonl"], evaluation={"root": str(tmp_path)}).references == (("a", "b"),) * 2


def test_a_filter_keeps_records_with_the_value_and_records_without_the_field(tmp_path):
    write(tmp_path / "marked.jsonl", [{**row, "kept": i != 1} for i, row in enumerate(rows("x"))])
    write(tmp_path / "plain.jsonl", rows("x"))
    root = {"root": str(tmp_path)}
    assert one(TOY, files=["marked.jsonl"], filter={"kept": True}, evaluation=root).references == (
        ("0",),
        ("2",),
        ("3",),
        ("4",),
    )
    assert len(one(TOY, files=["plain.jsonl"], filter={"kept": True}, evaluation=root)) == 5
    with pytest.raises(RequestError, match="holds no record with {'kept': 'never'}"):
        one(TOY, files=["marked.jsonl"], filter={"kept": "never"}, evaluation=root)


def test_a_template_makes_the_user_turn_and_names_what_it_lacks(tmp_path):
    write(tmp_path / "set.jsonl", [{"eng": "A {cat}.", "deu": "Eine Katze."}] * 2)
    declared = {
        "files": ["set.jsonl"],
        "fields": {"input": "eng", "output": "deu"},
        "prompt": "chat",
        "labels": {"target": "German"},
        "template": "Into {target}: {input}",
    }
    root = {"root": str(tmp_path)}
    assert one(TOY, **declared, evaluation=root).prompts == ("Into German: A {cat}.",) * 2
    assert one(TOY, **declared, evaluation=root).sources == ("A {cat}.",) * 2
    with pytest.raises(RequestError, match=r"set\.jsonl:1: field 'fra' is missing; found: deu, eng"):
        one(TOY, **{**declared, "fields": {"input": "eng", "output": "fra"}}, evaluation=root)
    with pytest.raises(RequestError, match="its template needs 'instruction'; record 1 of .* has none"):
        one(TOY, **{**declared, "template": "{instruction}{input}"}, evaluation=root)


def test_files_are_looked_for_below_the_data_then_the_evaluation_root_then_beside_the_data(data, tmp_path):
    write(tmp_path / "vicuna" / "test.jsonl", rows("neighbour"))
    write(tmp_path / "other" / "vicuna" / "test.jsonl", rows("other"))
    files = ["vicuna/test.jsonl"]
    assert "neighbour 0" in one(data, files=files).prompts[0]
    elsewhere = {"root": str(tmp_path / "other")}
    assert "other 0" in one(data, files=files, evaluation=elsewhere).prompts[0]
    write(tmp_path / "mine" / "vicuna" / "test.jsonl", rows("mine"))
    assert "mine 0" in one(data, files=files, evaluation=elsewhere).prompts[0]


def test_a_missing_file_names_the_command_that_fetches_it_or_the_page(tmp_path):
    (tmp_path / "empty").mkdir()
    run = run_of_overrides(["evaluation=gsm8k", f"evaluation.root={tmp_path}/empty"])
    with pytest.raises(RequestError) as caught:
        evaluation_sets(run.data, run.evaluation)
    assert str(caught.value) == (
        f"evaluation set 'gsm8k': no file gsm8k/test.jsonl in {tmp_path}/empty; "
        "fetch it: amid fetch gsm8k --root FOLDER"
    )
    with pytest.raises(RequestError, match=r"any folder \(evaluation.root=FOLDER names one\); put it there \(docs/"):
        one(TOY, files=["x.jsonl"])


def test_another_text_than_the_declared_one_is_warned_of_once(data, caplog):
    module._warn_of_other_text.cache_clear()
    good = one(data, files=["test.jsonl"]).digest
    for _ in range(2):
        one(data, files=["test.jsonl"], sha256=good)
        assert "not the text" not in caplog.text
    for _ in range(2):
        one(data, files=["test.jsonl"], sha256="0" * 64)
    assert caplog.text.count("not the text it is declared to be") == 1


def test_the_checksum_is_of_the_whole_set_whatever_part_is_used(data, caplog):
    module._warn_of_other_text.cache_clear()
    good = one(data, files=["test.jsonl"]).digest
    part = one(data, files=["test.jsonl"], sha256=good, evaluation={"num_prompts": 2})
    assert part.digest != good
    assert "not the text" not in caplog.text


def test_a_file_that_changed_since_it_was_fetched_is_refused(data, tmp_path):
    recorded = tmp_path / "mine" / f"test.jsonl{CHECKSUM_SUFFIX}"
    recorded.write_text(one(data, files=["test.jsonl"]).digest + "\n")
    assert len(one(data, files=["test.jsonl"])) == 5
    write(tmp_path / "mine" / "test.jsonl", rows("changed"))
    with pytest.raises(RequestError, match="is not what was fetched .* remove it and its .sha256 file"):
        one(data, files=["test.jsonl"])


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["evaluation=dolly"], ["dolly"]),
        (["evaluation=[dolly,vicuna]"], ["dolly", "vicuna"]),
        (["evaluation=paper"], ["dolly", "self_inst", "vicuna", "super_ni", "un_ni"]),
        (["evaluation=[vicuna,tasks]"], ["vicuna", "flores200", "dialogsum", "gsm8k"]),
    ],
    ids=str,
)
def test_sets_and_suites_compose(overrides, names):
    assert list(run_of_overrides(overrides).evaluation.sets) == names


def test_every_declared_set_states_what_it_is():
    run = run_of_overrides(["evaluation=[paper,tasks,un_ni_short]"])
    for name, declared in run.evaluation.sets.items():
        assert declared.files and declared.max_prompt_tokens, name
        assert (declared.hub is None) == (name in ("flores200", "un_ni_short")), name
        assert (declared.sha256 is None) == (name == "un_ni"), name
        assert declared.version == 1
    greedy = [name for name, declared in run.evaluation.sets.items() if declared.temperature == 0]
    assert greedy == ["flores200", "dialogsum", "gsm8k"]
    for name in ("dolly", "self_inst", "vicuna", "super_ni", "un_ni", "un_ni_short"):
        declared = run.evaluation.sets[name]
        assert (declared.max_new_tokens, declared.temperature, declared.no_repeat_ngram_size) == (256, 1.0, 6)
    assert run.evaluation.max_new_tokens is run.evaluation.temperature is run.evaluation.no_repeat_ngram_size is None
