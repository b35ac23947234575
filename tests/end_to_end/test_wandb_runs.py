"""What W&B shows of a run and of a sweep, read from what it recorded offline."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import wandb
from small import SMALL, RunPy
from test_stopping_runs import at_call, sends

from amid.config import RunCfg
from amid.data.loader import StepBatches
from amid.errors import StoppedError
from amid.experiment import Experiment, run_task
from amid.reports.tables import build_table
from amid.store import Store
from amid.store.journal import read_journal
from tests.reference.wandb_file import configuration, history, opened, summary, table

Compose = Callable[..., RunCfg]
SHORT = ("logger=wandb", "train.max_steps=2", "train.validation.every_steps=2")
COSTS = ("seconds", "train_seconds", "student_tokens", "teacher_tokens", "generated_tokens", "peak_memory_mb")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_DIR", raising=False)


def recorded(root: Path) -> dict[str, list[Path]]:
    """Type of a run -> its recordings, oldest first."""
    found: dict[str, list[Path]] = {}
    folders = (path for path in root.rglob("offline-run-*") if path.is_dir())
    for folder in sorted(folders, key=lambda path: opened(path).start_time.ToNanoseconds()):  # the names end at seconds
        found.setdefault(opened(folder).job_type, []).append(folder)
    return found


def rows_of(root: Path) -> tuple[set[str], list[int], list[dict[str, float]]]:
    """The ids of a cell's runs, and step and values of every row of all recordings, oldest first."""
    folders = recorded(root)["distill"]
    rows = [row for folder in folders for row in history(folder)]
    return {opened(folder).run_id for folder in folders}, [step for step, _ in rows], [values for _, values in rows]


def journal_of(run: RunCfg) -> dict[int, dict[str, float]]:
    """Step -> all that the journal says of it."""
    experiment = Experiment(run)
    found: dict[int, dict[str, float]] = {}
    for step, metrics in read_journal(experiment.store.journal_path(experiment.cell)):
        found.setdefault(step, {}).update(metrics)
    return found


def assert_every_step_once(run: RunCfg) -> None:
    ids, steps, rows = rows_of(Path(run.paths.results))
    expected = journal_of(run)
    assert len(ids) == 1
    assert steps == sorted(expected), "increasing, none missing, none twice"
    for step, values in zip(steps, rows, strict=True):
        assert {name: value for name, value in values.items() if "/" in name} == expected[step]


