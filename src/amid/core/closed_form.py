"""Closed-form values and logit gradients of KL, AB and GJS terms, for a block of tokens small enough to stay in cache.

Legend: b tokens of a block; V shared vocabulary; p teacher, q student, r assistant; w = d log r~ / d log q; A, B the AB
parameters, S = A + B. Everything is written into reused buffers [b, V]; the student's logits become the gradient.

Derived here from paper Eqs. 7-11. With G the derivative of the value in log r and D that in log q:
U = D + w (G - r sum G), gradient = U - q sum U.
"""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from amid.core.alpha_beta import ab, ab_terms
from amid.core.assistants import GEOMETRIC_KAPPA, log_power_mean
from amid.core.dense import SettledTerm
from amid.core.divergences import Divergence, gjs, js, kl
from amid.core.objective import Objective
from amid.core.terms import CrossEntropy

# Below this |A|, |B| or |A + B| the closed form of AB loses digits; the dense form is used.
SMALLEST_AB = 0.05
# Below this |kappa| log(w) / kappa loses digits; the power mean is taken in its dense form.
SMALLEST_KAPPA = 0.2
# An AB value below this share of the sum of its terms has lost digits to cancellation and is taken again, stably.
CANCELLED_SHARE = 2e-3
# A normaliser below this has lost digits to underflow; the token is evaluated by the dense form.
SMALLEST_NORMALISER = 1e-30


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


class Buffers:
    """Named [b, V] float32 buffers, allocated once and reused for every block."""

    def __init__(self, rows: int, vocab_size: int, device: torch.device) -> None:
        self._shape = (rows, vocab_size)
        self._device = device
        self._buffers: dict[str, Tensor] = {}

    def get(self, name: str, rows: int) -> Tensor:
        """The first `rows` rows of the buffer called `name`; its content is whatever was left there."""
        if name not in self._buffers:
            self._buffers[name] = torch.empty(self._shape, dtype=torch.float32, device=self._device)
        return self._buffers[name][:rows]


@dataclass
class BlockResult:
    """Values per token of one block, and how to finish its gradient.

    divergence, cross_entropy: [b] without weights, or None. upstream: U [b, V] or None; upstream_sum [b, 1].
    usable: [b] bool; False where the closed form lost digits or is undefined, for the dense form to decide.
    """

    divergence: Tensor | None
    cross_entropy: Tensor | None
    upstream: Tensor | None
    upstream_sum: Tensor | None
    usable: Tensor
    log_p: Tensor | None
    log_q: Tensor
    q: Tensor


def _assistant(form: ClosedForm, log_p: Tensor, log_q: Tensor, buffers: Buffers) -> tuple[Tensor, Tensor | float]:
    """Log of r up to a factor per token, and w; both in buffers."""
    rows = log_p.shape[0]
    log_r, w = buffers.get("log_r", rows), buffers.get("w", rows)
    kappa, lam = form.kappa, form.lam
    assert kappa is not None
    if math.isinf(kappa):
        half = torch.full((), 0.5, device=log_p.device)
        largest = kappa > 0
        (torch.maximum if largest else torch.minimum)(log_p, log_q, out=log_r)
        torch.sub(log_q, log_p, out=w) if largest else torch.sub(log_p, log_q, out=w)
        return log_r, torch.heaviside(w, half, out=w)
    if abs(kappa) < GEOMETRIC_KAPPA:
        torch.mul(log_p, lam, out=log_r).add_(log_q, alpha=1.0 - lam)
        return log_r, 1.0 - lam
    # w is a sigmoid; where the teacher weighs more, its complement is: r~ = q (w / (1 - lam))^(-1/kappa)
    # = p ((1 - w) / lam)^(-1/kappa). The larger weight keeps the factor of lam, which the normaliser takes up, near 1.
    from_student = lam <= 0.5
    odds = math.log1p(-lam) - math.log(lam)
    sign = 1.0 if from_student else -1.0
    torch.sub(log_q, log_p, out=w).mul_(sign * kappa).add_(sign * odds)
    if abs(kappa) < SMALLEST_KAPPA:
        log_r.copy_(log_power_mean(log_p, log_q, kappa=kappa, lam=lam))
        w.mul_(sign).sigmoid_()
        return log_r, w
    if kappa > 0:
        # Underflow gives r~ = inf and an unusable token, never a wrong finite value.
        torch.log(w.sigmoid_(), out=log_r)
    else:
        log_r.copy_(torch.nn.functional.logsigmoid(w))
        torch.exp(log_r, out=w)
    torch.add(log_q if from_student else log_p, log_r, alpha=-1.0 / kappa, out=log_r)
    return log_r, w if from_student else w.neg_().add_(1.0)


