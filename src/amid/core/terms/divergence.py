"""A divergence between two of teacher, student and assistant.

Legend: N labelled tokens; V shared vocabulary; p teacher, q student, r assistant.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from amid.core.assistants import Assistant, alpha_mixture, check_lam, rows_of
from amid.core.closed_form import ClosedForm
from amid.core.compat import Compat
from amid.core.declaration import Divergence, declaration_of, function_of, kernel_of
from amid.core.divergences import unknown_name_text
from amid.core.logprob import LogProb
from amid.core.schedules import ASSISTANT_CROSS_ENTROPY, Schedule
from amid.core.terms.term import Level, Term, TokenInputs, check_weight

Order = Literal["pr", "rp", "qr", "rq"]
ORDERS: tuple[Order, ...] = get_args(Order)


def check_order(order: str, *, lowest_lam: float, highest_lam: float) -> None:
    """Raises ValueError for an unknown order, or for a lam at which the divergence is identically 0."""
    if order not in ORDERS:
        raise ValueError(unknown_name_text("order", order, ORDERS))
    if "p" in order and highest_lam >= 1.0:
        raise ValueError(
            f"lam {highest_lam} makes r equal to the teacher, so order '{order}' is 0 everywhere; "
            "use lam below 1, or an order with q"
        )
    if "q" in order and lowest_lam <= 0.0:
        raise ValueError(
            f"lam {lowest_lam} makes r equal to the student, so order '{order}' is 0 everywhere; "
            "use lam above 0, or an order with p"
        )


@dataclass(frozen=True)
class DivergenceTerm:
    """A divergence between two of teacher p, student q and assistant r.

    divergence: left, right -> value per token, parameters bound. order: its left and right argument.
    alpha: geometry of the assistant; None means no assistant: r is the end point that `order` does not hold
    (q for pr and rp, p for qr and rq), and `lam` has no effect.
    lam: weight of the teacher in r. detach_student: no gradient through the q inside r (TAID; AMiD lets it flow).
    weight: factor in the objective, at least 0.
    Raises ValueError for an unknown order, a lam at which the value is identically 0 (docs/deviations.md), a detached
    student that leaves no gradient or has no effect, or a divergence that needs the teacher on its left.
    """

    divergence: Divergence
    order: Order
    alpha: Schedule | None
    lam: Schedule
    detach_student: bool = False
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.alpha is None:
            check_order(self.order, lowest_lam=0.5, highest_lam=0.5)
        else:
            lowest, highest = self.lam.bounds()
            check_lam(lowest)
            check_lam(highest)
            check_order(self.order, lowest_lam=lowest, highest_lam=highest)
        check_weight(self.weight)
        if self.detach_student and (self.alpha is None or "p" in self.order):
            raise ValueError(
                f"detach_student with order '{self.order}' and alpha {'null' if self.alpha is None else 'set'} leaves "
                "no gradient or has no effect; use it with an assistant in order qr or rq"
            )
        if declaration_of(self.divergence).teacher_left and (self.order != "pr" or self.alpha is not None):
            raise ValueError(
                f"divergence '{self.divergence_name}' takes its weights from the teacher: order must be pr with alpha "
                f"null, got order {self.order} with alpha {'null' if self.alpha is None else 'set'}"
            )

    @property
    def divergence_name(self) -> str:
        """Name of the divergence's function."""
        return getattr(function_of(self.divergence), "__name__", type(self.divergence).__name__)

    @property
    def name(self) -> str:
        """Name in logs, such as ab_pr."""
        return f"{self.divergence_name}_{self.order}"

    @property
    def needs_teacher(self) -> bool:
        """True: p is an argument, or part of r."""
        return True

    @property
    def schedules(self) -> tuple[Mapping[str, Schedule], ...]:
        """Alpha and lam; neither without an assistant."""
        return ({} if self.alpha is None else {"alpha": self.alpha, "lam": self.lam},)

    def assistants(self, compat: Compat) -> tuple[Assistant | None, ...]:
        """The one assistant; None for none, and for one with a detached student."""
        alpha = self._alpha_now(compat)
        if alpha is None or self.detach_student:
            return (None,)
        return (Assistant(alpha, self.lam.value(), self.order),)

    def check(self, inputs: TokenInputs, *, vocab_size: int) -> None:
        """A divergence reads no inputs."""

    def settle(self, compat: Compat, sum_of: Callable[[Term], float]) -> "SettledDivergence":
        """The term at present alpha and lam."""
        alpha = self._alpha_now(compat)
        return SettledDivergence(self, alpha, 0.5 if alpha is None else self.lam.value(), self.weight)

    def _alpha_now(self, compat: Compat) -> Level | None:
        """The present alpha after the compat rules; None without an assistant."""
        if self.alpha is None:
            return None
        alpha = self.alpha.value()
        if compat.alpha_ge1_geometric:
            alpha = alpha.clamp(max=1.0) if isinstance(alpha, Tensor) else min(alpha, 1.0)
        return alpha

    def assistant(self, log_p: LogProb, log_q: LogProb, *, alpha: Level | None, lam: Level) -> LogProb:
        """Log of r, [..., V]; alpha None gives the end point that the order does not hold."""
        if alpha is None:
            return log_q if "p" in self.order else log_p
        return alpha_mixture(log_p, log_q.detach() if self.detach_student else log_q, alpha=alpha, lam=lam)

    def per_token(self, log_p: LogProb, log_q: LogProb, *, alpha: Level | None, lam: Level) -> Tensor:
        """Divergence per token, without `weight`; [..., V] x2 -> [...].

        alpha, lam: the values to use, a float or a tensor [..., 1]; alpha None for no assistant.
        Raises ValueError if lam makes the order's two arguments equal, or either is out of range.
        """
        if alpha is not None:
            low, high = (float(lam.min()), float(lam.max())) if isinstance(lam, Tensor) and lam.numel() else (lam, lam)
            check_order(self.order, lowest_lam=float(low), highest_lam=float(high))
        by_letter = {"p": log_p, "q": log_q, "r": self.assistant(log_p, log_q, alpha=alpha, lam=lam)}
        return self.divergence(by_letter[self.order[0]], by_letter[self.order[1]])


