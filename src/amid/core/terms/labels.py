"""The cross-entropy of the labels.

Legend: N labelled tokens; V shared vocabulary; q student.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from amid.core.assistants import Assistant
from amid.core.closed_form import ClosedForm
from amid.core.compat import Compat
from amid.core.logprob import LogProb
from amid.core.schedules import Schedule
from amid.core.terms.term import LABELS, Term, TokenInputs, check_labels, check_weight


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy -log q of the label, per token; needs no teacher. weight: factor in the objective, at least 0.

    It has nothing to settle, so it is its own settled form.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        check_weight(self.weight)

    @property
    def name(self) -> str:
        """Name in logs."""
        return "cross_entropy"

    @property
    def needs_teacher(self) -> bool:
        """False: labels are all it reads."""
        return False

    @property
    def schedules(self) -> tuple[Mapping[str, Schedule], ...]:
        """None."""
        return ()

    def assistants(self, compat: Compat) -> tuple[Assistant | None, ...]:
        """None: it has no divergence."""
        return ()

    def check(self, inputs: TokenInputs, *, vocab_size: int) -> None:
        """Raises ValueError if labels are missing or lie outside V."""
        check_labels(inputs, vocab_size=vocab_size)

    def settle(self, compat: Compat, sum_of: Callable[[Term], float]) -> "CrossEntropy":
        """Itself."""
        return self

    def rows(self, rows: Tensor | slice) -> "CrossEntropy":
        """Itself, for any tokens."""
        return self

    def per_token(self, log_p: LogProb | None, log_q: LogProb, inputs: TokenInputs) -> Tensor:
        """-log q of the label: log_q [N, V], labels [N] -> [N]."""
        return -log_q.gather(-1, inputs[LABELS].unsqueeze(-1)).squeeze(-1)

    def signals(self, log_p: LogProb, log_q: LogProb) -> Mapping[str, Tensor]:
        """None: it has no schedules."""
        return {}

    def closed_form(self) -> ClosedForm:
        """The labels' part."""
        return ClosedForm(label_weight=self.weight)
