"""How another process of the product is started. No torch here."""

from __future__ import annotations

from amid.config import config_root


def program() -> list[str]:
    """run.py, or what stands for it in an installed package; what Python is to be given."""
    script = config_root() / "run.py"
    return [str(script)] if script.is_file() else ["-m", "amid"]
