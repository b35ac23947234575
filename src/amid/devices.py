"""Devices: where a model runs, and what pays there."""

from __future__ import annotations

import torch

# Names of trainer.accelerator, as Lightning has them, and the kinds of device each may stand for, best first.
KINDS: dict[str, tuple[str, ...]] = {
    "auto": ("cuda", "mps", "cpu"),
    "gpu": ("cuda", "mps"),
    "cuda": ("cuda",),
    "mps": ("mps",),
    "cpu": ("cpu",),
}


def device_of(accelerator: str) -> torch.device:
    """The device of an accelerator that is there, as preflight has seen: the same for training and evaluation."""
    return torch.device(next(kind for kind in KINDS[accelerator] if _is_there(kind)))


def bf16_pays(device: torch.device) -> bool:
    """Whether products in bfloat16 are faster than in float32 there.

    On a CPU only with matrix units for the type (AMX): with vector instructions alone they were measured at about half
    the speed of float32.
    """
    return device.type != "cpu" or bool(torch.cpu._is_amx_tile_supported())


def _is_there(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_available()
    return torch.backends.mps.is_available() if kind == "mps" else True
