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

Compose = Callable[..., RunCfg]


@pytest.fixture
def prepared(small_run: Compose) -> Experiment:
    """The experiment of a small run whose stages are made and evaluated."""
    run = small_run("task=prepare")
    run_task(run)
    return Experiment(run)


@pytest.mark.parametrize("kind", ["teacher", "student_init", "tokenizer"])
def test_a_stage_without_its_model_is_built_again_and_never_a_model_of_another_place(
    prepared: Experiment,
    small_run: Compose,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    """A folder of the name that the configuration gives the model lies where the command is run."""
    stage = prepared.cell.stages[kind]
    folder = prepared.store.folder(stage)
    before = prepared.store.status(stage)["model"]
    shutil.rmtree(folder / "model")
    elsewhere = tmp_path / "elsewhere"
    save_folder(elsewhere / "scratch")
    monkeypatch.chdir(elsewhere)
    run_task(small_run())
    assert f"{folder}/model is damaged (it is missing)" in caplog.text
    assert prepared.store.status(stage)["model"] == before
    assert prepared.store.state(prepared.cell) == "done"


@pytest.mark.parametrize(("kind", "name"), [("teacher", "model.safetensors"), ("tokenizer", "tokenizer.json")])
def test_a_stage_with_a_damaged_model_is_named_and_built_again(
    prepared: Experiment, small_run: Compose, caplog: pytest.LogCaptureFixture, kind: str, name: str
) -> None:
    stage = prepared.cell.stages[kind]
    before = prepared.store.status(stage)["model"]
    cut(name, -50)(prepared.store.folder(stage) / "model")
    run_task(small_run())
    assert f"{prepared.store.folder(stage)}/model/{name} is damaged" in caplog.text
    assert prepared.store.status(stage)["model"] == before


def test_a_finished_cell_without_its_model_is_noticed_by_status_evaluation_and_run(
    small_run: Compose, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    run = small_run("sweep.name=lost")
    run_task(run)
    experiment = Experiment(run)
    store, folder = experiment.store, experiment.store.folder(experiment.cell)
    shutil.rmtree(folder / "model")

    from small import SMALL

    from amid.sweep.compose import sweep_of_overrides
    from amid.sweep.plan import manifest_of

    folders = (f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache")
    store.write_sweep("lost", manifest_of(sweep_of_overrides([*SMALL, *folders, "sweep.name=lost"])))
    status = [sys.executable, "-m", "amid.cli", "status", "--results", f"{tmp_path}/results"]
    lines = subprocess.run(status, capture_output=True, text=True, check=True).stdout.splitlines()
    assert ["model gone" in line for line in lines] == [line.startswith(experiment.cell.id) for line in lines]
    with caplog.at_level("INFO"):
        run_task(small_run())
    assert (
        f"nothing to run; its model is gone from {folder}/model and is trained again when it is needed" in caplog.text
    )
    with pytest.raises(RunError, match=f"cell {experiment.cell.id} is damaged: .*model is damaged .it is missing"):
        run_task(small_run("task=evaluate", "evaluation.max_new_tokens=5"))
    run_task(small_run("evaluation.max_new_tokens=5"))
    assert store.state(experiment.cell) == "done"
    assert (folder / "model" / "model.safetensors").is_file()


def test_a_stage_that_is_a_model_used_as_it_is_keeps_none_and_has_lost_none(
    prepared: Experiment, small_run: Compose
) -> None:
    store = prepared.store
    from test_model_folders import hf_request

    teacher, student = (store.model_folder(stage) for stage in prepared.cell.evaluated_stages.values())
    run = hf_request(store.root.parent, f"pair.teacher={teacher}", f"pair.student={student}")
    run.task = "prepare"
    run_task(run)
    used = Experiment(run)
    for stage in used.cell.evaluated_stages.values():
        assert not (used.store.model_folder(stage) / "config.json").exists()
        assert used.store.is_finished(stage)


def test_a_bad_request_inside_a_stage_stays_a_bad_request(small_run: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RequestError("not like this")

    monkeypatch.setattr("amid.stages.fine_tuned.fit_student", refuse)
    run = small_run("task=prepare")
    with pytest.raises(RequestError, match="^not like this$"):
        run_task(run)
    experiment = Experiment(run)
    assert experiment.store.status(experiment.cell.stages["teacher"])["error"] == "not like this"
