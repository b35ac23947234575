"""The replay buffer: the latest student-written sequences, on the CPU, first in, first out."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from amid.data.batch import Batch, Row, stack
from amid.strategies.base import Draws, Gather
from amid.strategies.rows_state import rows_of_state, rows_state

MIB = 2**20


@dataclass(frozen=True)
class _Entry:
    row: Row
    step: int  # at which it was generated


class ReplayBuffer:
    """At most `capacity` sequences with their labels and, if they came with them, the teacher's states.

    Per rank, or with `gather` global: every rank then holds the sequences of all ranks, and the ranks share one draw.
    Deviates from the reference: its buffer is lost when a run resumes.
    Source: reference distillm/buffer.py.
    """

    def __init__(self, *, capacity: int, pad_id: int, draws: Draws, gather: Gather | None = None) -> None:
        self.capacity = capacity
        self._pad_id = pad_id
        self._draws = draws
        self._gather = gather
        self._entries: deque[_Entry] = deque(maxlen=capacity)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def full(self) -> bool:
        """True once it holds its capacity; it then stays full."""
        return len(self._entries) == self.capacity

    def append(self, batch: Batch, *, step: int) -> None:
        """The batch's sequences push out the oldest ones."""
        rows = batch.rows()
        if self._gather is not None:
            # In the order of the step's whole batch, whatever the number of ranks that share it
            rows = [row for of_ranks in zip(*self._gather(rows), strict=True) for row in of_ranks]
        self._entries.extend(_Entry(row, step) for row in rows)

    def sample(self, num_rows: int, *, step: int) -> Batch:
        """A batch of `num_rows` distinct sequences drawn uniformly, or of all of them if there are fewer."""
        draws, shared = self._draws, self._gather is not None
        num_drawn = min(num_rows * (draws.num_ranks if shared else 1), len(self._entries))
        drawn = draws.replay(step, shared=shared).sample(range(len(self._entries)), num_drawn)
        if shared:
            drawn = drawn[draws.rank :: draws.num_ranks]
        return stack([self._entries[index].row for index in drawn], pad_id=self._pad_id, source="replayed")

    def measures(self, *, step: int) -> dict[str, float]:
        """Sequences held, their mean age in steps, and MiB of their tensors."""
        num_bytes = sum(tensor.numel() * tensor.element_size() for entry in self._entries for tensor in _tensors(entry))
        ages = [step - entry.step for entry in self._entries]
        return {
            "buffer_size": len(self._entries),
            "buffer_age_steps": sum(ages) / max(1, len(ages)),
            "buffer_mb": num_bytes / MIB,
        }

    def state_dict(self) -> dict[str, Any]:
        """All entries."""
        return {
            "steps": [entry.step for entry in self._entries],
            **rows_state([entry.row for entry in self._entries]),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Holds the saved entries and no others."""
        self._entries.clear()
        for step, row in zip(state["steps"], rows_of_state(state), strict=True):
            self._entries.append(_Entry(row, step))


def _tensors(entry: _Entry) -> list[Tensor]:
    row = entry.row
    tensors = (row.input_ids, row.labels, row.prompt_ids, row.teacher_states)
    return [tensor for tensor in tensors if tensor is not None]
