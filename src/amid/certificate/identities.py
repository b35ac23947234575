"""The paper's propositions and the special cases it names, each as one number that must be small.

Legend: V vocabulary; p teacher, q student, r assistant, float64, one token.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from amid.core import (
    DivergenceTerm,
    Objective,
    ab,
    alpha_mixture,
    constant,
    dense_objective,
    f_divergence,
    gjs,
    kl,
)

ALPHAS = (-5.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 3.0, 6.0)
LAMS = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Identity:
    """A named statement, its worst error, and what the error may be."""

    name: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the statement holds within its tolerance."""
        return self.error <= self.tolerance


def _pair(*, size: int = 40, seed: int = 3) -> tuple[Tensor, Tensor]:
    z = torch.randn(2, 1, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2
    return z[0], z[1]


def _logs(**kwargs: int) -> tuple[Tensor, Tensor]:
    z_p, z_q = _pair(**kwargs)
    return z_p.log_softmax(-1), z_q.log_softmax(-1)


def _largest(*differences: Tensor) -> float:
    return max(float(difference.abs().max()) for difference in differences)


def _geometric_is_mixed_logits() -> float:
    z_p, z_q = _pair()
    return max(
        _largest(
            alpha_mixture(z_p.log_softmax(-1), z_q.log_softmax(-1), alpha=1.0, lam=lam)
            - (lam * z_p + (1.0 - lam) * z_q).log_softmax(-1)
        )
        for lam in LAMS
    )


def _minimiser_of_amari() -> float:
    """Largest gradient, at the assistant, of lam D_alpha(p||r) + (1 - lam) D_alpha(q||r), relative to its terms."""
    log_p, log_q = _logs(size=12)
    worst = 0.0
    for alpha in (-5.0, -3.0, -0.5, 0.0, 0.5, 1.5, 3.0, 6.0):
        for lam in LAMS:
            z = alpha_mixture(log_p, log_q, alpha=alpha, lam=lam).clone().requires_grad_()
            log_r = z.log_softmax(-1)
            left, right = (1.0 - alpha) / 2.0, (1.0 + alpha) / 2.0
            parts = [(left * log_x + right * log_r).exp().sum() for log_x in (log_p, log_q)]
            cost = 4.0 / (1.0 - alpha**2) * (1.0 - lam * parts[0] - (1.0 - lam) * parts[1])
            (gradient,) = torch.autograd.grad(cost, z)
            worst = max(worst, float(gradient.abs().max()) / float((parts[0] + parts[1]).detach()))
    return worst


def _continuous_at_one() -> float:
    log_p, log_q = _logs()
    geometric = alpha_mixture(log_p, log_q, alpha=1.0, lam=0.3)
    steps = (1e-3, 1e-4, 1e-5)
    slopes = [
        _largest(alpha_mixture(log_p, log_q, alpha=1.0 + sign * step, lam=0.3) - geometric) / step
        for step in steps
        for sign in (-1.0, 1.0)
    ]
    return max(slopes) / min(slopes) - 1.0


def _zero_only_at_equality() -> float:
    """Largest value at p = q; infinite if any value at p != q is not above 1e-8."""
    worst = 0.0
    log_p, log_q = _logs()
    for divergence in (kl, functools.partial(ab, ab_alpha=0.2, ab_beta=0.7)):
        for order in ("pr", "rp", "qr", "rq"):
            for alpha in (-math.inf, *ALPHAS, math.inf):
                term = DivergenceTerm(divergence, order, constant(value=alpha), constant(value=0.5))
                worst = max(worst, _largest(term.per_token(log_p, log_p.clone(), alpha=alpha, lam=0.5)))
                if not float(term.per_token(log_p, log_q, alpha=alpha, lam=0.5)) > 1e-8:
                    return math.inf
    return worst


def _sensitivity(generator: str) -> float:
    log_p, log_q = _logs(size=12)
    worst = 0.0
    for alpha in ALPHAS:
        leaf = log_q.clone().requires_grad_()
        value = f_divergence(
            log_p, alpha_mixture(log_p, leaf.log_softmax(-1), alpha=alpha, lam=0.3), generator=generator
        )
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        q = log_q.exp()
        r = alpha_mixture(log_p, log_q, alpha=alpha, lam=0.3).exp()
        v = log_p.exp() / r
        psi = -v if generator == "kl" else (v - 1.0) ** 2 - 2.0 * v * (v - 1.0)
        w = torch.sigmoid(math.log(0.7 / 0.3) + (1.0 - alpha) / 2.0 * (log_q - log_p))
        upstream = w * r * (psi - (r * psi).sum())
        worst = max(worst, _largest(gradient - (upstream - q * upstream.sum())) / max(1.0, float(psi.abs().max())))
    return worst


def _normaliser_is_monotone() -> float:
    log_p, log_q = _logs()
    values = []
    for alpha in sorted({*ALPHAS, -20.0, 20.0}):
        kappa = (1.0 - alpha) / 2.0
        mean = 0.3 * log_p + 0.7 * log_q
        if kappa != 0.0:
            mean = torch.logaddexp(math.log(0.3) + kappa * log_p, math.log(0.7) + kappa * log_q) / kappa
        # log r~ - log r is log Z at every entry.
        values.append(float((mean - alpha_mixture(log_p, log_q, alpha=alpha, lam=0.3)).mean()))
    rises = max(later - earlier for earlier, later in zip(values, values[1:], strict=False))
    return max(0.0, rises)


def _limits() -> float:
    log_p, log_q = _logs()
    worst = 0.0
    for sign, extreme in ((-1.0, torch.maximum), (1.0, torch.minimum)):
        expected = extreme(log_p, log_q).log_softmax(-1)
        worst = max(worst, _largest(alpha_mixture(log_p, log_q, alpha=sign * math.inf, lam=0.3) - expected))
        worst = max(worst, _largest(alpha_mixture(log_p, log_q, alpha=sign * 2e4, lam=0.3) - expected))
    return worst


def _mean(alpha: float, mean: Callable[[Tensor, Tensor, float], Tensor]) -> float:
    log_p, log_q = _logs()
    worst = 0.0
    for lam in LAMS:
        expected = mean(log_p.exp(), log_q.exp(), lam)
        expected = (expected / expected.sum()).log()
        worst = max(worst, _largest(alpha_mixture(log_p, log_q, alpha=alpha, lam=lam) - expected))
    return worst


def _value_and_gradient(term: DivergenceTerm) -> tuple[Tensor, Tensor]:
    z_p, z_q = (z.float() for z in _pair())
    leaf = z_q.clone().requires_grad_()
    parts = dense_objective(
        leaf, z_p, Objective((term,)), labels=None, token_weights=torch.ones(1), vocab_size=leaf.shape[1]
    )
    (gradient,) = torch.autograd.grad(parts.loss, leaf)
    return parts.per_token, gradient


def _skew(order: str, lam: float) -> float:
    """DistiLLM's skew KL and skew reverse KL against their definition on probabilities."""
    z_p, z_q = (z.float() for z in _pair())
    leaf = z_q.clone().requires_grad_()
    p, q = z_p.softmax(-1), leaf.softmax(-1)
    first, other = (p, q) if order == "pr" else (q, p)
    value = (
        first * (first / (0.1 * first + 0.9 * other) if order == "pr" else first / (0.9 * other + 0.1 * first)).log()
    )
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    ours = _value_and_gradient(
        DivergenceTerm(kl, "pr" if order == "pr" else "qr", constant(value=-1.0), constant(value=lam))
    )
    return _largest(ours[0] - value.sum(-1).detach(), ours[1] - gradient)


def _gkd() -> float:
    """GKD's generalised Jensen-Shannon divergence as two terms against the arithmetic assistant."""
    log_p, log_q = _logs()
    worst = 0.0
    for lam in LAMS:
        log_r = alpha_mixture(log_p, log_q, alpha=-1.0, lam=lam)
        pair = lam * kl(log_p, log_r) + (1.0 - lam) * kl(log_q, log_r)
        worst = max(worst, _largest(pair - gjs(log_p, log_q, gjs_weight=lam)))
    return worst


def _taid() -> float:
    z_p, z_q = (z.float() for z in _pair())
    term = DivergenceTerm(kl, "rq", constant(value=1.0), constant(value=0.4), detach_student=True)
    target = (0.6 * z_q + 0.4 * z_p).softmax(-1)
    return _largest(_value_and_gradient(term)[1] - (z_q.softmax(-1) - target))


def _abkd() -> float:
    """AB without an assistant is AB with the student as assistant (lam 0), whatever alpha."""
    divergence = functools.partial(ab, ab_alpha=0.2, ab_beta=0.7)
    without = _value_and_gradient(DivergenceTerm(divergence, "pr", None, constant(value=0.1)))
    worst = 0.0
    for alpha in (-5.0, 1.0, 3.0):
        at_zero = _value_and_gradient(DivergenceTerm(divergence, "pr", constant(value=alpha), constant(value=0.0)))
        worst = max(worst, _largest(at_zero[0] - without[0], at_zero[1] - without[1]))
    return worst


def run_identities() -> list[Identity]:
    """Every named statement with its worst error."""
    return [
        Identity("Proposition 3.1: alpha 1 is the softmax of mixed logits", _geometric_is_mixed_logits(), 1e-12),
        Identity(
            "Theorem 3.2: r minimises the weighted Amari divergences (gradient there)", _minimiser_of_amari(), 1e-10
        ),
        Identity(
            "Proposition 3.3: continuous at alpha 1, difference linear (slopes agree)", _continuous_at_one(), 0.05
        ),
        Identity("Theorem 3.4: 0 at p = q, above 0 elsewhere, every order", _zero_only_at_equality(), 1e-12),
        Identity("Proposition 3.5: gradient for KL", _sensitivity("kl"), 1e-10),
        Identity("Proposition 3.5: gradient for chi-square", _sensitivity("chi2"), 1e-10),
        Identity("the normaliser does not increase with alpha", _normaliser_is_monotone(), 1e-12),
        Identity("alpha -inf and inf are the limits, and 2e4 is near them", _limits(), 2e-4),
        Identity("alpha -1 is the arithmetic mean", _mean(-1.0, lambda p, q, lam: lam * p + (1 - lam) * q), 1e-12),
        Identity("alpha 3 is the harmonic mean", _mean(3.0, lambda p, q, lam: 1 / (lam / p + (1 - lam) / q)), 1e-12),
        Identity("GKD: GJS is two terms against the arithmetic assistant", _gkd(), 1e-12),
        Identity("DistiLLM: SKL(0.1) is KL(p||r), alpha -1, lam 0.1", _skew("pr", 0.1), 2e-6),
        Identity("DistiLLM: SRKL(0.1) is KL(q||r), alpha -1, lam 0.9", _skew("qr", 0.9), 2e-6),
        Identity("TAID: KL(r||q), alpha 1, student detached, has gradient q - r", _taid(), 2e-6),
        Identity("ABKD: AB(p||q) is lam 0 for every alpha", _abkd(), 1e-6),
    ]
