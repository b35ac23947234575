"""SIGKILL at random moments of a real sweep, again and again: the end is the undisturbed one. `make test-kill`.

AMID_KILLED_SWEEPS: how many sweeps are killed, each at moments of its own (1). AMID_KILL_SEED: where cells are killed.
"""

from __future__ import annotations

import functools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from small import ROOT, SMALL, STRATEGIES

pytestmark = [pytest.mark.kill, pytest.mark.timeout(900)]
# Longer than SMALL, so that a kill falls into training, validation, checkpoints and evaluation alike.
REQUEST = (
    "-m",
    "amid.alpha=-5,1",
    *(override for override in SMALL if not override.startswith(("train.", "data.num_records", "evaluation."))),
    "data.num_records=400",
    "train.epochs=2",
    "train.max_steps=80",
    "train.global_batch_size=8",
    "train.validation={every_steps: 20, max_new_tokens: 16}",
    "trainer.checkpoint_every_steps=3",
    "evaluation.max_new_tokens=24",
    "evaluation.decode_seeds=[10,20,30]",
)


def command(folder: Path) -> list[str]:
    folders = (f"paths.results={folder}/results", f"paths.cache={folder}/cache")
    return [sys.executable, str(ROOT / "run.py"), *REQUEST, *folders]


def finished_files(results: Path) -> dict[str, bytes]:
    """What a user keeps: weights, generated texts (as sets of rows) and scores, by place."""
    files: dict[str, bytes] = {}
    for path in sorted(results.rglob("*")):
        if path.name in ("model.safetensors", "scores.jsonl", "responses.jsonl") and "checkpoints" not in path.parts:
            files[str(path.relative_to(results))] = path.read_bytes()
        elif path.parent.name == "generations":
            files[str(path.relative_to(results))] = b"\n".join(sorted(path.read_bytes().splitlines()))
    return files


def progress(results: Path) -> int:
    """How much has been done, whatever the clock says: logged steps, responses, and files that are there."""
    # os.walk passes over folders that are renamed meanwhile.
    files = [Path(folder) / name for folder, _, names in os.walk(results) for name in names]
    kept = [path for path in files if path.suffix in (".jsonl", ".json", ".ckpt", ".safetensors")]
    return len(kept) + sum(path.read_bytes().count(b"\n") for path in kept if path.suffix == ".jsonl")


def amounts(rng: random.Random) -> Iterator[int]:
    """How much the next attempts do before they die."""
    for most in (10, 20, 40, 80, 160, 160):
        yield rng.randint(1, most)


