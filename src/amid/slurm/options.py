"""What a submission to Slurm can be told: resources of one cell, limits, and what its environment is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from amid.errors import RequestError, one_line

# What a task is given of the environment that submits, beside Slurm's own variables: where programs, models and caches
# are. No login: W&B's lies in the home, and a name in `export` passes any other.
EXPORTED = (
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX"),
    *("AMID_CACHE", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"),
    *("WANDB_MODE", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_BASE_URL", "WANDB_DIR", "WANDB_CACHE_DIR"),
)
# Options of sbatch that the script is made of, and what sets them here.
OURS = {
    **{name: name for name in ("account", "partition", "qos", "constraint", "mem", "nodes", "export")},
    **{"time": "timeout_min", "cpus-per-task": "cpus", "gres": "gpus and gpu_type", "gpus": "gpus"},
    **{"ntasks": "trainer.devices", "ntasks-per-node": "trainer.devices and nodes", "signal": "signal_s"},
    **{"array": "array_parallelism", "requeue": "max_requeues", "no-requeue": "max_requeues", "wait": "wait"},
    **dict.fromkeys(("dependency", "kill-on-invalid-dep", "job-name", "output", "error", "open-mode"), ""),
    **dict.fromkeys(("wrap", "parsable", "test-only", "chdir", "get-user-env", "export-file"), ""),
}
_WORD = re.compile(r"[^\s\"'\\]+")
_MEM = re.compile(r"\d+[KMGT]?")


@dataclass
class SlurmOptions:
    """Raises RequestError, which names the value and what is valid, for what no script can be made of.

    Names, one word each, of a place: account, partition, qos, constraint; None leaves them to Slurm.
    timeout_min: the limit of one task, after which it is requeued [min]. cpus, gpus: of one task; a cell is one task
    for each of trainer.devices, and trains on one GPU a task or on none. gpu_type: as Slurm calls it. mem: of a node,
    as sbatch reads it; None leaves it to Slurm. nodes: of one cell.
    array_parallelism: cells at the same time; None for all. workers: so many tasks that each carry out cells until none
    is left, in place of one task a cell.
    signal_s: so long before the limit a task is told to save [s]. max_requeues: after so many a cell stays stopped.
    setup: shell lines before the command. run_with: what the command is run by inside of srun, a container say.
    python: the interpreter on the nodes; None for the one that submits. export: names of variables beside EXPORTED.
    additional: further options of sbatch; true for one without a value.
    wait: stay until the sweep has ended, and print its table. dry_run: print the script, and do nothing.
    """

    account: str | None = None
    partition: str | None = None
    qos: str | None = None
    constraint: str | None = None
    timeout_min: int = 1440
    nodes: int = 1
    cpus: int = 4
    gpus: int = 0
    gpu_type: str | None = None
    mem: str | None = "16G"
    array_parallelism: int | None = None
    workers: int | None = None
    signal_s: int = 120
    max_requeues: int = 20
    setup: list[str] = field(default_factory=list)
    run_with: str = ""
    python: str | None = None
    export: list[str] = field(default_factory=list)
    additional: dict[str, Any] = field(default_factory=dict)
    wait: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        for name in ("account", "partition", "qos", "constraint", "gpu_type"):
            value = getattr(self, name)
            if value is not None and not _WORD.fullmatch(value):
                raise _refused(name, value, "one word without quotes")
        if self.mem is not None and not _MEM.fullmatch(self.mem):
            raise _refused("mem", self.mem, "a number and K, M, G or T, as in 16G; null leaves it to Slurm")
        lowest = {"timeout_min": 1, "nodes": 1, "cpus": 1, "array_parallelism": 1, "workers": 1, "signal_s": 1}
        for name, least in {**lowest, "max_requeues": 0}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise _refused(name, value, f"at least {least}")
        if self.gpus not in (0, 1):
            raise _refused("gpus", self.gpus, "0 or 1 a task; a cell on several GPUs is trainer.devices=N")
        if self.gpu_type is not None and not self.gpus:
            raise _refused("gpu_type", self.gpu_type, "a type where gpus=1")
        if self.signal_s >= 60 * self.timeout_min:
            raise _refused("signal_s", self.signal_s, f"less than the limit of {self.timeout_min} min")
        for line in (self.run_with, self.python or "", *self.setup):
            if "\0" in line:
                raise _refused("setup", line, "a line of a shell script")
        if "\n" in self.run_with:
            raise _refused("run_with", self.run_with, "one line")
        self._check_export()
        self._check_additional()

    def _check_export(self) -> None:
        for name in self.export:
            if not re.fullmatch(r"[A-Za-z_]\w*", name) or name in ("ALL", "NONE", "NIL"):
                shown = name.partition("=")[0] + "=..." if "=" in name else name  # never a secret in a message
                valid = "names of environment variables; their values are those of the command that submits"
                raise _refused("export", shown, valid)

    def _check_additional(self) -> None:
        for name, value in self.additional.items():
            option = str(name).replace("_", "-")
            if not re.fullmatch(r"[a-z][a-z0-9-]*", option):
                raise _refused(
                    "additional", name, "long options of sbatch without dashes before them, as in {nice: 10}"
                )
            if option in OURS:
                set_by = OURS[option]
                instead = f"give hydra.launcher.{set_by}" if set_by else "it is part of how a sweep is submitted"
                if "." in set_by:
                    instead = f"it follows from {set_by}"
                raise _refused("additional", name, f"options that are not set here already: {instead}")
            if isinstance(value, (Mapping, list)) or value is False or "\n" in str(value):
                raise _refused(
                    "additional", f"{name}: {value}", "a text, a number, or true for an option without value"
                )

    @property
    def sbatch_options(self) -> dict[str, str | None]:
        """`additional` as options of sbatch: name -> value, None for one without."""
        shown = {str(name).replace("_", "-"): value for name, value in self.additional.items()}
        return {name: None if value in (None, True) else str(value) for name, value in shown.items()}


def _refused(name: str, value: object, valid: str) -> RequestError:
    return RequestError(f"hydra.launcher.{name}: '{one_line(str(value))}' cannot be; valid: {valid}")
