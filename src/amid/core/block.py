"""Values and logit gradients in closed form, for a block of tokens whose working set stays in cache.

Legend: b tokens of a block; V shared vocabulary; p teacher, q student, r assistant, each [b, V];
w = d log r~ / d log q; A, B the AB parameters, S = A + B. Everything is written into reused buffers [b, V].
Logarithms of [b, V] are to base 2: on the CPUs measured torch's exp2 takes a quarter of the time of its exp.

Derived here from paper Eqs. 7-11. With G the derivative of the value in log r and D that in log q:
U = D + w (G - r sum G), gradient = U - q sum U.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from amid.core.alpha_beta import ab_terms
from amid.core.assistants import GEOMETRIC_KAPPA, log_power_mean
from amid.core.closed_form import ClosedForm

LN2 = math.log(2.0)
# Below this |kappa| the weights of p and q in the power mean, lam^(1/kappa), leave float32; its dense form is used.
SMALLEST_KAPPA = 0.2
# An AB value below this share of the sum of its terms has lost digits to cancellation and is taken again, stably.
CANCELLED_SHARE = 2e-3
# A normaliser below this has lost digits to underflow; the token takes the dense form.
SMALLEST_NORMALISER = 1e-30
# Terms beyond this are left to the dense form, which decides whether float32 carries their gradient.
LARGEST_TERM = 1e12
# What a mixture of two probabilities that both underflow is taken for: its logarithm must be finite.
SMALLEST_PROBABILITY = 1e-37

# Multiplies [b, V] by w, in place, and returns it.
Weigh = Callable[[Tensor], Tensor]


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


@dataclass(frozen=True)
class _Logs:
    """Base-2 logarithms [b, V] of teacher p, student q, and assistant r up to a factor per token (None without one)."""

    p: Tensor
    q: Tensor
    r: Tensor | None = None

    def of(self, letter: str) -> Tensor:
        """The logarithms of p, q or r."""
        found = {"p": self.p, "q": self.q, "r": self.r}[letter]
        assert found is not None
        return found


@dataclass(frozen=True)
class _Outcome:
    """What a divergence gives for a block.

    value, size [b, 1]: the divergence, and a bound of its terms. upstream: U [b, V].
    normaliser [b, 1]: of r, None without an assistant.
    """

    value: Tensor
    size: Tensor
    upstream: Tensor
    normaliser: Tensor | None


@dataclass
class BlockResult:
    """Values per token of one block, and what its gradient needs.

    divergence, cross_entropy: [b] without weights, or None. upstream: U [b, V] or None; upstream_sum [b, 1].
    usable: [b] bool; False where the closed form lost digits or is undefined, for the dense form to decide.
    """

    divergence: Tensor | None
    cross_entropy: Tensor | None
    upstream: Tensor | None
    upstream_sum: Tensor | None
    usable: Tensor
    logs: _Logs | None
    q: Tensor

    def value_of(self, part: ClosedForm) -> Tensor:
        """Value per token [b], without its weight, of a term whose part of the closed form this is."""
        value = self.cross_entropy if part.order is None else self.divergence
        assert value is not None
        return value

    def log_probs(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Natural log p and log q of some rows, for whoever reads the distributions themselves."""
        assert self.logs is not None
        return self.logs.p[rows] * LN2, self.logs.q[rows] * LN2


def _distribution(z: Tensor, log: Tensor, mass: Tensor) -> None:
    """Writes the softmax of z into mass and its base-2 logarithm into log."""
    # Subtracted before it is scaled: of large logits, a product rounded on its own would lose the digits that matter.
    torch.sub(z, z.amax(-1, keepdim=True), out=log).mul_(1.0 / LN2)
    torch.exp2(log, out=mass)
    total = mass.sum(-1, keepdim=True)
    log.sub_(total.log2())
    mass.mul_(total.reciprocal_())


def _times(w: Tensor | float, x: Tensor) -> Tensor:
    return x.mul_(w)


