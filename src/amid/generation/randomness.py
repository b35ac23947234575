"""Uniform numbers that belong to an example, not to a process: the same key gives the same numbers everywhere."""

from __future__ import annotations

import hashlib
import json
import operator

import numpy as np

Key = tuple[int | str, ...]


def uniforms_of(key: Key, *, count: int) -> np.ndarray:
    """The first `count` uniform numbers of a key: [count] float64 in [0, 1), number i for the i-th response token.

    key: integers and strings that name the example, such as (seed, set name, index). Its sha256 is the key of a
    counter-based generator (Philox), so no state is shared with any other generator, and a larger `count` only appends.
    Raises ValueError if a part of the key is neither an integer nor a string.
    """
    try:
        parts = [part if isinstance(part, str) else operator.index(part) for part in key]
    except TypeError as error:
        raise ValueError(f"a key holds integers and strings only, got {key!r}") from error
    digest = hashlib.sha256(json.dumps(parts).encode("ascii")).digest()
    generator = np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], dtype="<u8")))
    return generator.random(count)
