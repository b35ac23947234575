"""The script of an array, for a person to read: one request a task, and nothing that a shell would decide."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from amid.errors import RequestError, one_line
from amid.slurm.options import EXPORTED, SlurmOptions

LOGS = "logs"  # in the folder of a submission
WORKERS = "workers"  # the list that is none: tasks that choose their cells
_RUN = 'exec srun --kill-on-bad-exit=1 --export=ALL --cpus-per-task="$SLURM_CPUS_PER_TASK"'
_PLAIN = re.compile(r"[\w./:@%+=,\[\]&|*-]+", re.ASCII)


def array_script(
    options: SlurmOptions,
    *,
    title: str,
    folder: str,
    devices: int,
    command: Sequence[str],
    location: str,
    work: Sequence[str] | None = None,
) -> str:
    """The text of the script that lies in `folder` (absolute) with its lists.

    devices: tasks of one cell, each on one device. command: what a task runs, which is given the request on the line of
    its number in the list that the script is called with, and `location`, the override that says where it lies. work:
    what a task of the list `workers` runs instead; None where there are no workers.
    Raises RequestError for a number of devices that the nodes do not divide, and for a folder with a line break.
    """
    if devices % options.nodes:
        raise RequestError(
            f"trainer.devices={devices} is no multiple of hydra.launcher.nodes={options.nodes}: every node of a cell "
            "has as many tasks"
        )
    if set(folder) & {"\n", "\r", "\0"}:
        raise RequestError(f"results folder {one_line(folder)}: Slurm cannot be told a path with a line break")
    lines = [
        "#!/bin/bash",
        f"# {title}: a task carries out the frozen request on the line of its number in LIST.txt, which lies here.",
        "#   sbatch --array=1-N job.sh LIST",
        "# One that is preempted, or comes near its time limit, saves, is put back in the queue and goes on; one that",
        "# fails for its own reason ends with its exit code. Written by hydra/launcher=slurm.",
        *(f"#SBATCH {_option(*each)}" for each in directives(options, folder=folder, devices=devices).items()),
        "set -euo pipefail",
        "",
        "# The run puts its own job back in the queue, at most so many times.",
        f"export AMID_MAX_REQUEUES={options.max_requeues}",
        "export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK",
    ]
    if devices > 1:
        lines += [
            "# Where the tasks of a cell find each other.",
            'first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)',
            "MASTER_ADDR=$(scontrol -o show node \"$first\" | sed -n 's/.* NodeAddr=\\([^ ]*\\).*/\\1/p')",
            "MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))",
            "export MASTER_ADDR MASTER_PORT",
        ]
    if options.setup:
        lines += ["# hydra.launcher.setup", "set +u", *options.setup, "set -u"]
    began = '"$SLURM_ARRAY_JOB_ID" "$SLURM_ARRAY_TASK_ID" "$((${SLURM_RESTART_COUNT:-0} + 1))" "$SLURM_JOB_NODELIST"'
    lines += ["", f"printf 'job %s_%s, start %s, on %s\\n' {began}"]
    run = f"{_RUN} {options.run_with} " if options.run_with else f"{_RUN} "
    if work is not None:
        lines += [f'if [ "$1" = {WORKERS} ]; then', f"  {run}{shlex.join(work)}", "fi"]
    return "\n".join(
        [
            *lines,
            f'request=$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {_quoted(folder)}/"$1".txt)',
            f"{run}{shlex.join(command)} \"request='$request'\" {_quoted(location)}",
            "",
        ]
    )


def directives(options: SlurmOptions, *, folder: str, devices: int) -> Mapping[str, str | None]:
    """Options of sbatch that all arrays of a submission share: name -> value, None for one without."""
    tasks = devices // options.nodes
    gpu = f"gpu:{options.gpu_type}" if options.gpu_type else "gpu"
    found: dict[str, str | None] = {
        "account": options.account,
        "partition": options.partition,
        "qos": options.qos,
        "constraint": options.constraint,
        "nodes": str(options.nodes),
        "ntasks-per-node": str(tasks),
        "cpus-per-task": str(options.cpus),
        "gres": f"{gpu}:{tasks}" if options.gpus else None,
        "mem": options.mem,
        "time": str(options.timeout_min),
    }
    given = {name: value for name, value in found.items() if value is not None}
    return {
        **given,
        "signal": f"USR1@{options.signal_s}",
        "requeue": None,
        "open-mode": "append",
        "output": f"{folder.replace('%', '%%')}/{LOGS}/%A_%a.log",
        "export": ",".join(dict.fromkeys([*EXPORTED, *options.export])),
        **options.sbatch_options,
    }


def _quoted(text: str) -> str:
    """The text as one word of a shell, in double quotes where those do."""
    return shlex.quote(text) if set(text) & set('$"`\\!') else f'"{text}"'


def _option(name: str, value: str | None) -> str:
    """An option as a line of a script holds it: a value that is more than a word in double quotes."""
    if value is None:
        return f"--{name}"
    if _PLAIN.fullmatch(value):
        return f"--{name}={value}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'--{name}="{escaped}"'
