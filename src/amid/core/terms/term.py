"""What an objective asks of its terms: each brings its own needs, values, signals and closed form.

A new kind of term is one class with these members: nothing else in core knows which kinds there are.
Legend: N labelled tokens; V shared vocabulary; p teacher, q student.
"""

import math
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from torch import Tensor

from amid.core.assistants import Assistant
from amid.core.closed_form import ClosedForm
from amid.core.compat import Compat
from amid.core.logprob import LogProb
from amid.core.schedules import Schedule

# A number for all tokens, or a tensor [N, 1].
Level: TypeAlias = float | Tensor
# What is known of every token, by name: tensors [N, ...].
TokenInputs: TypeAlias = Mapping[str, Tensor]
LABELS = "labels"


class SettledTerm(Protocol):
    """A term with everything decided for one batch: present values of schedules, no choice left to make."""

    @property
    def weight(self) -> float:
        """Factor in the objective."""

    def rows(self, rows: Tensor | slice) -> "SettledTerm":
        """The same term for some of the tokens."""

    def per_token(self, log_p: LogProb | None, log_q: LogProb, inputs: TokenInputs) -> Tensor:
        """Value per token, without the weight: log_p, log_q [N, V], inputs [N, ...] -> [N], differentiable in log_q."""

    def signals(self, log_p: LogProb, log_q: LogProb) -> Mapping[str, Tensor]:
        """Per token [N], by name: the signals of its schedules that only the term itself can measure."""

    def closed_form(self) -> ClosedForm | None:
        """Its part, weight included, of what `block` computes; None to be differentiated by autograd."""


class Term(Protocol):
    """A weighted part of an objective."""

    @property
    def name(self) -> str:
        """Name in logs."""

    @property
    def weight(self) -> float:
        """Factor in the objective, at least 0."""

    @property
    def needs_teacher(self) -> bool:
        """Whether the teacher's distribution is read."""

    @property
    def schedules(self) -> tuple[Mapping[str, Schedule], ...]:
        """Schedules by name, one mapping (perhaps empty) per divergence of the term."""

    def assistants(self, compat: Compat) -> tuple[Assistant | None, ...]:
        """What is mixed for each divergence of the term; None without an assistant that a gradient flows through."""

    def check(self, inputs: TokenInputs, *, vocab_size: int) -> None:
        """Raises ValueError unless the inputs hold what the term reads, within range."""

    def settle(self, compat: Compat, sum_of: Callable[["Term"], float]) -> SettledTerm:
        """The term as it is now, after the compat rules.

        sum_of: a candidate's weighted sum over the finite tokens of the batch, for a term that has a choice to make.
        """


def check_labels(inputs: TokenInputs, *, vocab_size: int) -> None:
    """Raises ValueError if labels are missing or lie outside V."""
    if LABELS not in inputs:
        raise ValueError("this term needs labels; pass labels of the labelled tokens")
    labels = inputs[LABELS]
    if labels.numel() and not bool(((labels >= 0) & (labels < vocab_size)).all()):
        raise ValueError(
            f"labels must lie in [0, {vocab_size}), got {int(labels.min())} .. {int(labels.max())}; "
            "drop unlabelled tokens before the loss"
        )


def check_weight(weight: float) -> None:
    """Raises ValueError unless a term's weight is finite and at least 0."""
    if not (math.isfinite(weight) and weight >= 0.0):
        raise ValueError(f"the weight of a term must be finite and at least 0, got {weight}")
