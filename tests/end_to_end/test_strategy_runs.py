"""Small runs with every strategy: exact resume, what is logged, replay without the teacher, one cell on two ranks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import PLAIN_TEXT, ROOT, SMALL, STRATEGIES
from test_training import losses_of, run_until, scores_of, weights_of

from amid.cells.cell import cell_of
from amid.config import STRATEGY_OPTIONS, RunCfg
from amid.errors import RequestError
from amid.experiment import Experiment, run_task
from amid.store.status import spent_in
from amid.sweep.compose import run_of_overrides
from amid.training import forward as module_of_training

Compose = Callable[..., RunCfg]
# For every option, a value that no file of conf/strategy gives it.
OTHER_OPTIONS = {
    "student_probability": 0.3,
    "use_buffer": False,
    "init_threshold": 0.3,
    "loss_eps": 0.3,
    "replay_ratio": "increasing",
    "reference": "previous",
    "capacity": 30,
    "buffer_scope": "global",
    "num_proposed": 3,
    "accept_top_k": 3,
    "temperature": 0.3,
    "top_p": 0.3,
    "top_k": 3,
    "teacher_temperature": 0.3,
    "teacher_top_p": 0.3,
    "num_rollouts": 64,
    "passes": 3,
    "teacher_share": 0.3,
    "discount": 0.3,
    "reward_scale": 0.3,
    "reward_clip": 3.0,
    "immediate_reward": False,
    "length_normalised": False,
    "whitened": False,
}
LONGER = ("train.max_steps=9", "data.max_tokens=340", "trainer.log_every_steps=1")


def journal(run: RunCfg) -> list[dict[str, Any]]:
    experiment = Experiment(run)
    lines = experiment.store.journal_path(experiment.cell).read_text().splitlines()
    return [json.loads(line)["metrics"] for line in lines]


def spent_by(run: RunCfg) -> dict[str, float]:
    """What the training of a cell used up, without what a clock or the machine decides."""
    experiment = Experiment(run)
    spent = spent_in(experiment.store.status(experiment.cell))
    assert spent.pop("peak_memory_mb") > 0
    assert spent.pop("generation_seconds") >= 0
    return spent


@pytest.mark.long
@pytest.mark.parametrize("name", [*STRATEGIES, "plain_text"])
def test_a_run_of_any_strategy_stopped_at_any_step_ends_as_the_undisturbed_one(
    name: str, small_run: Compose, tmp_path: Path
) -> None:
    overrides = (*STRATEGIES.get(name, PLAIN_TEXT), *LONGER, "pair.student_arch.dropout=0.1")
    undisturbed = small_run(*overrides)
    run_task(undisturbed)
    for step, every_steps in ((2, 1), (5, 2), (7, None)):
        again = small_run(*overrides, f"paths.results={tmp_path}/stopped{step}")
        again.trainer.checkpoint_every_steps = every_steps
        run_until(again, step)
        run_task(again)
        assert weights_of(again) == weights_of(undisturbed)
        assert scores_of(again) == scores_of(undisturbed)
        assert losses_of(again) == losses_of(undisturbed)
        assert spent_by(again) == spent_by(undisturbed), "what was spent before a stop counts"


def test_every_strategy_says_what_it_did(small_run: Compose, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="amid")
    seen: dict[str, list[dict[str, Any]]] = {}
    for name, overrides in STRATEGIES.items():
        run = small_run(*overrides, *LONGER)
        run_task(run)
        seen[name] = [line for line in journal(run) if "train/loss" in line]
    for name, lines in seen.items():
        for line in lines:
            shares = [line[f"strategy/{source}_share"] for source in ("gold", "fresh", "replayed")]
            assert sum(shares) == 1.0
            if "clock/generation_tokens_per_s" in line:
                assert line["clock/generation_tokens_per_s"] > 0
                assert 0 < line["clock/generation_time_share"] <= 1
                assert 1 <= line["strategy/generation_response_tokens"] <= 20
                assert 0 <= line["strategy/generation_ended_share"] <= 1
        wrote = any("clock/generation_tokens_per_s" in line for line in lines)
        assert wrote, name
    assert {line["strategy/replayed_share"] for line in seen["on_policy"]} == {1.0}
    assert {line["strategy/fresh_share"] for line in seen["on_policy_fresh"]} == {1.0}
    assert {line["strategy/fresh_share"] for line in seen["speculative"]} == {1.0}
    assert {line["strategy/gold_share"] for line in seen["mixed"]} == {0.0, 1.0}
    shown = [record.getMessage() for record in caplog.records if " step 9/9 " in record.getMessage()]
    assert ["fresh 100%" in line for line in shown] == [False, True, False, False, True, False]
    assert "replayed 100%, buffer 72 (" in shown[0]
    assert re.search(r"threshold (0.9|1.0), buffer 16 \(0.\d MiB\)", shown[3])
    assert "fresh 33%, replayed 67%" in shown[5], "of the last three steps"
    passes = [line["strategy/fresh_share"] for line in seen["policy_gradient"]]
    assert passes == [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0], "two batches, twice"
    assert all(line["strategy/collection_size"] == 16 for line in seen["policy_gradient"])
    assert all(0 < line["strategy/advantage_size"] < 3 for line in seen["policy_gradient"]), "whitened"
    adaptive = seen["adaptive_off_policy"]
    assert sum(line["strategy/replayed_share"] for line in adaptive) >= 1
    assert sum(line["strategy/fresh_share"] for line in adaptive) >= 2
    assert adaptive[-1]["strategy/buffer_size"] == 16
    assert adaptive[-1]["strategy/buffer_age_steps"] > 0
    assert adaptive[-1]["strategy/threshold"] >= 0.9


def test_what_a_cell_used_up_is_recorded_with_its_model(small_run: Compose) -> None:
    plain = ("objective.lm_coef=1", "plain_text.num_documents=40", "plain_text.chunk_tokens=25")
    fixed, fresh = small_run(*LONGER, *plain), small_run(*STRATEGIES["on_policy_fresh"], *LONGER)
    for run in (fixed, fresh):
        run_task(run)
    spent = [spent_by(run) for run in (fixed, fresh)]
    assert [each["steps"] for each in spent] == [9, 9]
    assert [each["generated_steps"] for each in spent] == [0, 9]
    assert [each["teacher_calls"] for each in spent] == [9, 9], "not in the pretraining loss, which reads labels"
    chunks = 9 * 8 * 24  # steps, chunks of a step, positions that are read
    assert spent[0]["student_tokens"] == spent[0]["teacher_tokens"] + chunks
    assert spent[1]["student_tokens"] == spent[1]["teacher_tokens"]
    experiment = Experiment(fixed)
    beside_teacher = {}
    for entry in (experiment.cell, *experiment.cell.evaluated_stages.values()):
        found = {score.metric: score.value for score in experiment.store.read([entry])}
        beside_teacher[getattr(entry, "kind", "cell")] = (found["teacher_kl"], found["teacher_top1"])
    assert beside_teacher["teacher"] == (0.0, 100.0)
    assert beside_teacher["student_init"][0] > beside_teacher["cell"][0] > 0.0
    assert (spent[0]["generated_tokens"], 9 * 8 <= spent[1]["generated_tokens"] <= 9 * 8 * 20) == (0, True)


def test_a_strategy_that_never_came_to_student_text_says_so(small_run: Compose) -> None:
    run = small_run("strategy=adaptive_off_policy", *LONGER)
    run_task(run)
    experiment = Experiment(run)
    warned = experiment.store.status(experiment.cell)["warnings"]
    text = "no student text occurred: strategy adaptive_off_policy trained on gold text only, as fixed does"
    assert text in warned


def test_a_fixed_run_logs_nothing_about_generation(small_run: Compose) -> None:
    run = small_run("trainer.log_every_steps=1")
    run_task(run)
    assert not [key for line in journal(run) for key in line if key.startswith("strategy/")]


def test_a_replayed_batch_needs_no_teacher_pass_and_changes_only_rounding(
    small_run: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[str] = []
    hidden_states = module_of_training.hidden_states

    def counting(model: Any, input_ids: torch.Tensor) -> torch.Tensor:
        passes.append("teacher" if model.config.n_embd == 32 else "student")
        return hidden_states(model, input_ids)

    monkeypatch.setattr(module_of_training, "hidden_states", counting)
    overrides = (*STRATEGIES["adaptive_off_policy"], *LONGER)
    counts, losses = [], []
    for keep in (True, False):
        run = small_run(*overrides, f"paths.results={tmp_path}/{keep}", f"trainer.keep_teacher_states={keep}")
        run_task(small_run("task=prepare", *overrides, f"paths.results={tmp_path}/{keep}"))
        passes.clear()
        run_task(run)
        counts.append(passes.count("teacher"))
        losses.append(losses_of(run))
    lines = [line for line in journal(small_run(*overrides, f"paths.results={tmp_path}/False")) if "train/loss" in line]
    num_replayed = sum(line["strategy/replayed_share"] for line in lines)
    assert num_replayed >= 1
    assert counts[1] - counts[0] == num_replayed
    # Other padding, other order of sums: float32 of a loss near 1
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in STRATEGY_OPTIONS if name != "fixed"])
def test_every_option_that_a_strategy_reads_is_part_of_the_id_and_no_other(name: str, small_run: Compose) -> None:
    term = ("objective.terms=[{kind: policy_gradient, weight: 1}]",)
    base = (f"strategy={name}", *(term if name == "policy_gradient" else ()))
    plain = small_run(*base)
    assert OTHER_OPTIONS.keys() == vars(plain.strategy).keys() - {"name"}
    for option, value in OTHER_OPTIONS.items():
        changed = cell_of(small_run(*base, f"strategy.{option}={value}"))
        assert (changed.id != cell_of(plain).id) == (option in STRATEGY_OPTIONS[name]), option
        if option not in STRATEGY_OPTIONS[name]:
            assert f"strategy.{option} has no effect with strategy={name}" in changed.ignored


def test_a_buffer_smaller_than_a_batch_is_refused(small_run: Compose) -> None:
    with pytest.raises(RequestError, match="strategy.capacity must be at least train.global_batch_size"):
        run_task(small_run("strategy=on_policy", "strategy.capacity=5"))


def test_the_references_labels_of_generated_text_are_an_option_of_their_own(small_run: Compose, tmp_path: Path) -> None:
    losses = []
    for offset in (False, True):
        run = small_run(
            "strategy=on_policy",
            "strategy.use_buffer=false",
            f"compat.sgo_label_offset={offset}",
            "trainer.log_every_steps=1",
        )
        run_task(run)
        losses.append(losses_of(run))
    assert losses[0] != losses[1]


def ranks_started(folder: Path, *overrides: str, num_ranks: int = 2) -> subprocess.Popen[str]:
    """The processes of a run, started as the README says."""
    folders = (f"paths.results={folder}/results", f"paths.cache={folder}/cache")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    return subprocess.Popen(
        [*command, str(ROOT / "run.py"), *small_but(*overrides), *folders],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def small_but(*overrides: str) -> list[str]:
    """The small request with some keys replaced."""
    keys = {override.split("=")[0] for override in overrides}
    return [*overrides, *(override for override in SMALL if override.split("=")[0] not in keys)]


def torchrun(folder: Path, *overrides: str, num_ranks: int = 2) -> tuple[int, str, str]:
    """Exit code, output and errors of a run on several ranks."""
    with ranks_started(folder, *overrides, num_ranks=num_ranks) as process:
        output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def kill_with_children(pid: int) -> None:
    """SIGKILL to a process and all it has started, also those in sessions of their own."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(pid, signal.SIGKILL)
    for child in children:
        kill_with_children(int(child))


