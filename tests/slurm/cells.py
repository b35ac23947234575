"""A cell under a real Slurm by a plain script, in the shape that the launcher writes; and what came of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from end_to_end.small import ROOT, SMALL
from slurm.cluster import Cluster, wait_for
from slurm.held import environment, put_into

TRAINED_S = 90.0  # a busy machine takes most of it to import torch
CELL = (  # long enough to be told to stop in the middle; of two values of a key Hydra takes the last one
    *SMALL,
    "train.epochs=50",
    "train.max_steps=240",
    "train.validation={every_steps: 80, max_new_tokens: 6}",
    "trainer.accelerator=cpu",
    "trainer.log_every_steps=10",
    "evaluation.decode_seeds=[10]",
    "divergence=held",
)
SLOW_S = 0.1  # of one call of the divergence that is slowed down, so that a test comes before the end of a training


def command(folder: Path, *overrides: str) -> list[str]:
    """The run of the cell with its results in the folder, which has its divergence."""
    folders = (f"paths.results={folder}/results", f"paths.cache={folder}/cache")
    return [sys.executable, str(ROOT / "run.py"), "--config-dir", f"{folder}/my_conf", *CELL, *overrides, *folders]


def prepared(alone: Path, folder: Path) -> Path:
    """The folder with what the cell needs: its divergence, and the stages of `alone`."""
    shutil.copytree(alone / "results" / "stages", folder / "results" / "stages")
    put_into(folder)
    return folder


def run_alone(folder: Path) -> None:
    """Runs the cell in an empty folder as one process, without Slurm."""
    put_into(folder)
    done = subprocess.run(
        command(folder),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}/src:{folder}"},
    )
    assert done.returncode == 0, done.stderr


def submitted(slurm: Cluster, folder: Path, *options: str, tasks: int = 1, max_requeues: int = 3) -> str:
    """The id of the one task of an array that runs the cell, as Slurm calls it."""
    held = " ".join(f"{name}='{value}'" for name, value in environment(folder, slow_s=SLOW_S).items())
    quoted = " ".join(f"'{word}'" for word in command(folder, f"trainer.devices={tasks}"))
    lines = [
        "#!/bin/bash",
        "#SBATCH --job-name=cell --array=0 --requeue --open-mode=append --mem=400 --cpus-per-task=1",
        f"#SBATCH --ntasks-per-node={tasks} --nodes=1 --signal=USR1@30",
        f"#SBATCH --output={folder}/log --error={folder}/log",
        f"export AMID_MAX_REQUEUES={max_requeues} OMP_NUM_THREADS=1 PYTHONPATH='{ROOT}/src:{folder}' {held}",
        "export MASTER_ADDR=127.0.0.1 MASTER_PORT=$((20000 + SLURM_JOB_ID * 7 % 20000))",
        f"exec srun --kill-on-bad-exit=1 {quoted}",
    ]
    script = folder / "script.sh"
    script.write_text("\n".join([*lines, ""]))
    return slurm.run("sbatch", "--parsable", *options, str(script)).strip().partition(";")[0] + "_0"


def log_of(folder: Path) -> str:
    """All that the job has printed so far."""
    path = folder / "log"
    return path.read_text() if path.is_file() else ""


def wait_for_step(folder: Path, step: int) -> None:
    """Waits until the journal of the cell knows the step."""

    def reached() -> bool:
        lines = [line for path in folder.glob("results/*/journal.jsonl") for line in path.read_text().splitlines()]
        return any(json.loads(line)["step"] >= step for line in lines)

    wait_for(reached, TRAINED_S, f"step {step}:\n{log_of(folder)[-2000:]}", every_s=0.02)


def wait_for_end(slurm: Cluster, job: str, folder: Path) -> str:
    """Waits until a job is over, and gives its state."""
    over = ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT", "PREEMPTED")
    wait_for(lambda: slurm.job(job).get("JobState") in over, 2 * TRAINED_S, f"{job} to end", every_s=0.2)
    return slurm.job(job)["JobState"]


def kept(folder: Path) -> dict[str, Any]:
    """What is bit-equal in an undisturbed run: the files of the model, texts and scores, and the journal's values."""
    (cell,) = (path.parent for path in folder.glob("results/*/status.json"))
    files = [*(cell / "model").iterdir(), *(cell / "generations").iterdir(), cell / "scores.jsonl"]
    found: dict[str, Any] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    for line in map(json.loads, (cell / "journal.jsonl").read_text().splitlines()):
        for name, value in line["metrics"].items():
            if not name.startswith("clock/"):
                found.setdefault(f"{name} at {line['step']}", []).append(value)
    return found
