"""The grid: every divergence, order, alpha and lam, in the dense and the fused form, against the oracle."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from amid.certificate import settings
from amid.certificate.oracle import FORMULAS, Truth, truth
from amid.certificate.settings import Inputs
from amid.core import Head, LossParts, Objective, Order, dense_objective, linear_objective

FORMS = ("dense", "fused")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Relative to the sum of absolute terms: float32 keeps about 1e-7 per operation and log-probabilities of size 10.
SIZE_TOLERANCE = 1e-5
# Plain relative error where the value is not itself a small difference.
PLAIN_TOLERANCE = 1e-4
PLAIN_FLOOR = 1e-2
# With bfloat16 inputs the arithmetic is float32 and values meet the tolerances above; a gradient is handed back in
# bfloat16, whose last bit is 2^-8: one rounding is at most 2^-9 of the entry, two where a framework rounds again.
BFLOAT16_GRADIENT_TOLERANCE = 2.0**-8


@dataclass
class Row:
    """Worst errors of one divergence in one form and dtype, over all orders, alphas and lams.

    by_size, plain: of the values and of the gradients, the larger relative to its tolerance counts in `passed`.
    """

    divergence: str
    form: str
    dtype: str
    num_settings: int = 0
    num_refused: int = 0
    value_by_size: float = 0.0
    value_plain: float = 0.0
    gradient_by_size: float = 0.0
    gradient_plain: float = 0.0
    worst_setting: str = ""

    @property
    def gradient_tolerances(self) -> tuple[float, float]:
        """Tolerances of the gradient: by size, and plain."""
        if self.dtype == "bfloat16":
            return BFLOAT16_GRADIENT_TOLERANCE, BFLOAT16_GRADIENT_TOLERANCE
        return SIZE_TOLERANCE, PLAIN_TOLERANCE

    @property
    def passed(self) -> bool:
        """Whether every error is within its tolerance."""
        by_size, plain = self.gradient_tolerances
        return (
            self.value_by_size <= SIZE_TOLERANCE
            and self.value_plain <= PLAIN_TOLERANCE
            and self.gradient_by_size <= by_size
            and self.gradient_plain <= plain
        )

    def take(self, setting: str, errors: tuple[float, float, float, float]) -> None:
        """None; keeps the larger of each error. An error that is not a number counts as infinite."""
        checked = [error if error == error else float("inf") for error in errors]
        if checked[2] >= self.gradient_by_size:
            self.worst_setting = setting
        self.num_settings += 1
        self.value_by_size = max(self.value_by_size, checked[0])
        self.value_plain = max(self.value_plain, checked[1])
        self.gradient_by_size = max(self.gradient_by_size, checked[2])
        self.gradient_plain = max(self.gradient_plain, checked[3])


def _norm_error(ours: Tensor, theirs: Tensor, size: Tensor, value: Tensor, slack: Tensor) -> tuple[float, float]:
    """Largest error of rows [N, K] by the norm of the terms' sizes, and by the norm itself where value is large.

    slack [N]: part of the difference that is not an error, see `Truth`.
    """
    difference = (torch.linalg.vector_norm(ours.double() - theirs, dim=-1) - slack).clamp(min=0.0)
    plain = difference / torch.linalg.vector_norm(theirs, dim=-1).clamp(min=1e-300)
    large = value > PLAIN_FLOOR
    worst_plain = float(plain[large].max()) if bool(large.any()) else 0.0
    return float((difference / torch.linalg.vector_norm(size, dim=-1)).max()), worst_plain


def _value_errors(parts: LossParts, true: Truth) -> tuple[float, float]:
    difference = (parts.per_token.double() - true.value).abs()
    large = true.value > PLAIN_FLOOR
    plain = float((difference / true.value)[large].max()) if bool(large.any()) else 0.0
    return float((difference / true.size).max()), plain


def _dense_errors(objective: Objective, true: Truth, student_z: Tensor, teacher_z: Tensor) -> tuple[float, ...]:
    z = student_z.detach().clone().requires_grad_()
    num_tokens, vocab_size = z.shape
    ones = torch.ones(num_tokens)
    parts = dense_objective(z, teacher_z, objective, labels=None, token_weights=ones, vocab_size=vocab_size)
    (gradient,) = torch.autograd.grad(parts.loss, z)
    of_logits = _norm_error(gradient, true.gradient, true.gradient_size, true.value, true.slack)
    return *_value_errors(parts, true), *of_logits


def _longest(rows: Tensor) -> float:
    return float(torch.linalg.vector_norm(rows, dim=-1).max())


def _fused_errors(objective: Objective, true: Truth, inputs: Inputs) -> tuple[float, ...]:
    hidden = inputs.student_hidden.detach().clone().requires_grad_()
    weight = inputs.student_weight.detach().clone().requires_grad_()
    parts = linear_objective(
        hidden,
        Head(weight),
        inputs.teacher_hidden,
        Head(inputs.teacher_weight),
        objective,
        labels=None,
        token_weights=torch.ones(hidden.shape[0]),
        vocab_size=weight.shape[0],
        chunk_tokens=4,
    )
    grad_hidden, grad_weight = torch.autograd.grad(parts.loss, [hidden, weight])
    states, rows = hidden.detach().double(), weight.detach().double()
    of_hidden = _norm_error(
        grad_hidden, true.gradient @ rows, true.gradient_size @ rows.abs(), true.value, true.slack * _longest(rows)
    )
    # The head's gradient is one sum over all tokens: compared as a whole.
    of_weight = _norm_error(
        grad_weight.flatten().unsqueeze(0),
        (true.gradient.t() @ states).flatten().unsqueeze(0),
        (true.gradient_size.t() @ states.abs()).flatten().unsqueeze(0),
        true.value.max().unsqueeze(0),
        true.slack.sum().unsqueeze(0) * _longest(states),
    )
    worst = tuple(max(pair) for pair in zip(of_hidden, of_weight, strict=True))
    return *_value_errors(parts, true), *worst


def _logits(inputs: Inputs, form: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    student = inputs.student_hidden.double() @ inputs.student_weight.double().t()
    teacher = inputs.teacher_hidden.double() @ inputs.teacher_weight.double().t()
    # The dense form is handed logits of the dtype, the fused form makes its own from the inputs.
    return (student.to(dtype), teacher.to(dtype)) if form == "dense" else (student, teacher)


def _settings(short: bool) -> Iterator[tuple[Order, float | None, float]]:
    alphas = settings.SHORT_ALPHAS if short else settings.ALPHAS
    lams = settings.SHORT_LAMS if short else settings.LAMS
    for order in settings.orders():
        for alpha in alphas:
            for lam in lams if alpha is not None else (0.5,):
                yield order, alpha, lam


def run_grid(*, short: bool) -> list[Row]:
    """One row per divergence, form and dtype."""
    rows = []
    for name in settings.SHORT_DIVERGENCES if short else settings.DIVERGENCES:
        divergence = settings.divergence_called(name)
        for dtype_name, dtype in DTYPES.items():
            inputs = settings.make_inputs(dtype)
            for form in FORMS:
                row = Row(name, form, dtype_name)
                student_z, teacher_z = _logits(inputs, form, dtype)
                for order, alpha, lam in _settings(short):
                    if alpha is not None and settings.is_degenerate(order, lam):
                        try:
                            settings.objective_of(divergence, order, alpha=alpha, lam=lam)
                        except ValueError:
                            row.num_refused += 1
                            continue
                    objective = settings.objective_of(divergence, order, alpha=alpha, lam=lam)
                    true = truth(FORMULAS[name], order, alpha=alpha, lam=lam, student_z=student_z, teacher_z=teacher_z)
                    if form == "dense":
                        errors = _dense_errors(objective, true, student_z, teacher_z)
                    else:
                        errors = _fused_errors(objective, true, inputs)
                    row.take(f"{order}, alpha {alpha}, lam {lam}", (errors[0], errors[1], errors[2], errors[3]))
                rows.append(row)
    return rows
