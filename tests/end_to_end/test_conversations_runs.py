"""Conversations from a file to scores: student text in place of the last answer, a kill and its end, what is saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from folders import save_folder, small_tokenizer
from small import SMALL
from test_training import run_until, scores_of, weights_of
from transformers import AutoTokenizer, GenerationConfig

from amid.config import RunCfg
from amid.data.batch import SOURCES, Batch
from amid.data.chat_templates import template_text
from amid.errors import RequestError
from amid.experiment import Experiment, run_task
from amid.stages import corpus as module_of_corpus
from amid.sweep.compose import run_of_overrides
from amid.training.step import DistillModule

END = "<|im_end|>"
Compose = Callable[..., RunCfg]


def said(number: int) -> list[dict[str, str]]:
    """A conversation of two questions."""
    words = ("yes", "no", "maybe", "the cat")
    asked = [f"Say the number {number}.", "And again."]
    answers = [f"{words[number % 4]} {number}", f"{number} {words[number % 3]}"]
    pairs = zip(asked, answers, strict=True)
    return [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    """A small request on conversations, and two model folders with the tokens of ChatML and no template."""
    root = tmp_path / "talks"
    root.mkdir()
    for name, number in (("train", 40), ("dev", 6), ("test", 6)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps({"talk": said(i)}) + "\n" for i in range(number)))
    tokenizer = small_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", END]})
    pair = [f"pair.{role}={save_folder(tmp_path / role, tokenizer=tokenizer)}" for role in ("teacher", "student")]
    sft = ["pair.student_sft={epochs: 1, max_steps: 2, global_batch_size: 4}"]
    shared = [override for override in SMALL if not override.startswith(("pair.", "data.", "evaluation."))]
    mine = [
        *("data=messages", f"data.root={root}", "data.fields.messages=talk"),
        *("data.chat_template=chatml", "data.system=Be brief.", "data.max_prompt_tokens=120", "data.max_tokens=140"),
        *("evaluation.max_new_tokens=6", "evaluation.decode_seeds=[10]"),
        *(f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache"),
    ]
    return lambda *overrides: run_of_overrides(["pair=hf", *pair, *sft, *shared, *mine, *overrides])


def test_student_text_takes_the_place_of_the_last_answer_and_gold_is_learnt_in_every_turn(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    strategy = ("strategy=mixed", "strategy.student_probability=0.5", "strategy.capacity=20")
    run = compose(*strategy)
    trained: list[Batch] = []
    accumulate = DistillModule._accumulate_all

    def noting(self: DistillModule, batch: Batch) -> Any:
        if batch.source.numel() == 8:  # of the cell: the stage has other batches
            trained.append(batch)
        return accumulate(self, batch)

    monkeypatch.setattr(DistillModule, "_accumulate_all", noting)
    run_task(run)
    experiment = Experiment(run)
    tokenizer = experiment.stages.tokenizer("student")
    sources = {SOURCES[int(batch.source[0])] for batch in trained}
    assert "gold" in sources and sources & {"fresh", "replayed"}
    end_id = tokenizer.convert_tokens_to_ids(END)
    for batch in trained:
        gold = SOURCES[int(batch.source[0])] == "gold"
        for row, prompt in zip(batch.rows(), batch.prompts(), strict=True):
            answers = [turn["content"] for turn in said(row.example_id) if turn["role"] == "assistant"]
            asked = tokenizer.decode(prompt)
            assert asked.startswith("<|im_start|>system\nBe brief.<|im_end|>\n") and asked.endswith("assistant\n")
            assert f"{answers[0]}{END}" in asked and answers[1] not in asked.rpartition("And again.")[2]
            learnt = row.labels[row.labels != -100].tolist()
            if gold:
                assert tokenizer.decode(learnt) == "".join(f"{answer}{END}" for answer in answers)
            else:
                first = int((row.labels != -100).nonzero()[0])
                assert first == len(prompt) - 1, "nothing of the prompt is learnt from what was written"
                assert not {end_id, tokenizer.eos_token_id} & set(learnt[:-1]), "a turn ends a text"
    folder = experiment.store.model_folder(experiment.cell)
    saved = AutoTokenizer.from_pretrained(folder)
    assert saved.chat_template == template_text("chatml", key="test")
    assert GenerationConfig.from_pretrained(folder).eos_token_id == [tokenizer.eos_token_id, end_id]
    lines = [
        json.loads(line) for path in experiment.store.folder(experiment.cell).rglob("*.jsonl") for line in path.open()
    ]
    responses = [line["response"] for line in lines if "response" in line]
    assert responses and not any("<|im" in text for text in responses)

    again = compose(*strategy, f"paths.results={tmp_path}/again")
    again.trainer.checkpoint_every_steps = 2
    run_until(again, 3)
    run_task(again)
    assert weights_of(again) == weights_of(run)
    assert scores_of(again) == scores_of(run)


def test_a_written_corpus_answers_the_last_question_and_is_all_that_is_learnt(compose: Compose) -> None:
    run = compose("corpus=teacher")
    run_task(run)
    experiment = Experiment(run)
    gold = experiment.stages.tokenised.examples("student", 10**6, num_train=None)
    written = module_of_corpus.written_examples(experiment.stages, gold, vocab_size=10**6)
    assert all(len(example.earlier) == 1 for example in gold)
    assert written and all(example.earlier == () for example in written)


def test_conversations_need_a_template_with_tokens_that_end_a_turn_before_anything_trains(
    compose: Compose, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=r"^data asks in chat form, .* data.chat_template=plain gives one"):
        run_task(compose("data.chat_template=null"))
    with pytest.raises(RequestError, match=r"ends a turn .* '<\|eot_id\|>', which is no token"):
        run_task(compose("data.chat_template=llama3"))
    assert not list((tmp_path / "results").rglob("status.json"))
