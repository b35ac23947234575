"""What whole runs make of a step's numbers: signals of schedules, steps without a label, counts of lost positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_strategy_runs import journal, results_of, torchrun

from amid.config import RunCfg
from amid.data.batch import IGNORE_INDEX, Batch
from amid.data.loader import StepBatches
from amid.experiment import run_task
from amid.module import DistillModule

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
    code, _, errors = torchrun(tmp_path, *overrides)
    assert code == 0, errors
    two, _ = results_of(tmp_path, *overrides)
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
