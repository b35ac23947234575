"""Submissions that cannot be: one line each, before anything is written or queued; a cluster that refuses likewise."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Case, Hostile, cases
from slurm.fake import FakeSlurm

SUBMIT = "run.py -m amid.alpha=-1,1 hydra/launcher=slurm"
# fmt: off
OPTIONS = cases([
    ("launcher-unknown", "run.py -m amid.alpha=-1,1 hydra/launcher=slrm", 2, ("hydra/launcher 'slrm' unknown", "slurm")),
    ("without-m", "run.py amid.alpha=-1 hydra/launcher=slurm", 2, ("hydra/launcher=slurm starts the cells of a sweep", "add -m")),
    ("option-unknown", f"{SUBMIT} hydra.launcher.partitin=a", 2, "partitin"),
    ("option-text", f"{SUBMIT} hydra.launcher.timeout_min=soon", 2, ("timeout_min", "soon")),
    ("option-null", f"{SUBMIT} hydra.launcher.cpus=null", 2, "cpus"),
    ("timeout", f"{SUBMIT} hydra.launcher.timeout_min=0", 2, ("hydra.launcher.timeout_min: '0'", "at least 1")),
    ("mem", f"{SUBMIT} hydra.launcher.mem=lots", 2, ("hydra.launcher.mem: 'lots'", "16G")),
    ("gpus", f"{SUBMIT} hydra.launcher.gpus=4", 2, ("hydra.launcher.gpus: '4'", "trainer.devices=N")),
    ("nodes", f"{SUBMIT} hydra.launcher.nodes=2", 2, ("trainer.devices=1 is no multiple of hydra.launcher.nodes=2",)),
    ("nodes-profile", "run.py -m amid.alpha=-1,1 hydra/launcher=slurm_nodes", 2, "no multiple of hydra.launcher.nodes=2"),
    ("partition-words", f"{SUBMIT} 'hydra.launcher.partition=\"a b\"'", 2, ("partition: 'a b'", "one word")),
    ("export-value", f"{SUBMIT} 'hydra.launcher.export=[\"WANDB_API_KEY=s3cret\"]'", 2, ("WANDB_API_KEY=...", "names of environment variables")),
    ("export-all", f"{SUBMIT} hydra.launcher.export=[ALL]", 2, "names of environment variables"),
    ("setup-text", f"{SUBMIT} hydra.launcher.setup=module", 2, "setup"),
    ("additional-array", f"{SUBMIT} +hydra.launcher.additional.array=1", 2, "give hydra.launcher.array_parallelism"),
    ("additional-ntasks", f"{SUBMIT} +hydra.launcher.additional.ntasks=4", 2, "it follows from trainer.devices"),
    ("additional-list", f"{SUBMIT} +hydra.launcher.additional.nice=[1]", 2, "a text, a number, or true"),
    ("signal", f"{SUBMIT} hydra.launcher.timeout_min=1", 2, ("hydra.launcher.signal_s: '120'", "less than the limit of 1 min")),
    ("a-bad-cell", f"{SUBMIT} amid.lam=2", 2, "amid.lam must lie in [0, 1]"),
    ("results-file", f"{SUBMIT} paths.results=data/train.jsonl", 1, "results folder data/train.jsonl cannot be written"),
    ("results-read-only", f"{SUBMIT} paths.results=/proc/nowhere", 1, "results folder /proc/nowhere cannot be written"),
    ("cancel-unknown", "amid cancel nothing", 2, "sweep 'nothing' is not in results"),
    ("cancel-path", "amid cancel ../mine", 2, "sweep '../mine' is no name"),
    ("cancel-without-a-name", "amid cancel", 2, "Missing argument 'sweep'"),
])
# fmt: on


@pytest.fixture
def fake(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path_factory.mktemp("slurm") / "fake", monkeypatch)


@pytest.mark.parametrize("each", OPTIONS, ids=lambda each: each.id)
def test_a_bad_submission_is_one_line(each: Case, hostile: Hostile, fake: FakeSlurm) -> None:
    hostile(each)
    assert fake.calls("sbatch") == []


def test_without_slurm_it_is_one_line(hostile: Hostile, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", str(folder))
    (case,) = cases([("", SUBMIT, 2, ("sbatch is not on the PATH", "dry_run=true"))])
    hostile(case)


@pytest.mark.parametrize("words", ["Invalid partition name specified", "a\x1b[2Jb\nc " * 400], ids=["words", "long"])
def test_what_slurm_refuses_is_one_line(words: str, hostile: Hostile, fake: FakeSlurm) -> None:
    fake.refuse(f"sbatch: error: {words}")
    (case,) = cases([("", SUBMIT, 1, "sbatch failed: ")])
    hostile(Case("", case.argv, case.code, case.said, allowed=("results",)))
