"""Evaluation: generations resume after any kill, and scores come from what is on disk."""

import json
from dataclasses import replace

import pytest

from amid.data.prompt import render_prompt
from amid.data.records import Record
from amid.data.tokenise import encode
from amid.errors import RunError
from amid.evaluation import generate_missing, read_responses, score_generations, validation_score
from amid.metrics.rouge import rouge_l
from amid.metrics.self_bleu import self_bleu
from amid.protocol import Protocol

RECORDS = {
    name: [Record(str(i), f"{name} {i}.", "", (f"yes {i}", "no")) for i in range(3)] for name in ("dolly", "self_inst")
}
CHECKPOINT = "c" * 12


@pytest.fixture
def protocol():
    return Protocol(
        set_digests={name: f"digest of {name}" for name in RECORDS},
        decode_seeds=(10, 20),
        decoding={"max_new_tokens": 12, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "no_repeat_ngram_size": 0},
        max_prompt_tokens=200,
        metrics=("rouge_l", "self_bleu"),
        validation={"seed": 7},
        records=RECORDS,
    )


@pytest.fixture
def generate(tiny_model, tokenizer, protocol, tmp_path):
    def generate(**options):
        values = {"checkpoint_id": CHECKPOINT, "folder": tmp_path, "batch_size": 4, "max_tokens": 256, **options}
        return generate_missing(tiny_model, tokenizer, protocol, **values)

    return generate


@pytest.fixture
def path(protocol, tmp_path):
    """The file of one set and seed."""
    return tmp_path / f"{protocol.generation_id(CHECKPOINT, 'dolly', 10)}.jsonl"


def contents(folder):
    """File name -> its rows by index."""
    return {
        file.name: {row["index"]: row for row in map(json.loads, file.read_text().splitlines())}
        for file in sorted(folder.glob("*.jsonl"))
    }


def test_every_set_and_seed_has_a_file_with_every_row_once(generate, protocol, tmp_path):
    assert generate() == 12
    found = contents(tmp_path)
    assert set(found) == {
        f"{protocol.generation_id(CHECKPOINT, name, seed)}.jsonl" for name in RECORDS for seed in (10, 20)
    }
    assert all(list(rows) == [0, 1, 2] for rows in found.values())
    row = next(iter(found.values()))[0]
    assert set(row) == {"index", "response", "num_tokens", "ended"}
    assert 1 <= row["num_tokens"] <= 12


def test_what_is_there_is_not_generated_again(generate, path):
    generate()
    before = path.read_bytes()
    assert generate() == 0
    assert path.read_bytes() == before


def test_a_file_cut_at_any_byte_is_completed_with_exactly_the_missing_rows(generate, protocol, path, tmp_path):
    generate()
    whole, rows = path.read_bytes(), contents(tmp_path)
    scores = score_generations(protocol, entry_id=CHECKPOINT, folder=tmp_path)
    # The first byte, inside and at the end of each line, and before the last line feed.
    line_ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for length in (0, 1, line_ends[0] - 1, line_ends[0], line_ends[0] + 5, line_ends[1], len(whole) - 1):
        path.write_bytes(whole[:length])
        assert generate() == 3 - whole[:length].count(b"\n")
        assert contents(tmp_path) == rows
        assert score_generations(protocol, entry_id=CHECKPOINT, folder=tmp_path) == scores


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_texts_do_not_depend_on_the_batch_they_were_generated_in(generate, tmp_path, batch_size):
    generate(folder=tmp_path / "a")
    generate(folder=tmp_path / "b", batch_size=batch_size)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_another_seed_gives_other_texts(generate, protocol, tmp_path):
    generate()
    first, second = (
        read_responses(tmp_path / f"{protocol.generation_id(CHECKPOINT, 'dolly', seed)}.jsonl", num_rows=3)
        for seed in (10, 20)
    )
    assert first != second