def _times_logistic(odds: Tensor, e: Tensor, x: Tensor) -> Tensor:
    """x / (1 + exp(odds)), in place, without another exponential: e = exp(-|odds|) is known."""
    # The derivative of log sigmoid; CPUs read e, accelerators take the exponential of odds again.
    result: Tensor = torch.ops.aten.log_sigmoid_backward.grad_input(x, odds, e, grad_input=x)
    return result


def _assistant(form: ClosedForm, log_p: Tensor, log_q: Tensor, buffers: Buffers) -> tuple[Tensor, Weigh]:
    """Base-2 log of r up to a factor per token, in a buffer, and the product with w."""
    rows = log_p.shape[0]
    log_r, odds = buffers.get("log_r", rows), buffers.get("odds", rows)
    kappa, lam = form.kappa, form.lam
    assert kappa is not None
    if math.isinf(kappa):
        half = torch.full((), 0.5, device=log_p.device)
        largest = kappa > 0
        (torch.maximum if largest else torch.minimum)(log_p, log_q, out=log_r)
        torch.sub(log_q, log_p, out=odds) if largest else torch.sub(log_p, log_q, out=odds)
        return log_r, functools.partial(_times, torch.heaviside(odds, half, out=odds))
    if abs(kappa) < GEOMETRIC_KAPPA:
        torch.mul(log_p, lam, out=log_r).add_(log_q, alpha=1.0 - lam)
        return log_r, functools.partial(_times, 1.0 - lam)
    log_odds = math.log1p(-lam) - math.log(lam)
    if abs(kappa) < SMALLEST_KAPPA:
        log_r.copy_(log_power_mean(log_p * LN2, log_q * LN2, kappa=kappa, lam=lam)).div_(LN2)
        torch.sub(log_q, log_p, out=odds).mul_(kappa * LN2).add_(log_odds).sigmoid_()
        return log_r, functools.partial(_times, odds)
    # r~ = max(p', q') (1 + e)^(1/kappa), the smaller one for kappa < 0, with p' = lam^(1/kappa) p, q' likewise and
    # e = (p'/q')^(+-kappa) <= 1: no power of a probability is ever taken, so nothing underflows however far apart p and
    # q are. Only the ratio of p' to q' matters; the one that r~ cannot overflow with carries it.
    shift = -log_odds / LN2 / kappa
    extreme = torch.maximum if kappa > 0 else torch.minimum
    if (shift < 0.0) == (kappa > 0):
        torch.add(log_p, shift, out=log_r)
        torch.sub(log_r, log_q, out=odds)
        extreme(log_r, log_q, out=log_r)
    else:
        torch.sub(log_q, shift, out=log_r)
        torch.sub(log_p, log_r, out=odds)
        extreme(log_p, log_r, out=log_r)
    odds.mul_(kappa * LN2)
    e = torch.abs(odds, out=buffers.get("e", rows)).mul_(-1.0 / LN2).exp2_()
    log_r.add_(torch.log1p(e, out=buffers.get("x", rows)), alpha=1.0 / (LN2 * kappa))
    return log_r, functools.partial(_times_logistic, odds, e)


