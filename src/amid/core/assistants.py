"""The assistant distribution r: a weighted power mean of teacher p and student q, renormalised.

Legend: V vocabulary; kappa = (1 - alpha) / 2, the exponent of the power mean.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amid.core.logprob import LogProb

# Below this exponent the power mean and the geometric mean agree to float32 precision (a test measures it).
GEOMETRIC_KAPPA = 1e-7


def rows_of(value: float | Tensor, rows: Tensor | slice) -> float | Tensor:
    """The entries of a per-token value for some tokens; anything else unchanged."""
    return value[rows] if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] > 1 else value


@dataclass(frozen=True)
class Assistant:
    """What r is mixed by at present, and the order of the divergence that reads it.

    alpha, lam: numbers, or tensors [..., 1] of one value per token.
    """

    alpha: float | Tensor
    lam: float | Tensor
    order: str

    def rows(self, rows: Tensor | slice) -> "Assistant":
        """The same for some of the tokens."""
        return replace(self, alpha=rows_of(self.alpha, rows), lam=rows_of(self.lam, rows))


def check_lam(lam: float | Tensor) -> None:
    """Raises ValueError if the teacher's weight is NaN or outside [0, 1]."""
    if isinstance(lam, Tensor):
        if not bool(((lam >= 0) & (lam <= 1)).all()):
            raise ValueError(f"lam must lie in [0, 1] at every token, got {lam.min().item()} .. {lam.max().item()}")
    elif not 0.0 <= lam <= 1.0:
        raise ValueError(f"lam must lie in [0, 1], got {lam}")


def check_alpha(alpha: float | Tensor) -> None:
    """Raises ValueError if the interpolation geometry is NaN."""
    is_nan = bool(alpha.isnan().any()) if isinstance(alpha, Tensor) else math.isnan(alpha)
    if is_nan:
        raise ValueError("alpha must be a real number, inf or -inf, got nan")


def log_ratio(log_a: LogProb, log_b: LogProb) -> Tensor:
    """Elementwise log a - log b, with 0 where both are exactly zero.

    Shapes: all [..., V]. Entries outside both supports carry no mass in any mean of a and b, so any finite value does;
    0 keeps both the value and the gradient free of NaN.
    """
    outside = log_a.isneginf() & log_b.isneginf()
    return (log_a - log_b).masked_fill(outside, 0.0)


def _log_weighted(exponent: Tensor, weight: float | Tensor) -> Tensor:
    """log(1 - weight + weight exp(exponent)) elementwise, for exponent <= 0.

    log1p near 1; far from it the sum itself, where 1 + (sum - 1) would lose the digits of a small 1 - weight.
    """
    less_one = weight * torch.expm1(exponent)
    total = (1.0 - weight) + weight * torch.exp(exponent)
    near = less_one > -0.5
    # Each branch sees a harmless argument where it is not taken, so no inf * 0 enters the backward pass.
    far_part = torch.log(torch.where(near, torch.ones_like(total), total))
    return torch.where(near, torch.log1p(less_one.clamp(min=-0.5)), far_part)


def log_power_mean(log_p: LogProb, log_q: LogProb, *, kappa: float | Tensor, lam: float | Tensor) -> Tensor:
    """Log of ( lam p^kappa + (1 - lam) q^kappa )^(1/kappa), not normalised.

    Shapes: log_p, log_q, result [..., V]; kappa and lam broadcast against them. kappa finite and not 0, 0 < lam < 1.
    Both branches take exponentials of non-positive arguments: nothing overflows, and accuracy holds near kappa = 0.

    Derived here from Eq. 7; log1p alone loses digits in float32 for lam near 0 or 1, see `_log_weighted`.
    """
    exponent = kappa * log_ratio(log_p, log_q)
    # Clamped per branch, so that the branch not taken cannot send inf * 0 into the backward pass.
    from_q = log_q + _log_weighted(exponent.clamp(max=0.0), lam) / kappa
    from_p = log_p + _log_weighted((-exponent).clamp(max=0.0), 1.0 - lam) / kappa
    return torch.where(exponent <= 0, from_q, from_p)


