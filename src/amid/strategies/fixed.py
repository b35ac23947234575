"""Fixed: every step trains on its gold batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amid.data.batch import Batch
from amid.strategies.base import Generate


class Fixed:
    """Trains on the gold batch; remembers nothing."""

    wants_initial_loss = False

    def next_batch(self, batch: Batch, *, progress: float, generate: Generate) -> Batch:
        """The gold batch itself."""
        return batch

    def on_validation(self, val_loss: float) -> None:
        """The loss changes nothing."""

    def measures(self) -> dict[str, float]:
        """Empty."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """There is nothing to continue."""
