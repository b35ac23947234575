"""The clipped policy gradient of texts that were sampled earlier.

Legend: N labelled tokens; V shared vocabulary; q student, b the distribution that the labels were sampled from.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from amid.core.assistants import Assistant
from amid.core.closed_form import ClosedForm
from amid.core.compat import Compat
from amid.core.logprob import LogProb
from amid.core.schedules import Schedule
from amid.core.terms.term import LABELS, Term, TokenInputs, check_labels, check_weight

ADVANTAGE = "advantage"
BEHAVIOUR_LOG_PROB = "behaviour_log_prob"


@dataclass(frozen=True)
class PolicyGradient:
    """max( -A rho, -A clip(rho, 1 - clip_ratio, 1 + clip_ratio) ) per token, with rho = q(y) / b(y) of the label y.

    The inputs `advantage` (A) and `behaviour_log_prob` (log b(y)) are numbers of the sampled text, without gradient.
    clip_ratio: above 0; infinite does not clip. weight: factor in the objective, at least 0.
    Source: MiniLLM (Gu et al. 2024), whose importance weight q_old / b times q / q_old is this ratio.
    """

    clip_ratio: float = 0.2
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_weight(self.weight)
        if math.isnan(self.clip_ratio) or self.clip_ratio <= 0.0:
            raise ValueError(f"the clip_ratio of a policy gradient must be above 0, got {self.clip_ratio}")

    @property
    def name(self) -> str:
        """Name in logs."""
        return "policy_gradient"

    @property
    def needs_teacher(self) -> bool:
        """False: what the teacher says is in the advantages."""
        return False

    @property
    def schedules(self) -> tuple[Mapping[str, Schedule], ...]:
        """None."""
        return ()

    def assistants(self, compat: Compat) -> tuple[Assistant | None, ...]:
        """None: it has no divergence."""
        return ()

    def check(self, inputs: TokenInputs, *, vocab_size: int) -> None:
        """Raises ValueError if the labels or what was kept of their sampling are missing."""
        missing = [name for name in (ADVANTAGE, BEHAVIOUR_LOG_PROB) if name not in inputs]
        if missing:
            raise ValueError(f"a policy gradient reads sampled text; inputs without {', '.join(missing)}")
        check_labels(inputs, vocab_size=vocab_size)

    def settle(self, compat: Compat, sum_of: Callable[[Term], float]) -> "PolicyGradient":
        """Itself: it has nothing to settle."""
        return self

    def rows(self, rows: Tensor | slice) -> "PolicyGradient":
        """Itself, for any tokens."""
        return self

    def per_token(self, log_p: LogProb | None, log_q: LogProb, inputs: TokenInputs) -> Tensor:
        """The clipped term: log_q [N, V]; labels, advantage, behaviour_log_prob [N] -> [N]."""
        log_label = log_q.gather(-1, inputs[LABELS].unsqueeze(-1)).squeeze(-1)
        ratio = torch.exp(log_label - inputs[BEHAVIOUR_LOG_PROB])
        clipped = ratio.clamp(1.0 - self.clip_ratio, 1.0 + self.clip_ratio)
        return torch.maximum(-inputs[ADVANTAGE] * ratio, -inputs[ADVANTAGE] * clipped)

    def signals(self, log_p: LogProb, log_q: LogProb) -> Mapping[str, Tensor]:
        """None: it has no schedules."""
        return {}

    def closed_form(self) -> ClosedForm | None:
        """None: differentiated by autograd."""
        return None
