"""What fails outside of training too: every cell and stage keeps its reason, whatever started it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small import ROOT, SMALL, RunPy

from amid.config import RunCfg
from amid.errors import RequestError, RunError
from amid.evaluation import entry as evaluation
from amid.experiment import Experiment, run_task
from amid.store import Store
from amid.store.failures import name_of, recorded

Compose = Callable[..., RunCfg]
QUICK = ("train.max_steps=2", "train.validation={every_steps: 2, max_new_tokens: 4}")
# A divergence that is sound when it is tried, and fails in training.
LATE = """
import os, sys

def {name}(left, right):
    if left.shape[0] > 8 {condition}:
        {what}
    return (left.exp() * (left - right)).sum(-1)
"""


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of divergences that fail late, importable by the commands of the test."""
    text = "\n".join(
        LATE.format(name=name, condition=condition, what=what)
        for name, condition, what in (
            ("exits", "", "sys.exit(3)"),
            ("raises", "", "raise KeyError('x')"),
            ("sound", "", "pass"),
            ("second_rank", "and os.environ.get('RANK') == '1'", "raise KeyError('x')"),
        )
    )
    (tmp_path / "late.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT / 'src'}")
    return tmp_path


def broken(*_: object, **__: object) -> None:
    raise ZeroDivisionError("a bug in a metric")


def statuses(results: Path) -> dict[str, dict[str, str]]:
    """Cell id -> its status."""
    return {path.parent.name: json.loads(path.read_text()) for path in results.glob("*/status.json")}