def _times(x: Tensor, w: Tensor | float) -> Tensor:
    return x.mul_(w)


def _kl_block(
    form: ClosedForm, logs: dict[str, Tensor], q: Tensor, w: Tensor | float, buffers: Buffers
) -> tuple[Tensor, Tensor, Tensor | None]:
    """KL per token, U, and the normaliser of r (None without an assistant)."""
    assert form.order is not None
    left, right = form.order[0], form.order[1]
    rows = q.shape[0]
    difference, scratch = buffers.get("u", rows), buffers.get("x", rows)
    torch.sub(logs[left], logs[right], out=difference)
    if form.kappa is None:
        if left == "q":
            upstream = difference.mul_(q)
            return upstream.sum(-1, keepdim=True), upstream, None
        p = torch.exp(logs["p"], out=buffers.get("y", rows))
        value = torch.mul(difference, p, out=scratch).sum(-1, keepdim=True)
        return value, torch.neg(p, out=difference), None
    r = torch.exp(logs["r"], out=buffers.get("r", rows))
    normaliser = r.sum(-1, keepdim=True)
    r.div_(normaliser)
    log_normaliser = normaliser.log()
    if left == "r":
        inner = torch.mul(difference, r, out=scratch).sum(-1, keepdim=True)
        value = inner - log_normaliser
        if form.detached:
            return value, torch.neg(r, out=difference), normaliser
        upstream = _times(difference.sub_(inner).mul_(r), w)
        if right == "q":
            upstream.sub_(r)
        return value, upstream, normaliser
    if left == "p":
        p = torch.exp(logs["p"], out=buffers.get("y", rows))
        value = torch.mul(difference, p, out=scratch).sum(-1, keepdim=True) + log_normaliser
        return value, _times(torch.sub(r, p, out=difference), w), normaliser
    # Constants times q in U do not change the gradient, so log r needs no normalising here.
    upstream = difference.mul_(q)
    value = upstream.sum(-1, keepdim=True) + log_normaliser
    if not form.detached:
        upstream.add_(_times(torch.sub(r, q, out=scratch), w))
    return value, upstream, normaliser


def _gjs_block(
    form: ClosedForm, logs: dict[str, Tensor], q: Tensor, w: Tensor | float, buffers: Buffers
) -> tuple[Tensor, Tensor, Tensor | None]:
    """GJS of p and q per token, U = (1 - weight of p) q (log q - log m), and no normaliser."""
    assert form.order is not None
    assert form.mixture is not None
    of_teacher = form.mixture if form.order[0] == "p" else 1.0 - form.mixture
    rows = q.shape[0]
    p = torch.exp(logs["p"], out=buffers.get("y", rows))
    # Underflow of both p and q gives 0 * inf and an unusable token, never a wrong finite value.
    log_m = torch.mul(p, of_teacher, out=buffers.get("x", rows)).add_(q, alpha=1.0 - of_teacher).log_()
    from_p = torch.sub(logs["p"], log_m, out=buffers.get("u", rows)).mul_(p).sum(-1, keepdim=True)
    upstream = torch.sub(logs["q"], log_m, out=buffers.get("u", rows)).mul_(q)
    value = of_teacher * from_p + (1.0 - of_teacher) * upstream.sum(-1, keepdim=True)
    return value, upstream.mul_(1.0 - of_teacher), None


def _ab_value(
    form: ClosedForm,
    logs: dict[str, Tensor],
    normaliser: Tensor | None,
    inner_sum: Tensor,
    other_sum: Tensor,
    cross_sum: Tensor,
    inner_power: float,
    other_power: float,
) -> Tensor:
    """AB per token [b, 1] from its three sums [b, 1]; tokens near 0 are summed again without cancellation."""
    assert form.order is not None
    assert form.powers is not None
    product, total = inner_power * other_power, inner_power + other_power
    shares = (inner_power / total * inner_sum / product, other_power / total * other_sum / product)
    crossed = cross_sum / product
    value = shares[0] + shares[1] - crossed
    near_zero = value < CANCELLED_SHARE * (shares[0].abs() + shares[1].abs() + crossed.abs())
    if bool(near_zero.any()):
        rows = near_zero.squeeze(-1).nonzero().squeeze(-1)
        kept = {letter: log[rows] for letter, log in logs.items()}
        if normaliser is not None:
            kept["r"] = kept["r"] - normaliser[rows].log()
        terms = ab_terms(kept[form.order[0]], kept[form.order[1]], ab_alpha=form.powers[0], ab_beta=form.powers[1])
        value[rows] = terms.sum(-1, keepdim=True)
    return value


