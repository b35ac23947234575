"""Adaptive off-policy (DistiLLM, the paper's default): more student-written text when the validation loss rises."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

from amid.data.batch import Batch
from amid.strategies.base import Draws, Generate
from amid.strategies.replay import ReplayBuffer

log = logging.getLogger(__name__)
ReplayRatio = Literal["decreasing", "constant", "increasing"]
Reference = Literal["last_raise", "previous"]
THRESHOLD_STEP = 0.1  # reference finetune.py


class AdaptiveOffPolicy:
    """Gold, fresh or replayed batches by a threshold that rises with the validation loss.

    With u uniform, phi the threshold and psi its part for fresh text: u < psi, or u < phi while the buffer is not full:
    generate, remember, train on it; else u < phi: a draw from the buffer; else the gold batch.
    replay_ratio: psi = phi (1 - progress) decreasing, phi / 2 constant, phi progress increasing.
    loss_eps: a validation loss at least this far above the reference loss raises phi by 0.1, at most to 1.
    reference: last_raise compares with the loss at the last raise, previous with the validation before; both begin with
        the loss of the starting student.
    With init_threshold 0 and a validation loss that never rises this is `fixed`.
    Source: reference finetune.py; its progress counts steps from 1, ours from 0.
    """

    wants_initial_loss = True

    def __init__(
        self,
        *,
        init_threshold: float,
        loss_eps: float,
        replay_ratio: ReplayRatio,
        reference: Reference,
        buffer: ReplayBuffer,
        draws: Draws,
    ) -> None:
        self._threshold = init_threshold
        self._loss_eps = loss_eps
        self._replay_ratio = replay_ratio
        self._reference = reference
        self._buffer = buffer
        self._draws = draws
        self._step = 0
        self._reference_loss: float | None = None

    def next_batch(self, batch: Batch, *, progress: float, generate: Generate) -> Batch:
        """The gold batch, a fresh one, or a draw from the full buffer."""
        step, self._step = self._step, self._step + 1
        coin = self._draws.coin(step)
        if coin < self._fresh_threshold(progress) or (coin < self._threshold and not self._buffer.full):
            fresh = generate(batch, policy="student")
            self._buffer.append(fresh, step=step)
            return fresh
        if coin < self._threshold:
            return self._buffer.sample(len(batch), step=step)
        return batch

    def on_validation(self, val_loss: float) -> None:
        """Raises the threshold if the loss has risen far enough above the reference loss."""
        if self._reference_loss is None:
            self._reference_loss = val_loss
            if self._threshold == 0.0:
                log.info(
                    "adaptive_off_policy: no student-written text until the validation loss reaches %.4f",
                    val_loss + self._loss_eps,
                )
        elif val_loss >= self._reference_loss + self._loss_eps:
            self._threshold = min(self._threshold + THRESHOLD_STEP, 1.0)
            self._reference_loss = val_loss
            log.info("adaptive_off_policy: validation loss %.4f, threshold now %.1f", val_loss, self._threshold)
        elif self._reference == "previous":
            self._reference_loss = val_loss

    def measures(self) -> dict[str, float]:
        """The threshold, and those of the buffer."""
        return {"threshold": self._threshold, **self._buffer.measures(step=self._step)}

    def state_dict(self) -> dict[str, Any]:
        """Step count, threshold, reference loss and buffer."""
        return {
            "step": self._step,
            "threshold": self._threshold,
            "reference_loss": self._reference_loss,
            "buffer": self._buffer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a saved state."""
        self._step = state["step"]
        self._threshold = state["threshold"]
        self._reference_loss = state["reference_loss"]
        self._buffer.load_state_dict(state["buffer"])

    def _fresh_threshold(self, progress: float) -> float:
        factor = {"decreasing": 1.0 - progress, "constant": 0.5, "increasing": progress}[self._replay_ratio]
        return self._threshold * factor
