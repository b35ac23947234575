"""The seam between training and its data: a strategy turns the gold batch of a step into the batch to train on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from amid.data.batch import Batch


class Generate(Protocol):
    """Completions of a batch's prompts by a policy, labelled like gold responses."""

    def __call__(self, batch: Batch, *, policy: Literal["student"]) -> Batch:
        """The batch with generated responses; its source is `fresh`."""


class Strategy(Protocol):
    """Chooses the batch of every optimiser step; everything it remembers is in its state."""

    def next_batch(self, batch: Batch, *, progress: float, generate: Generate) -> Batch:
        """The batch to train on, given this rank's gold batch and the progress in [0, 1)."""

    def on_validation(self, val_loss: float) -> None:
        """None; told of the mean cross-entropy per token after each validation."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that affects later batches."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """None; continues from a saved state."""
