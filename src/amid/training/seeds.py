"""Seeds that belong to a step, so that nothing random has a state of its own."""

from __future__ import annotations

import hashlib


def seed_of(*key: int | str) -> int:
    """A non-negative int64 that is a function of the key, such as (seed, step, rank)."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
