"""Slurm's commands: submit, look, cancel. Each answer is read here, and nowhere else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from amid.errors import REASON_LENGTH, RequestError, RunError, one_line

PATIENCE_S = 120.0  # a controller that many ask takes its time
DEFAULT_ARRAY_SIZE = 1001  # Slurm's own
# A name of the queue's columns, the last one free text.
COLUMNS = ("JobArrayID", "State", "RestartCnt", "Reason", "Name", "Command")
# What of the environment may say where and as whom a job is submitted; the rest of SBATCH_* would override the script,
# and SLURM_* are those of another job, in which the command may run.
OF_A_USER = ("ACCOUNT", "PARTITION", "QOS", "RESERVATION", "CLUSTERS", "CONSTRAINT", "WCKEY")
KEPT = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT", *(f"SBATCH_{name}" for name in OF_A_USER))
ARGUMENTS = 500  # ids in one call


@dataclass(frozen=True)
class Queued:
    """A task that Slurm knows and that has not ended: its name (`12_3`), and what squeue says of it."""

    name: str
    state: str
    restarts: int
    reason: str
    job_name: str
    command: str

    @property
    def is_pending(self) -> bool:
        """Whether it waits, for the first time or again."""
        return self.state in ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT")

    @property
    def waits_for_a_job(self) -> bool:
        """Whether it waits for another one to end."""
        return self.is_pending and self.reason.startswith("Dependency")


def is_here(command: str) -> bool:
    """Whether a command of Slurm can be found."""
    return shutil.which(command) is not None


def check_here(command: str) -> None:
    """Raises RequestError where a command of Slurm cannot be found."""
    if not is_here(command):
        raise RequestError(
            f"{command} is not on the PATH: this needs Slurm's commands, as a login node has them"
            + (" (hydra.launcher.dry_run=true only prints the script)" if command == "sbatch" else "")
        )


def submit(script: str, part: str, options: Sequence[str]) -> str:
    """The id of the array that sbatch makes of a script and its argument. Raises as `_said`."""
    said = _said("sbatch", ["--parsable", *options, script, part], environment=_environment())
    ids = [
        found[1] for line in said.splitlines() if (found := re.fullmatch(r"(?:\D*job )?(\d+)(?:;\S*)?", line.strip()))
    ]
    if not ids:
        raise RunError(f"sbatch named no job: '{one_line(said)[:REASON_LENGTH]}'")
    return ids[-1]


def max_array_size() -> int:
    """One more than the highest number of a task that the cluster allows."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _said("scontrol", ["show", "config"]), re.M)
    return int(found[1]) if found else DEFAULT_ARRAY_SIZE


def queue(uids: Iterable[int]) -> list[Queued]:
    """What the users have in the queue, pending, running or about to end. Raises as `_said`."""
    users = ",".join(map(str, sorted(set(uids))))
    columns = ",".join(f"{name}:|" for name in COLUMNS)
    lines = _said("squeue", ["--noheader", "--array", f"--user={users}", f"--Format={columns}"]).splitlines()
    return [found for line in lines if (found := _queued(line)) is not None]


def cancel(names: Sequence[str], *, only_pending: bool) -> None:
    """Ends jobs, arrays or tasks of arrays; those that have ended meanwhile are passed over. Raises as `_said`."""
    state = ["--state=PENDING"] if only_pending else []
    for first in range(0, len(names), ARGUMENTS):
        _said("scancel", ["--quiet", *state, *names[first : first + ARGUMENTS]])


def _queued(line: str) -> Queued | None:
    parts = line.split("|", len(COLUMNS) - 1)
    if len(parts) != len(COLUMNS):
        return None  # a job of some other kind, with a line break in its command
    name, state, restarts, reason, job_name, command = (part.strip() for part in parts)
    count = int(restarts) if restarts.isdecimal() else 0
    return Queued(name, state, count, reason, job_name, command.removesuffix("|"))


def _said(command: str, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None) -> str:
    """What a command prints.

    Raises RequestError where it is not on the PATH, RunError with Slurm's own words where it fails.
    """
    check_here(command)
    try:
        done = subprocess.run(
            [command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as err:
        raise RunError(f"{command} gave no answer in {PATIENCE_S:.0f} s; the same command goes on") from err
    if done.returncode:
        words = one_line(done.stderr or done.stdout) or f"exit code {done.returncode}"
        raise RunError(f"{command} failed: {words.removeprefix(f'{command}: error: ')[:REASON_LENGTH]}")
    return done.stdout


def _environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if name in KEPT or not name.startswith(("SLURM_", "SBATCH_"))
    }
