"""Evaluation: generations resume after any kill, and scores come from what is on disk."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch

from amid.cells.stage import Stage
from amid.data.encoding import encode
from amid.data.evaluation_sets import EvaluationSet
from amid.data.prompt import render_prompt
from amid.data.records import Record
from amid.digests.seals import DamagedError, seal, unseal
from amid.errors import RequestError, RunError, TakenOverError
from amid.evaluation import responses, writer
from amid.evaluation.entry import evaluate_entry
from amid.evaluation.protocol import Protocol, SetProtocol
from amid.evaluation.responses import generate_missing
from amid.evaluation.scores import score_generations
from amid.evaluation.validation import validation_loss, validation_scores
from amid.generation.decoding import Decoding
from amid.metrics import METRICS
from amid.metrics.rouge import rouge_l
from amid.metrics.self_bleu import self_bleu
from amid.store import Store
from amid.store.generations import PENDING_ROWS, read_rows, rows_path
from amid.store.scores import read_per_example

RECORDS = {
    name: [Record(str(i), f"{name} {i}.", "", (f"yes {i}", "no")) for i in range(3)] for name in ("dolly", "self_inst")
}
DECODING = Decoding(max_new_tokens=12)
CHECKPOINT = "c" * 12


def set_protocol(name, **values):
    records = RECORDS[name]
    data = EvaluationSet(
        prompts=tuple(render_prompt(record) for record in records),
        questions=tuple(record.instruction for record in records),
        references=tuple(record.outputs for record in records),
        sources=tuple(record.instruction for record in records),
    )
    shared = {"prompt": "alpaca", "max_prompt_tokens": 200, "decoding": DECODING, "decode_seeds": (10, 20)}
    metrics = {"metric": "rouge_l", "metrics": ("rouge_l", "self_bleu")}
    return SetProtocol(**{"digest": f"digest of {name}", "data": data, **shared, **metrics, **values})


def read_responses(path, *, num_rows):
    return [row["response"] for row in read_rows(path, num_rows=num_rows)]


@pytest.fixture
def protocol():
    return Protocol(sets={name: set_protocol(name) for name in RECORDS}, validation={"seed": 7})


@pytest.fixture
def generate(tiny_model, tokenizer, protocol, tmp_path):
    def generate(**options):
        values = {"entry_id": CHECKPOINT, "folder": tmp_path, "batch_size": 4, **options}
        return generate_missing(tiny_model, tokenizer, protocol, **values).num_responses

    return generate


@pytest.fixture
def path(protocol, tmp_path):
    """The file of one set and seed."""
    return tmp_path / f"{protocol.generation_id(CHECKPOINT, 'dolly', 10)}.jsonl"


def scores_of(protocol, folder):
    return [score for score, _ in score_generations(protocol, entry_id=CHECKPOINT, folder=folder)]


def contents(folder):
    """File name -> its rows by index."""
    return {
        file.name: {row["index"]: row for row, _ in map(unseal, file.read_bytes().splitlines())}
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
    scores = scores_of(protocol, tmp_path)
    # The first byte, inside and at the end of each line, and before the last line feed.
    line_ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for length in (0, 1, line_ends[0] - 1, line_ends[0], line_ends[0] + 5, line_ends[1], len(whole) - 1):
        path.write_bytes(whole[:length])
        assert generate() == 3 - whole[:length].count(b"\n")
        assert contents(tmp_path) == rows
        assert scores_of(protocol, tmp_path) == scores


def test_every_changed_bit_of_a_row_is_found_and_exactly_that_row_generated_again(
    generate, protocol, path, tmp_path, caplog
):
    generate()
    whole, rows = path.read_bytes(), contents(tmp_path)
    scores = scores_of(protocol, tmp_path)
    for byte in range(0, len(whole), 11):
        changed = bytearray(whole)
        changed[byte] ^= 1 << byte % 8
        path.write_bytes(changed)
        caplog.clear()
        if byte != len(whole) - 1:  # without its line feed the last line is one that is being written
            with pytest.raises(DamagedError, match=f"{path} is damaged .line . *.*evaluate again"):
                scores_of(protocol, tmp_path)
        num_generated = generate()
        assert num_generated == (2 if changed.count(b"\n") < 3 and byte != len(whole) - 1 else 1), byte
        assert f"{path}, line" in caplog.text
        assert contents(tmp_path) == rows
        assert scores_of(protocol, tmp_path) == scores


def test_rows_on_their_way_that_are_damaged_are_generated_again(generate, tmp_path, caplog):
    generate()
    rows = contents(tmp_path)
    (tmp_path / PENDING_ROWS).write_text(seal({"x": [{"index": 0}]}).replace("0", "1"))
    assert generate() == 0
    assert f"{tmp_path / PENDING_ROWS} is damaged" in caplog.text
    assert contents(tmp_path) == rows
    assert not (tmp_path / PENDING_ROWS).exists()


def test_a_process_that_lost_the_folder_adds_no_row(generate, tmp_path):
    generate()
    before = contents(tmp_path)
    for path in tmp_path.glob("*.jsonl"):
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:1]))
    cut, checks = contents(tmp_path), []

    def lost():
        checks.append(1)
        if len(checks) > 1:
            raise TakenOverError("taken over")

    with pytest.raises(TakenOverError):
        generate(check=lost)
    assert contents(tmp_path) == cut
    generate()
    assert contents(tmp_path) == before


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
    options = {"entry_id": CHECKPOINT, "batch_size": 4}
    whole, cut = (
        Protocol({"dolly": set_protocol("dolly", max_prompt_tokens=tokens)}, None) for tokens in (limit, limit - 1)
    )
    generate_missing(tiny_model, tokenizer, whole, folder=tmp_path / "whole", **options)
    assert "prompts cut" not in caplog.text
    generate_missing(tiny_model, tokenizer, cut, folder=tmp_path / "cut", **options)
    assert f"dolly: 3 of 3 prompts cut to {limit - 1} tokens" in caplog.text


def test_scores_are_those_of_the_texts_on_disk(generate, protocol, path, tmp_path):
    generate()
    scores = scores_of(protocol, tmp_path)
    written = read_responses(path, num_rows=3)
    references = [list(record.outputs) for record in RECORDS["dolly"]]
    found = {score.metric: score for score in scores if (score.eval_set, score.decode_seed) == ("dolly", 10)}
    assert found["rouge_l"].value == rouge_l(written, references)
    assert found["self_bleu"].value == self_bleu(written)
    assert found["rouge_l"].num_samples == 3


def test_scores_follow_the_texts_and_need_no_model(generate, protocol, path, tmp_path):
    generate()
    path.write_text("".join(json.dumps({"index": i, "response": f"yes {i}", "ended": True}) + "\n" for i in range(3)))
    scores = scores_of(protocol, tmp_path)
    (value,) = [s.value for s in scores if (s.eval_set, s.decode_seed, s.metric) == ("dolly", 10, "rouge_l")]
    assert value == pytest.approx(100.0)


def test_scores_and_validation_are_all_that_the_protocol_expects(generate, protocol, tmp_path):
    generate()
    scores = scores_of(protocol, tmp_path)
    validation = validation_scores(protocol, entry_id=CHECKPOINT, rouge=12.5, loss=2.0, num_samples=4)
    assert {score.score_id for score in [*scores, *validation]} == protocol.expected(CHECKPOINT)
    assert len({(score.score_id, score.decode_seed) for score in scores}) == len(scores)
    assert all(score.entry_id == CHECKPOINT and len(score.score_id) == 12 for score in scores)
    assert [(score.eval_set, score.metric, score.decode_seed) for score in validation] == [
        ("validation", "rouge_l", 7),
        ("validation", "loss", None),
        ("validation", "perplexity", None),
    ]
    assert [score.value for score in validation] == [12.5, 2.0, pytest.approx(math.exp(2.0))]


def test_the_diversity_over_seeds_belongs_to_no_single_seed(generate, protocol, tmp_path):
    generate()
    scores = scores_of(protocol, tmp_path)
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
    path.write_text("".join(json.dumps({"index": i, "response": f"text {i}", "ended": True}) + "\n" for i in (2, 0, 1)))
    assert read_responses(path, num_rows=3) == ["text 0", "text 1", "text 2"]


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("num_chunks", [0, 1, 2])
@pytest.mark.parametrize("where", ["before", "within", "after"])
def test_a_run_killed_in_any_chunk_ends_with_the_bytes_of_an_undisturbed_one(
    generate, tmp_path, monkeypatch, num_chunks, where
):
    generate(folder=tmp_path / "whole", batch_size=1)  # three chunks of four rows
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    commit, seen = responses.commit_rows, []

    def killed(folder, rows, *, check):
        if len(seen) < num_chunks:
            seen.append(rows)
            return commit(folder, rows, check=check)
        if where == "within":  # the chunk is on disk, its rows not yet in their files, but for half of the first one
            (folder / PENDING_ROWS).write_text(seal(rows))
            first, items = next(iter(rows.items()))
            with rows_path(folder, first).open("a") as stream:
                stream.write(json.dumps(items[0])[:9])
        if where == "after":
            commit(folder, rows, check=check)
        raise Killed

    monkeypatch.setattr(responses, "commit_rows", killed)
    with pytest.raises(Killed):
        generate(folder=tmp_path / "cut", batch_size=1)
    monkeypatch.setattr(responses, "commit_rows", commit)
    left = 12 - 4 * num_chunks - (4 if where in ("within", "after") else 0)
    assert generate(folder=tmp_path / "cut", batch_size=1) == left
    assert {path.name: path.read_bytes() for path in (tmp_path / "cut").iterdir()} == expected


def test_rows_share_the_batches_of_an_undisturbed_run_after_a_kill(generate, path, tmp_path, monkeypatch):
    batches = []
    original = writer.generate

    def recorded(model, prompts, **options):
        batches.append(list(options["keys"]))
        return original(model, prompts, **options)

    monkeypatch.setattr(writer, "generate", recorded)
    generate(batch_size=1)
    whole, batches[:] = list(batches), []
    path.unlink()  # the first file, three rows of the first chunk
    generate(batch_size=1)
    assert len(whole) == 3
    assert batches == [whole[0][:3]]


def test_scores_that_are_known_are_not_computed_again_and_a_new_version_is(generate, protocol, tmp_path, monkeypatch):
    generate()
    scored = score_generations(protocol, entry_id=CHECKPOINT, folder=tmp_path)
    known = {score.score_id for score, _ in scored}
    assert score_generations(protocol, entry_id=CHECKPOINT, folder=tmp_path, known=known) == []
    newer = replace(METRICS["rouge_l"], signature="rouge_l|version:2")
    monkeypatch.setitem(METRICS, "rouge_l", newer)
    again = score_generations(protocol, entry_id=CHECKPOINT, folder=tmp_path, known=known)
    assert [(score.eval_set, score.metric, score.decode_seed) for score, _ in again] == [
        (name, "rouge_l", seed) for name in RECORDS for seed in (10, 20)
    ]
    assert not {score.score_id for score, _ in again} & known
    assert not protocol.expected(CHECKPOINT) <= known


def test_the_examples_of_a_score_are_what_it_is_the_mean_of(generate, protocol, tmp_path):
    generate()
    scored = score_generations(protocol, entry_id=CHECKPOINT, folder=tmp_path)
    rouge = [(score, examples) for score, examples in scored if score.metric == "rouge_l"]
    assert len(rouge) == 4
    for score, examples in rouge:
        assert examples.score_id == score.score_id
        assert score.group_id == protocol.group_id(score.eval_set)
        assert score.main
        assert score.value == pytest.approx(sum(examples.values) / 3)
    assert all(examples is None for score, examples in scored if score.metric == "self_bleu")


def chat_protocol(*, precision="32-true", **decoding):
    turns = tuple(f"Say the number {i}." for i in range(3))
    data = EvaluationSet(prompts=turns, questions=turns, references=(("yes",),) * 3, sources=turns)
    each = SetProtocol(
        digest="chat",
        prompt="chat",
        max_prompt_tokens=200,
        decoding=replace(DECODING, temperature=0.0, **decoding),
        precision=precision,
        decode_seeds=(10,),
        metric="rouge_l",
        metrics=("rouge_l", "eos_share"),
        data=data,
    )
    return Protocol(sets={"chat": each}, validation=None)


TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture
def chat_tokenizer(tokenizer):
    """The tokenizer with a template that begins with a BOS, and that puts one before every text by itself."""
    import copy

    from tokenizers.processors import TemplateProcessing

    chat = copy.deepcopy(tokenizer)
    chat.bos_token = chat.eos_token
    chat.chat_template = TEMPLATE
    bos = (chat.bos_token, chat.bos_token_id)
    chat.backend_tokenizer.post_processor = TemplateProcessing(single=f"{bos[0]} $A", special_tokens=[bos])
    assert chat("x")["input_ids"][0] == chat.bos_token_id
    return chat


def prompts_of(monkeypatch, model, tokenizer, protocol, folder):
    seen = []

    def recorded(model, prompts, **options):
        seen.extend([list(prompt) for prompt in prompts])
        seen.append(sorted(options["other_eos_ids"]))
        return original(model, prompts, **options)

    original = writer.generate
    monkeypatch.setattr(writer, "generate", recorded)
    generate_missing(model, tokenizer, protocol, entry_id=CHECKPOINT, folder=folder, batch_size=4)
    return seen


def test_a_chat_prompt_is_the_rendered_turn_with_one_bos(tiny_model, chat_tokenizer, tmp_path, monkeypatch):
    tiny_model.generation_config.eos_token_id = [chat_tokenizer.eos_token_id, 7]
    *prompts, eos_ids = prompts_of(monkeypatch, tiny_model, chat_tokenizer, chat_protocol(), tmp_path)
    assert [chat_tokenizer.decode(ids) for ids in prompts] == [
        f"{chat_tokenizer.bos_token}user: Say the number {i}.\nassistant: " for i in range(3)
    ]
    assert all(ids.count(chat_tokenizer.bos_token_id) == 1 for ids in prompts)
    assert eos_ids == sorted({chat_tokenizer.eos_token_id, 7})


def test_a_tokenizer_without_a_chat_template_is_one_clear_line(tiny_model, tokenizer, tmp_path):
    with pytest.raises(RequestError, match="set 'chat' asks in chat form, but .* has no chat template; .*alpaca"):
        generate_missing(tiny_model, tokenizer, chat_protocol(), entry_id=CHECKPOINT, folder=tmp_path, batch_size=4)


def test_a_set_beyond_the_positions_of_the_model_is_refused(tiny_model, tokenizer, protocol, tmp_path):
    long = Protocol({"dolly": set_protocol("dolly", decoding=replace(DECODING, max_new_tokens=250))}, None)
    with pytest.raises(RequestError, match=r"'dolly' may need \d+ tokens, the model has 256 positions; lower"):
        generate_missing(tiny_model, tokenizer, long, entry_id=CHECKPOINT, folder=tmp_path, batch_size=4)


def test_a_stop_string_ends_the_response_before_it(tiny_model, chat_tokenizer, tmp_path):
    options = {"entry_id": CHECKPOINT, "batch_size": 4}
    free = chat_protocol(max_new_tokens=30)
    generate_missing(tiny_model, chat_tokenizer, free, folder=tmp_path / "free", **options)
    (path,) = (tmp_path / "free").glob("*.jsonl")
    texts = read_responses(path, num_rows=3)
    stop = texts[0][5:7]  # something the model does say
    stopped = chat_protocol(max_new_tokens=30, stop=(stop,))
    generate_missing(tiny_model, chat_tokenizer, stopped, folder=tmp_path / "stopped", **options)
    (path,) = (tmp_path / "stopped").glob("*.jsonl")
    rows = contents(tmp_path / "stopped")[path.name]
    assert rows[0]["stopped"] and not rows[0]["ended"]
    assert rows[0]["num_tokens"] < 30
    for index, text in enumerate(texts):
        assert rows[index]["response"] == text.split(stop)[0].strip()


def test_bfloat16_generation_has_a_name_of_its_own_and_works(tiny_model, chat_tokenizer, tmp_path):
    plain, mixed, half = (
        chat_protocol(**precision) for precision in ({}, {"precision": "bf16-mixed"}, {"precision": "bf16-true"})
    )
    assert len({each.generation_id("c", "chat", 10) for each in (plain, mixed, half)}) == 3
    options = {"entry_id": CHECKPOINT, "batch_size": 4, "folder": tmp_path}
    generate_missing(tiny_model, chat_tokenizer, mixed, **options)
    before = {name: weight.clone() for name, weight in tiny_model.state_dict().items()}
    generate_missing(tiny_model, chat_tokenizer, half, **options)
    after = tiny_model.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items()), "the caller's own model changed"
    assert len(list(tmp_path.glob("*.jsonl"))) == 2


def test_validation_loss_is_the_token_mean_over_all_examples(tiny_model, tokenizer):
    from amid.data.batch import collate

    pad = tokenizer.eos_token_id
    sequences = [([5, 6, 7], [8, pad]), ([5], [9, 10, 11, pad]), ([6, 6], [12, pad])]
    whole = validation_loss(tiny_model, [collate(sequences, example_ids=[0, 1, 2], pad_id=pad)])
    total = 0.0
    for prompt, response in sequences:  # each alone, without padding
        ids = torch.tensor([prompt + response])
        log_probs = tiny_model(ids).logits.detach().log_softmax(-1)[0]
        total -= sum(float(log_probs[len(prompt) - 1 + i, token]) for i, token in enumerate(response))
    assert whole == pytest.approx(total / 8, rel=1e-5)


def test_an_entry_scored_before_examples_were_kept_gets_them_without_new_texts(
    tiny_model, tokenizer, protocol, tmp_path, monkeypatch
):
    entry, store = Stage("model", CHECKPOINT, {}), Store(tmp_path / "results")
    store.folder(entry).mkdir(parents=True)
    options = {"entry": entry, "store": store, "batch_size": 4}
    assert evaluate_entry(tiny_model, tokenizer, protocol, **options).num_responses == 12
    scores = store.read([entry])
    shutil.rmtree(store.folder(entry) / "examples")
    store.write(entry, [replace(score, group_id="", main=False) for score in scores])
    monkeypatch.setattr(writer, "generate", None)  # nothing may be generated
    assert evaluate_entry(tiny_model, tokenizer, protocol, **options).num_responses == 0
    assert store.read([entry]) == scores
    for score in scores:
        examples = read_per_example(store.folder(entry), score.score_id)
        assert (examples is not None) == (score.metric == "rouge_l")
    for path in (store.folder(entry) / "examples").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert evaluate_entry(tiny_model, tokenizer, protocol, **options).num_responses == 0
    assert all(
        read_per_example(store.folder(entry), score.score_id) for score in scores if score.metric == "rouge_l"
    )  # damaged, and made again
    texts = store.read_texts("digest of dolly")
    assert [text["question"] for text in texts] == [record.instruction for record in RECORDS["dolly"]]
