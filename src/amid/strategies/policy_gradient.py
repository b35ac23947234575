"""Policy gradient: texts are collected, several passes train on them, then new ones are collected (MiniLLM).

Legend: N tokens of one text; p teacher, q student, b the mixture that the text was drawn from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from amid.core import ADVANTAGE, BEHAVIOUR_LOG_PROB
from amid.data.batch import Batch, Row, Source, stack
from amid.strategies.base import STUDENT_LOG_PROB, TEACHER_LOG_PROB, Draws, Gather, Generate
from amid.strategies.rows_state import rows_of_state, rows_state

VARIANCE_EPS = 1e-8  # reference minillm/utils.py


@dataclass(frozen=True)
class Advantages:
    """What a token of a sampled text was worth: its discounted return of rewards log p - log q.

    r_t = clip((log p(y_t) - log q(y_t)) / reward_scale, +- reward_clip); R_t = sum over k >= t of discount^(k-t) r_k,
    without r_t itself unless immediate_reward, and divided by the number of tokens from t on if length_normalised.
    whitened: returns of all texts of a collection to mean 0 and variance 1.
    teacher_share: a of the mixture b = a p + (1 - a) q.
    Source: MiniLLM (Gu et al. 2024), reference minillm/*.py. Deviates from the reference: it whitens over padding too.
    """

    teacher_share: float
    discount: float = 0.95
    reward_scale: float = 0.5
    reward_clip: float = 100.0
    immediate_reward: bool = True
    length_normalised: bool = True
    whitened: bool = True

    def __call__(self, rows: Sequence[Row], gather: Gather) -> list[Row]:
        """The rows of this rank with the inputs of a policy gradient in place of the log-probabilities; collective."""
        returns = [self.returns(row.inputs[TEACHER_LOG_PROB], row.inputs[STUDENT_LOG_PROB]) for row in rows]
        mean, scale = _whitening(returns, gather) if self.whitened else (0.0, 1.0)
        return [
            replace(
                row,
                inputs={
                    ADVANTAGE: ((of_row - mean) * scale).float(),
                    BEHAVIOUR_LOG_PROB: self.behaviour(row.inputs[TEACHER_LOG_PROB], row.inputs[STUDENT_LOG_PROB]),
                },
            )
            for row, of_row in zip(rows, returns, strict=True)
        ]

    def returns(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """R of each token [N] of a text, float64, before whitening; log_p, log_q: of its tokens, [N]."""
        rewards = ((log_p - log_q).double() / self.reward_scale).clamp(-self.reward_clip, self.reward_clip).tolist()
        later, values = 0.0, []
        for index, reward in enumerate(reversed(rewards), start=1):
            total = reward + self.discount * later
            own = total if self.immediate_reward else self.discount * later
            values.append(own / index if self.length_normalised else own)
            later = total
        return torch.tensor(values[::-1], dtype=torch.float64)

    def behaviour(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """log b of each token [N]."""
        share = torch.tensor(self.teacher_share, dtype=torch.float64)
        return torch.logaddexp(share.log() + log_p.double(), torch.log1p(-share) + log_q.double()).float()


class RolloutPasses:
    """Trains on texts drawn from a mixture of teacher and student: `num_batches` batches at a time, in `passes` passes.

    The prompts of a collection are those of its first `num_batches` steps; the batches of a pass come in random order.
    batch_of_step: as in `DistillModule`. Source: MiniLLM (Gu et al. 2024).
    """

    wants_initial_loss = False

    def __init__(
        self,
        *,
        advantages: Advantages,
        num_batches: int,
        passes: int,
        batch_of_step: Callable[[int], Batch],
        draws: Draws,
        pad_id: int,
        gather: Gather,
    ) -> None:
        self._advantages = advantages
        self._num_batches = num_batches
        self._passes = passes
        self._batch_of_step = batch_of_step
        self._draws = draws
        self._pad_id = pad_id
        self._gather = gather
        self._step = 0
        self._rows: list[Row] = []

    def next_batch(self, batch: Batch, *, progress: float, generate: Generate) -> Batch:
        """A batch of the collection, which is made anew when all passes over the last one are done."""
        step, self._step = self._step, self._step + 1
        number, place = divmod(step % (self._passes * self._num_batches), self._num_batches)
        if number == place == 0:
            self._rows = self._collected(step, generate)
        order = list(range(self._num_batches))
        self._draws.replay(step - place, shared=True).shuffle(order)
        size = len(self._rows) // self._num_batches
        first = order[place] * size
        source: Source = "fresh" if number == 0 else "replayed"
        return stack(self._rows[first : first + size], pad_id=self._pad_id, source=source)

    def on_validation(self, val_loss: float) -> None:
        """The loss changes nothing."""

    def measures(self) -> dict[str, float]:
        """Texts of the collection, and the mean of their advantages' size."""
        sizes = [row.inputs[ADVANTAGE].abs().mean() for row in self._rows if len(row.inputs[ADVANTAGE])]
        mean = float(torch.stack(sizes).mean()) if sizes else 0.0
        return {"collection_size": len(self._rows), "advantage_size": mean}

    def state_dict(self) -> dict[str, Any]:
        """Step count and the collection."""
        return {"step": self._step, "rows": rows_state(self._rows)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a saved state."""
        self._step = state["step"]
        self._rows = rows_of_state(state["rows"])

    def _collected(self, step: int, generate: Generate) -> list[Row]:
        batches = [self._batch_of_step(step + index) for index in range(self._num_batches)]
        prompts = stack([row for each in batches for row in each.rows()], pad_id=self._pad_id, source="gold")
        return self._advantages(generate(prompts, policy="mixture").rows(), self._gather)


def _whitening(returns: Sequence[Tensor], gather: Gather) -> tuple[float, float]:
    """What to subtract from the returns of all ranks, and what to multiply them by then."""
    sums = gather((float(sum(float(each.sum()) for each in returns)), sum(len(each) for each in returns)))
    count = max(1, sum(number for _, number in sums))
    mean = sum(total for total, _ in sums) / count
    squares = gather(float(sum(float(((each - mean) ** 2).sum()) for each in returns)))
    return mean, (sum(squares) / count + VARIANCE_EPS) ** -0.5