def test_a_prompt_over_the_limit_is_cut_to_it_and_counted(tiny_model, tokenizer, protocol, tmp_path, caplog):
    caplog.set_level("INFO")
    limit = max(len(ids) for ids in encode(tokenizer, [render_prompt(record) for record in RECORDS["dolly"]]))
    options = {"checkpoint_id": CHECKPOINT, "batch_size": 4, "max_tokens": 256}
    generate_missing(
        tiny_model, tokenizer, replace(protocol, max_prompt_tokens=limit), folder=tmp_path / "whole", **options
    )
    assert "dolly: " not in caplog.text
    generate_missing(
        tiny_model, tokenizer, replace(protocol, max_prompt_tokens=limit - 1), folder=tmp_path / "cut", **options
    )
    assert f"dolly: 3 of 3 prompts cut to {limit - 1} tokens" in caplog.text


def test_scores_are_those_of_the_texts_on_disk(generate, protocol, path, tmp_path):
    generate()
    scores = score_generations(protocol, entry_id=CHECKPOINT, folder=tmp_path)
    responses = read_responses(path, num_rows=3)
    references = [list(record.outputs) for record in RECORDS["dolly"]]
    found = {score.metric: score for score in scores if (score.eval_set, score.decode_seed) == ("dolly", 10)}
    assert found["rouge_l"].value == rouge_l(responses, references)
    assert found["self_bleu"].value == self_bleu(responses)
    assert found["rouge_l"].num_samples == 3


def test_scores_follow_the_texts_and_need_no_model(generate, protocol, path, tmp_path):
    generate()
    path.write_text("".join(json.dumps({"index": i, "response": f"yes {i}"}) + "\n" for i in range(3)))
    scores = score_generations(protocol, entry_id=CHECKPOINT, folder=tmp_path)
    (value,) = [s.value for s in scores if (s.eval_set, s.decode_seed, s.metric) == ("dolly", 10, "rouge_l")]
    assert value == pytest.approx(100.0)


def test_scores_and_validation_are_all_that_the_protocol_expects(generate, protocol, tmp_path):
    generate()
    scores = score_generations(protocol, entry_id=CHECKPOINT, folder=tmp_path)
    validation = validation_score(protocol, entry_id=CHECKPOINT, value=12.5, num_samples=4)
    assert {(score.generation_id, score.metric) for score in [*scores, validation]} == protocol.expected(CHECKPOINT)
    assert len({(score.score_id, score.decode_seed) for score in scores}) == len(scores)
    assert all(score.entry_id == CHECKPOINT and len(score.score_id) == 12 for score in scores)
    assert (validation.eval_set, validation.decode_seed, validation.value) == ("validation", 7, 12.5)


def test_the_diversity_over_seeds_belongs_to_no_single_seed(generate, protocol, tmp_path):
    generate()
    scores = score_generations(protocol, entry_id=CHECKPOINT, folder=tmp_path)
    pooled = [score for score in scores if score.decode_seed is None]
    assert {(score.eval_set, score.metric) for score in pooled} == {("dolly", "self_bleu"), ("self_inst", "self_bleu")}
    assert {score.generation_id for score in pooled} == {protocol.pooled_id(CHECKPOINT, name) for name in RECORDS}


def test_missing_responses_are_counted_and_never_scored(generate, protocol, path, tmp_path):
    generate()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2][:-1])
    with pytest.raises(RunError, match="holds 1 of 3 responses; run task=evaluate again"):
        score_generations(protocol, entry_id=CHECKPOINT, folder=tmp_path)
    with pytest.raises(RunError, match="holds 0 of 3 responses"):
        read_responses(tmp_path / "none.jsonl", num_rows=3)


def test_responses_come_in_the_order_of_the_prompts(path):
    path.write_text("".join(json.dumps({"index": i, "response": f"text {i}"}) + "\n" for i in (2, 0, 1)))
    assert read_responses(path, num_rows=3) == ["text 0", "text 1", "text 2"]
