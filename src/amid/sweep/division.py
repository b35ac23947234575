"""How a machine is divided among workers: how many, with how many threads, each with which GPU. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amid.config import RunCfg
from amid.errors import RequestError
from amid.memory.phases import GIB
from amid.sweep.machine import free_memory, num_cores, thread_settings, visible_gpus
from amid.sweep.memory import distinct, largest, made_roles

# What a process of ours holds beside models and batches: Python, torch and its libraries (measured: 0.5 GiB on a CPU).
PROCESS = {False: GIB * 6 // 10, True: 3 * GIB}


@dataclass(frozen=True)
class Division:
    """num_threads: of each worker. gpus: one for each, as CUDA_VISIBLE_DEVICES has it; empty if they need none.

    why: what decided, in words.
    """

    num_workers: int
    num_threads: int
    gpus: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        workers = f"{self.num_workers} worker{'' if self.num_workers == 1 else 's'}"
        threads = f"{self.num_threads} thread{'' if self.num_threads == 1 else 's'}"
        each = " each" if self.num_workers > 1 else ""
        return f"{workers} with {threads}{' and a GPU' if self.gpus else ''}{each} ({self.why})"


def divide(runs: Sequence[RunCfg], *, num_workers: int | None) -> Division:
    """The division of this machine among workers that carry out these runs, one at a time each.

    num_workers: how many at most; null takes as many as memory, cores and GPUs allow. One there is always.
    """
    gpus = () if all(run.trainer.accelerator == "cpu" for run in runs) else visible_gpus()
    cores, memory = num_cores(), free_memory()
    needed = max((_needed(run, on_gpu=bool(gpus)) for run in distinct(runs)), default=PROCESS[bool(gpus)])
    limits = {f"{len(runs)} to carry out": len(runs), f"{cores} core{'' if cores == 1 else 's'}": cores}
    if memory is not None:
        limits[f"{memory / GIB:.1f} GiB free, up to {needed / GIB:.1f} for each"] = memory // needed
    if gpus:
        limits[f"{len(gpus)} GPU{'' if len(gpus) == 1 else 's'}"] = len(gpus)
    if num_workers is not None:
        limits[f"num_workers={num_workers}"] = num_workers
    number = max(1, min(limits.values()))
    why = "; ".join(text for text, most in limits.items() if most <= number)
    threads = thread_settings(max(1, cores // number))["OMP_NUM_THREADS"]
    return Division(number, int(threads), gpus[:number], why)


def _needed(run: RunCfg, *, on_gpu: bool) -> int:
    """Bytes of this machine's memory that a worker needs for a run. A model that is not here yet is not counted."""
    try:
        phase = largest(run, accelerator=on_gpu, made=made_roles(run))
    except RequestError:
        return PROCESS[on_gpu]
    return PROCESS[on_gpu] + (phase.on_host if on_gpu else phase.total)