@pytest.mark.parametrize("seed", range(1, 1 + int(os.environ.get("AMID_KILLED_SWEEPS", "1"))))
def test_a_sweep_killed_again_and_again_ends_as_the_undisturbed_one(seed: int, tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
    done = subprocess.run(command(undisturbed), capture_output=True, text=True, cwd=undisturbed)
    assert done.returncode == 0, done.stderr
    num_kills = 0
    for amount in amounts(random.Random(seed)):
        before = progress(killed / "results")
        process = subprocess.Popen(
            command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=killed, start_new_session=True
        )
        while process.poll() is None and progress(killed / "results") < before + amount:
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            num_kills += 1
        process.wait()
    last = subprocess.run(command(killed), capture_output=True, text=True, cwd=killed)
    assert last.returncode == 0, last.stderr
    assert num_kills >= 3
    assert finished_files(killed / "results") == finished_files(undisturbed / "results")
    tables = [text[text.index("amid.alpha ") : text.index("results: ")] for text in (done.stdout, last.stdout)]
    assert tables[0] == tables[1]


ONE_CELL = (
    "strategy=fixed",
    *(override for override in SMALL if not override.startswith(("train.", "data.max_tokens"))),
    "data.max_tokens=336",  # at most 16 generated tokens
    "train.epochs=1",
    "train.max_steps=16",
    "train.global_batch_size=8",
    "train.validation={every_steps: 4, max_new_tokens: 8}",
    "trainer.checkpoint_every_steps=2",
)
# What is interrupted, and the largest number of its call that a process may die in.
PHASES = {"step": 4, "rollout": 2, "validation": 1, "checkpoint": 2, "sealing": 2, "between": 3}


def started(request: Sequence[str], folder: Path, *before: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Carries out a request, its results in the folder; before: the program and its own arguments."""
    folders = (f"paths.results={folder}/results", f"paths.cache={folder}/cache")
    return subprocess.run([sys.executable, *before, *request, *folders], capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize("strategy", ["fixed", *STRATEGIES])
def test_a_cell_of_any_strategy_killed_inside_every_phase_ends_as_the_undisturbed_one(
    strategy: str, tmp_path: Path
) -> None:
    rng = random.Random(f"{os.environ.get('AMID_KILL_SEED', 0)}/{strategy}")
    chosen = {override.split("=")[0] for override in STRATEGIES.get(strategy, ())}
    request = [*(o for o in ONE_CELL if o.split("=")[0] not in chosen), *STRATEGIES.get(strategy, ())]

    start = functools.partial(started, request, cwd=tmp_path)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    done = start(undisturbed, str(ROOT / "run.py"))
    assert done.returncode == 0, done.stderr
    shutil.copytree(undisturbed / "results" / "stages", killed / "results" / "stages")
    died_in = []
    phases = [phase for phase in PHASES if phase != "rollout" or strategy != "fixed"]
    rng.shuffle(phases)
    for phase in [*phases, "published", "evaluation"]:  # these come after all steps, so they die last
        number = rng.randint(1, PHASES.get(phase, 1))
        process = start(killed, str(Path(__file__).with_name("killed.py")), phase, str(number))
        assert process.returncode in (0, -signal.SIGKILL), process.stderr
        if process.returncode:
            died_in.append(phase)
    last = start(killed, str(ROOT / "run.py"))
    assert last.returncode == 0, last.stderr
    assert len(set(died_in)) >= 4, died_in
    assert finished_files(killed / "results") == finished_files(undisturbed / "results")
    print(f"{strategy}: killed in {', '.join(died_in)}")


def test_a_written_corpus_killed_again_and_again_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    request = ("method=seqkd", "trainer.generation_batch_size=4", *(o for o in ONE_CELL if "strategy" not in o))

    start = functools.partial(started, request, cwd=tmp_path)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    done = start(undisturbed, str(ROOT / "run.py"))
    assert done.returncode == 0, done.stderr
    for number in (2, 1, 3):  # of the six writes: inside the second, the next one, and the third after that
        process = start(killed, str(Path(__file__).with_name("killed.py")), "corpus", str(number))
        assert process.returncode == -signal.SIGKILL, process.stderr
    last = start(killed, str(ROOT / "run.py"))
    assert last.returncode == 0, last.stderr
    files = finished_files(undisturbed / "results")
    assert any(name.endswith("responses.jsonl") for name in files)
    assert finished_files(killed / "results") == files


def heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_is_one_line_and_the_same_command_continues(tmp_path: Path) -> None:
    request = [*command(tmp_path), "trainer.progress_bar=false"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A test started in the background of a script inherits an ignored SIGINT; a user's shell does not ignore it.
    with subprocess.Popen(request, cwd=tmp_path, preexec_fn=heed_interrupts, **pipes) as process:
        assert process.stdout
        for line in process.stdout:
            if "alpha=-5" in line and "step 20/80" in line:
                process.send_signal(signal.SIGINT)
                break
        _, errors = process.communicate()
    assert process.returncode == 130, errors
    hint, line = errors.splitlines()
    assert hint == "amid: stopping at the end of this step; Ctrl-C again stops at once"
    assert re.fullmatch(r"amid: interrupted: .*: step \d+ of 80 is saved; the same command continues", line), line
    again = subprocess.run(command(tmp_path), capture_output=True, text=True, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "resumes after step" in again.stdout
