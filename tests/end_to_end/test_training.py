"""Whole small runs in this process: resume, micro-batches, divergence, and what is and is not saved."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from amid.config import RunCfg
from amid.core import dense_objective
from amid.data.loader import StepBatches
from amid.errors import RunError
from amid.experiment import Experiment, run_task
from amid.training.checkpoints import SealedCheckpointIO, best_weights, intact_checkpoint
from amid.training.step import DistillModule
from tests.reference.wandb_file import history

Compose = Callable[..., RunCfg]


def weights_of(run: RunCfg) -> str:
    """sha256 of the cell's final weights."""
    experiment = Experiment(run)
    return hashlib.sha256(
        (experiment.store.model_folder(experiment.cell) / "model.safetensors").read_bytes()
    ).hexdigest()


def tensors_of(run: RunCfg) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    experiment = Experiment(run)
    return load_file(experiment.store.model_folder(experiment.cell) / "model.safetensors")


def losses_of(run: RunCfg) -> list[float]:
    experiment = Experiment(run)
    lines = map(json.loads, experiment.store.journal_path(experiment.cell).read_text().splitlines())
    return [line["metrics"]["train/loss"] for line in lines if "train/loss" in line["metrics"]]


def scores_of(run: RunCfg) -> str:
    experiment = Experiment(run)
    return (experiment.store.folder(experiment.cell) / "scores.jsonl").read_text()


class Stop(BaseException):
    """Ends a run at once, past every handler, as a kill would."""


def run_until(run: RunCfg, step: int) -> None:
    """Run the cell and stop it at once when it asks for the batch of a step."""
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(Stop):
            run_task(run)


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    batch_of_step = StepBatches.__call__

    def stopping(self: StepBatches, number: int) -> Any:
        if number == step and self._batch_size == 8:  # of the cell: stages have other batches
            raise Stop
        return batch_of_step(self, number)

    monkeypatch.setattr(StepBatches, "__call__", stopping)


@pytest.mark.parametrize(("step", "every_steps"), [(1, None), (4, None), (2, 1), (5, 2), (3, 3)])
def test_a_run_stopped_at_any_step_ends_as_the_undisturbed_one(
    step: int, every_steps: int | None, small_run: Compose, tmp_path: Path
) -> None:
    undisturbed = small_run("pair.student_arch.dropout=0.1")
    run_task(undisturbed)
    again = small_run("pair.student_arch.dropout=0.1", f"paths.results={tmp_path}/again")
    again.trainer.checkpoint_every_steps = every_steps
    run_until(again, step)
    assert Experiment(again).store.state(Experiment(again).cell) == "stopped"
    run_task(again)
    assert weights_of(again) == weights_of(undisturbed)
    assert scores_of(again) == scores_of(undisturbed)
    assert losses_of(again) == losses_of(undisturbed)


