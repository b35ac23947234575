"""AMiD Lab: distillation of language models with alpha-mixture assistant distributions.

`from amid import AmidLoss, DistillModule` imports torch only then: plans, status and tables need none.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["AmidLoss", "DistillModule", "results"]
_HOMES = {"AmidLoss": "amid.core.amid_loss", "DistillModule": "amid.training.step", "results": "amid.reports.frame"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'amid' has no attribute '{name}'")
