"""Values per prompt in few characters: each metric's distinct values once, and where each stands. No torch here."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

WIDTHS = {1: "<u1", 2: "<u2", 4: "<u4"}  # bytes of a place in the list of values, little end first


class Packing:
    """The distinct values of one metric, exact, and the places of a series of them as base64."""

    def __init__(self, series: Iterable[tuple[float, ...]]) -> None:
        self.values = np.unique(np.concatenate([np.asarray(each, dtype=np.float64) for each in series]))
        self.width = next(width for width in WIDTHS if len(self.values) <= 256**width)

    def packed(self, values: tuple[float, ...]) -> str:
        """The places of the values, one after the other."""
        places = np.searchsorted(self.values, np.asarray(values, dtype=np.float64))
        return base64.b64encode(places.astype(WIDTHS[self.width]).tobytes()).decode()

    def embedded(self) -> Mapping[str, Any]:
        """What the page needs to unpack."""
        return {"width": self.width, "values": [float(value) for value in self.values]}