def flip(path: Path, byte: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    path.write_bytes(data)


def stopped_run(small_run: Compose, folder: Path, *, step: int) -> tuple[RunCfg, Path]:
    """A run stopped at a step, with a checkpoint after each, and the folder of these."""
    again = small_run(f"paths.results={folder}/again")
    again.trainer.checkpoint_every_steps = 1
    run_until(again, step)
    experiment = Experiment(again)
    return again, experiment.store.checkpoints_folder(experiment.cell)


@pytest.mark.parametrize("damage", ["cut", "one bit in the middle", "one bit of its seal"])
def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(
    damage: str, small_run: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = small_run()
    run_task(undisturbed)
    again, checkpoints = stopped_run(small_run, tmp_path, step=5)
    last = checkpoints / "last.ckpt"
    size = last.stat().st_size
    if damage == "cut":
        last.write_bytes(last.read_bytes()[:-200])
    else:
        flip(last, size // 2 if damage == "one bit in the middle" else size - 3)
    with caplog.at_level("INFO"):
        run_task(again)
    assert f"{last} is damaged" in caplog.text and "the one before is used" in caplog.text
    assert "resumes after step 4 of 6" in caplog.text
    assert weights_of(again) == weights_of(undisturbed)
    assert scores_of(again) == scores_of(undisturbed)


def test_a_damaged_checkpoint_never_takes_the_place_of_a_sound_one(small_run: Compose, tmp_path: Path) -> None:
    undisturbed = small_run()
    run_task(undisturbed)
    again, checkpoints = stopped_run(small_run, tmp_path, step=5)
    flip(checkpoints / "last.ckpt", 5000)

    def die(self: SealedCheckpointIO, *arguments: Any, **named: Any) -> None:
        raise Stop  # before the first checkpoint of the new attempt is written

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SealedCheckpointIO, "save_checkpoint", die)
        with pytest.raises(Stop):
            run_task(again)
    assert intact_checkpoint(checkpoints, check=lambda: None) == checkpoints / "previous.ckpt"
    run_task(again)
    assert weights_of(again) == weights_of(undisturbed)


def test_damaged_best_weights_are_made_again_from_a_checkpoint_that_holds_them(
    small_run: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = small_run()
    run_task(undisturbed)
    again, checkpoints = stopped_run(small_run, tmp_path, step=3)  # right after a validation
    flip(checkpoints / "best.ckpt", 4000)
    with caplog.at_level("INFO"):
        run_task(again)
    assert "best.ckpt is made again from last.ckpt" in caplog.text
    assert "resumes after step 3 of 6" in caplog.text
    assert weights_of(again) == weights_of(undisturbed)
    assert scores_of(again) == scores_of(undisturbed)


def test_best_weights_that_are_lost_cost_a_new_start_and_are_never_used(
    small_run: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = small_run()
    run_task(undisturbed)
    again, checkpoints = stopped_run(small_run, tmp_path, step=5)
    flip(checkpoints / "best.ckpt", 4000)
    with caplog.at_level("INFO"):
        run_task(again)
    assert caplog.text.count("knows of best weights that are lost") == 2
    assert "resumes after step" not in caplog.text
    assert weights_of(again) == weights_of(undisturbed)
    assert losses_of(again) == losses_of(undisturbed)


def test_best_weights_damaged_before_they_are_read_are_refused_and_made_good_by_the_same_command(
    small_run: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, again = small_run(), small_run(f"paths.results={tmp_path}/again")
    run_task(undisturbed)
    run_task(small_run("task=prepare", f"paths.results={tmp_path}/again"))

    def damaged(folder: Path) -> Any:
        flip(folder / "best.ckpt", 4000)
        return best_weights(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("amid.training.fit.best_weights", damaged)
        with pytest.raises(RunError, match="best.ckpt is damaged .*; repeat the command"):
            run_task(again)
    run_task(again)
    assert weights_of(again) == weights_of(undisturbed)


def test_a_run_stopped_after_its_training_is_evaluated_without_being_trained_again(
    small_run: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed, again = small_run(), small_run(f"paths.results={tmp_path}/again")
    run_task(undisturbed)
    run_task(small_run("task=prepare", f"paths.results={tmp_path}/again"))

    def stop(*arguments: Any, **named: Any) -> None:
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("amid.stages.evaluation.evaluate_entry", stop)
        with pytest.raises(Stop):
            run_task(again)
    experiment = Experiment(again)
    recorded = {name: experiment.store.status(experiment.cell)[name] for name in ("model", "train_seconds", "best")}
    monkeypatch.setattr("amid.experiment.fit_student", stop)
    with caplog.at_level("INFO"):
        run_task(again)
    assert "was trained by an earlier attempt" in caplog.text
    assert recorded.items() <= experiment.store.status(experiment.cell).items()
    assert weights_of(again) == weights_of(undisturbed)
    assert scores_of(again) == scores_of(undisturbed)


def test_a_damaged_teacher_is_built_again_before_it_teaches(
    small_run: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed, again = small_run(), small_run(f"paths.results={tmp_path}/again")
    run_task(undisturbed)
    run_task(small_run("task=prepare", f"paths.results={tmp_path}/again"))
    experiment = Experiment(again)
    path = experiment.store.model_folder(experiment.cell.stages["teacher"]) / "model.safetensors"
    sound = path.read_bytes()
    flip(path, 20_000)
    run_task(again)
    assert f"{path} is damaged" in caplog.text
    assert path.read_bytes() == sound
    assert weights_of(again) == weights_of(undisturbed)


def test_a_model_that_was_removed_to_save_space_is_trained_again_only_when_it_is_needed(
    small_run: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    run = small_run()
    run_task(run)
    before = weights_of(run)
    experiment = Experiment(run)
    shutil.rmtree(experiment.store.model_folder(experiment.cell))
    with caplog.at_level("INFO"):
        run_task(run)
    assert "is finished: nothing to run" in caplog.text
    run_task(small_run("evaluation.decode_seeds=[10,20,30]"))
    assert weights_of(run) == before


def test_a_damaged_model_is_trained_again_and_not_evaluated(
    small_run: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    run = small_run()
    run_task(run)
    before = weights_of(run)
    experiment = Experiment(run)
    path = experiment.store.model_folder(experiment.cell) / "model.safetensors"
    flip(path, 20_000)
    with pytest.raises(RunError, match="model.safetensors is damaged .*; repeat the command that made it"):
        run_task(small_run("task=evaluate", "evaluation.decode_seeds=[10,20,30]"))
    run_task(run)
    assert weights_of(run) == before
    assert experiment.store.state(experiment.cell) == "done"


def test_a_half_trained_store_that_was_moved_ends_as_the_undisturbed_one(small_run: Compose, tmp_path: Path) -> None:
    # The highest of the validation scores is the first one, which a run that has forgotten it would not keep.
    more = ("train.validation.select=loss", "train.lr=1.0", "train.validation.every_steps=1", "train.max_steps=4")
    undisturbed, before = small_run(*more), small_run(*more, f"paths.results={tmp_path}/before")
    run_task(undisturbed)
    run_until(before, 3)
    (tmp_path / "before").rename(tmp_path / "after")
    after = small_run(*more, f"paths.results={tmp_path}/after")
    run_task(after)
    assert weights_of(after) == weights_of(undisturbed)
    assert scores_of(after) == scores_of(undisturbed)


@pytest.mark.parametrize("reduction", ["global_token_mean", "sequence_mean"])
def test_micro_batches_change_nothing_but_rounding(reduction: str, small_run: Compose, tmp_path: Path) -> None:
    whole = small_run(f"objective.reduction={reduction}")
    split = small_run(
        f"objective.reduction={reduction}", "trainer.micro_batch_size=3", f"paths.results={tmp_path}/split"
    )
    run_task(whole)
    run_task(split)
    assert losses_of(split) == pytest.approx(losses_of(whole), rel=1e-4)  # float32 sums in another order
    for name, weight in tensors_of(whole).items():
        torch.testing.assert_close(tensors_of(split)[name], weight, rtol=1e-3, atol=2e-4)  # six Adam steps apart


def test_the_mean_per_micro_batch_is_another_cell_with_another_loss(small_run: Compose, tmp_path: Path) -> None:
    runs = [
        small_run(
            "compat.micro_batch_mean=true", f"trainer.micro_batch_size={size}", f"paths.results={tmp_path}/{size}"
        )
        for size in (3, 8)
    ]
    for run in runs:
        run_task(run)
    assert Experiment(runs[0]).cell.id != Experiment(runs[1]).cell.id
    # Rounding alone would differ by about 1e-7
    assert losses_of(runs[0]) != pytest.approx(losses_of(runs[1]), rel=1e-5)


def on_the_dense_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objectives are evaluated by their definition on all logits, not by the fused form."""

    def as_dense(states: Any, head: Any, teacher_states: Any, teacher_head: Any, objective: Any, **rest: Any) -> Any:
        teacher_logits = None if teacher_head is None else teacher_head.logits(teacher_states)
        return dense_objective(head.logits(states), teacher_logits, objective, **rest)

    monkeypatch.setattr("amid.training.forward.linear_objective", as_dense)


@pytest.mark.parametrize("alpha", [-5.0, 1.0, None])
def test_training_on_the_dense_form_repeats_the_fused_one(
    alpha: float | None, small_run: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    value = "null" if alpha is None else alpha
    more = ("train.max_steps=10", "train.validation.every_steps=10", "trainer.log_every_steps=1", f"amid.alpha={value}")
    fused, dense = small_run(*more), small_run(*more, f"paths.results={tmp_path}/dense")
    run_task(fused)
    on_the_dense_form(monkeypatch)
    run_task(dense)
    assert len(losses_of(fused)) == 10
    assert losses_of(dense) == pytest.approx(losses_of(fused), rel=2e-4)  # float32, ten Adam steps


def test_the_teacher_is_in_no_checkpoint_and_stays_in_eval_mode(
    small_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bool]] = []
    saved: list[set[str]] = []
    training_step = DistillModule.training_step
    save = SealedCheckpointIO.save_checkpoint

    def watching(self: DistillModule, batch: Any, index: int) -> None:
        training_step(self, batch, index)
        seen.extend((teacher.training, self.student.training) for teacher in self._teacher)

    def recording(self: SealedCheckpointIO, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        saved.append(set(checkpoint["state_dict"]))
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(DistillModule, "training_step", watching)
    monkeypatch.setattr(SealedCheckpointIO, "save_checkpoint", recording)
    run_task(small_run())
    assert len(seen) == 6
    assert set(seen) == {(False, True)}
    assert saved
    assert all(name.startswith("student.") for names in saved for name in names)


def test_a_run_without_finite_divergences_fails_as_diverged_and_keeps_its_traceback(small_run: Compose) -> None:
    run = small_run("train.lr=1e30")
    with pytest.raises(RunError, match="diverged"):
        run_task(run)
    experiment = Experiment(run)
    assert experiment.store.state(experiment.cell) == "failed"
    assert "diverged" in experiment.store.status(experiment.cell)["error"]
    assert "Traceback" in experiment.store.error_path(experiment.cell).read_text()


@pytest.mark.long
@pytest.mark.parametrize(
    "overrides",
    [
        ("method=sft",),
        ("method=taid", "strategy=fixed", "objective.lm_coef=0"),
        ("divergence=kl", "divergence.order=qr", "amid.lam=0.9", "objective=mix"),
        ("amid.alpha=inf",),
        ("compat=official_code", "amid.alpha=3"),
        ("divergence=akl", "amid.alpha=null"),
        ("amid.alpha_schedule.name=overlap_adaptive", "divergence=rkl"),
        ("train.precision=bf16-mixed", "divergence=gjs"),
    ],
)
def test_every_kind_of_objective_trains_as_its_definition_on_all_logits_does(
    overrides: tuple[str, ...], small_run: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    more = (*overrides, "train.max_steps=2", "train.validation.every_steps=2", "trainer.log_every_steps=1")
    run, dense = small_run(*more), small_run(*more, f"paths.results={tmp_path}/dense")
    run_task(run)
    on_the_dense_form(monkeypatch)
    run_task(dense)
    losses = losses_of(run)
    assert len(losses) == 2
    assert losses == pytest.approx(losses_of(dense), rel=2e-4)  # float32 sums in another order, two steps
    assert losses[0] != losses[1]


def test_a_taid_schedule_moves_and_is_restored(
    small_run: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def lams(run: RunCfg) -> list[float]:
        experiment = Experiment(run)
        lines = map(json.loads, experiment.store.journal_path(experiment.cell).read_text().splitlines())
        return [line["metrics"]["schedule/lam"] for line in lines if "schedule/lam" in line["metrics"]]

    more = ("method=taid", "strategy=fixed", "objective.lm_coef=0", "trainer.log_every_steps=1")
    run, again = small_run(*more), small_run(*more, f"paths.results={tmp_path}/again")
    run_task(run)
    assert lams(run) == sorted(lams(run))
    assert lams(run)[0] < lams(run)[-1]
    run_until(again, 4)
    run_task(again)
    assert lams(again) == lams(run)
    assert weights_of(again) == weights_of(run)


def test_wandb_gets_every_step_of_the_journal_once_whatever_stopped_the_run(
    small_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = small_run("logger=wandb", "trainer.log_every_steps=1", "trainer.checkpoint_every_steps=1")
    run_until(run, 2)
    run_until(run, 4)
    run_task(run)
    experiment = Experiment(run)
    folders = sorted((experiment.store.folder(experiment.cell) / "wandb").glob("offline-run-*"))
    assert len(folders) == 3
    assert len({file.name for folder in folders for file in folder.glob("*.wandb")}) == 1, "one run"
    steps = [step for folder in folders for step, values in history(folder) if "train/loss" in values]
    assert steps == [1, 2, 3, 4, 5, 6]
    written = {
        line["step"]: line["metrics"]["train/loss"]
        for line in map(json.loads, experiment.store.journal_path(experiment.cell).read_text().splitlines())
        if "train/loss" in line["metrics"]
    }
    shown = {
        step: values["train/loss"] for folder in folders for step, values in history(folder) if "train/loss" in values
    }
    assert shown == written


@pytest.mark.parametrize("call", ["init", "log", "finish"])
def test_a_cell_whose_tracker_fails_is_done_as_any_other(
    call: str, small_run: Compose, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    def failing(*_: object, **__: object) -> None:
        raise ConnectionResetError("the tracker is gone")

    monkeypatch.setenv("WANDB_MODE", "offline")
    if call == "init":
        monkeypatch.setattr(wandb, "init", failing)
    else:
        monkeypatch.setattr(wandb.Run, call, failing)
    run = small_run("logger=wandb", "train.max_steps=2", "train.validation.every_steps=2")
    run_task(run)
    experiment = Experiment(run)
    assert experiment.store.state(experiment.cell) == "done"
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [text for text in warned if "the cell goes on without it" in text] == [
        "wandb: ConnectionResetError: the tracker is gone; the cell goes on without it, its journal has everything"
    ]
    monkeypatch.undo()
    if wandb.run is not None:
        wandb.finish()


def test_a_disabled_wandb_leaves_nothing(small_run: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    run = small_run("logger=wandb", "logger.mode=disabled", "train.max_steps=2", "train.validation.every_steps=2")
    run_task(run)
    experiment = Experiment(run)
    assert experiment.store.state(experiment.cell) == "done"
    assert not (experiment.store.folder(experiment.cell) / "wandb").exists()