def results_of(folder: Path, *overrides: str) -> tuple[RunCfg, list[float]]:
    folders = (f"paths.results={folder}/results", f"paths.cache={folder}/cache")
    run = run_of_overrides([*small_but(*overrides), *folders])
    return run, losses_of(run)


def test_two_ranks_train_a_fixed_cell_as_one_does_but_for_rounding(small_run: Compose, tmp_path: Path) -> None:
    overrides = ("trainer.devices=2", "trainer.log_every_steps=1", "trainer.accelerator=cpu", *PLAIN_TEXT)
    code, output, errors = torchrun(tmp_path, *overrides)
    assert code == 0, errors
    two, losses = results_of(tmp_path, *overrides)
    one = small_run(f"paths.results={tmp_path}/one", "trainer.log_every_steps=1", *PLAIN_TEXT)
    run_task(one)
    assert cell_of(one).id == cell_of(two).id, "devices are a resource"
    assert [line["train/lm_loss"] for line in journal(two) if "train/loss" in line] == pytest.approx(
        [line["train/lm_loss"] for line in journal(one) if "train/loss" in line], rel=2e-4
    )
    assert len(losses) == 6
    assert losses == pytest.approx(losses_of(one), rel=2e-4)  # float32 sums in another order, over six steps
    assert output.count("step 3/6") == 1, "the leading rank alone reports"


