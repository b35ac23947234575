"""Environments: W&B's settings, folders that cannot be written, encodings, ranks, and hubs out of reach."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from harness import Case, Hostile, cases, run_here, with_folders

SMALL = (
    "data.num_train=40",
    "data.num_dev=4",
    "data.num_eval=2",
    "pair.tokenizer_vocab_size=400",
    "pair.teacher_arch={layers: 1, width: 16, heads: 2, positions: 512}",
    "pair.student_arch={layers: 1, width: 8, heads: 2, positions: 512}",
    "pair.teacher_sft={epochs: 1, max_steps: 1, global_batch_size: 8}",
    "pair.student_sft={epochs: 0}",
    "data.max_prompt_tokens=320",
    "data.max_tokens=480",
    "train.epochs=1",
    "train.max_steps=1",
    "train.global_batch_size=8",
    "train.validation={max_new_tokens: 2}",
    "evaluation.max_new_tokens=2",
    "evaluation.decode_seeds=[10]",
)

# fmt: off
# (id, variables, command, exit code, what must be said)
REFUSED = [
    ("world-size", {"WORLD_SIZE": "many", "RANK": "0"}, "run.py", 2, ("WORLD_SIZE must be a number", "'many'")),
    ("rank", {"WORLD_SIZE": "1", "RANK": "first"}, "run.py", 2, ("RANK must be a number", "'first'")),
    ("rank-without-address", {"WORLD_SIZE": "2", "RANK": "0"}, "run.py trainer.devices=2", 2, ("MASTER_ADDR", "MASTER_PORT")),
    ("more-processes", {"WORLD_SIZE": "2", "RANK": "0"}, "run.py", 2, ("trainer.devices=1 needs as many processes, got 2",)),
    ("slurm-tasks", {"SLURM_NTASKS": "x", "SLURM_PROCID": "0"}, "run.py trainer.devices=2", 2, "SLURM_NTASKS must be a number"),
    ("cache-empty", {"AMID_CACHE": ""}, "run.py paths.cache=${oc.env:AMID_CACHE}", 2, "paths.cache must name a folder"),
    ("hydra-full-error", {"HYDRA_FULL_ERROR": "0"}, "run.py divergence=kll", 2, "divergence 'kll' unknown"),
    ("root-elsewhere", {"AMID_ROOT": "/nowhere"}, "run.py sweeps=nope", 2, "sweeps 'nope' unknown"),
    ("no-home", {"HOME": "/nowhere"}, "run.py data=jsonl 'data.root=\"~/x\"'", 2, "/nowhere/x/train.jsonl"),
    ("hub-out-of-reach", {"HF_HUB_OFFLINE": "1"}, "run.py pair=hf pair.teacher=some/model pair.student=some/model", 2, ("some/model", "hub")),
    ("hub-name-broken", {}, "run.py pair=hf pair.teacher=a/b/c pair.student=x", 2, "a/b/c does not exist"),
    ("package-missing", {}, "run.py pair=hf pair.teacher=package:nope pair.student=x", 2, "package:nope"),
    ("evaluate-hub-out-of-reach", {"HF_HUB_OFFLINE": "1"}, "amid evaluate some/model --sets dolly --root data", 2, ("some/model", "hub")),
    ("function-without-path", {"PYTHONPATH": ""}, "run.py divergence=kl 'divergence.function=\"my_own:f\"'", 2, ("my_own", "PYTHONPATH")),
]

# (id, variables): a run of one cell is done all the same, whatever the tracker makes of them.
TRACKERS = [
    ("no-settings", {}),
    ("mode-nonsense", {"WANDB_MODE": "nonsense"}),
    ("server-nonsense", {"WANDB_BASE_URL": "nonsense"}),
    ("key-too-short", {"WANDB_API_KEY": "short"}),
    ("key-and-no-network", {"WANDB_API_KEY": "0123456789" * 4, "WANDB_BASE_URL": "http://127.0.0.1:9"}),
    ("folder-that-cannot-be-written", {"WANDB_DIR": "/proc/nowhere"}),
    ("settings-folder-that-cannot-be-written", {"WANDB_CONFIG_DIR": "/proc/nowhere", "WANDB_CACHE_DIR": "/proc/nowhere"}),
    ("entity-of-nobody", {"WANDB_ENTITY": "no/body", "WANDB_PROJECT": "a/b"}),
    ("netrc-is-a-folder", {"NETRC": "/proc"}),
]
# fmt: on


@pytest.fixture(autouse=True)
def quiet_tracker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the person who runs the tests, and a tracker that gives a network up soon."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "SLURM_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("amid.training.wandb_mirror.INIT_TIMEOUT_S", 2)
    monkeypatch.setattr("amid.training.wandb_mirror._unreachable", set())


@pytest.mark.parametrize(
    ("variables", "command", "code", "said"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED]
)
def test_an_environment_that_cannot_be_used_is_one_line(
    variables: dict[str, str],
    command: str,
    code: int,
    said: str | tuple[str, ...],
    hostile: Hostile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (case,) = cases([("case", command, code, said)])
    hostile(case)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder in which only the cell is left to run."""
    folder = tmp_path_factory.mktemp("stages")
    words = (
        "run.py",
        "task=prepare",
        "logger=none",
        *SMALL,
        f"paths.results={folder}/results",
        f"paths.cache={folder}/c",
    )
    outcome = run_here(words)
    assert outcome.code == 0, outcome
    return folder / "results"


@pytest.mark.parametrize("variables", [pytest.param(row[1], id=row[0]) for row in TRACKERS])
def test_no_setting_of_the_tracker_fails_a_cell(
    variables: dict[str, str], stages: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    wandb.teardown()
    for name, value in {"HOME": str(folder / "home"), **variables}.items():
        monkeypatch.setenv(name, value)
    shutil.copytree(stages, folder / "results")
    outcome = run_here(with_folders(("run.py", "logger=wandb", *SMALL)))
    wandb.teardown()
    assert outcome.code == 0, outcome
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert "done in" in outcome.stdout


@pytest.mark.parametrize("where", ["/proc/nowhere", "data/train.jsonl", "data/train.jsonl/below"])
def test_a_cache_that_cannot_be_written_costs_time_only(where: str, stages: Path, folder: Path) -> None:
    shutil.copytree(stages, folder / "results")
    before = (folder / "data" / "train.jsonl").read_bytes()
    outcome = run_here(("run.py", "logger=none", *SMALL, "paths.results=results", f"paths.cache={where}"))
    assert outcome.code == 0, outcome
    assert (folder / "data" / "train.jsonl").read_bytes() == before


def test_a_finished_cell_needs_nothing_of_the_environment(
    stages: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(stages, folder / "results")
    words = with_folders(("run.py", "logger=none", *SMALL))
    assert run_here(words).code == 0
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    again = run_here((*words, "logger=wandb"))
    assert again.code == 0, again
    assert "nothing to run" in again.stdout


def test_every_table_is_read() -> None:
    assert len({row[0] for row in REFUSED}) == len(REFUSED)
    assert len({row[0] for row in TRACKERS}) == len(TRACKERS)
    assert isinstance(cases([("a", "run.py", 2, "x")])[0], Case)
