"""Mixed, on-policy and speculative: a coin decides between gold and newly written text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amid.data.batch import Batch
from amid.strategies.base import Draws, Generate, Policy
from amid.strategies.replay import ReplayBuffer


class Mixed:
    """With the given probability a step has its responses written anew, else it trains on its gold batch.

    student_probability: 1 is on-policy and speculative, 0.5 the reference's mixed.
    policy: who writes, see `Generate`.
    buffer: what was written goes there, and the step trains on a uniform draw from it, as in the reference; None trains
        on what was just written, as GKD describes.
    Source: reference finetune.py; Xu et al. 2024 (SKD) for the policy `speculative`.
    """

    wants_initial_loss = False

    def __init__(
        self, *, student_probability: float, policy: Policy, buffer: ReplayBuffer | None, draws: Draws
    ) -> None:
        self._probability = student_probability
        self._policy: Policy = policy
        self._buffer = buffer
        self._draws = draws
        self._step = 0

    def next_batch(self, batch: Batch, *, progress: float, generate: Generate) -> Batch:
        """The gold batch, a fresh one, or a draw from the buffer."""
        step, self._step = self._step, self._step + 1
        if self._draws.coin(step) >= self._probability:
            return batch
        fresh = generate(batch, policy=self._policy)
        if self._buffer is None:
            return fresh
        self._buffer.append(fresh, step=step)
        return self._buffer.sample(len(batch), step=step)

    def on_validation(self, val_loss: float) -> None:
        """The loss changes nothing."""

    def measures(self) -> dict[str, float]:
        """Those of the buffer."""
        return {} if self._buffer is None else self._buffer.measures(step=self._step)

    def state_dict(self) -> dict[str, Any]:
        """Step count and buffer."""
        return {"step": self._step, "buffer": None if self._buffer is None else self._buffer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a saved state."""
        self._step = state["step"]
        if self._buffer is not None:
            self._buffer.load_state_dict(state["buffer"])
