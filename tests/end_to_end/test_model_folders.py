"""pair=hf: any two model folders with one tokenizer, and a clear refusal of two with different ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from folders import cut, save_folder, without
from small import SMALL, RunPy
from transformers import AutoModelForCausalLM

from amid.config import RunCfg
from amid.errors import RequestError
from amid.experiment import Experiment, run_task
from amid.sweep.compose import run_of_overrides
from amid.sweep.preflight import check_run

Compose = Callable[..., RunCfg]


@pytest.fixture
def model_folders(small_run: Compose) -> tuple[Path, Path]:
    """Folders of a small teacher and a small student with one tokenizer."""
    run = small_run("task=prepare")
    run_task(run)
    experiment = Experiment(run)
    return (
        experiment.store.model_folder(experiment.cell.stages["teacher"]),
        experiment.store.model_folder(experiment.cell.stages["student_init"]),
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
    student = AutoModelForCausalLM.from_pretrained(
        experiment.store.model_folder(experiment.cell.stages["student_init"])
    )
    teacher = AutoModelForCausalLM.from_pretrained(model_folders[0])
    assert student.config.num_hidden_layers == 1
    assert (student.transformer.h[0].attn.c_attn.weight == teacher.transformer.h[1].attn.c_attn.weight).all()


def test_two_tokenizers_are_refused_by_name_before_anything_trains(
    model_folders: tuple[Path, Path], small_run: Compose, tmp_path: Path
) -> None:
    other = small_run("task=prepare", "pair.tokenizer_vocab_size=380", f"paths.results={tmp_path}/other")
    run_task(other)
    experiment = Experiment(other)
    student = experiment.store.model_folder(experiment.cell.stages["student_init"])
    run = hf_request(tmp_path, f"pair.teacher={model_folders[0]}", f"pair.student={student}")
    with pytest.raises(RequestError, match="tokenizer mismatch between teacher") as caught:
        check_run(run)
    assert str(model_folders[0]) in str(caught.value)
    assert str(student) in str(caught.value)


UNFIT = {
    "bert": (lambda folder: save_folder(folder, "bert"), "is no causal language model"),
    "a norm is missing": (
        lambda folder: without("layers.1.input_layernorm")(save_folder(folder)),
        "missing: model.layers.1.input_layernorm.weight",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("mode", [(), ("-m",)])
@pytest.mark.parametrize("what", UNFIT)
def test_an_unfit_model_is_one_line_and_exit_code_2_before_anything_trains(
    run_py: RunPy, tmp_path: Path, what: str, mode: tuple[str, ...]
) -> None:
    make, said = UNFIT[what]
    make(tmp_path / "unfit")
    pair = ("pair=hf", f"pair.teacher={save_folder(tmp_path / 'teacher')}", f"pair.student={tmp_path}/unfit")
    limits = ("data.max_prompt_tokens=100", "data.max_tokens=160", "evaluation.max_new_tokens=6", "data.num_train=96")
    folders = (f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache", "logger=none")
    done = run_py(*mode, *pair, *limits, *folders, small=False)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert f"'{tmp_path}/unfit'" in done.stderr
    assert said in done.stderr
    assert not list((tmp_path / "results").rglob("status.json"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: save_folder(folder, "mamba"), "has recurrent layers"),
        (lambda folder: cut("model.safetensors", -9)(save_folder(folder)), "model.safetensors is truncated"),
        (lambda folder: without("mlp")(save_folder(folder)), "missing: model.layers.0.mlp.down_proj.weight"),
        (lambda folder: save_folder(folder, positions=12), "has 12 positions"),
    ],
)
def test_a_model_that_cannot_be_evaluated_is_refused_before_it_answers(
    tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    make(tmp_path / "unfit")
    root = tmp_path / "data"
    (root / "vicuna").mkdir(parents=True)
    (root / "vicuna" / "test.jsonl").write_text('{"instruction": "Say hi.", "output": "hi"}\n' * 3)
    command = [sys.executable, "-m", "amid.cli", "evaluate", str(tmp_path / "unfit"), "--sets", "vicuna"]
    options = ["--root", str(root), "--results", f"{tmp_path}/results", "evaluation.max_new_tokens=8"]
    environment = {**os.environ, "AMID_CACHE": f"{tmp_path}/cache"}
    done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2, done.stderr
    *_, last = lines = done.stderr.splitlines()
    assert len(lines) == 2  # the first: these are not the texts that the set is declared to hold
    assert said in last
    assert not list((tmp_path / "results").rglob("generations/*"))
