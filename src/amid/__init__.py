"""AMiD Lab: distillation of language models with alpha-mixture assistant distributions.

`from amid import AmidLoss` imports torch only when it is asked for: plans, status and tables need none.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["AmidLoss"]


def __getattr__(name: str) -> Any:
    if name == "AmidLoss":
        from amid.core.amid_loss import AmidLoss

        return AmidLoss
    raise AttributeError(f"module 'amid' has no attribute '{name}'")
