"""The alpha-beta divergence with its singular lines, and the Amari alpha-divergence, which is one of its diagonals.

Legend: V vocabulary; A = ab_alpha, B = ab_beta, S = A + B; d = log a - log b, first argument a, second argument b.
"""

import math

import torch
from torch import Tensor

from amid.core.assistants import log_ratio
from amid.core.closed_form import Kernel
from amid.core.declaration import declares
from amid.core.logprob import LogProb

# At or below this the singular formula is the value (as the reference code selects it).
SINGULAR = 1e-8
# Below this in both parameters the difference of two nearly equal terms is taken in float64.
NEARLY_LOG_EUCLIDEAN = 0.05
# Below this |A|, |B| or |S| the closed form loses digits; the dense form is used.
SMALLEST_CLOSED = 0.05


def _check_parameters(ab_alpha: float, ab_beta: float) -> None:
    for name, value in (("ab_alpha", ab_alpha), ("ab_beta", ab_beta)):
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}")


def _power_difference(log_a: Tensor, log_b: Tensor, *, power: float, total: float) -> Tensor:
    """b^(total - power) ( a^power - b^power ) / power elementwise; its limit b^total d at power 0.

    expm1 of a non-positive argument times the larger of the two terms: exact near a = b, no overflow of a product.
    """
    ratio = log_ratio(log_a, log_b)
    outside = log_a.isneginf() & log_b.isneginf()
    log_left = log_a.masked_fill(outside, 0.0)
    log_right = log_b.masked_fill(outside, 0.0)
    if abs(power) <= SINGULAR:
        if abs(total) <= SINGULAR:
            return ratio
        if total > 0:
            # b^total log b is 0 where b is; the infinite ratio times that 0 would be NaN, in the gradient too.
            ratio = ratio.masked_fill(log_b.isneginf(), 0.0)
        return torch.exp(total * log_right) * ratio
    exponent = power * ratio
    right_power = total * log_right if total != 0.0 else torch.zeros_like(log_right)
    # The power of b vanishes when power = total; 0 * -inf would be NaN.
    rest = total - power
    left_power = power * log_left + rest * log_right if rest != 0.0 else power * log_left
    falling = torch.exp(right_power) * torch.expm1(exponent.clamp(max=0.0))
    rising = -torch.exp(left_power) * torch.expm1((-exponent).clamp(max=0.0))
    return torch.where(exponent <= 0, falling, rising) / power


def ab_terms(log_a: LogProb, log_b: LogProb, *, ab_alpha: float, ab_beta: float) -> Tensor:
    """Elementwise terms of the AB divergence, each at least 0; shapes [..., V]. See `ab`."""
    if abs(ab_alpha) > abs(ab_beta):
        # D(A,B)(a||b) = D(B,A)(b||a): divide by the larger of the two parameters.
        return ab_terms(log_b, log_a, ab_alpha=ab_beta, ab_beta=ab_alpha)
    if abs(ab_beta) <= SINGULAR:
        return 0.5 * log_ratio(log_a, log_b).square()
    total = ab_alpha + ab_beta
    if abs(total) <= SINGULAR:
        total = 0.0
    if abs(ab_beta) < NEARLY_LOG_EUCLIDEAN and log_a.dtype != torch.float64:
        return ab_terms(log_a.double(), log_b.double(), ab_alpha=ab_alpha, ab_beta=ab_beta).to(log_a.dtype)
    powers_of_total = _power_difference(log_a, log_b, power=total, total=total)
    powers_of_alpha = _power_difference(log_a, log_b, power=ab_alpha, total=total)
    return (powers_of_total - powers_of_alpha) / ab_beta


def _abkd_prefactor(ab_alpha: float, ab_beta: float) -> float:
    """Factor from the correct value to ABKD's on its three singular lines (exact comparisons with 0, as there)."""
    if ab_alpha == 0.0 and ab_beta == 0.0:
        return 1.0
    if ab_alpha == 0.0:
        return ab_beta
    if ab_beta == 0.0 or ab_alpha + ab_beta == 0.0:
        return ab_alpha
    return 1.0


def _ab_kernel(*, ab_alpha: float, ab_beta: float, abkd_prefactors: bool = False) -> Kernel | None:
    first, second = float(ab_alpha), float(ab_beta)
    if abkd_prefactors or not min(abs(first), abs(second), abs(first + second)) >= SMALLEST_CLOSED:
        return None
    return Kernel(powers=(first, second))


@declares(
    kernel=_ab_kernel,
    compat={
        "ab_constants": {"ab_alpha": 0.2, "ab_beta": 0.7},
        "abkd_prefactors": {"abkd_prefactors": True},
    },
)
def ab(
    log_left: LogProb, log_right: LogProb, *, ab_alpha: float, ab_beta: float, abkd_prefactors: bool = False
) -> Tensor:
    """AB divergence of left from right, per token.

    Shapes: log_left, log_right [..., V]; result [...].
    ab_alpha, ab_beta: any finite reals. (1, 0) is KL(left||right), (0, 1) is KL(right||left), (1, 1) half the squared
    L2 distance, (1/2, 1/2) twice the squared Hellinger sum; the singular lines A = 0, B = 0 and A + B = 0 are exact.
    abkd_prefactors: factors 1/A or 1/B instead of 1/A^2 or 1/B^2 on the singular lines, as ABKD's code has them.
    Unbounded, and truly infinite for exact zeros, when a power is negative: such a token is left to the caller.
    Raises ValueError if a parameter is not finite.

    Source: Cichocki et al. 2011, written as ( (a^S - b^S)/S - b^B (a^A - b^A)/A ) / B, which has no
    cancellation near A = 0 or S = 0.
    """
    _check_parameters(ab_alpha, ab_beta)
    value = ab_terms(log_left, log_right, ab_alpha=ab_alpha, ab_beta=ab_beta).sum(dim=-1)
    return value * _abkd_prefactor(ab_alpha, ab_beta) if abkd_prefactors else value


def amari(log_left: LogProb, log_right: LogProb, *, amari_alpha: float) -> Tensor:
    """Amari alpha-divergence of left from right, per token.

    Shapes: log_left, log_right [..., V]; result [...].
    amari_alpha: any finite real; -1 is KL(left||right), 1 is KL(right||left), 0 twice the squared Hellinger sum.

    Source: Amari 2007; equals AB(A, 1 - A) with A = (1 - amari_alpha) / 2.
    """
    if not math.isfinite(amari_alpha):
        raise ValueError(f"amari_alpha must be finite, got {amari_alpha}")
    power = (1.0 - amari_alpha) / 2.0
    return ab(log_left, log_right, ab_alpha=power, ab_beta=1.0 - power)
