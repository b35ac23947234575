"""An oracle in float64 and probability space, independent of `amid.core`: values, gradients, and their natural scales.

Legend: N tokens; V vocabulary; p teacher, q student, r assistant, each [N, V]. Gradients by autograd through these
plain formulas. `size` of an elementwise formula is the sum of the absolute values of its written terms: what float32
rounding is relative to, since a divergence near 0 is a difference of large numbers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

# (left, right) -> elementwise terms [N, V] whose sum is the divergence, and their sizes [N, V].
Formula: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def assistant(p: Tensor, q: Tensor, alpha: float, lam: float) -> Tensor:
    """r by Definition 1: power mean of probabilities with exponent (1 - alpha)/2, divided by its sum."""
    if lam == 0.0:
        return q
    if lam == 1.0:
        return p
    if alpha == -math.inf:
        mean = torch.where(p > q, p, q)
    elif alpha == math.inf:
        mean = torch.where(p < q, p, q)
    elif alpha == 1.0:
        mean = p**lam * q ** (1.0 - lam)
    else:
        exponent = (1.0 - alpha) / 2.0
        mean = (lam * p**exponent + (1.0 - lam) * q**exponent) ** (1.0 / exponent)
    return mean / mean.sum(-1, keepdim=True)


def _kl(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return a * torch.log(a / b), a * (a.log().abs() + b.log().abs())


def _both(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], u: float, v: float) -> tuple[Tensor, Tensor]:
    return u * first[0] + v * second[0], abs(u) * first[1] + abs(v) * second[1]


def _gjs(weight: float) -> Formula:
    def formula(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        mean = weight * a + (1.0 - weight) * b
        return _both(_kl(a, mean), _kl(b, mean), weight, 1.0 - weight)

    return formula


def ab_formula(first: float, second: float) -> Formula:
    """Terms of the AB divergence by its textbook cases."""
    total = first + second

    def formula(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        log_a, log_b = a.log(), b.log()
        if first == 0.0 and second == 0.0:
            return 0.5 * (log_a - log_b) ** 2, 0.5 * (log_a.abs() + log_b.abs()) ** 2
        if total == 0.0:
            ratio = (a / b) ** first
            return (ratio - 1.0 - ratio.log()) / first**2, (ratio + 1.0 + ratio.log().abs()) / first**2
        if second == 0.0 or first == 0.0:
            x, y, power = (a, b, first) if second == 0.0 else (b, a, second)
            difference = power * (x.log() - y.log())
            size = x**power * (abs(power) * (x.log().abs() + y.log().abs()) + 1.0) + y**power
            return (x**power * (difference - 1.0) + y**power) / power**2, size / power**2
        parts = (a**first * b**second, first / total * a**total, second / total * b**total)
        size = (parts[0] + parts[1].abs() + parts[2].abs()) / abs(first * second)
        return -(parts[0] - parts[1] - parts[2]) / (first * second), size

    return formula


FORMULAS: dict[str, Formula] = {
    "kl": _kl,
    "jeffreys": lambda a, b: _both(_kl(a, b), _kl(b, a), 1.0, 1.0),
    "wsd(0.3)": lambda a, b: _both(_kl(a, b), _kl(b, a), 0.7, 0.3),
    "js": _gjs(0.5),
    "gjs(0.1)": _gjs(0.1),
    "gjs(0.9)": _gjs(0.9),
    "tv": lambda a, b: (0.5 * (a - b).abs(), 0.5 * (a + b)),
    "ab(0.2,0.7)": ab_formula(0.2, 0.7),
    "ab(1,1)": ab_formula(1.0, 1.0),
    "ab(1.4,-0.5)": ab_formula(1.4, -0.5),
    "ab(0.5,0)": ab_formula(0.5, 0.0),
    "ab(0,0.5)": ab_formula(0.0, 0.5),
    "ab(0.5,-0.5)": ab_formula(0.5, -0.5),
    "ab(0,0)": ab_formula(0.0, 0.0),
    "amari(0.3)": lambda a, b: (
        4.0 / (1.0 - 0.09) * (0.35 * a + 0.65 * b - a**0.35 * b**0.65),
        4.0 / (1.0 - 0.09) * (0.35 * a + 0.65 * b + a**0.35 * b**0.65),
    ),
    "f(chi2)": lambda a, b: (b * (a / b - 1.0) ** 2, a * a / b + 2.0 * a + b),
    "f(hellinger)": lambda a, b: (b * ((a / b).sqrt() - 1.0) ** 2, a + b + 2.0 * (a * b).sqrt()),
}


# Total variation has no derivative where its arguments agree; nearer than this float32 cannot tell the sign.
KINKED = frozenset({FORMULAS["tv"]})
KINK_WIDTH = 5e-6


@dataclass(frozen=True)
class Truth:
    """Float64 truth of one objective on given logits.

    value, size [N]: the divergence and the sum of its absolute terms. gradient, gradient_size [N, V]: in the logits.
    slack [N]: how far the norm of a right gradient may be off where the formula has a kink that float32 cannot locate.
    """

    value: Tensor
    size: Tensor
    gradient: Tensor
    gradient_size: Tensor
    slack: Tensor

    def rows(self, kept: Tensor) -> "Truth":
        """The truth of some of the tokens."""
        return Truth(*(part[kept] for part in (self.value, self.size, self.gradient, self.gradient_size, self.slack)))


def truth(
    formula: Formula, order: str, *, alpha: float | None, lam: float, student_z: Tensor, teacher_z: Tensor
) -> Truth:
    """Value and gradient of a divergence between two of p, q, r, per token; alpha None for no assistant.

    Shapes: student_z, teacher_z [N, V], any float dtype.
    """
    z = student_z.detach().double().requires_grad_()
    p, q = torch.softmax(teacher_z.detach().double(), dim=-1), torch.softmax(z, dim=-1)
    end_point = q if "p" in order else p
    letters = {"p": p, "q": q, "r": end_point if alpha is None else assistant(p, q, alpha, lam)}
    left, right = letters[order[0]], letters[order[1]]
    terms, sizes = formula(left, right)
    value = terms.sum(-1)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    sizes, q = sizes.detach(), q.detach()
    size = sizes.sum(-1)
    # The gradient's terms: one per entry, and the two that carry a sum over V back to every entry through r and q.
    spread = letters["r"].detach() + q
    mass = (left + right).detach()
    at_kink = ((left - right).detach().abs() <= KINK_WIDTH * mass) & (formula in KINKED)
    # A wrong sign moves its entry by at most its mass, and the others by as much through the normaliser.
    slack = 2.0 * (mass * at_kink).sum(-1)
    return Truth(value.detach(), size, gradient, sizes + spread * size.unsqueeze(-1), slack)
