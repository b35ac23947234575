"""Terms: the weighted parts of an objective.

Legend: N labelled tokens; V shared vocabulary; p teacher, q student, r assistant.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from amid.core.alpha_beta import ab
from amid.core.assistants import alpha_mixture, check_lam
from amid.core.divergences import TEACHER_LEFT, Divergence, akl, resolve_divergence, unknown_name_text
from amid.core.logprob import LogProb
from amid.core.schedules import Schedule

Order = Literal["pr", "rp", "qr", "rq"]
ORDERS: tuple[Order, ...] = get_args(Order)
Level: TypeAlias = float | Tensor


@dataclass(frozen=True)
class Compat:
    """Deviations of the reference code that concern the objective; all off by default.

    alpha_ge1_geometric: every alpha >= 1 is the geometric mean (docs/deviations.md).
    native_loss_dtype: log-softmax in the dtype that the models' own logits have, under autocast that of autocast.
    ab_constants: AB always with (0.2, 0.7), whatever was configured.
    akl_swapped: AKL with teacher and student exchanged and gradient through its weights.
    abkd_prefactors: ABKD's factors on AB's singular lines.
    The reference's mean per micro-batch is a matter of token_weights, not of the objective.
    """

    alpha_ge1_geometric: bool = False
    native_loss_dtype: bool = False
    ab_constants: bool = False
    akl_swapped: bool = False
    abkd_prefactors: bool = False


def bind_divergence(
    name: str,
    *,
    function: str | None = None,
    params: Mapping[str, Any] | None = None,
    compat: Compat | None = None,
) -> Divergence:
    """The divergence called `name` (or a user's "module:function") with its parameters bound.

    Raises ValueError if the name is unknown (nearest match named) or a parameter does not exist or is missing.
    """
    given = function or name
    found = resolve_divergence(name, function)
    bound = dict(params or {})
    compat = compat or Compat()
    if found is ab and compat.ab_constants:
        bound |= {"ab_alpha": 0.2, "ab_beta": 0.7}
    if found is ab and compat.abkd_prefactors:
        bound["abkd_prefactors"] = True
    if found is akl and compat.akl_swapped:
        bound["official_swap"] = True
    divergence = functools.partial(found, **bound) if bound else found
    # One tiny evaluation shows a missing or unknown parameter before anything trains.
    uniform = torch.full((1, 2), -math.log(2.0))
    try:
        value = divergence(uniform, uniform)
    except TypeError as err:
        raise ValueError(f"divergence '{given}' does not accept the parameters {sorted(bound)}: {err}") from err
    if not isinstance(value, Tensor) or value.shape != (1,):
        raise ValueError(f"divergence '{given}' must map [N, V] x2 to a tensor [N]; its result is {value!r}")
    return divergence


def _unbound(divergence: Divergence) -> Callable[..., Tensor]:
    return divergence.func if isinstance(divergence, functools.partial) else divergence


def check_order(order: str, *, lowest_lam: float, highest_lam: float) -> None:
    """Raises ValueError for an unknown order, or for a lam at which the divergence is identically 0."""
    if order not in ORDERS:
        raise ValueError(unknown_name_text("order", order, ORDERS))
    if "p" in order and highest_lam >= 1.0:
        raise ValueError(
            f"amid.lam {highest_lam} makes r equal to the teacher, so order '{order}' is 0 everywhere; "
            "use lam below 1, or an order with q"
        )
    if "q" in order and lowest_lam <= 0.0:
        raise ValueError(
            f"amid.lam {lowest_lam} makes r equal to the student, so order '{order}' is 0 everywhere; "
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
        if not (math.isfinite(self.weight) and self.weight >= 0.0):
            raise ValueError(f"the weight of a term must be finite and at least 0, got {self.weight}")
        if self.detach_student and (self.alpha is None or "p" in self.order):
            raise ValueError(
                f"detach_student with order '{self.order}' and alpha {'null' if self.alpha is None else 'set'} leaves "
                "no gradient or has no effect; use it with an assistant in order qr or rq"
            )
        if _unbound(self.divergence) in TEACHER_LEFT and (self.order != "pr" or self.alpha is not None):
            raise ValueError(
                f"divergence '{self.divergence_name}' takes its weights from the teacher: order must be pr with alpha "
                f"null, got order {self.order} with alpha {'null' if self.alpha is None else 'set'}"
            )

    @property
    def divergence_name(self) -> str:
        """Name of the divergence's function."""
        return getattr(_unbound(self.divergence), "__name__", type(self.divergence).__name__)

    @property
    def name(self) -> str:
        """Name in logs, such as ab_pr."""
        return f"{self.divergence_name}_{self.order}"

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
        if not (math.isfinite(self.weight) and self.weight >= 0.0):
            raise ValueError(f"the weight of a term must be finite and at least 0, got {self.weight}")

    @property
    def name(self) -> str:
        """Name in logs, such as max_ab_pr."""
        return f"max_{self.candidates[0].name}"


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy -log q of the label, per token; needs no teacher. weight: factor in the objective, at least 0."""

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0.0):
            raise ValueError(f"the weight of a term must be finite and at least 0, got {self.weight}")

    @property
    def name(self) -> str:
        """Name in logs."""
        return "cross_entropy"


Term: TypeAlias = DivergenceTerm | MaxDivergence | CrossEntropy