def _kl_block(form: ClosedForm, logs: _Logs, p: Tensor, q: Tensor, weigh: Weigh, buffers: Buffers) -> _Outcome:
    """KL per token."""
    assert form.order is not None
    left, right = form.order[0], form.order[1]
    rows = q.shape[0]
    difference, scratch = buffers.get("y", rows), buffers.get("x", rows)
    torch.sub(logs.of(left), logs.of(right), out=difference)
    if logs.r is None:
        if left == "q":
            upstream = difference.mul_(q).mul_(LN2)
            value = upstream.sum(-1, keepdim=True)
            return _Outcome(value, value.abs(), upstream, None)
        value = LN2 * torch.mul(difference, p, out=scratch).sum(-1, keepdim=True)
        return _Outcome(value, value.abs(), torch.neg(p, out=difference), None)
    r = torch.exp2(logs.r, out=buffers.get("r", rows))
    normaliser = r.sum(-1, keepdim=True)
    log_normaliser = normaliser.log2()
    if left == "r":
        # In natural units through r: the difference of logarithms is to base 2.
        r.mul_(LN2 / normaliser)
        inner = torch.mul(difference, r, out=scratch).sum(-1, keepdim=True)
        value = inner - LN2 * log_normaliser
        if form.detached:
            upstream = torch.mul(r, -1.0 / LN2, out=difference)
        else:
            upstream = weigh(difference.sub_(inner / LN2).mul_(r))
            if right == "q":
                upstream.add_(r, alpha=-1.0 / LN2)
        return _Outcome(value, value.abs(), upstream, normaliser)
    if left == "p":
        value = LN2 * (torch.mul(difference, p, out=scratch).sum(-1, keepdim=True) + log_normaliser)
        upstream = weigh(torch.mul(r, normaliser.reciprocal(), out=difference).sub_(p))
        return _Outcome(value, value.abs(), upstream, normaliser)
    # Constants times q in U do not change the gradient, so log r needs no normalising here.
    difference.mul_(q)
    value = LN2 * (difference.sum(-1, keepdim=True) + log_normaliser)
    if form.detached:
        upstream = difference.mul_(LN2)
    else:
        upstream = weigh(torch.mul(r, normaliser.reciprocal(), out=scratch).sub_(q)).add_(difference, alpha=LN2)
    return _Outcome(value, value.abs(), upstream, normaliser)


def _gjs_block(form: ClosedForm, logs: _Logs, p: Tensor, q: Tensor, weigh: Weigh, buffers: Buffers) -> _Outcome:
    """GJS of p and q per token; U = (1 - weight of p) q (log q - log m)."""
    assert form.order is not None
    assert form.mixture is not None
    of_teacher = form.mixture if form.order[0] == "p" else 1.0 - form.mixture
    rows = q.shape[0]
    log_m, upstream = buffers.get("x", rows), buffers.get("y", rows)
    torch.mul(p, of_teacher, out=log_m).add_(q, alpha=1.0 - of_teacher).clamp_(min=SMALLEST_PROBABILITY).log2_()
    from_p = torch.sub(logs.p, log_m, out=upstream).mul_(p).sum(-1, keepdim=True)
    torch.sub(logs.q, log_m, out=upstream).mul_(q).mul_((1.0 - of_teacher) * LN2)
    value = of_teacher * LN2 * from_p + upstream.sum(-1, keepdim=True)
    return _Outcome(value, value.abs(), upstream, None)


def _ab_value(
    form: ClosedForm, logs: _Logs, log_normaliser: Tensor | float, shares: tuple[Tensor, Tensor], crossed: Tensor
) -> tuple[Tensor, Tensor]:
    """AB per token and the size of its terms, [b, 1] each; tokens near 0 are summed again without cancellation."""
    assert form.order is not None
    assert form.powers is not None
    value = shares[0] + shares[1] - crossed
    size = shares[0].abs() + shares[1].abs() + crossed.abs()
    near_zero = value < CANCELLED_SHARE * size
    if bool(near_zero.any()):
        rows = near_zero.squeeze(-1).nonzero().squeeze(-1)
        kept = {letter: logs.of(letter)[rows] * LN2 for letter in form.order}
        if isinstance(log_normaliser, Tensor):
            kept["r"] -= log_normaliser[rows] * LN2
        terms = ab_terms(kept[form.order[0]], kept[form.order[1]], ab_alpha=form.powers[0], ab_beta=form.powers[1])
        value[rows] = terms.sum(-1, keepdim=True)
    return value, size


