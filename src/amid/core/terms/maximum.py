"""The largest of several divergence terms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from amid.core.assistants import Assistant
from amid.core.compat import Compat
from amid.core.schedules import Schedule
from amid.core.terms.divergence import DivergenceTerm, SettledDivergence
from amid.core.terms.term import Term, TokenInputs, check_weight


@dataclass(frozen=True)
class MaxDivergence:
    """The candidate whose weighted sum over the batch is the largest (max-AB); only it has a gradient.

    candidates: at least two divergence terms. weight: factor in the objective, at least 0.
    The choice is made per call, so per micro-batch and rank.

    Source: max-AB, reference losses.py.
    """

    candidates: tuple[DivergenceTerm, ...]
    weight: float = 1.0

    def __post_init__(self) -> None:
        if len(self.candidates) < 2:
            raise ValueError(f"max needs at least two candidate terms, got {len(self.candidates)}")
        check_weight(self.weight)

    @property
    def name(self) -> str:
        """Name in logs, such as max_ab_pr."""
        return f"max_{self.candidates[0].name}"

    @property
    def needs_teacher(self) -> bool:
        """True, as of every divergence."""
        return True

    @property
    def schedules(self) -> tuple[Mapping[str, Schedule], ...]:
        """Those of the candidates, in order."""
        return tuple(schedules for candidate in self.candidates for schedules in candidate.schedules)

    def assistants(self, compat: Compat) -> tuple[Assistant | None, ...]:
        """Those of the candidates, in order."""
        return tuple(found for candidate in self.candidates for found in candidate.assistants(compat))

    def check(self, inputs: TokenInputs, *, vocab_size: int) -> None:
        """Divergences read no inputs."""

    def settle(self, compat: Compat, sum_of: Callable[[Term], float]) -> SettledDivergence:
        """The largest candidate, its weight times this one's."""
        best = max(self.candidates, key=sum_of).settle(compat, sum_of)
        return replace(best, weight=self.weight * best.weight)
