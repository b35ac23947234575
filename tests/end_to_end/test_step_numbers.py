"""What whole runs make of a step's numbers: signals of schedules, steps without a label, counts of lost positions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_strategy_runs import journal, results_of, torchrun
from test_training import run_until, weights_of

from amid.config import RunCfg
from amid.core import Objective
from amid.data.batch import IGNORE_INDEX, Batch
from amid.data.loader import StepBatches
from amid.errors import RunError
from amid.experiment import Experiment, run_task
from amid.training.step import DistillModule

Compose = Callable[..., RunCfg]
SCHEDULES = (
    "divergence=kl",
    "amid.alpha_schedule.name=overlap_adaptive",
    "amid.lam_schedule.name=taid_adaptive",
    "+amid.lam_schedule.params={t_start: 0.2, t_end: 0.9, step_size: 0.2, momentum: 0.5}",
    "trainer.log_every_steps=1",
)


def schedules_of(run: RunCfg) -> list[float]:
    lines = [line for line in journal(run) if "train/loss" in line]
    return [line[f"schedule/{name}"] for line in lines for name in ("alpha", "lam")]


@pytest.mark.long
def test_adaptive_schedules_take_the_same_course_in_micro_batches_and_on_two_ranks(
    small_run: Compose, tmp_path: Path
) -> None:
    whole = small_run(*SCHEDULES)
    run_task(whole)
    course = schedules_of(whole)
    assert len(course) == 12
    assert len(set(course)) == 12, "both move"
    split = small_run(*SCHEDULES, "trainer.micro_batch_size=3", f"paths.results={tmp_path}/split")
    run_task(split)
    assert schedules_of(split) == pytest.approx(course, rel=1e-5)
    overrides = (*SCHEDULES, "trainer.micro_batch_size=3", "trainer.devices=2", "trainer.accelerator=cpu")
    ranks = tmp_path / "ranks"  # whose results hold no such cell yet: however it is divided, it is one cell
    ranks.mkdir()
    code, output, errors = torchrun(ranks, *overrides)
    assert code == 0, errors
    assert "step 6/6" in output
    two, _ = results_of(ranks, *overrides)
    assert schedules_of(two) == pytest.approx(course, rel=1e-5)


def without_labels_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    batch_of_step = StepBatches.__call__

    def emptied(self: StepBatches, number: int) -> Batch:
        batch = batch_of_step(self, number)
        if number == step and self._batch_size == 8:  # of the cell: stages have other batches
            return replace(batch, labels=torch.full_like(batch.labels, IGNORE_INDEX))
        return batch

    monkeypatch.setattr(StepBatches, "__call__", emptied)


@pytest.mark.parametrize("micro_batch_size", ["null", "3"])
def test_a_step_without_a_label_moves_schedules_by_progress_and_no_weight(
    micro_batch_size: str, small_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    training_step = DistillModule.training_step

    def watching(self: DistillModule, batch: Any, index: int) -> None:
        before = [weight.detach().clone() for weight in self.student.parameters()]
        training_step(self, batch, index)
        if self._optimisation.total_steps == 6:
            after = [weight.detach() for weight in self.student.parameters()]
            seen.append(max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True)))

    without_labels_at(monkeypatch, 2)
    monkeypatch.setattr(DistillModule, "training_step", watching)
    run = small_run(*SCHEDULES, f"trainer.micro_batch_size={micro_batch_size}")
    run_task(run)
    lines = [line for line in journal(run) if "train/loss" in line]
    assert [line["train/loss"] for line in lines].index(0.0) == 2
    assert lines[2]["schedule/alpha"] == lines[1]["schedule/alpha"], "no overlap was measured"
    on_line = 0.2 + 0.7 * 3 / 6
    assert lines[2]["schedule/lam"] == pytest.approx(max(on_line, lines[1]["schedule/lam"]))
    assert [change == 0.0 for change in seen] == [False, False, True, False, False, False]


def test_the_share_of_positions_in_the_dense_form_is_in_the_journal(small_run: Compose, tmp_path: Path) -> None:
    shares = {}
    for name in ("kl", "tv"):
        run = small_run(f"divergence={name}", "train.max_steps=3", f"paths.results={tmp_path}/{name}")
        run_task(run)
        shares[name] = [line["train/dense_share"] for line in journal(run) if "train/loss" in line]
    assert set(shares["kl"]) == {0.0}
    assert set(shares["tv"]) == {1.0}, "it has no closed form"


def test_the_native_loss_dtype_has_an_effect_under_bf16_mixed(small_run: Compose) -> None:
    losses = []
    for flag in (False, True):
        run = small_run(
            "train.precision=bf16-mixed",
            f"compat.native_loss_dtype={flag}",
            "train.max_steps=2",
            "train.validation.every_steps=2",
            "trainer.log_every_steps=1",
        )
        run_task(run)
        losses.append([line["train/loss"] for line in journal(run) if "train/loss" in line])
    # The same weights and batch. Float32 in another order makes 1e-6 of this small loss; bfloat16 logits make 2e-4.
    assert losses[0][0] == pytest.approx(losses[1][0], abs=2e-3)
    assert losses[0][0] != pytest.approx(losses[1][0], abs=3e-5)


def test_a_resumed_run_diverges_exactly_where_the_undisturbed_one_does(
    small_run: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accumulate = DistillModule._accumulate

    def losing(self: DistillModule, batch: Batch, objective: Objective) -> Any:
        total = accumulate(self, batch, objective)
        if self.global_step == 3 and self._optimisation.total_steps == 6:
            total.num_nonfinite = int(batch.labelled.sum())  # the first step of the second round
        return total

    monkeypatch.setattr(DistillModule, "_accumulate", losing)
    settings = ("train.max_nonfinite_share=0.1", "trainer.log_every_steps=1", "trainer.checkpoint_every_steps=1")
    undisturbed, again = small_run(*settings), small_run(*settings, f"paths.results={tmp_path}/again")
    with pytest.raises(RunError, match="diverged: .* of the positions of epoch 1 had no finite divergence") as first:
        run_task(undisturbed)
    run_until(again, 5)
    with pytest.raises(RunError) as second:
        run_task(again)
    assert str(second.value) == str(first.value)
    assert [line["train/num_nonfinite"] > 0 for line in journal(again) if "train/loss" in line] == [False] * 3 + [
        True
    ] * 3


def test_counts_of_one_round_do_not_reach_the_next_through_its_checkpoint(
    small_run: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accumulate = DistillModule._accumulate

    def losing(self: DistillModule, batch: Batch, objective: Objective) -> Any:
        total = accumulate(self, batch, objective)
        if self._optimisation.total_steps == 6:
            total.num_nonfinite = int(batch.labelled.sum()) // 4
        return total

    monkeypatch.setattr(DistillModule, "_accumulate", losing)
    # A quarter of every round: what one round adds to the next would be more than a third.
    settings = ("train.max_nonfinite_share=0.3", "trainer.log_every_steps=1")
    undisturbed, again = small_run(*settings), small_run(*settings, f"paths.results={tmp_path}/again")
    run_task(undisturbed)
    run_until(again, 3)
    run_task(again)
    assert weights_of(again) == weights_of(undisturbed)
    counts = [
        [json.loads(line)["metrics"].get("train/num_nonfinite") for line in path.read_text().splitlines()]
        for path in (Experiment(run).store.journal_path(Experiment(run).cell) for run in (undisturbed, again))
    ]
    assert counts[0] == counts[1]
