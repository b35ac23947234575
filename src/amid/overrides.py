"""Texts in Hydra's override grammar."""

from __future__ import annotations

import re
from pathlib import Path


def quoted(value: str | Path) -> str:
    """A value that the grammar reads literally, whatever characters it holds."""
    text = re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", str(value))
    return "'" + re.sub(r"\\+$", lambda found: found[0] * 2, text) + "'"