def _log_mean(log_p: LogProb, log_q: LogProb, *, alpha: float, lam: float) -> Tensor:
    kappa = (1.0 - alpha) / 2.0
    if math.isinf(kappa):
        return torch.maximum(log_p, log_q) if kappa > 0 else torch.minimum(log_p, log_q)
    if abs(kappa) < GEOMETRIC_KAPPA:
        return lam * log_p + (1.0 - lam) * log_q
    return log_power_mean(log_p, log_q, kappa=kappa, lam=lam)


def _alpha_mixture_per_token(log_p: LogProb, log_q: LogProb, *, alpha: Tensor, lam: Tensor) -> LogProb:
    kappa = (1.0 - alpha) / 2.0
    interior = (lam > 0) & (lam < 1)
    powered = interior & torch.isfinite(kappa) & (kappa.abs() >= GEOMETRIC_KAPPA)
    log_mean = log_power_mean(
        log_p,
        log_q,
        kappa=torch.where(powered, kappa, torch.ones_like(kappa)),
        lam=torch.where(powered, lam, torch.full_like(lam, 0.5)),
    )
    # Geometric weights are set to 1/2 where unused: 0 * -inf would be NaN.
    weight = torch.where(interior, lam, torch.full_like(lam, 0.5))
    log_mean = torch.where(kappa.abs() < GEOMETRIC_KAPPA, weight * log_p + (1.0 - weight) * log_q, log_mean)
    log_mean = torch.where(kappa == math.inf, torch.maximum(log_p, log_q), log_mean)
    log_mean = torch.where(kappa == -math.inf, torch.minimum(log_p, log_q), log_mean)
    log_r = torch.log_softmax(log_mean, dim=-1)
    return torch.where(lam <= 0, log_q, torch.where(lam >= 1, log_p, log_r))


def alpha_mixture(log_p: LogProb, log_q: LogProb, *, alpha: float | Tensor, lam: float | Tensor) -> LogProb:
    """Normalised log of the alpha-mixture assistant r of teacher p and student q.

    Shapes: log_p, log_q, result [..., V], each normalised over V; float32 in training (other float types are kept).
    alpha: interpolation geometry, any real; -1 arithmetic, 1 geometric, 3 harmonic mean; -inf maximum, +inf minimum.
    lam: weight of the teacher, in [0, 1]; 0 returns log_q, 1 returns log_p, exactly.
    Either may be a tensor [..., 1], one value per token. Gradients flow through both arguments; the caller detaches.
    A token whose supports do not meet at alpha >= 1 has no assistant: its row is NaN, for the caller to count.
    Raises ValueError if alpha is NaN, lam is outside [0, 1], or the shapes differ.

    Source: paper Definition 1, Eqs. 7-8. The reference code uses the geometric mean for every
    alpha >= 1; we follow Eq. 7.
    """
    if log_p.shape != log_q.shape:
        raise ValueError(f"log_p and log_q must have one shape, got {tuple(log_p.shape)} and {tuple(log_q.shape)}")
    check_alpha(alpha)
    check_lam(lam)
    if isinstance(alpha, Tensor) or isinstance(lam, Tensor):
        alpha_rows = torch.as_tensor(alpha, dtype=log_p.dtype, device=log_p.device)
        lam_rows = torch.as_tensor(lam, dtype=log_p.dtype, device=log_p.device)
        alpha_rows, lam_rows = torch.broadcast_tensors(alpha_rows, lam_rows)
        return _alpha_mixture_per_token(log_p, log_q, alpha=alpha_rows, lam=lam_rows)
    if lam <= 0.0:
        return log_q
    if lam >= 1.0:
        return log_p
    return torch.log_softmax(_log_mean(log_p, log_q, alpha=alpha, lam=lam), dim=-1)
