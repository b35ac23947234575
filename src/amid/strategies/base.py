"""The seam between training and its data: a strategy turns the gold batch of a step into the batch to train on."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from amid.data.batch import Batch

Policy = Literal["student", "speculative", "mixture"]
# What a rollout of the policy `mixture` keeps of its tokens, as inputs of the batch: their log-probabilities.
STUDENT_LOG_PROB = "student_log_prob"
TEACHER_LOG_PROB = "teacher_log_prob"
# One value per rank, in rank order, from this rank's own.
Gather = Callable[[Any], list[Any]]


class Generate(Protocol):
    """Completions of a batch's prompts by a policy, labelled like gold responses."""

    def __call__(self, batch: Batch, *, policy: Policy) -> Batch:
        """The batch with generated responses; its source is `fresh`.

        policy: `student` samples from the student, `speculative` lets the teacher correct the student's tokens,
        `mixture` samples from a mixture of both and keeps what each says of every token.
        """


class Strategy(Protocol):
    """Chooses the batch of every optimiser step; everything it remembers is in its state.

    wants_initial_loss: True if `on_validation` must also be told of the starting student, before step 0.
    """

    wants_initial_loss: bool

    def next_batch(self, batch: Batch, *, progress: float, generate: Generate) -> Batch:
        """The batch to train on, given this rank's gold batch and the progress in [0, 1)."""

    def on_validation(self, val_loss: float) -> None:
        """Is told of the mean cross-entropy per token after each validation."""

    def measures(self) -> dict[str, float]:
        """Numbers for the log, such as the threshold and the size of the buffer."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that affects later batches."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a saved state."""


@dataclass(frozen=True)
class Draws:
    """The random choices of a strategy, as functions of (seed, step) and, where ranks may differ, of the rank.

    rank_local_coin: every rank throws its own coin, as in the reference; ranks then wait for those that generate.
    """

    seed: int
    rank: int = 0
    num_ranks: int = 1
    rank_local_coin: bool = False

    def coin(self, step: int) -> float:
        """Uniform number in [0, 1), the same on all ranks."""
        return self._rng("coin", step, shared=not self.rank_local_coin).random()

    def replay(self, step: int, *, shared: bool) -> random.Random:
        """The generator of the step's draw from a buffer; `shared`: the same on all ranks."""
        return self._rng("replay", step, shared=shared)

    def _rng(self, purpose: str, step: int, *, shared: bool) -> random.Random:
        return random.Random(f"{self.seed}/{purpose}/{step}" + ("" if shared else f"/{self.rank}"))
