"""`amid evaluate`, `score`, `compare` and `fetch` as a user calls them, on a model folder that was not trained here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Amid = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def model_folder(tmp_path: Path, tiny_model, tokenizer) -> Path:
    folder = tmp_path / "old-checkpoint"
    tiny_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("vicuna", "self_instruct"):
        (tmp_path / "data" / name).mkdir(parents=True)
        rows = [{"instruction": f"Say {i}.", "output": f"yes {i}", "in_minillm_subset": i != 1} for i in range(6)]
        (tmp_path / "data" / name / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "data"


@pytest.fixture
def amid(tmp_path: Path) -> Amid:
    environment = {**os.environ, "AMID_CACHE": str(tmp_path / "cache"), "PYTHONWARNINGS": "ignore"}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "amid.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=240,
        )

    return call


SHORT = ("evaluation.max_new_tokens=6", "evaluation.sets.vicuna.max_prompt_tokens=64")


def arguments(model: Path, root: Path, *, results: str = "results", seeds: str = "10,20") -> list[str]:
    options = ["--sets", "vicuna", "--seeds", seeds, "--root", str(root), "--results", results]
    return ["evaluate", str(model), *options, *SHORT]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_model_folder_is_evaluated_once_and_the_second_call_prints_the_same(
    amid: Amid, model_folder: Path, root: Path, tmp_path: Path
) -> None:
    first = amid(*arguments(model_folder, root))
    assert first.returncode == 0, first.stderr
    assert "old-checkpoint " in first.stdout
    assert "rouge_l, mean ± std over 2 decode seeds" in first.stdout
    assert "Val." not in first.stdout
    assert "generated 12 responses" in first.stderr
    before = files(tmp_path / "results")
    again = amid(*arguments(model_folder, root))
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert "nothing to run" in again.stderr
    assert files(tmp_path / "results") == before


@pytest.mark.long
def test_two_evaluations_of_one_model_end_alike_and_the_second_says_what_it_waits_for(
    amid: Amid, model_folder: Path, root: Path, tmp_path: Path
) -> None:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    environment = {**os.environ, "AMID_CACHE": str(tmp_path / "cache"), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "amid.cli", *arguments(model_folder, root)]
    with (
        subprocess.Popen(command, env=environment, **options) as first,
        subprocess.Popen(command, env=environment, **options) as second,
    ):
        claims: list[Path] = []
        while not claims:  # whoever is first
            claims = list(tmp_path.glob("results/stages/*/claims/*.json"))
            time.sleep(0.01)
        owner = json.loads(claims[0].read_bytes())["pid"]
        owning, other = (first, second) if owner == first.pid else (second, first)
        os.kill(owner, signal.SIGSTOP)
        said = []
        assert other.stderr is not None
        for line in other.stderr:
            said.append(line)
            if "waiting for model" in line:
                break
        assert f"process {owner} on " in said[-1]
        os.kill(owner, signal.SIGCONT)
        outputs = [process.communicate(timeout=120) for process in (owning, other)]
    assert (owning.returncode, other.returncode) == (0, 0), outputs
    assert outputs[0][0] == outputs[1][0]
    assert "generated 12 responses" in outputs[0][1]
    assert "generated" not in outputs[1][1]


@pytest.mark.long
def test_a_moved_copy_of_the_folder_is_the_same_model(
    amid: Amid, model_folder: Path, root: Path, tmp_path: Path
) -> None:
    assert amid(*arguments(model_folder, root)).returncode == 0
    model_folder.rename(tmp_path / "moved")
    again = amid(*arguments(tmp_path / "moved", root))
    assert "nothing to run" in again.stderr
    assert len(list((tmp_path / "results" / "stages").iterdir())) == 1


@pytest.mark.long
def test_more_seeds_generate_only_what_is_new_and_score_and_compare_read_it(
    amid: Amid, model_folder: Path, root: Path, tmp_path: Path, tiny_model, tokenizer
) -> None:
    assert amid(*arguments(model_folder, root, seeds="10")).returncode == 0
    more = amid(*arguments(model_folder, root))
    assert "generated 6 responses" in more.stderr
    (stage,) = (tmp_path / "results" / "stages").iterdir()
    generations = sorted((stage / "generations").glob("*.jsonl"))
    assert len(generations) == 2

    scored = amid(
        "score", str(generations[0]), "--set", "vicuna", "--root", str(root), "--metrics", "rouge_l,eos_share"
    )
    assert scored.returncode == 0, scored.stderr
    stored = [json.loads(line) for line in (stage / "scores.jsonl").read_text().splitlines()]
    (expected,) = [
        score["value"]
        for score in stored
        if score["metric"] == "rouge_l" and score["generation_id"] == generations[0].stem
    ]
    assert float(scored.stdout.split()[1]) == pytest.approx(expected, abs=1e-4)

    tiny_model.save_pretrained(tmp_path / "other")
    for weight in tiny_model.parameters():
        weight.data.mul_(1.5)
    tiny_model.save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    assert amid(*arguments(tmp_path / "other", root)).returncode == 0
    other = next(path for path in (tmp_path / "results" / "stages").iterdir() if path != stage)
    compared = amid("compare", stage.name[6:12], other.name, "--top", "1")
    assert compared.returncode == 0, compared.stderr
    assert f"left   {stage.name}" in compared.stdout
    assert "vicuna  rouge_l  2 " in compared.stdout


@pytest.mark.long
def test_a_declared_filter_and_num_prompts_choose_the_records(amid: Amid, model_folder: Path, root: Path) -> None:
    options = ["--sets", "self_inst,vicuna", "--seeds", "10", "--root", str(root), "evaluation.max_new_tokens=4"]
    limits = [f"evaluation.sets.{name}.max_prompt_tokens=64" for name in ("self_inst", "vicuna")]
    done = amid("evaluate", str(model_folder), *options, *limits)
    assert "generated 11 responses" in done.stderr, done.stderr  # 5 of 6 marked, and 6
    fewer = amid("evaluate", str(model_folder), *options, *limits, "--num-prompts", "3", "--results", "fewer")
    assert "generated 6 responses" in fewer.stderr


def test_what_cannot_be_evaluated_is_one_line(amid: Amid, model_folder: Path, root: Path) -> None:
    for words, expected in (
        (["evaluate", "./nowhere", "--sets", "vicuna", "--root", str(root)], "model folder ./nowhere does not exist"),
        (["evaluate", str(model_folder), "--sets", "vicunas", "--root", str(root)], "did you mean 'vicuna'?"),
        (["evaluate", str(model_folder), "--sets", "gsm8k", "--root", str(root)], "amid fetch gsm8k --root FOLDER"),
        (["evaluate", str(model_folder), "--sets", "vicuna", "--root", str(root), "--precision", "x"], "bf16-true"),
        (["evaluate", "scratch", "--sets", "vicuna", "--root", str(root)], "no trained model"),
        (["score", "none.jsonl", "--set", "vicuna", "--references", "x"], "give one of them"),
        (["score", "none.jsonl", "--set", "tasks"], "--set takes one set, got tasks: flores200, dialogsum, gsm8k"),
        (["score", "none.jsonl", "--num-prompts", "3"], "give --set NAME too"),
        (["compare", "a", "b"], "'a' names no cell, stage or model"),
        (["fetch", "flores200", "--root", str(root)], "is on no hub; put flores200/devtest.jsonl below"),
    ):
        done = amid(*words)
        assert done.returncode == 2, done.stderr
        assert expected in done.stderr
        assert len([line for line in done.stderr.splitlines() if line.startswith("amid: ")]) == 1
        assert "Traceback" not in done.stderr


def test_a_model_without_a_chat_template_is_refused_for_a_chat_set(amid: Amid, model_folder: Path, root: Path) -> None:
    (root / "gsm8k").mkdir()
    rows = [{"instruction": f"{i}?", "output": f"#### {i}"} for i in range(3)]
    (root / "gsm8k" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = amid("evaluate", str(model_folder), "--sets", "gsm8k", "--root", str(root))
    assert done.returncode == 2
    assert "has no chat template" in done.stderr.splitlines()[-1]


@pytest.mark.long
def test_a_failure_with_other_sets_takes_nothing_from_those_that_are_done(
    amid: Amid, model_folder: Path, root: Path
) -> None:
    before = amid(*arguments(model_folder, root))
    (root / "gsm8k").mkdir()
    (root / "gsm8k" / "test.jsonl").write_text('{"instruction": "1?", "output": "#### 1"}\n' * 2)
    assert amid("evaluate", str(model_folder), "--sets", "gsm8k", "--root", str(root)).returncode == 2
    assert amid(*arguments(model_folder, root)).stdout == before.stdout


def test_a_sweep_learns_before_it_trains_that_its_tokenizer_has_no_chat_template(run_py, root: Path) -> None:
    (root / "gsm8k").mkdir()
    (root / "gsm8k" / "test.jsonl").write_text('{"instruction": "1?", "output": "#### 1"}\n' * 2)
    done = run_py("-m", "amid.alpha=-1,0", "evaluation=[toy,gsm8k]", f"evaluation.root={root}")
    assert done.returncode == 2, done.stderr
    assert "evaluation set 'gsm8k' asks in chat form" in done.stderr.splitlines()[-1]
    assert "fine-tuning" not in done.stdout


def num_responses(results: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in results.glob("stages/*/generations/*.jsonl"))


@pytest.mark.kill
def test_an_evaluation_killed_at_any_moment_ends_with_the_bytes_of_an_undisturbed_one(
    amid: Amid, model_folder: Path, root: Path, tmp_path: Path
) -> None:
    rows = [{"instruction": f"Say {i}.", "output": f"yes {i}"} for i in range(80)]
    (root / "vicuna" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    extra = ["--batch-size", "2", "evaluation.max_new_tokens=120", "evaluation.no_repeat_ngram_size=0"]
    whole = amid(*arguments(model_folder, root, results="whole"), *extra)
    assert whole.returncode == 0, whole.stderr
    environment = {**os.environ, "AMID_CACHE": str(tmp_path / "cache"), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "amid.cli", *arguments(model_folder, root, results="cut"), *extra]
    kills = 0
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 2.0):  # of the responses, when it dies
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
        while process.poll() is None and num_responses(tmp_path / "cut") <= share * 2 * len(rows):
            time.sleep(0.005)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert process.returncode == 0
    assert kills >= 3
    left, right = (
        {name: text for name, text in files(tmp_path / name_of).items() if "/generations/" in name or "scores" in name}
        for name_of in ("whole", "cut")
    )
    assert left == right


def test_a_model_from_elsewhere_has_no_validation_to_choose_a_temperature_by(
    amid: Amid, model_folder: Path, root: Path, tmp_path: Path
) -> None:
    done = amid(*arguments(model_folder, root), "evaluation.also_tuned=[0.3,1]")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.endswith("give one temperature: evaluation.temperature=0.6")
    assert not (tmp_path / "results").exists()


@pytest.mark.long
def test_a_greedy_twin_adds_its_text_and_touches_no_other(
    amid: Amid, model_folder: Path, root: Path, tmp_path: Path
) -> None:
    given = arguments(model_folder, root)
    alone = amid(*given)
    assert alone.returncode == 0, alone.stderr
    generations = next((tmp_path / "results" / "stages").glob("model-*/generations"))
    sampled = files(generations)
    both = amid(*given, "evaluation.also_greedy=true")
    assert both.returncode == 0, both.stderr
    assert "generated 6 responses" in both.stderr, "one per prompt; the sampled ones are there"
    heading = both.stdout.splitlines()[0].split()
    assert heading == ["model", "vicuna", "vicuna_greedy", "Avg.", "Avg.", "greedy", "Self-BLEU"]
    after = files(generations)
    assert {name: after[name] for name in sampled} == sampled
    (twin,) = set(after) - set(sampled)
    # The text of the declared set when all is greedy, which has another name
    other = amid(*arguments(model_folder, root, results="other"), "evaluation.temperature=0")
    assert other.returncode == 0, other.stderr
    folder = next((tmp_path / "other" / "stages").glob("model-*/generations"))
    ((_, only),) = files(folder).items()
    assert responses(after[twin]) == responses(only)
    assert all(responses(text) != responses(only) for text in sampled.values())


def responses(lines: bytes) -> list[str]:
    return [json.loads(line)["response"] for line in lines.decode().splitlines()]
