"""A task from its files to scores: asked in a chat, students on a drawn part, texts that end at a stop string."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from folders import save_folder, small_tokenizer
from small import SMALL

from amid.config import RunCfg
from amid.errors import RequestError
from amid.experiment import Experiment, run_task
from amid.stages import corpus as module_of_corpus
from amid.stages import fine_tuned as module_of_stages
from amid.sweep.compose import run_of_overrides
from amid.training.rollout import Rollout

CHAT = (
    "{{ bos_token }}{% for m in messages %}user: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}model: {% endif %}"
)
Compose = Callable[..., RunCfg]


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    """A small request on GSM8K's files, here of forty questions, and two folders of chat models."""
    root = tmp_path / "gsm8k"
    root.mkdir()
    rows = [{"question": f"Say the number {i}.", "answer": f"yes {i}\n#### {i}"} for i in range(40)]
    test = [{"instruction": row["question"], "output": row["answer"]} for row in rows]  # as `amid fetch` writes it
    for name, part in (("train", rows), ("test", test)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    tokenizer = small_tokenizer()
    tokenizer.bos_token, tokenizer.chat_template = tokenizer.eos_token, CHAT
    pair = [f"pair.{role}={save_folder(tmp_path / role, tokenizer=tokenizer)}" for role in ("teacher", "student")]
    sft = [f"pair.{role}_sft={{epochs: 1, max_steps: 2, global_batch_size: 4}}" for role in ("teacher", "student")]
    shared = [override for override in SMALL if not override.startswith(("pair.", "data.", "evaluation."))]
    mine = [
        *("data=gsm8k", f"data.root={root}", "data.dev=null", "data.num_dev=6", "data.num_train=12"),
        *("data.fields.instruction=question", "data.fields.output=answer", "data.max_prompt_tokens=100"),
        *("data.max_tokens=120", "evaluation.max_new_tokens=6", "train.precision=32-true", "train.max_steps=3"),
        *("evaluation.num_prompts=4", "evaluation.sets.gsm8k.sha256=null"),
        *(f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache"),
    ]
    return lambda *overrides: run_of_overrides(["pair=hf", *pair, *sft, *shared, *mine, *overrides])


def test_a_task_trains_the_teacher_on_all_and_the_student_on_what_is_drawn_until_a_stop_string(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stop string that a random model soon writes: "e" is in half of the words its tokenizer knows
    run = compose("strategy=speculative", 'data.stop=["e"]', "pair.student_sft.num_train=12")
    fitted, written = [], []
    fit, write = module_of_stages.fit_student, Rollout._write

    def noting_fit(pair: Any, examples: Any, *rest: Any, **named: Any) -> Any:
        fitted.append({example.index for example in examples})
        return fit(pair, examples, *rest, **named)

    def noting_write(self: Rollout, *arguments: Any) -> Any:
        written.extend(completions := write(self, *arguments))
        return completions

    monkeypatch.setattr(module_of_stages, "fit_student", noting_fit)
    monkeypatch.setattr(Rollout, "_write", noting_write)
    run_task(run)
    experiment = Experiment(run)
    assert experiment.store.state(experiment.cell) == "done"
    of_teacher, of_student = fitted
    assert of_teacher == set(range(34)), "the file without its validation part"
    assert len(of_student) == 12 and of_student != set(range(12))
    tokenizer = experiment.stages.tokenizer("student")
    assert any(completion.stopped for completion in written)
    for completion in written:
        text = tokenizer.decode(list(completion.token_ids), skip_special_tokens=True)
        assert ("e" in text) == completion.stopped
        before = tokenizer.decode(list(completion.token_ids[:-1]), skip_special_tokens=True)
        assert "e" not in before, "nothing is written after it"
    example = experiment.stages.tokenised.examples("student", len(tokenizer), num_train=12)[0]
    asked = tokenizer.decode(example.prompt_ids)
    assert asked.startswith(f"{tokenizer.bos_token}user: Q: Say the number ") and asked.endswith("\n\nA:\nmodel: ")


def test_a_written_corpus_answers_the_students_prompts_and_ends_at_a_stop_string(compose: Compose) -> None:
    run = compose("method=seqkd", 'data.stop=["e"]')
    run_task(run)
    experiment = Experiment(run)
    folder = experiment.store.model_folder(experiment.cell.stages["corpus"])
    rows = [json.loads(line) for line in (folder / f"{module_of_corpus.RESPONSES}.jsonl").read_text().splitlines()]
    tokenizer = experiment.stages.tokenizer("student")
    drawn = [each.index for each in experiment.stages.tokenised.examples("student", len(tokenizer), num_train=12)]
    assert [row["index"] for row in rows] == drawn
    assert all("e" not in tokenizer.decode(row["token_ids"][:-1], skip_special_tokens=True) for row in rows)


def test_two_chat_templates_are_refused_before_anything_trains(compose: Compose, tmp_path: Path) -> None:
    other = small_tokenizer()
    other.bos_token, other.chat_template = other.eos_token, CHAT.replace("user: ", "Human: ")
    student = save_folder(tmp_path / "other", tokenizer=other)
    with pytest.raises(RequestError, match="put a chat into different templates, and distillation reads one text"):
        run_task(compose(f"pair.student={student}"))
    assert not list((tmp_path / "results").rglob("status.json"))


def test_a_pair_without_a_chat_template_is_refused_before_anything_trains(compose: Compose, tmp_path: Path) -> None:
    teacher = save_folder(tmp_path / "base")
    with pytest.raises(RequestError, match="^data asks in chat form, but .* data.prompt=alpaca data.template=null$"):
        run_task(compose(f"pair.teacher={teacher}"))
