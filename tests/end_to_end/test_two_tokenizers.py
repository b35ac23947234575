"""Pairs whose models bring tokenizers of their own: what is shared, what is lacking, and what ends a text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from folders import save_folder, small_tokenizer
from small import SMALL
from transformers import AutoTokenizer, GenerationConfig

from amid.config import RunCfg
from amid.data.batch import Batch
from amid.data.loader import StepBatches
from amid.errors import RequestError
from amid.experiment import Experiment, run_task
from amid.store.scores import read_scores
from amid.sweep.compose import run_of_overrides

SIZE = len(small_tokenizer())
EXTRA = "<|tool|>"
Compose = Callable[..., RunCfg]


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    """A small request on two folders, with data in which the extra token occurs."""
    root = tmp_path / "data"
    root.mkdir()
    rows = [{"instruction": f"Say the number {i}.", "output": f"yes {i}"} for i in range(40)]
    rows[3]["output"] = f"yes {EXTRA} no"
    rows[4]["output"] = f"{EXTRA} yes"
    rows[5]["instruction"] = f"Say {EXTRA}."
    for name, part in (("train", rows), ("dev", rows[:8]), ("test", rows[:8])):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    replaced = ("pair.", "data.", "evaluation.")
    shared = [override for override in SMALL if not override.startswith(replaced)]
    folders = (f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache", f"data.root={root}")
    limits = ("data.max_prompt_tokens=100", "data.max_tokens=160", "evaluation.max_new_tokens=6")
    seeds = ("evaluation.decode_seeds=[10]", "train.precision=32-true")

    def compose(teacher: Path, student: Path, *overrides: str) -> RunCfg:
        pair = ("pair=hf", f"pair.teacher={teacher}", f"pair.student={student}", "data=jsonl")
        return run_of_overrides([*pair, *shared, *folders, *limits, *seeds, *overrides])

    return compose


@pytest.fixture
def ids_trained_on(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The largest token id of every batch that is trained on, in order."""
    seen: list[int] = []
    batch_of_step = StepBatches.__call__

    def watched(self: StepBatches, step: int) -> Batch:
        batch = batch_of_step(self, step)
        seen.append(int(torch.maximum(batch.input_ids, batch.labels).max()))
        return batch

    monkeypatch.setattr(StepBatches, "__call__", watched)
    return seen


def outcome(run: RunCfg) -> tuple[Experiment, Path]:
    experiment = Experiment(run)
    return experiment, experiment.store.model_folder(experiment.cell)


@pytest.mark.parametrize("strategy", ["fixed", "on_policy", "speculative"])
@pytest.mark.parametrize("longer", ["teacher", "student"])
def test_a_pair_that_shares_a_part_of_its_tokens_trains_on_those_alone_and_counts_the_others(
    compose: Compose, tmp_path: Path, ids_trained_on: list[int], caplog: Any, longer: str, strategy: str
) -> None:
    extended = small_tokenizer()
    extended.add_tokens([EXTRA])
    folders = {
        role: save_folder(tmp_path / role, tokenizer=extended if role == longer else None)
        for role in ("teacher", "student")
    }
    run = compose(folders["teacher"], folders["student"], "pair.vocab_policy=shared_prefix", f"strategy={strategy}")
    caplog.set_level("INFO")
    run_task(run)
    experiment, model = outcome(run)
    assert experiment.store.state(experiment.cell) == "done"
    assert max(ids_trained_on) < SIZE
    if longer == "teacher":
        # two of the 40 records begin with the token in question or ask with it; in a third it stands later
        assert "2 of 40 examples dropped for a token that a model of the pair lacks" in caplog.text
        assert "1 of 40 responses cut before a token that a model of the pair lacks" in caplog.text
    else:
        assert "lacks" not in caplog.text
    saved = AutoTokenizer.from_pretrained(model)
    assert saved.get_vocab() == AutoTokenizer.from_pretrained(folders["student"]).get_vocab()


def test_a_pair_of_two_lengths_is_refused_without_the_shared_policy_before_anything_trains(
    compose: Compose, tmp_path: Path
) -> None:
    extended = small_tokenizer()
    extended.add_tokens([EXTRA])
    run = compose(save_folder(tmp_path / "teacher", tokenizer=extended), save_folder(tmp_path / "student"))
    with pytest.raises(RequestError, match=f"id {SIZE} is '<|tool|>' and None".replace("|", r"\|")):
        run_task(run)
    assert not list((tmp_path / "results").rglob("status.json"))


@pytest.fixture
def instruct_and_base(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of an instruct teacher and a base student: one vocabulary, another EOS."""
    folders = []
    for name, eos in (("instruct", "<|im_end|>"), ("base", "<|endoftext|>")):
        tokenizer = small_tokenizer()
        tokenizer.add_tokens(["<|im_end|>"], special_tokens=True)
        tokenizer.eos_token = eos
        folders.append(save_folder(tmp_path / name, tokenizer=tokenizer))
    return folders[0], folders[1]


@pytest.mark.parametrize(("eos", "token_id"), [("teacher", SIZE), ("student", 0), ("'<|im_end|>'", SIZE)])
def test_the_end_of_text_of_a_pair_is_trained_on_and_saved_with_the_student(
    compose: Compose,
    instruct_and_base: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    eos: str,
    token_id: int,
) -> None:
    last: set[int] = set()
    batch_of_step = StepBatches.__call__

    def watched(self: StepBatches, step: int) -> Batch:
        batch = batch_of_step(self, step)
        last.update(int(row[mask][-1]) for row, mask in zip(batch.labels, batch.labelled, strict=True))
        return batch

    monkeypatch.setattr(StepBatches, "__call__", watched)
    run = compose(*instruct_and_base, f"pair.eos={eos}", "pair.student_sft.epochs=1", "pair.student_sft.max_steps=2")
    run_task(run)
    experiment, model = outcome(run)
    assert last == {token_id}
    for folder in (model, experiment.store.model_folder(experiment.cell.stages["student_init"])):
        assert AutoTokenizer.from_pretrained(folder).eos_token_id == token_id
        assert GenerationConfig.from_pretrained(folder).eos_token_id == token_id
        assert json.loads((folder / "config.json").read_text())["eos_token_id"] == token_id


def test_the_exported_student_evaluates_alone_as_it_did_in_its_cell(
    compose: Compose, instruct_and_base: tuple[Path, Path], tmp_path: Path
) -> None:
    from amid.cli.model_evaluation import evaluate_model

    run = compose(*instruct_and_base, "pair.eos=teacher")
    run_task(run)
    experiment, model = outcome(run)
    inside = read_scores(experiment.store.folder(experiment.cell))
    run.paths.results = str(tmp_path / "elsewhere")
    evaluate_model(str(model), run)
    (folder,) = (tmp_path / "elsewhere" / "stages").iterdir()
    alone = {(score.metric, score.decode_seed): score.value for score in read_scores(folder)}
    assert len(alone) > 4
    assert alone == {(score.metric, score.decode_seed): score.value for score in inside if score.eval_set == "test"}


def test_two_ends_of_text_are_refused_before_anything_trains_and_each_way_out_is_another_cell(
    compose: Compose, instruct_and_base: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match="pair.eos=teacher or pair.eos=student chooses one"):
        run_task(compose(*instruct_and_base))
    assert not list((tmp_path / "results").rglob("status.json"))
    ids = {Experiment(compose(*instruct_and_base, f"pair.eos={eos}")).cell.id for eos in ("null", "teacher", "student")}
    assert len(ids) == 3
