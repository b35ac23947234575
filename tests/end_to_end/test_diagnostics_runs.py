"""Diagnostics in whole runs: they change no weight, are a resource, and survive a kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from test_strategy_runs import journal, results_of, torchrun
from test_training import losses_of, run_until, scores_of, weights_of

from amid.cells.cell import cell_of
from amid.config import RunCfg
from amid.experiment import run_task

Compose = Callable[..., RunCfg]
# With dropout, which draws from the generator that diagnostics must leave alone
DRAWING = ("pair.student_arch.dropout=0.1", "trainer.log_every_steps=1")


def measures_of(run: RunCfg) -> list[dict[str, float]]:
    return [line for line in journal(run) if any(name.startswith("diagnostics/") for name in line)]


def test_weights_losses_and_scores_are_the_same_bits_with_whatever_diagnostics(
    small_run: Compose, tmp_path: Path
) -> None:
    usual = small_run(*DRAWING)
    run_task(usual)
    assert len(measures_of(usual)) == 6
    for number in (0, 100_000):
        other = small_run(*DRAWING, f"trainer.diagnostic_positions={number}", f"paths.results={tmp_path}/{number}")
        assert cell_of(other).id == cell_of(usual).id
        run_task(other)
        assert weights_of(other) == weights_of(usual)
        assert losses_of(other) == losses_of(usual)
        assert scores_of(other) == scores_of(usual)
        assert len(measures_of(other)) == (6 if number else 0)


def test_only_steps_with_a_journal_line_are_measured_and_each_has_all_measures(small_run: Compose) -> None:
    run = small_run("trainer.log_every_steps=4", "trainer.diagnostic_positions=7")
    run_task(run)
    (first, last) = measures_of(run)  # of steps 4 and 6, the last one
    assert first.keys() == last.keys()
    assert {name.removeprefix("diagnostics/") for name in first} == {
        *("overlap", "entropy_p", "entropy_q", "top1_agreement", "q_outside_nucleus_of_p", "p_outside_nucleus_of_q"),
        *("gradient_weight_p_above_q", "gradient_weight_q_above_p", "dead_zone_share", "num_positions"),
    }
    assert first["diagnostics/num_positions"] == 7
    assert 0.0 < first["diagnostics/gradient_weight_p_above_q"] < first["diagnostics/gradient_weight_q_above_p"] < 1.0


@pytest.mark.parametrize(("step", "every_steps"), [(4, None), (5, 2)])
def test_a_stopped_run_writes_the_diagnostics_of_the_undisturbed_one(
    step: int, every_steps: int | None, small_run: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = small_run(*DRAWING)
    run_task(undisturbed)
    again = small_run(*DRAWING, f"paths.results={tmp_path}/again")
    again.trainer.checkpoint_every_steps = every_steps
    run_until(again, step)
    run_task(again)
    assert measures_of(again) == measures_of(undisturbed)
    assert "repeated with other values" not in caplog.text


def test_a_run_that_goes_on_without_diagnostics_repeats_its_other_numbers_only(
    small_run: Compose, tmp_path: Path
) -> None:
    again = small_run(*DRAWING, f"paths.results={tmp_path}/again")
    run_until(again, 5)  # whose last checkpoint is that of step 3
    again.trainer.diagnostic_positions = 0
    run_task(again)
    assert len(losses_of(again)) == 6
    assert len(measures_of(again)) == 5


@pytest.mark.long
def test_two_ranks_measure_positions_of_both(tmp_path: Path) -> None:
    overrides = (
        *("trainer.devices=2", "trainer.accelerator=cpu", "trainer.log_every_steps=3"),
        "trainer.diagnostic_positions=9",
    )
    code, _, errors = torchrun(tmp_path, *overrides)
    assert code == 0, errors
    run, _ = results_of(tmp_path, *overrides)
    assert [line["diagnostics/num_positions"] for line in measures_of(run)] == [18, 18]
