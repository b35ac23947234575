"""AMiD Lab: distillation of language models with alpha-mixture assistant distributions.

`from amid import AmidLoss, DistillModule` imports torch only then: plans, status and tables need none.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

__version__ = "0.1.0"
__all__ = ["AmidLoss", "DistillModule", "results"]
_HOMES = {"AmidLoss": "amid.core.amid_loss", "DistillModule": "amid.training.step", "results": "amid.reports.frame"}

# What torchao, where it is installed, makes torch and itself say when transformers imports it: of its own enumerations,
# and of kernels for other machines. Here, because every import of transformers comes after this one.
_ENUMERATION, _KERNEL = "%s is an Enum subclass and is now natively supported by torch.compile", "Failed to load "


def _is_news(record: logging.LogRecord) -> bool:
    """False for the lines that torchao brings with it and nobody can act on."""
    text, first = str(record.msg), next(iter(record.args or ()), None)
    if record.name == "torchao":
        return not (text.startswith(_KERNEL) and ".so: " in text)
    return not (text.startswith(_ENUMERATION) and getattr(first, "__module__", "").startswith("torchao"))


for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).addFilter(_is_news)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'amid' has no attribute '{name}'")
