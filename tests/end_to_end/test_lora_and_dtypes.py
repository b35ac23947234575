"""A teacher and a student that are held in fewer bytes: LoRA, 16-bit weights, recomputed activations."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small import PLAIN_TEXT, STRATEGIES

from amid.config import RunCfg
from amid.errors import RequestError
from amid.experiment import Experiment, run_task

Compose = Callable[..., RunCfg]
LORA = ("pair.student_lora.rank=2", "pair.student_lora.alpha=4", "pair.teacher_lora={rank: 2, alpha: 4, dropout: 0.0}")


def values_of(experiment: Experiment) -> dict[tuple[str, str], float]:
    return {
        (score.eval_set, f"{score.metric} {score.decode_seed}"): score.value
        for score in experiment.store.read([experiment.cell])
    }


def test_a_cell_with_lora_keeps_its_factors_and_is_loaded_with_what_they_are_added_to(
    small_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(*LORA, "pair.student_dtype=bfloat16")
    run_task(run)
    experiment = Experiment(run)
    store, cell = experiment.store, experiment.cell
    teacher, init = (store.model_folder(cell.stages[role]) for role in ("teacher", "student_init"))
    assert (teacher / "model.safetensors").is_file()
    assert not any("lora" in name for name in load_file(teacher / "model.safetensors"))
    for folder in (init, store.model_folder(cell)):
        assert not (folder / "model.safetensors").exists()
        assert json.loads((folder / "adapter_config.json").read_text())["r"] == 2
    before, after = (load_file(f / "adapter_model.safetensors") for f in (init, store.model_folder(cell)))
    assert set(before) == set(after)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    # The same texts from the model as it is loaded: nothing but the factors has changed
    scores = values_of(experiment)
    for path in store.folder(cell).rglob("generations/*"):
        path.unlink()
    (store.folder(cell) / "scores.jsonl").unlink(missing_ok=True)
    run_task(run)
    assert values_of(Experiment(run)) == scores


def test_lora_without_a_stage_starts_from_the_named_model(small_run: Compose) -> None:
    run = small_run("pair.student_lora.rank=2", "pair.student_lora.alpha=4", "pair.student_sft.epochs=0")
    run_task(run)
    experiment = Experiment(run)
    assert (experiment.store.model_folder(experiment.cell) / "adapter_model.safetensors").is_file()
    assert (experiment.store.model_folder(experiment.cell.stages["student_init"]) / "model.safetensors").is_file()


@pytest.mark.parametrize("strategy", ["adaptive_off_policy", "speculative", "policy_gradient"])
def test_a_16_bit_teacher_says_nearly_what_it_said_and_is_half_as_large(
    small_run: Compose, tmp_path: Path, strategy: str
) -> None:
    run = small_run(
        "pair.teacher_dtype=bfloat16",
        "pair.student=teacher",
        "pair.student_arch=null",
        *PLAIN_TEXT,
        *STRATEGIES[strategy],
    )
    run_task(run)
    experiment = Experiment(run)
    assert experiment.store.state(experiment.cell) == "done"
    folder = experiment.store.model_folder(experiment.cell.stages["teacher"])
    assert {weight.dtype for weight in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    student = experiment.store.model_folder(experiment.cell)
    assert {weight.dtype for weight in load_file(student / "model.safetensors").values()} == {torch.float32}
    assert json.loads((student / "config.json").read_text())["dtype"] == "float32"


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="the extra quantised: torchao")
def test_a_quantised_teacher_is_another_stage_whose_folder_keeps_its_weights_whole(
    small_run: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = ("pair.student=teacher", "pair.student_arch=null")
    caplog.set_level(logging.INFO)
    run = small_run("pair.teacher_quantisation=int8", *own)
    run_task(run)
    experiment, whole = Experiment(run), Experiment(small_run(*own))
    store, teacher = experiment.store, experiment.cell.stages["teacher"]
    assert store.state(experiment.cell) == "done"
    assert teacher.values["quantisation"] == "int8"
    assert teacher.id != whole.cell.stages["teacher"].id
    assert experiment.cell.id != whole.cell.id
    saved = load_file(store.model_folder(teacher) / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.float32}
    # What a student is a copy of is not quantised
    student = load_file(store.model_folder(experiment.cell) / "model.safetensors")
    assert {weight.dtype for weight in student.values()} == {torch.float32}
    said = [record.message for record in caplog.records if record.message.startswith("teacher: int8 weights in ")]
    assert len(said) == 1
    assert "8 linear layers, 0.02 of " in said[0]


def test_recomputed_activations_change_nothing(small_run: Compose, tmp_path: Path) -> None:
    weights = []
    for checkpointing in ("false", "true"):
        run = small_run(
            f"trainer.gradient_checkpointing={checkpointing}",
            "pair.student_arch.dropout=0.2",
            f"paths.results={tmp_path}/{checkpointing}",
        )
        run_task(run)
        experiment = Experiment(run)
        weights.append(
            (experiment.cell.id, load_file(experiment.store.model_folder(experiment.cell) / "model.safetensors"))
        )
    (first, plain), (second, recomputed) = weights
    assert first == second
    for name, weight in plain.items():
        assert torch.equal(weight, recomputed[name]), name


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("pair.student_dtype=bfloat16", "is for weights that stay"),
        ("pair.teacher_dtype=int8", "pair.teacher_dtype"),
        ("pair.student_lora.rank=-1", "lora.rank"),
        ("pair.student_lora.targets=[]", "lora.targets must name modules"),
    ],
)
def test_what_makes_no_sense_is_refused(small_run: Compose, override: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        small_run(override)