def named_by(line: str) -> list[Path]:
    """The folders that a shell hands to `wandb sync`."""
    command = line.partition("wandb sync ")[2]
    words = subprocess.run(["bash", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True)
    return sorted(map(Path, words.stdout.splitlines()))


def test_the_summary_is_the_row_of_the_table(small_run: Compose, caplog: pytest.LogCaptureFixture) -> None:
    run = small_run(*SHORT)
    with caplog.at_level("INFO"):
        run_task(run)
    experiment, store = Experiment(run), Store(run.paths.results)
    made = recorded(store.root)
    assert {kind: len(folders) for kind, folders in made.items()} == {"distill": 1, "teacher": 1, "initial_student": 1}
    shown = build_table(store.read_sweep(None), store)
    for kind, row in zip(("teacher", "initial_student", "distill"), shown.rows, strict=True):
        of_table = {column: value.mean for column, value in zip(shown.columns, row.values, strict=True) if value}
        found = summary(made[kind][0])
        assert found["avg"] == of_table["Avg."]
        assert found["self_bleu"] == of_table["Self-BLEU"]
        assert found["val_rouge_l"] == of_table["Val."]
        sets = {name: found[f"set/{name}"] for name in experiment.protocol.sets}
        assert sets == {name: of_table[name] for name in experiment.protocol.sets}
        costs = {f"cost/{name}" for name in (COSTS if kind == "distill" else ("seconds",))}
        named = {"avg", "avg_std", "self_bleu", "val_rouge_l", "val_loss", "scores", "generations"}
        assert set(found) == {*named, *costs, *(f"set/{name}" for name in sets)}
    (said,) = [record.message for record in caplog.records if "wandb sync" in record.message]
    assert said.startswith("wandb: 3 offline runs; upload with: ")
    assert named_by(said) == sorted(folder for folders in made.values() for folder in folders)


def test_every_score_is_a_row_of_the_table_scores_and_generations_are_another(small_run: Compose) -> None:
    run = small_run(*SHORT, "logger.num_generations=3")
    run_task(run)
    experiment = Experiment(run)
    (folder,) = recorded(experiment.store.folder(experiment.cell))["distill"]
    rows = table(folder, "scores")
    in_store = experiment.store.read([experiment.cell])
    assert len(rows) == len(in_store)
    assert {(row["set"], row["metric"], row["decode_seed"]): row["value"] for row in rows} == {
        (score.eval_set, score.metric, score.decode_seed): score.value for score in in_store
    }
    assert [list(row) for row in table(folder, "generations")] == [["set", "prompt", "response", "reference"]] * 3


def test_a_second_evaluation_goes_on_as_the_same_runs_and_a_repeated_request_records_nothing(
    small_run: Compose,
) -> None:
    run = small_run(*SHORT)
    run_task(run)
    root = Path(run.paths.results)
    first = recorded(root)
    run_task(run)
    assert recorded(root) == first
    run_task(small_run(*SHORT, "task=evaluate", "sweep.name=other", "evaluation.decode_seeds=[10,20,30]"))
    second = recorded(root)
    for kind, folders in second.items():
        assert [opened(folder).run_id for folder in folders] == [opened(first[kind][0]).run_id] * len(folders), kind
        assert [opened(folder).run_group for folder in folders] == [f"run-{Experiment(run).cell.id}"] * len(folders)
    assert {row["decode_seed"] for row in table(second["distill"][1], "scores")} == {None, 10, 20, 30}


@pytest.mark.parametrize("name", ["demo", None])
def test_a_sweep_is_one_group_with_one_line_that_uploads_it(name: str | None, run_py: RunPy, tmp_path: Path) -> None:
    short = [word for word in SHORT if word != "logger=wandb"]
    given = ("-m", "amid.alpha=-1,inf,null", "logger=wandb", *short, *([] if name is None else [f"sweep.name={name}"]))
    done = run_py(*given)
    assert done.returncode == 0, done.stderr
    name = name or Store(tmp_path / "results").read_sweep(None)["name"]
    made = recorded(tmp_path / "results")
    assert {kind: len(folders) for kind, folders in made.items()} == {"distill": 3, "teacher": 1, "initial_student": 1}
    folders = [folder for of_kind in made.values() for folder in of_kind]
    assert {opened(folder).run_group for folder in folders} == {name}
    configs = [configuration(folder) for folder in made["distill"]]
    assert [config["alpha"] for config in configs] == [-1, "inf", "none"], "in the order of the request"
    plain = {"sweep": name, "kind": "cell", "divergence": "ab", "order": "pr", "strategy": "fixed", "pair": "tiny"}
    assert all(plain.items() <= config.items() for config in configs)
    assert configs[0]["run"]["divergence"]["params"] == {"ab_alpha": 0.2, "ab_beta": 0.7}
    assert configuration(made["teacher"][0]).items() >= {"sweep": name, "kind": "teacher", "pair": "tiny"}.items()
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "wandb sync" in line]
    assert len(lines) == 1, "one for the sweep, none for each cell"
    assert named_by(lines[0]) == sorted(folders)
    # W&B's own command takes the line, and names every recording
    wandb = f"{shlex.quote(str(Path(sys.executable).parent / 'wandb'))} sync --dry-run"
    line = lines[0].partition("upload with: ")[2].replace("wandb sync", wandb, 1)
    tried = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env={**os.environ}, check=False)
    assert "Would sync 5 run(s)" in tried.stdout + tried.stderr
    again = run_py(*given)
    assert again.returncode == 0, again.stderr
    assert recorded(tmp_path / "results") == made


LONGER = ("logger=wandb", "trainer.log_every_steps=1", "trainer.checkpoint_every_steps=2")


@pytest.mark.long
def test_a_cell_that_is_requeued_three_times_is_one_run_with_every_step_once(
    small_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after step 2, before the validation after step 3, and after step 5."""
    run = small_run(*LONGER)
    run_task(small_run(*LONGER, "task=prepare"))
    for step in (2, 1, 2):
        with monkeypatch.context() as patch:
            at_call(patch, StepBatches, "__call__", step, sends(signal.SIGUSR1))
            with pytest.raises(StoppedError):
                run_task(run)
    run_task(run)
    assert len(recorded(Path(run.paths.results))["distill"]) == 4
    assert_every_step_once(run)
    summaries = [summary(folder) for folder in recorded(Path(run.paths.results))["distill"]]
    assert ["avg" in each for each in summaries] == [False, False, False, True]


@pytest.mark.kill
def test_what_a_killed_run_did_not_get_to_write_is_told_by_the_journal(
    small_run: Compose, run_py: RunPy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_task(small_run(*LONGER, "task=prepare"))
    run = small_run(*LONGER)
    with monkeypatch.context() as patch:
        at_call(patch, StepBatches, "__call__", 1, sends(signal.SIGTERM))
        with pytest.raises(StoppedError):
            run_task(run)
    folders = (f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache")
    small = [each for each in SMALL if each.split("=")[0] != "logger"]
    killed = Path(__file__).with_name("killed.py")
    wandb.teardown()  # or they would talk to this process's service
    for number in ("3", "2"):
        done = subprocess.run([sys.executable, str(killed), "step", number, *LONGER, *small, *folders], cwd=tmp_path)
        assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.rglob("offline-run-*"))) >= 2
    run_task(run)
    assert len(recorded(Path(run.paths.results))["distill"]) == 2, "one that was ended, and the rest"
    assert_every_step_once(run)
