"""Finished stages and cells whose model is gone or damaged: said with the remedy, and never taken from elsewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from folders import cut, save_folder

from amid.config import RunCfg
from amid.errors import RequestError, RunError
from amid.experiment import Experiment, run_task
from amid.store import Store

Compose = Callable[..., RunCfg]


@pytest.fixture
def prepared(small_run: Compose) -> Experiment:
    """The experiment of a small run whose stages are made and evaluated."""
    run = small_run("task=prepare")
    run_task(run)
    return Experiment(run)


@pytest.mark.parametrize("kind", ["teacher", "student_init", "tokenizer"])
def test_a_stage_without_its_model_is_never_a_model_of_another_place(
    prepared: Experiment, small_run: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A folder of the name that the configuration gives the model lies where the command is run."""
    stage = getattr(prepared.cell, kind)
    assert stage is not None
    folder = prepared.store.folder(stage)
    shutil.rmtree(folder / "model")
    elsewhere = tmp_path / "elsewhere"
    save_folder(elsewhere / "scratch")
    monkeypatch.chdir(elsewhere)
    with pytest.raises(RunError) as caught:
        run_task(small_run())
    said = str(caught.value)
    assert said == (
        f"{kind}-{stage.id} is done, but its model is missing at {folder}/model; remove {folder} to have it made again"
    )
    shutil.rmtree(folder)
    run_task(small_run())
    assert prepared.store.state(prepared.cell) == "done"


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [("teacher", "model.safetensors", "is truncated"), ("tokenizer", "tokenizer.json", "is no JSON")],
)
def test_a_stage_with_a_damaged_model_is_said_with_the_remedy(
    prepared: Experiment, small_run: Compose, kind: str, name: str, said: str
) -> None:
    folder = prepared.store.folder(getattr(prepared.cell, kind))
    cut(name, -50)(folder / "model")
    with pytest.raises(RunError, match=f"{name} {said}.*; remove {folder} to have it made again"):
        run_task(small_run())


def test_a_finished_cell_without_its_model_is_noticed_by_run_evaluation_and_status(
    small_run: Compose, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    run = small_run("sweep.name=lost")
    run_task(run)
    experiment = Experiment(run)
    store, folder = experiment.store, experiment.store.folder(experiment.cell)
    assert store.lost_model(folder) is None
    shutil.rmtree(folder / "model")
    cell_id = experiment.cell.id
    said = f"{cell_id} is done, but its model is missing at {folder}/model; remove {folder} to have it made again"
    run_task(small_run())
    assert said in caplog.text
    with pytest.raises(RunError) as caught:
        run_task(small_run("task=evaluate", "evaluation.max_new_tokens=5"))
    assert str(caught.value) == said

    from small import SMALL

    from amid.requests import sweep_of_overrides
    from amid.sweep import manifest_of

    folders = (f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache")
    store.write_sweep("lost", manifest_of(sweep_of_overrides([*SMALL, *folders, "sweep.name=lost"])))
    status = [sys.executable, "-m", "amid.cli", "status", "--results", f"{tmp_path}/results"]
    lines = subprocess.run(status, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in lines if line.endswith(said)] == lines[-1:]
    assert not [line for line in lines[:-1] if "missing" in line]


def test_a_stage_that_is_a_model_used_as_it_is_keeps_none_and_has_lost_none(
    prepared: Experiment, small_run: Compose
) -> None:
    store = prepared.store
    for stage in prepared.cell.stages:
        assert store.lost_model(store.folder(stage)) is None
    from test_model_folders import hf_request

    teacher, student = (store.model_folder(stage) for stage in (prepared.cell.teacher, prepared.cell.student_init))
    run = hf_request(store.root.parent, f"pair.teacher={teacher}", f"pair.student={student}")
    run.task = "prepare"
    run_task(run)
    used = Experiment(run)
    for stage in (used.cell.teacher, used.cell.student_init):
        assert not (used.store.model_folder(stage) / "config.json").exists()
        assert used.store.lost_model(used.store.folder(stage)) is None


def test_what_is_not_finished_has_lost_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "abc").mkdir()
    assert store.lost_model(tmp_path / "abc") is None
    assert store.lost_model(tmp_path / "absent") is None


def test_a_bad_request_inside_a_stage_stays_a_bad_request(small_run: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RequestError("not like this")

    monkeypatch.setattr("amid.stages.Stages._fine_tune", refuse)
    run = small_run("task=prepare")
    with pytest.raises(RequestError, match="^not like this$"):
        run_task(run)
    experiment = Experiment(run)
    assert experiment.store.status(experiment.cell.teacher)["error"] == "not like this"
