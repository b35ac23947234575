"""Which objectives have a gradient in closed form: one KL, AB or GJS term, beside any cross-entropy.

The arithmetic is in `block`.
"""

import functools
from dataclasses import dataclass

from torch import Tensor

from amid.core.alpha_beta import ab
from amid.core.dense import SettledTerm
from amid.core.divergences import Divergence, gjs, js, kl
from amid.core.objective import Objective
from amid.core.terms import CrossEntropy

# Below this |A|, |B| or |A + B| the closed form of AB loses digits; the dense form is used.
SMALLEST_AB = 0.05


@dataclass(frozen=True)
class ClosedForm:
    """At most one divergence term and the sum of the cross-entropy terms, with every number decided.

    order: of the divergence, None without one. powers: (A, B) of AB. mixture: the left argument's weight in GJS.
    Neither: KL. kappa: None without an assistant.
    """

    order: str | None
    powers: tuple[float, float] | None
    mixture: float | None
    kappa: float | None
    lam: float
    detached: bool
    weight: float
    label_weight: float


def _parameters(divergence: Divergence) -> tuple[tuple[float, float] | None, float | None] | None:
    """(powers, mixture) of a divergence, both None for KL; None for a divergence without closed form."""
    if divergence is kl:
        return None, None
    if divergence is js:
        return None, 0.5
    bound = divergence if isinstance(divergence, functools.partial) else functools.partial(divergence)
    if bound.args:
        return None
    if bound.func is gjs and set(bound.keywords) == {"gjs_weight"} and 0.0 < bound.keywords["gjs_weight"] < 1.0:
        return None, float(bound.keywords["gjs_weight"])
    if bound.func is ab and set(bound.keywords) == {"ab_alpha", "ab_beta"}:
        first, second = float(bound.keywords["ab_alpha"]), float(bound.keywords["ab_beta"])
        if min(abs(first), abs(second), abs(first + second)) >= SMALLEST_AB:
            return (first, second), None
    return None


def closed_form_of(settled: tuple[SettledTerm, ...], objective: Objective) -> ClosedForm | None:
    """The closed form of settled terms, or None where there is none and the dense form must be differentiated."""
    divergences = [s for s in settled if not isinstance(s.term, CrossEntropy)]
    label_weight = sum(s.weight for s in settled if isinstance(s.term, CrossEntropy))
    if len(divergences) > 1 or objective.compat.native_loss_dtype:
        return None
    if not divergences:
        return ClosedForm(None, None, None, None, 0.5, False, 0.0, label_weight)
    s = divergences[0]
    assert not isinstance(s.term, CrossEntropy)
    parameters = _parameters(s.term.divergence)
    if parameters is None or isinstance(s.alpha, Tensor) or isinstance(s.lam, Tensor):
        return None
    order: str = s.term.order
    kappa = None if s.alpha is None else (1.0 - s.alpha) / 2.0
    # An end point of lam is no assistant; the order has been checked not to hold that very end point.
    if kappa is not None and s.lam in (0.0, 1.0):
        if s.term.detach_student and s.lam == 0.0:
            return None
        order = order.replace("r", "q" if s.lam == 0.0 else "p")
        kappa = None
    elif kappa is None:
        order = order.replace("r", "q" if "p" in order else "p")
    powers, mixture = parameters
    if mixture is not None and kappa is not None:
        return None
    return ClosedForm(
        order=order,
        powers=powers,
        mixture=mixture,
        kappa=kappa,
        lam=s.lam,
        detached=s.term.detach_student,
        weight=s.weight,
        label_weight=label_weight,
    )