@pytest.mark.long
@pytest.mark.parametrize("scope", ["rank", "global"])
def test_two_ranks_replay_their_own_or_a_common_buffer_and_resume_exactly(scope: str, tmp_path: Path) -> None:
    overrides = (
        *STRATEGIES["adaptive_off_policy"],
        "train.max_steps=9",
        "data.max_tokens=340",
        f"strategy.buffer_scope={scope}",
        "trainer.devices=2",
        "trainer.log_every_steps=1",
        "trainer.accelerator=cpu",
        "trainer.checkpoint_every_steps=1",
    )
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    code, _, errors = torchrun(whole, *overrides)
    assert code == 0, errors
    run, losses = results_of(whole, *overrides)
    lines = [line for line in journal(run) if "train/loss" in line]
    assert sum(line["strategy/replayed_share"] for line in lines) >= 1
    assert lines[-1]["strategy/buffer_size"] == 16
    # The same cell again, killed once it has two checkpoints
    with ranks_started(stopped, *overrides) as process:
        checkpoint = stopped / "results" / cell_of(run).id / "checkpoints" / "previous.ckpt"
        while process.poll() is None and not checkpoint.exists():
            time.sleep(0.01)
        kill_with_children(process.pid)
    code, output, errors = torchrun(stopped, *overrides)
    assert code == 0, errors
    assert "resumes after step" in output
    run_again, losses_again = results_of(stopped, *overrides)
    assert losses_again == losses
    assert weights_of(run_again) == weights_of(run)
    assert scores_of(run_again) == scores_of(run)


@pytest.mark.long
@pytest.mark.parametrize(
    ("num_ranks", "override"), [(2, "trainer.devices=1"), (1, "trainer.devices=2"), (2, "train.global_batch_size=7")]
)
def test_a_number_of_processes_that_does_not_fit_is_one_line(num_ranks: int, override: str, tmp_path: Path) -> None:
    devices = () if override.startswith("trainer") else ("trainer.devices=2",)
    code, _, errors = torchrun(tmp_path, override, *devices, num_ranks=num_ranks)
    assert code != 0
    lines = [line for line in errors.splitlines() if line.startswith("amid: ")]
    assert lines, errors
    assert all("trainer.devices" in line for line in lines)
