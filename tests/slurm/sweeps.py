"""Sweeps of tiny cells whose training a test can hold up, submitted as a user does, and what came of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from slurm.cluster import Cluster
from slurm.held import environment, hold, put_into

from amid.store import Store
from amid.store.submissions import CELLS, STAGES, Submission, submissions

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "logger=none",
    "data.num_records=96",
    "data.num_dev=4",
    "data.num_eval=2",
    "pair.tokenizer_vocab_size=400",
    "pair.teacher_arch={layers: 2, width: 32, heads: 2, positions: 512}",
    "pair.student_arch={layers: 1, width: 16, heads: 2, positions: 512}",
    "pair.teacher_sft={epochs: 1, max_steps: 3, global_batch_size: 12, validation: {max_new_tokens: 4}}",
    "pair.student_sft={epochs: 1, max_steps: 2, global_batch_size: 12}",
    "data.max_prompt_tokens=320",
    "data.max_tokens=480",
    "train.epochs=10",
    "train.max_steps=60",
    "train.global_batch_size=4",
    "train.validation={every_steps: 30, max_new_tokens: 4}",
    "trainer.checkpoint_every_steps=1",
    "evaluation.max_new_tokens=4",
    "evaluation.decode_seeds=[10,20]",
)
LAUNCHER = ("hydra/launcher=slurm", "hydra.launcher.mem=200", "hydra.launcher.cpus=1", "hydra.launcher.signal_s=20")
SLOW_S = 3.0  # of one call of the divergence that is slowed down


@dataclass
class Place:
    """A folder with everything that a sweep on a cluster needs, and the commands that a user would type in it.

    checkout: the copy of the product that is called.
    """

    cluster: Cluster
    folder: Path
    checkout: Path = ROOT
    results: Path = field(init=False)

    def __post_init__(self) -> None:
        self.results = self.folder / "results ü of mine"
        put_into(self.folder)

    @property
    def environment(self) -> dict[str, str]:
        """Of the submitting command."""
        return {
            **self.cluster.environment,
            "PYTHONPATH": f"{self.checkout}/src:{self.folder}",
            **environment(self.folder, slow_s=SLOW_S),
            "OMP_NUM_THREADS": "1",
            "WANDB_MODE": "offline",
        }

    def arguments(self, *overrides: str, results: Path | None = None, launcher: Iterable[str] = LAUNCHER) -> list[str]:
        """The command of a sweep of the held divergence."""
        return [
            *(sys.executable, str(self.checkout / "run.py"), "--config-dir", str(self.folder / "my_conf"), "-m"),
            *SMALL,
            "divergence=held",
            f'paths.results="{results or self.results}"',
            f'paths.cache="{self.folder}/cache"',
            *launcher,
            *(["hydra.launcher.export=[AMID_TEST_HOLDS,AMID_TEST_SLOW_S]"] if launcher else []),
            *overrides,
        ]

    def command(self, arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        """Any command, in the folder."""
        return subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            timeout=240,
            cwd=self.folder,
            env={**self.environment, **environment},
            check=False,
        )

    def submit(self, *overrides: str) -> str:
        """What the submitting command prints; it must succeed."""
        done = self.command(self.arguments(*overrides))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def amid(self, *words: str, results: Path | None = None, code: int = 0) -> str:
        """What a verb of `amid` prints."""
        done = self.command([sys.executable, "-m", "amid.cli", *words, "--results", str(results or self.results)])
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def submissions(self) -> list[Submission]:
        """What has been recorded."""
        return submissions(Store(self.results))

    @property
    def tasks(self) -> dict[str, str]:
        """Cell id -> the task that has it, of the latest submission."""
        found = {}
        for submission in self.submissions:
            for part in submission.parts:
                if part.is_of == CELLS and part.name in submission.jobs:
                    names = (f"{submission.jobs[part.name]}_{number + 1}" for number in range(part.num_tasks))
                    found |= dict(zip(part.cells, names, strict=True))
        return found

    def num_submitted(self, kind: str) -> int:
        """Tasks of stages or cells that were submitted and recorded, in all."""
        parts = [(each, part) for each in self.submissions for part in each.parts if part.is_of == kind]
        return sum(part.num_tasks for each, part in parts if part.name in each.jobs)

    def hold(self, kind: str, task: str) -> Path:
        """A file which makes the training of the task `slow` or `broken` while it is there."""
        return hold(self.folder, kind, task)

    def steps(self, cell: str) -> int:
        """Steps of the cell in its journal."""
        path = self.results / cell / "journal.jsonl"
        return path.read_text().count("\n") if path.is_file() else 0


__all__ = ["CELLS", "LAUNCHER", "ROOT", "SMALL", "STAGES", "Place"]