def _ab_block(
    form: ClosedForm, logs: dict[str, Tensor], q: Tensor, w: Tensor | float, buffers: Buffers
) -> tuple[Tensor, Tensor, Tensor | None]:
    """AB per token, U, and the normaliser of r (None without an assistant)."""
    assert form.order is not None
    assert form.powers is not None
    left, right = form.order[0], form.order[1]
    first, second = form.powers
    total = first + second
    rows = q.shape[0]
    inner = "q" if form.kappa is None else "r"
    # The argument that holds the student, and the other one, each with its power.
    other, inner_power, other_power = (left, second, first) if right == inner else (right, first, second)
    cross = torch.mul(logs[other], other_power, out=buffers.get("y", rows)).add_(logs[inner], alpha=inner_power).exp_()
    inner_total = torch.mul(logs[inner], total, out=buffers.get("x", rows)).exp_()
    other_total = torch.mul(logs[other], total, out=buffers.get("u", rows)).exp_()
    cross_sum, inner_sum = cross.sum(-1, keepdim=True), inner_total.sum(-1, keepdim=True)
    other_sum = other_total.sum(-1, keepdim=True)
    if form.kappa is None:
        value = _ab_value(form, logs, None, inner_sum, other_sum, cross_sum, inner_power, other_power)
        return value, inner_total.sub_(cross).div_(other_power), None
    r = torch.exp(logs["r"], out=buffers.get("r", rows))
    normaliser = r.sum(-1, keepdim=True)
    # The normaliser of r enters as powers of one number per token.
    to_total, to_inner = normaliser.pow(-total), normaliser.pow(-inner_power)
    inner_sum, cross_sum = inner_sum * to_total, cross_sum * to_inner
    value = _ab_value(form, logs, normaliser, inner_sum, other_sum, cross_sum, inner_power, other_power)
    if form.detached:
        upstream = other_total.addcmul_(cross, to_inner, value=-1.0)
        return value, upstream.div_(inner_power), normaliser
    gradient_sum = (inner_sum - cross_sum) / other_power
    upstream = inner_total.mul_(to_total / other_power).addcmul_(cross, to_inner / -other_power)
    upstream = _times(upstream.addcmul_(r, gradient_sum / -normaliser), w)
    if other == "q":
        upstream.add_(other_total, alpha=1.0 / inner_power).addcmul_(cross, to_inner / -inner_power)
    return value, upstream, normaliser


def closed_form_block(
    form: ClosedForm, z: Tensor, teacher_z: Tensor | None, labels: Tensor | None, buffers: Buffers
) -> BlockResult:
    """Values of a block of logits z, teacher_z [b, V], and everything its gradient needs; z is left as it is."""
    rows = z.shape[0]
    log_q = torch.log_softmax(z, dim=-1, out=buffers.get("log_q", rows))
    q = torch.exp(log_q, out=buffers.get("q", rows))
    cross_entropy = None
    usable = torch.ones(rows, dtype=torch.bool, device=z.device)
    if form.label_weight:
        assert labels is not None
        cross_entropy = -log_q.gather(1, labels.unsqueeze(1)).squeeze(1)
        usable &= torch.isfinite(cross_entropy)
    if form.order is None:
        return BlockResult(None, cross_entropy, None, None, usable, None, log_q, q)
    assert teacher_z is not None
    log_p = torch.log_softmax(teacher_z, dim=-1, out=buffers.get("log_p", rows))
    logs = {"p": log_p, "q": log_q}
    w: Tensor | float = 1.0
    if form.kappa is not None:
        logs["r"], w = _assistant(form, log_p, log_q, buffers)
    block = _gjs_block if form.mixture is not None else _kl_block if form.powers is None else _ab_block
    value, upstream, normaliser = block(form, logs, q, w, buffers)
    upstream_sum = upstream.sum(-1, keepdim=True)
    usable &= torch.isfinite(value + upstream_sum).squeeze(-1)
    if normaliser is not None:
        usable &= (normaliser > SMALLEST_NORMALISER).squeeze(-1)
    return BlockResult(value.squeeze(-1), cross_entropy, upstream, upstream_sum, usable, log_p, log_q, q)


def write_gradient(form: ClosedForm, result: BlockResult, labels: Tensor | None, out: Tensor) -> None:
    """None; writes the gradient of the weighted values with respect to the logits, [b, V], into out."""
    if result.upstream is None:
        torch.mul(result.q, form.label_weight, out=out)
    else:
        assert result.upstream_sum is not None
        if form.weight != 1.0:
            result.upstream.mul_(form.weight)
        factor = form.label_weight - form.weight * result.upstream_sum
        torch.addcmul(result.upstream, result.q, factor, out=out)
    if form.label_weight:
        assert labels is not None
        index = labels.unsqueeze(1)
        out.scatter_add_(1, index, torch.full(index.shape, -form.label_weight, device=out.device))