def test_what_fails_in_the_evaluation_of_a_stage_is_recorded_at_stage_and_cell(
    small_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amid.stages.evaluation.evaluate_entry", broken)
    run = small_run(*QUICK)
    with pytest.raises(RunError, match="stage teacher .* failed: ZeroDivisionError: a bug in a metric .traceback: "):
        run_task(run)
    experiment = Experiment(run)
    teacher = experiment.cell.stages["teacher"]
    store = experiment.store
    assert store.state(teacher) == "done", "its weights are sound"
    assert "a bug in a metric" in store.status(teacher)["error"]
    assert "broken" in store.error_path(teacher).read_text()
    assert store.state(experiment.cell) == "failed"
    assert "a bug in a metric" in store.status(experiment.cell)["error"]
    monkeypatch.undo()
    run_task(run)
    assert "error" not in store.status(teacher)
    assert store.state(experiment.cell) == "done"


def test_what_fails_after_training_is_recorded_and_the_next_run_continues(
    small_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(*QUICK)
    experiment = Experiment(run)
    experiment.prepare()
    monkeypatch.setattr("amid.stages.evaluation.evaluate_entry", broken)
    with pytest.raises(RunError, match=rf"cell {experiment.cell.id} failed: ZeroDivisionError"):
        run_task(run)
    assert experiment.store.state(experiment.cell) == "failed"
    assert "Traceback" in experiment.store.error_path(experiment.cell).read_text()
    monkeypatch.undo()
    run_task(run)
    assert experiment.store.state(experiment.cell) == "done"


def test_a_failed_re_evaluation_takes_nothing_from_a_finished_cell(
    small_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, again = small_run(*QUICK), small_run(*QUICK, "evaluation.decode_seeds=[10,20,30]")
    run_task(run)
    experiment = Experiment(run)
    store, cell = experiment.store, experiment.cell
    before = dict(store.status(cell))
    monkeypatch.setattr(evaluation, "generate_missing", broken)
    with pytest.raises(RunError, match="stage teacher .* failed: ZeroDivisionError"):  # it is evaluated first
        run_task(again)
    assert store.state(cell) == "done"
    status = dict(store.status(cell))
    assert "a bug in a metric" in status.pop("error")
    assert {**before, "attempt": 0, "at": ""} == {**status, "attempt": 0, "at": ""}
    assert "broken" in store.error_path(cell).read_text()
    monkeypatch.undo()
    run_task(again)
    assert "error" not in store.status(cell)
    assert "error" not in store.status(cell.stages["teacher"])


def test_a_bad_request_found_before_any_work_leaves_no_cell(small_run: Compose, tmp_path: Path) -> None:
    run = small_run("train.global_batch_size=1000")
    for task in ("distill", "prepare"):
        run.task = task
        with pytest.raises(RequestError, match="exceeds the 96 training records"):
            run_task(run)
    assert [path for path in (tmp_path / "results").rglob("*") if path.is_file()] == []


def test_ctrl_c_is_no_failure(tmp_path: Path, small_run: Compose) -> None:
    cell = Experiment(small_run()).cell
    store = Store(tmp_path / "results")
    with pytest.raises(KeyboardInterrupt), recorded(store, cell):
        raise KeyboardInterrupt
    assert store.state(cell) == "absent"
    with pytest.raises(RunError, match=rf"{name_of(cell)} failed: it called sys.exit\(2\)"), recorded(store, cell):
        sys.exit(2)


def test_a_failure_that_cannot_be_recorded_says_so(tmp_path: Path, small_run: Compose) -> None:
    cell = Experiment(small_run()).cell
    (tmp_path / "results").write_text("a file where the folder should be")
    store = Store(tmp_path / "results")
    with pytest.raises(RunError, match="KeyError: 'x' .its traceback could not be written"), recorded(store, cell):
        raise KeyError("x")


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_function_that_fails_while_training_fails_its_own_cell_only(launcher: str, late: Path, run_py: RunPy) -> None:
    functions = ",".join(f'"late:{name}"' for name in ("exits", "sound", "raises"))
    done = run_py("-m", f"hydra/launcher={launcher}", "divergence=kl", f"divergence.function={functions}", *QUICK)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("amid: ")]
    assert "2 of 3 cells not finished" in line
    assert "it called sys.exit(3)" in line
    assert "KeyError: 'x'" in line
    found = statuses(late / "results")
    assert sorted(status["state"] for status in found.values()) == ["done", "failed", "failed"]
    for cell_id, status in found.items():
        if status["state"] == "failed":
            assert status["error"] in line
            assert "Traceback" in (late / "results" / cell_id / "error.log").read_text()


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_job_that_ends_without_a_trace_in_the_store_is_not_absent_without_a_reason(
    launcher: str, run_py: RunPy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'amid.experiment':\n"
        "            raise ImportError('libcuda.so.1 is missing')\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT / 'src'}")
    done = run_py("-m", f"hydra/launcher={launcher}", "amid.alpha=-1,0")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("amid: ")]
    assert "libcuda.so.1 is missing" in line
    assert "absent" not in line


def test_a_sweep_of_preparations_that_fail_is_not_done(late: Path, run_py: RunPy) -> None:
    done = run_py("-m", "task=prepare", "pair.teacher_sft={epochs: 1, max_steps: 3, global_batch_size: 12, lr: 1e30}")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "stages not finished: teacher " in line
    assert "diverged" in line


@pytest.mark.long
@pytest.mark.parametrize(
    ("function", "said"), [("late:raises", "KeyError: 'x'"), ("late:second_rank", "rank 1: KeyError: 'x'")]
)
def test_ranks_that_fail_together_say_one_line(function: str, said: str, late: Path) -> None:
    request = [
        *(override for override in SMALL if not override.startswith("train.m")),
        *QUICK,
        "trainer.devices=2",
        "trainer.accelerator=cpu",
        "divergence=kl",
        f'divergence.function="{function}"',
        f"paths.results={late}/results",
        f"paths.cache={late}/cache",
    ]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(ROOT / "run.py"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*command, *request], capture_output=True, text=True, cwd=late, env=environment)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("amid: ")]
    assert len(lines) == 1, done.stderr
    assert "KeyError: 'x'" in lines[0]
    (status,) = statuses(late / "results").values()
    assert status["state"] == "failed"
    assert said in status["error"]


def test_a_cell_that_ends_worse_than_it_began_says_so_at_its_end_in_its_status_and_in_the_table(
    run_py: RunPy, tmp_path: Path
) -> None:
    done = run_py("-m", "amid.alpha=-1", "train.lr=3", "train.validation={select: loss, max_new_tokens: 4}")
    assert done.returncode == 0, done.stdout + done.stderr
    (status,) = statuses(tmp_path / "results").values()
    worse, guessing = status["warnings"]
    assert worse.startswith("worse than its initial student: validation loss ")
    assert guessing.startswith("worse than guessing: validation loss ")
    assert "above ln 400 = 5.99" in guessing
    assert f"fixed  {worse}\n" in done.stdout
    assert re.search(r"fixed  validation: ROUGE-L \S+ -> \S+, loss \d+\.\d\d -> \d+\.\d\d\n", done.stdout)
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("-1 ")]
    assert row.startswith("-1 !  ")
    listed = subprocess.run(
        [sys.executable, "-m", "amid.cli", "status", "--results", f"{tmp_path}/results"], capture_output=True, text=True
    )
    assert worse in listed.stdout
