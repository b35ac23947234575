"""Devices: where a model runs, and what pays there."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

import torch

from amid.ranks import ALONE, Ranks

# Names of trainer.accelerator, as Lightning has them, and the kinds of device each may stand for, best first.
KINDS: dict[str, tuple[str, ...]] = {
    "auto": ("cuda", "mps", "cpu"),
    "gpu": ("cuda", "mps"),
    "cuda": ("cuda",),
    "mps": ("mps",),
    "cpu": ("cpu",),
}


def device_of(accelerator: str, ranks: Ranks = ALONE) -> torch.device:
    """The device of an accelerator that is there, as preflight has seen: the same for training and evaluation.

    Of several ranks on a machine each has its own.
    """
    kind = next(kind for kind in KINDS[accelerator] if _is_there(kind))
    return torch.device(kind, ranks.rank % ranks.per_node) if kind == "cuda" and ranks.size > 1 else torch.device(kind)


def slow_training(precision: str, device: torch.device) -> str | None:
    """What to say of a precision that costs time in training there; None if it does not.

    Products in bfloat16 pay on a CPU only with matrix units for the type (AMX): with vector instructions alone they
    were measured at about half the speed of float32. (Decoding with bfloat16 weights pays anywhere: it reads less.)
    """
    if precision == "32-true" or device.type != "cpu" or bool(torch.cpu._is_amx_tile_supported()):
        return None
    return f"precision {precision} is slower than 32-true on this CPU, which has no matrix units for bfloat16"


def reset_peak_memory(device: torch.device) -> None:
    """Forgets the peak of what ran before, where that is possible (CUDA; a process on Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory since `reset_peak_memory`, MB: allocated on a CUDA device, else resident of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a CUDA device, or that the system can give a process on Linux; None elsewhere."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:") and device.type == "cpu":
                return int(line.split()[1]) * 1024
    return None


def _is_there(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_available()
    return torch.backends.mps.is_available() if kind == "mps" else True
