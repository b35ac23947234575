"""Objectives: weighted sums of terms, with the state of their schedules, and the parts of a loss.

Legend: N labelled tokens.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from amid.core.assistants import Assistant
from amid.core.compat import Compat
from amid.core.schedules import PROGRESS, Schedule
from amid.core.terms import SettledTerm, Term


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
    def needs_teacher(self) -> bool:
        """Whether the teacher's logits are read."""
        return any(term.needs_teacher for _, term in self.active_terms)

    @property
    def signals(self) -> frozenset[str]:
        """Names of the signals that the schedules read."""
        return frozenset().union(*(schedule.signals for _, schedule in self.schedules))

    @property
    def measured_signals(self) -> tuple[str, ...]:
        """Names, in order, of the signals that are measured with the loss: all but the progress."""
        return tuple(sorted(self.signals - {PROGRESS}))

    @property
    def schedules(self) -> tuple[tuple[str, Schedule], ...]:
        """The schedules with their names: alpha, lam; with an index when there are several divergences."""
        groups = [schedules for _, term in self.active_terms for schedules in term.schedules]
        return tuple(
            (f"{name}_{index}" if len(groups) > 1 else name, schedule)
            for index, schedules in enumerate(groups)
            for name, schedule in schedules.items()
        )

    def assistants(self) -> dict[str, tuple[Term, Assistant]]:
        """What is mixed at present, with the term it is part of, by what its schedules' names end in ("" or "_0").

        Without those that no gradient flows through.
        """
        groups = [(term, found) for _, term in self.active_terms for found in term.assistants(self.compat)]
        return {
            f"_{index}" if len(groups) > 1 else "": (term, found)
            for index, (term, found) in enumerate(groups)
            if found is not None
        }

    def settled(self, loss_of: Callable[["Objective"], Tensor]) -> dict[str, SettledTerm]:
        """The active terms by name, at their schedules' present values and with every choice made.

        loss_of: the loss, over the same tokens, of an objective that holds one candidate of a choice alone.
        """

        def sum_of(term: Term) -> float:
            with torch.no_grad():
                return float(loss_of(Objective((term,), self.compat)))

        return {name: term.settle(self.compat, sum_of) for name, term in self.active_terms}

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
    """What an objective gives for a batch of tokens.

    loss: scalar, sum over finite tokens of token_weights * value; carries the gradient.
    per_token: detached [N], the value before token_weights; not finite where the token was left out.
    num_nonfinite: scalar int64, how many tokens were left out: their value, or its gradient, is not finite.
    num_dense: scalar int64, for how many tokens the dense form was differentiated, the slow way.
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
