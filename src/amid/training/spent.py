"""What a training uses up: counted where it happens, kept in its checkpoints, recorded with its model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

# Of several ranks or attempts the largest counts, not the sum; steps are the same on all ranks.
LARGEST = ("peak_memory_mb",)
SHARED = ("steps", "generated_steps")


@dataclass
class Spent:
    """Sums over the steps of a training, of one rank.

    generated_steps: those that trained on text written while training, fresh or replayed. student_tokens,
    teacher_tokens: positions that the models read to train; teacher_calls: forward passes of the teacher for that.
    generated_tokens, generation_seconds: of the text written while training. peak_memory_mb: of the device, or of the
    process on a CPU. devices: 1, so that the sum over the ranks is how many trained together.
    """

    steps: int = 0
    generated_steps: int = 0
    student_tokens: int = 0
    teacher_tokens: int = 0
    teacher_calls: int = 0
    generated_tokens: int = 0
    generation_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    devices: int = 1

    def count_teacher(self, num_tokens: int) -> None:
        """Adds one forward pass of the teacher over so many positions."""
        self.teacher_calls += 1
        self.teacher_tokens += num_tokens

    def state_dict(self) -> dict[str, Any]:
        """The sums, JSON-ready."""
        return asdict(self)

    @classmethod
    def of_state(cls, state: Mapping[str, Any] | None) -> Spent:
        """Continues from saved sums; from 0 where a checkpoint of an earlier version kept none."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in (state or {}).items() if name in known})


def over_ranks(of_ranks: Iterable[Spent]) -> Spent:
    """The sums over all ranks of one training."""
    parts = list(of_ranks)
    total = {}
    for name in asdict(parts[0]):
        values = [getattr(part, name) for part in parts]
        total[name] = max(values) if name in (*LARGEST, *SHARED) else sum(values)
    return Spent(**total)
