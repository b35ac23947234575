"""What the certificate runs over: divergences with their parameters, orders, alphas, lams, and inputs."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from amid.core import ORDERS, Divergence, DivergenceTerm, Objective, Order, bind_divergence, constant

DIVERGENCES: dict[str, tuple[str, dict[str, object]]] = {
    "kl": ("kl", {}),
    "jeffreys": ("jeffreys", {}),
    "wsd(0.3)": ("wsd", {"wsd_reverse_weight": 0.3}),
    "js": ("js", {}),
    "gjs(0.1)": ("gjs", {"gjs_weight": 0.1}),
    "gjs(0.9)": ("gjs", {"gjs_weight": 0.9}),
    "tv": ("tv", {}),
    "ab(0.2,0.7)": ("ab", {"ab_alpha": 0.2, "ab_beta": 0.7}),
    "ab(1,1)": ("ab", {"ab_alpha": 1.0, "ab_beta": 1.0}),
    "ab(1.4,-0.5)": ("ab", {"ab_alpha": 1.4, "ab_beta": -0.5}),
    "ab(0.5,0)": ("ab", {"ab_alpha": 0.5, "ab_beta": 0.0}),
    "ab(0,0.5)": ("ab", {"ab_alpha": 0.0, "ab_beta": 0.5}),
    "ab(0.5,-0.5)": ("ab", {"ab_alpha": 0.5, "ab_beta": -0.5}),
    "ab(0,0)": ("ab", {"ab_alpha": 0.0, "ab_beta": 0.0}),
    "amari(0.3)": ("amari", {"amari_alpha": 0.3}),
    "f(chi2)": ("f_divergence", {"generator": "chi2"}),
    "f(hellinger)": ("f_divergence", {"generator": "hellinger"}),
}
ALPHAS: tuple[float | None, ...] = (
    None, -math.inf, -5.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0 - 1e-5, 1.0, 1.0 + 1e-5, 3.0, 6.0, math.inf,
)  # fmt: skip
LAMS = (0.0, 1e-3, 0.1, 0.5, 0.9, 1.0)
SHORT_DIVERGENCES = ("kl", "ab(0.2,0.7)", "tv")
SHORT_ALPHAS: tuple[float | None, ...] = (None, -math.inf, -5.0, -1.0, 1.0 - 1e-5, 1.0, 3.0)
SHORT_LAMS = (1e-3, 0.1, 0.9)


def divergence_called(name: str) -> Divergence:
    """The divergence of a row of the certificate, parameters bound."""
    registered, params = DIVERGENCES[name]
    return bind_divergence(registered, params=params)


def is_degenerate(order: str, lam: float) -> bool:
    """Whether r equals the order's other argument, so that the loss is identically 0 and must be refused."""
    return lam == (1.0 if "p" in order else 0.0)


def objective_of(
    divergence: Divergence, order: Order, *, alpha: float | None, lam: float, detach_student: bool = False
) -> Objective:
    """An objective of one divergence term."""
    schedule = None if alpha is None else constant(value=alpha)
    return Objective((DivergenceTerm(divergence, order, schedule, constant(value=lam), detach_student),))


def orders() -> tuple[Order, ...]:
    """The four orders."""
    return ORDERS


@dataclass(frozen=True)
class Inputs:
    """Hidden states and head weights of a student and a teacher: [N, H], [V, H], in one dtype."""

    student_hidden: Tensor
    student_weight: Tensor
    teacher_hidden: Tensor
    teacher_weight: Tensor


def make_inputs(dtype: torch.dtype, *, num_tokens: int = 9, vocab_size: int = 96) -> Inputs:
    """Seeded inputs whose tokens run from a student close to the teacher to one far from it."""
    generator = torch.Generator().manual_seed(20)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    size = 12
    weight = normal(vocab_size, size) / size**0.5
    common = normal(num_tokens, size)
    distance = torch.logspace(-2, 0, num_tokens, dtype=torch.float64).unsqueeze(1)
    sharpness = torch.linspace(0.5, 3.0, num_tokens, dtype=torch.float64).roll(2).unsqueeze(1)
    teacher = sharpness * (common + distance * normal(num_tokens, size))
    return Inputs(
        (sharpness * common).to(dtype),
        weight.to(dtype),
        teacher.to(dtype),
        (weight + 0.01 * normal(vocab_size, size)).to(dtype),
    )


def make_wide_inputs(*, num_tokens: int = 8, vocab_size: int = 32) -> Inputs:
    """Seeded float32 inputs whose log-probabilities differ by 30 to 100, in both directions in every token.

    The heads are identities, so that the logits are the hidden states: a product would round logits of 100 by more than
    the tolerance. The tokens run from 30 to 100, half of them with a teacher sure of one entry.
    """
    generator = torch.Generator().manual_seed(21)
    teacher, student = torch.randn(2, num_tokens, vocab_size, generator=generator) * 2
    far = torch.linspace(30.0, 100.0, num_tokens).unsqueeze(1)
    third = vocab_size // 3
    teacher[:, :third] -= far  # what only the student thinks likely
    student[:, third : 2 * third] -= far  # what only the teacher thinks likely
    teacher[::2, third] += 12.0
    same = torch.eye(vocab_size)
    return Inputs(student, same, teacher, same)
