"""Every named pair at toy size: two steps of each training, student-written text, an evaluation, an export."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_pairs import TOY_PAIRS, named_pairs, toy_overrides, write_data
from transformers import AutoModelForCausalLM, AutoTokenizer

from amid.cli import app as cli
from amid.experiment import Experiment, run_task
from amid.sweep.compose import run_of_overrides

# Pairs that differ in their sizes alone are the same toy.
DISTINCT = [name for name in TOY_PAIRS if name not in ("gpt2_xl_to_medium", "gpt2_xl_to_large", "smollm2_1.7b_to_135m")]
KILLED = ("qwen2_7b_to_0.5b", "openllama2_7b_to_3b")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("pairs"))


def test_every_named_pair_has_a_toy() -> None:
    assert set(named_pairs()) == set(TOY_PAIRS)


@pytest.mark.pairs
@pytest.mark.parametrize("name", DISTINCT)
def test_a_named_pair_trains_writes_is_evaluated_and_exported(name: str, folder: Path) -> None:
    run = run_of_overrides(toy_overrides(name, folder))
    run_task(run)
    experiment = Experiment(run)
    store, cell = experiment.store, experiment.cell
    assert store.state(cell) == "done"
    scores = store.read([cell])
    assert {score.eval_set for score in scores} >= {"validation", *run.evaluation.sets}
    lines = (store.folder(cell) / "journal.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    assert max(step["step"] for step in steps) == 2
    assert all(step["metrics"].get("train/num_nonfinite", 0) == 0 for step in steps)
    student = experiment.stages.finished_student(cell)
    assert type(student.config.get_text_config()) is type(TOY_PAIRS[name].student(16, 8))
    teacher = experiment.stages.model("teacher")
    assert {weight.dtype for weight in teacher.parameters()} == {torch.bfloat16}, "as every pair of this list says"
    exported = folder / "exports" / name
    cli.app(["export", cell.id, str(exported), "--results", str(store.root)], standalone_mode=False)
    again = AutoModelForCausalLM.from_pretrained(exported)
    ids = torch.tensor([AutoTokenizer.from_pretrained(exported)("How much is 3 and 4?")["input_ids"]])
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(ids).logits, student.float().eval()(ids).logits, atol=1e-3, rtol=1e-3)


@pytest.mark.kill
@pytest.mark.parametrize(("phase", "number"), [("step", 4), ("rollout", 2), ("evaluation", 1)])
@pytest.mark.parametrize("name", KILLED)
def test_a_named_pair_goes_on_after_a_kill(name: str, phase: str, number: int, tmp_path: Path) -> None:
    weights = []
    for attempt in ("whole", "killed"):
        overrides = toy_overrides(name, write_data(tmp_path / attempt))
        if attempt == "killed":
            command = [sys.executable, str(Path(__file__).with_name("killed.py")), phase, str(number), *overrides]
            killed = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
            assert killed.returncode == -9, killed.stderr
        run = run_of_overrides(overrides)
        run_task(run)
        experiment = Experiment(run)
        (file,) = experiment.store.model_folder(experiment.cell).glob("*.safetensors")
        weights.append(load_file(file))
    undisturbed, resumed = weights
    assert undisturbed.keys() == resumed.keys()
    for key, weight in undisturbed.items():
        assert torch.equal(weight, resumed[key]), key
