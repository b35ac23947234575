"""Slurm's commands as files on the PATH: a queue that nothing leaves by itself, for tests in milliseconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SBATCH = r"""
printf '%s\n' "sbatch $*" >> "$here/calls"
env > "$here/environment"
[ -s "$here/refuse" ] && { cat "$here/refuse" >&2; exit 1; }
read -r last < "$here/last"; id=$((last + 1)); echo $id > "$here/last"
reason=Priority
for word; do
  case $word in
    --array=*) number=${word#--array=1-}; number=${number%%%*} ;;
    --job-name=*) name=${word#*=} ;;
    --dependency=*) reason=Dependency ;;
  esac
done
for ((task = 1; task <= number; task++)); do
  echo "${id}_$task|PENDING|0|$reason|$name|${*: -2:1} ${*: -1}|" >> "$here/queue"
done
echo $id
"""
SQUEUE = r"""
printf '%s\n' "squeue $*" >> "$here/calls"
[ -s "$here/refuse" ] && { cat "$here/refuse" >&2; exit 1; }
cat "$here/queue"
"""
SCANCEL = r"""
printf '%s\n' "scancel $*" >> "$here/calls"
state='[A-Z]*'
for word; do
  case $word in
    --state=*) state=${word#*=} ;;
    --*) ;;
    *) sed -i "/^$word|$state|/d" "$here/queue" ;;
  esac
done
"""
SCONTROL = r"""
echo "ClusterName = fake"; echo "MaxArraySize            = $(cat "$here/max_array_size")"
"""
COMMANDS = {"sbatch": SBATCH, "squeue": SQUEUE, "scancel": SCANCEL, "scontrol": SCONTROL}


class FakeSlurm:
    """A queue in a folder; its commands are found by whoever has `bin` on the PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir(parents=True)
        for name, text in COMMANDS.items():
            path = self.bin / name
            path.write_text(f"#!/bin/bash\nhere='{folder}'\n{text}")
            path.chmod(0o755)
        for name, text in {"queue": "", "calls": "", "last": "10\n", "max_array_size": "1001", "refuse": ""}.items():
            (folder / name).write_text(text)
        monkeypatch.setenv("PATH", f"{self.bin}{os.pathsep}{os.environ['PATH']}")

    def lines(self, name: str) -> list[str]:
        """Of a file in the folder."""
        return (self.folder / name).read_text().splitlines()

    def calls(self, command: str) -> list[str]:
        """Every call of a command so far, with its arguments."""
        return [line for line in self.lines("calls") if line.startswith(f"{command} ")]

    @property
    def queue(self) -> list[str]:
        """Names of the tasks in the queue."""
        return [line.partition("|")[0] for line in self.lines("queue")]

    def change(self, task: str, *, state: str, restarts: int = 0, reason: str = "None") -> None:
        """What the queue says of a task from now on."""
        lines = self.lines("queue")
        for number, line in enumerate(lines):
            if line.startswith(f"{task}|"):
                rest = line.split("|", 4)[4]
                lines[number] = f"{task}|{state}|{restarts}|{reason}|{rest}"
        (self.folder / "queue").write_text("".join(f"{line}\n" for line in lines))

    def end(self, *tasks: str) -> None:
        """Tasks, or whole arrays, leave the queue."""
        kept = [line for line in self.lines("queue") if not line.startswith(tuple(f"{each}|" for each in tasks))]
        kept = [line for line in kept if not line.startswith(tuple(f"{each}_" for each in tasks if "_" not in each))]
        (self.folder / "queue").write_text("".join(f"{line}\n" for line in kept))

    def refuse(self, words: str) -> None:
        """From now on Slurm answers with an error."""
        (self.folder / "refuse").write_text(words)
