"""Stages: the weights behind an id are a function of the id, whichever cell came first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from amid.cells.stage import STAGE_KINDS, Stage, StageKind
from amid.config import RunCfg
from amid.experiment import Experiment, run_task
from amid.stages.builders import BUILDERS
from amid.stages.stages import Builder, Stages
from amid.training import fit

Compose = Callable[..., RunCfg]


def prepared(run: RunCfg) -> dict[str, str]:
    """Stage -> sha256 of the weights that this run, which comes first in its store, builds."""
    run.task = "prepare"
    run_task(run)
    experiment = Experiment(run)
    return {
        f"{stage.kind} {stage.id}": hashlib.sha256(
            (experiment.store.model_folder(stage) / "model.safetensors").read_bytes()
        ).hexdigest()
        for stage in experiment.cell.evaluated_stages.values()
    }


@pytest.mark.parametrize(
    "overrides",
    [
        ("train.precision=bf16-mixed",),
        ("objective.reduction=sequence_mean",),
        ("compat=official_code", "trainer.micro_batch_size=3"),
        ("strategy=adaptive_off_policy", "train.validation.select=loss"),
        ("train.bucket_by_length=true", "train.grad_clip=0.001"),
    ],
    ids=str,
)
def test_the_cell_that_comes_first_decides_nothing_of_its_stages(
    small_run: Compose, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    first = prepared(small_run("trainer.micro_batch_size=3"))  # rounding differs with the division
    other = prepared(small_run("trainer.micro_batch_size=3", *overrides, f"paths.results={tmp_path}/other"))
    assert other == first


def test_a_cell_of_few_records_trains_its_teacher_on_all(small_run: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[int] = []
    original = fit.StepBatches

    def counted(examples: list[object], **options: object) -> object:
        numbers.append(len(examples))
        return original(examples, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(fit, "StepBatches", counted)
    run_task(small_run("data.num_train=16"))
    assert numbers == [96, 16, 16]  # teacher, initial student, cell


@pytest.mark.parametrize(("select", "expected"), [("rouge_l", "max"), ("loss", "min")])
def test_a_teacher_is_selected_by_the_measure_its_plan_names(
    small_run: Compose, monkeypatch: pytest.MonkeyPatch, select: str, expected: str
) -> None:
    """The ROUGE-L of the first validation is made the best, and the loss falls: each rule keeps another checkpoint."""
    found: list[float] = []
    original = fit.run_trainer

    def watched(*args: object, **options: object) -> object:
        result = original(*args, **options)  # type: ignore[arg-type]
        if getattr(options["place"], "label", None) == "teacher":
            found.append(result.best_value)
        return result

    values = iter([50.0, 1.0, 1.0])
    monkeypatch.setattr(fit, "run_trainer", watched)
    monkeypatch.setattr(fit, "validation_rouge_l", lambda *args, **options: next(values, 1.0))
    run = small_run(
        "task=prepare",
        "pair.teacher_sft={epochs: 1, max_steps: 6, global_batch_size: 12}",
        f"pair.teacher_sft.validation={{select: {select}, every_steps: 2}}",
    )
    run_task(run)
    experiment = Experiment(run)
    journal = experiment.store.journal_path(experiment.cell.stages["teacher"]).read_text()
    assert ("val/rouge_l" in journal) == (select == "rouge_l")
    assert found == ([50.0] if expected == "max" else [pytest.approx(found[0])])
    assert (found[0] == 50.0) == (select == "rouge_l")


def test_a_new_kind_of_stage_is_a_name_and_a_builder(small_run: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepared with the others, named by those before it, built once, and no row of a table."""
    built: list[str] = []

    def write(stages: Stages, stage: Stage, folder: Path, claim: object) -> None:
        built.append(stage.id)
        (folder / "words.txt").write_text(str(len(stages.tokenizer("teacher"))))

    monkeypatch.setitem(STAGE_KINDS, "word_count", StageKind(lambda asked: {"of": asked.id_of("tokenizer")}, "words"))
    monkeypatch.setitem(BUILDERS, "word_count", Builder(write))
    small = small_run("task=prepare")
    for _ in range(2):
        run_task(small)
    experiment = Experiment(small)
    stage = experiment.cell.stages["word_count"]
    assert list(experiment.cell.stages)[-1] == "word_count"
    assert built == [stage.id]
    assert (experiment.store.model_folder(stage) / "words.txt").is_file()
    assert experiment.store.state(stage) == "done"
    assert "word_count" not in experiment.cell.evaluated_stages