def _ab_block(form: ClosedForm, logs: _Logs, p: Tensor, q: Tensor, weigh: Weigh, buffers: Buffers) -> _Outcome:
    """AB per token."""
    assert form.order is not None
    assert form.powers is not None
    left, right = form.order[0], form.order[1]
    first, second = form.powers
    total, product = first + second, first * second
    rows = q.shape[0]
    inner = "q" if logs.r is None else "r"
    # The argument that holds the student, and the other one, each with its power.
    other, inner_power, other_power = (left, second, first) if right == inner else (right, first, second)
    normaliser, log_normaliser, r = None, torch.zeros((), device=q.device), q
    if logs.r is not None:
        r = torch.exp2(logs.r, out=buffers.get("r", rows))
        normaliser = r.sum(-1, keepdim=True)
        log_normaliser = normaliser.log2()
    log_inner, log_other = logs.of(inner), logs.of(other)
    # The two terms of G carry the factor 1 / |other power| in their exponents.
    factor = -math.log2(abs(other_power))
    inner_total = torch.add(factor - total * log_normaliser, log_inner, alpha=total, out=buffers.get("x", rows))
    inner_total.exp2_()
    cross = torch.add(factor - inner_power * log_normaliser, log_inner, alpha=inner_power, out=buffers.get("y", rows))
    cross.add_(log_other, alpha=other_power).exp2_()
    # p is read no more, unless it is the inner argument, which it never is.
    other_total = torch.mul(log_other, total, out=p).exp2_()
    inner_sum, cross_sum = inner_total.sum(-1, keepdim=True), cross.sum(-1, keepdim=True)
    shares = (
        inner_sum * (abs(other_power) * inner_power / total / product),
        other_total.sum(-1, keepdim=True) * (other_power / total / product),
    )
    crossed = cross_sum * (abs(other_power) / product)
    value, size = _ab_value(form, logs, log_normaliser if normaliser is not None else 0.0, shares, crossed)
    if normaliser is None:
        upstream = inner_total.sub_(cross) if other_power > 0 else torch.sub(cross, inner_total, out=inner_total)
        return _Outcome(value, size, upstream, None)
    if form.detached:
        upstream = other_total.mul_(1.0 / inner_power).add_(cross, alpha=-abs(other_power) / inner_power)
        return _Outcome(value, size, upstream, normaliser)
    upstream = inner_total.sub_(cross) if other_power > 0 else torch.sub(cross, inner_total, out=inner_total)
    sign = math.copysign(1.0, other_power)
    weigh(upstream.addcmul_(r, (inner_sum - cross_sum) * (-sign / normaliser)))
    if other == "q":
        upstream.add_(other_total, alpha=1.0 / inner_power).add_(cross, alpha=-abs(other_power) / inner_power)
    return _Outcome(value, size, upstream, normaliser)


def closed_form_block(
    form: ClosedForm, z: Tensor, teacher_z: Tensor | None, labels: Tensor | None, buffers: Buffers
) -> BlockResult:
    """Values of a block of logits z, teacher_z [b, V], and everything its gradient needs; z is left as it is."""
    rows = z.shape[0]
    log_q, q = buffers.get("log_q", rows), buffers.get("q", rows)
    _distribution(z, log_q, q)
    cross_entropy = None
    usable = torch.ones(rows, dtype=torch.bool, device=z.device)
    if form.label_weight:
        assert labels is not None
        cross_entropy = -LN2 * log_q.gather(1, labels.unsqueeze(1)).squeeze(1)
        usable &= torch.isfinite(cross_entropy)
    if form.order is None:
        return BlockResult(None, cross_entropy, None, None, usable, None, q)
    assert teacher_z is not None
    log_p, p = buffers.get("log_p", rows), buffers.get("p", rows)
    _distribution(teacher_z, log_p, p)
    logs = _Logs(log_p, log_q)
    weigh: Weigh = functools.partial(_times, 1.0)
    if form.kappa is not None:
        log_r, weigh = _assistant(form, log_p, log_q, buffers)
        logs = _Logs(log_p, log_q, log_r)
    block = _gjs_block if form.mixture is not None else _kl_block if form.powers is None else _ab_block
    found = block(form, logs, p, q, weigh, buffers)
    upstream_sum = found.upstream.sum(-1, keepdim=True)
    usable &= (torch.isfinite(found.value + upstream_sum) & (found.size < LARGEST_TERM)).squeeze(-1)
    if found.normaliser is not None:
        usable &= (found.normaliser > SMALLEST_NORMALISER).squeeze(-1)
    return BlockResult(found.value.squeeze(-1), cross_entropy, found.upstream, upstream_sum, usable, logs, q)


def write_gradient(form: ClosedForm, result: BlockResult, labels: Tensor | None, out: Tensor) -> None:
    """Writes the gradient of the weighted values with respect to the logits, [b, V], into out."""
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
