"""Objectives: weighted sums of terms, with the state of their schedules, and what evaluating one gives.

Legend: N labelled tokens.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from amid.core.assistants import check_alpha
from amid.core.schedules import PROGRESS, Schedule
from amid.core.terms import Compat, DivergenceTerm, Level, MaxDivergence, Term


@dataclass(frozen=True)
class Objective:
    """A weighted sum of terms, with the state of their schedules.

    A term of weight 0 is skipped, not multiplied: an undefined value times 0 would still be undefined.
    Raises ValueError if no term has a weight above 0.
    """

    terms: tuple[Term, ...]
    compat: Compat = field(default_factory=Compat)

    def __post_init__(self) -> None:
        if not any(term.weight > 0.0 for term in self.terms):
            raise ValueError("an objective needs at least one term with a weight above 0")

    @property
    def active_terms(self) -> tuple[tuple[str, Term], ...]:
        """The terms with a weight above 0, each with a name that is unique in this objective."""
        active = [term for term in self.terms if term.weight > 0.0]
        names = [term.name for term in active]
        return tuple(
            (term.name if names.count(term.name) == 1 else f"{term.name}_{index}", term)
            for index, term in enumerate(active)
        )

    @property
    def divergence_terms(self) -> tuple[DivergenceTerm, ...]:
        """The divergence terms of the active terms, candidates included, in order."""
        found: list[DivergenceTerm] = []
        for _, term in self.active_terms:
            if isinstance(term, DivergenceTerm):
                found.append(term)
            elif isinstance(term, MaxDivergence):
                found.extend(term.candidates)
        return tuple(found)

    @property
    def needs_teacher(self) -> bool:
        """Whether the teacher's logits are read."""
        return bool(self.divergence_terms)

    @property
    def signals(self) -> frozenset[str]:
        """Names of the signals that the schedules read."""
        return frozenset().union(*(schedule.signals for _, schedule in self.schedules))

    @property
    def measured_signals(self) -> tuple[str, ...]:
        """Names, in order, of the signals that an evaluation measures: all but the progress."""
        return tuple(sorted(self.signals - {PROGRESS}))

    @property
    def schedules(self) -> tuple[tuple[str, Schedule], ...]:
        """The schedules with their names: alpha, lam; with an index when there are several divergence terms."""
        several = len(self.divergence_terms) > 1
        named: list[tuple[str, Schedule]] = []
        for index, term in enumerate(self.divergence_terms):
            suffix = f"_{index}" if several else ""
            if term.alpha is not None:
                named += [(f"alpha{suffix}", term.alpha), (f"lam{suffix}", term.lam)]
        return tuple(named)

    def values(self, term: DivergenceTerm) -> tuple[Level | None, Level]:
        """Present alpha (None without assistant) and lam of a term, after the compat rules."""
        if term.alpha is None:
            return None, 0.5
        alpha = term.alpha.value()
        check_alpha(alpha)
        if self.compat.alpha_ge1_geometric:
            alpha = alpha.clamp(max=1.0) if isinstance(alpha, Tensor) else min(alpha, 1.0)
        return alpha, term.lam.value()

    def current_values(self) -> dict[str, float]:
        """The schedules' present values by name, for logging; the mean where a value is per token."""
        values = {name: schedule.value() for name, schedule in self.schedules}
        return {name: float(value.mean()) if isinstance(value, Tensor) else value for name, value in values.items()}

    def update(self, signals: Mapping[str, float]) -> None:
        """Moves every schedule to the next optimiser step. A schedule shared by two terms moves once.

        signals: `progress` in [0, 1] and the mean of every measured signal over the step's tokens; NaN for a step
        without any, which moves the schedules by progress only.
        """
        distinct = {id(schedule): schedule for _, schedule in self.schedules}
        for schedule in distinct.values():
            schedule.update(signals)

    def state_dict(self) -> dict[str, Any]:
        """State of the schedules, by name, JSON-ready."""
        return {name: schedule.state_dict() for name, schedule in self.schedules}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from `state`. Raises ValueError if its schedules are not this objective's."""
        schedules = dict(self.schedules)
        if set(state) != set(schedules):
            raise ValueError(f"the state holds the schedules {sorted(state)}, this objective has {sorted(schedules)}")
        for name, schedule in schedules.items():
            schedule.load_state_dict(state[name])


@dataclass(frozen=True)
class LossParts:
    """What one evaluation of an objective gives.

    loss: scalar, sum over finite tokens of token_weights * value; carries the gradient.
    per_token: detached [N], the value before token_weights; not finite where the token was left out.
    num_nonfinite: scalar int64, how many tokens were left out: their value, or its gradient, is not finite.
    num_dense: scalar int64, how many tokens were evaluated by differentiating the dense form, the slow way.
    terms: per term, detached scalar: its share of `loss`, weight included.
    signals: per signal that a schedule reads, detached [2]: its sum over the tokens where it is finite, and their
    number; what adds up over micro-batches and ranks. See `signal_means`.
    """

    loss: Tensor
    per_token: Tensor
    num_nonfinite: Tensor
    num_dense: Tensor
    terms: Mapping[str, Tensor]
    signals: Mapping[str, Tensor] = field(default_factory=dict)


def signal_means(sums: Mapping[str, Tensor | Sequence[float]]) -> dict[str, float]:
    """Means of signals from their (sum, number of tokens), as `Objective.update` reads them; NaN without a token."""
    pairs = {name: (float(pair[0]), float(pair[1])) for name, pair in sums.items()}
    return {name: total / count if count else math.nan for name, (total, count) in pairs.items()}