@dataclass(frozen=True)
class SettledDivergence:
    """A divergence term at one alpha (None for no assistant) and one lam; weight: factor in the objective."""

    term: DivergenceTerm
    alpha: Level | None
    lam: Level
    weight: float

    def rows(self, rows: Tensor | slice) -> "SettledDivergence":
        """The same for some of the tokens."""
        alpha = None if self.alpha is None else rows_of(self.alpha, rows)
        return replace(self, alpha=alpha, lam=rows_of(self.lam, rows))

    def per_token(self, log_p: LogProb | None, log_q: LogProb, inputs: TokenInputs) -> Tensor:
        """Divergence per token, without the weight: log_p, log_q [N, V] -> [N]."""
        assert log_p is not None
        return self.term.per_token(log_p, log_q, alpha=self.alpha, lam=self.lam)

    def signals(self, log_p: LogProb, log_q: LogProb) -> Mapping[str, Tensor]:
        """The assistant's cross-entropy -sum r log q, where a schedule of the term reads it."""
        read = frozenset[str]().union(*(each.signals for found in self.term.schedules for each in found.values()))
        if self.alpha is None or ASSISTANT_CROSS_ENTROPY not in read:
            return {}
        log_r = alpha_mixture(log_p, log_q, alpha=self.alpha, lam=self.lam)
        # Where r has no mass its product is 0, not 0 times an infinite logarithm.
        return {ASSISTANT_CROSS_ENTROPY: -(torch.exp(log_r) * log_q.masked_fill(log_r.isneginf(), 0.0)).sum(-1)}

    def closed_form(self) -> ClosedForm | None:
        """That of the divergence's kernel; None for one without, and for an alpha or lam per token."""
        kernel = kernel_of(self.term.divergence)
        if kernel is None or isinstance(self.alpha, Tensor) or isinstance(self.lam, Tensor):
            return None
        order: str = self.term.order
        kappa = None if self.alpha is None else (1.0 - self.alpha) / 2.0
        # An end point of lam is no assistant; the order has been checked not to hold that very end point.
        if kappa is not None and self.lam in (0.0, 1.0):
            if self.term.detach_student and self.lam == 0.0:
                return None
            order = order.replace("r", "q" if self.lam == 0.0 else "p")
            kappa = None
        elif kappa is None:
            order = order.replace("r", "q" if "p" in order else "p")
        if kernel.mixture is not None and kappa is not None:
            return None
        return ClosedForm(
            order=order,
            powers=kernel.powers,
            mixture=kernel.mixture,
            kappa=kappa,
            lam=self.lam,
            detached=self.term.detach_student,
            weight=self.weight,
        )
