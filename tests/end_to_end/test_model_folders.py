"""pair=hf: any two model folders with one tokenizer, and a clear refusal of two with different ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small import SMALL
from transformers import AutoModelForCausalLM

from amid.config import RunCfg
from amid.errors import RequestError
from amid.experiment import Experiment, run_task
from amid.preflight import check_run
from amid.requests import run_of_overrides

Compose = Callable[..., RunCfg]


@pytest.fixture
def model_folders(small_run: Compose) -> tuple[Path, Path]:
    """Folders of a small teacher and a small student with one tokenizer."""
    run = small_run("task=prepare")
    run_task(run)
    experiment = Experiment(run)
    return (
        experiment.store.model_folder(experiment.cell.teacher),
        experiment.store.model_folder(experiment.cell.student_init),
    )


def hf_request(tmp_path: Path, *overrides: str) -> RunCfg:
    shared = [override for override in SMALL if not override.startswith("pair.")]
    folders = (f"paths.results={tmp_path}/hf", f"paths.cache={tmp_path}/cache")
    return run_of_overrides(["pair=hf", *shared, *folders, "train.precision=32-true", *overrides])


def test_two_local_folders_distil_and_moving_them_names_the_same_cell(
    model_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    teacher, student = model_folders
    run = hf_request(tmp_path, f"pair.teacher={teacher}", f"pair.student={student}")
    run_task(run)
    experiment = Experiment(run)
    assert experiment.store.state(experiment.cell) == "done"
    moved = teacher.rename(tmp_path / "moved")
    again = hf_request(tmp_path, f"pair.teacher={moved}", f"pair.student={student}")
    assert Experiment(again).cell.id == experiment.cell.id


def test_a_student_of_the_teachers_own_layers_starts_from_them(
    model_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    run = hf_request(tmp_path, f"pair.teacher={model_folders[0]}", "pair.student=teacher", "pair.keep_layers=[1]")
    run.task = "prepare"
    run_task(run)
    experiment = Experiment(run)
    student = AutoModelForCausalLM.from_pretrained(experiment.store.model_folder(experiment.cell.student_init))
    teacher = AutoModelForCausalLM.from_pretrained(model_folders[0])
    assert student.config.num_hidden_layers == 1
    assert (student.transformer.h[0].attn.c_attn.weight == teacher.transformer.h[1].attn.c_attn.weight).all()


def test_two_tokenizers_are_refused_by_name_before_anything_trains(
    model_folders: tuple[Path, Path], small_run: Compose, tmp_path: Path
) -> None:
    other = small_run("task=prepare", "pair.tokenizer_vocab_size=380", f"paths.results={tmp_path}/other")
    run_task(other)
    experiment = Experiment(other)
    student = experiment.store.model_folder(experiment.cell.student_init)
    run = hf_request(tmp_path, f"pair.teacher={model_folders[0]}", f"pair.student={student}")
    with pytest.raises(RequestError, match="tokenizer mismatch between teacher") as caught:
        check_run(run)
    assert str(model_folders[0]) in str(caught.value)
    assert str(student) in str(caught.value)
