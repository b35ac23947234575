"""The grid: every divergence, order, alpha and lam, in the dense and the fused form, against the oracle."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amid.certificate import settings
from amid.certificate.oracle import FORMULAS, Truth, truth
from amid.certificate.settings import Inputs
from amid.core import Head, LossParts, Objective, Order, dense_objective, linear_objective

FORMS = ("dense", "fused")
# Inputs by their name in the table: everyday logits in two dtypes, and logits that lie 30 to 100 apart.
INPUTS: dict[str, Callable[[], Inputs]] = {
    "float32": lambda: settings.make_inputs(torch.float32),
    "bfloat16": lambda: settings.make_inputs(torch.bfloat16),
    "float32, wide": settings.make_wide_inputs,
}
# Relative to the sum of absolute terms: float32 keeps about 1e-7 per operation and log-probabilities of size 10.
SIZE_TOLERANCE = 1e-5
# Plain relative error where the value is not itself a small difference.
PLAIN_TOLERANCE = 1e-4
PLAIN_FLOOR = 1e-2
# Of wide inputs a logarithm of 100 is known to half a bit, 4e-6, and powers and ratios collect a few of them.
WIDE_SIZE_TOLERANCE = 2e-5
# There a value or a gradient far below its terms is a small difference too, although the divergence is large.
WIDE_PLAIN_SHARE = 2e-2
# float32 probabilities add up to 1 within 1e-7, however small the terms of a sure token are.
SMALLEST_SIZE = 2e-2
# With bfloat16 inputs the arithmetic is float32 and values meet the tolerances above; a gradient is handed back in
# bfloat16, whose last bit is 2^-8: one rounding is at most 2^-9 of the entry, two where a framework rounds again.
BFLOAT16_GRADIENT_TOLERANCE = 2.0**-8
# A token with values and gradients below the first must be kept, one beyond the second left out; float32 ends between.
SURELY_CARRIED = 1e12
SURELY_LEFT_OUT = 1e18


@dataclass
class Row:
    """Worst errors of one divergence in one form on one kind of inputs, over all orders, alphas and lams.

    by_size, plain: of the values and of the gradients, the larger relative to its tolerance counts in `passed`.
    num_left_out: of all tokens, those beyond float32. num_dense: those that the fused form left to the dense one.
    """

    divergence: str
    form: str
    inputs: str
    num_settings: int = 0
    num_refused: int = 0
    num_tokens: int = 0
    num_left_out: int = 0
    num_dense: int = 0
    value_by_size: float = 0.0
    value_plain: float = 0.0
    gradient_by_size: float = 0.0
    gradient_plain: float = 0.0
    worst_setting: str = ""

    @property
    def is_wide(self) -> bool:
        """Whether the inputs lie far apart."""
        return self.inputs.endswith("wide")

    @property
    def size_tolerance(self) -> float:
        """Tolerance of the values by size."""
        return WIDE_SIZE_TOLERANCE if self.is_wide else SIZE_TOLERANCE

    @property
    def gradient_tolerances(self) -> tuple[float, float]:
        """Tolerances of the gradient: by size, and plain."""
        if self.inputs == "bfloat16":
            return BFLOAT16_GRADIENT_TOLERANCE, BFLOAT16_GRADIENT_TOLERANCE
        return self.size_tolerance, PLAIN_TOLERANCE

    @property
    def passed(self) -> bool:
        """Whether every error is within its tolerance."""
        by_size, plain = self.gradient_tolerances
        return (
            self.value_by_size <= self.size_tolerance
            and self.value_plain <= PLAIN_TOLERANCE
            and self.gradient_by_size <= by_size
            and self.gradient_plain <= plain
        )

    def take(self, setting: str, errors: tuple[float, ...], parts: LossParts) -> None:
        """Keeps the larger of each of four errors. An error that is not a number counts as infinite."""
        checked = [error if error == error else math.inf for error in errors]
        self.num_tokens += parts.per_token.numel()
        self.num_left_out += int(parts.num_nonfinite)
        self.num_dense += int(parts.num_dense)
        if checked[2] >= self.gradient_by_size:
            self.worst_setting = setting
        self.num_settings += 1
        self.value_by_size = max(self.value_by_size, checked[0])
        self.value_plain = max(self.value_plain, checked[1])
        self.gradient_by_size = max(self.gradient_by_size, checked[2])
        self.gradient_plain = max(self.gradient_plain, checked[3])


def _largest(errors: Tensor) -> float:
    """The largest error, 0 where there is none."""
    return float(errors.max()) if errors.numel() else 0.0


def _norm_error(
    ours: Tensor, theirs: Tensor, size: Tensor, value: Tensor, slack: Tensor, share: float
) -> tuple[float, float]:
    """Largest error of rows [N, K] by the norm of the terms' sizes, and by the norm itself where value is large.

    slack [N]: part of the difference that is not an error, see `Truth`. share: of the terms' sizes that the norm must
    exceed to count as plain.
    """
    difference = (torch.linalg.vector_norm(ours.double() - theirs, dim=-1) - slack).clamp(min=0.0)
    norm, size_norm = torch.linalg.vector_norm(theirs, dim=-1), torch.linalg.vector_norm(size, dim=-1)
    counted = (value > PLAIN_FLOOR) & (norm >= share * size_norm)
    return _largest(difference / size_norm), _largest((difference / norm.clamp(min=1e-300))[counted])


def kept(parts: LossParts, true: Truth) -> Tensor | None:
    """[N] bool: the tokens that were not left out; None if one was lost or kept that must not be."""
    finite = torch.isfinite(parts.per_token)
    reach = torch.maximum(true.value.abs(), torch.linalg.vector_norm(true.gradient, dim=-1))
    wrong = (~finite & (reach <= SURELY_CARRIED)) | (finite & ~(reach <= SURELY_LEFT_OUT))
    return None if bool(wrong.any()) else finite


def _value_errors(parts: LossParts, true: Truth, share: float) -> tuple[float, float]:
    difference = (parts.per_token.double() - true.value).abs()
    counted = (true.value > PLAIN_FLOOR) & (true.value >= share * true.size)
    return _largest(difference / true.size.clamp(min=SMALLEST_SIZE)), _largest((difference / true.value)[counted])


LOST = (math.inf,) * 4


def _dense_errors(
    objective: Objective, true: Truth, student_z: Tensor, teacher_z: Tensor, share: float
) -> tuple[tuple[float, ...], LossParts]:
    z = student_z.detach().clone().requires_grad_()
    num_tokens, vocab_size = z.shape
    ones = torch.ones(num_tokens)
    parts = dense_objective(z, teacher_z, objective, labels=None, token_weights=ones, vocab_size=vocab_size)
    (gradient,) = torch.autograd.grad(parts.loss, z)
    carried = kept(parts, true)
    if carried is None:
        return LOST, parts
    true, parts_kept = true.rows(carried), replace(parts, per_token=parts.per_token[carried])
    of_logits = _norm_error(gradient[carried], true.gradient, true.gradient_size, true.value, true.slack, share)
    return (*_value_errors(parts_kept, true, share), *of_logits), parts


def _longest(rows: Tensor) -> float:
    return _largest(torch.linalg.vector_norm(rows, dim=-1))


def _fused_errors(
    objective: Objective, true: Truth, inputs: Inputs, share: float
) -> tuple[tuple[float, ...], LossParts]:
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
    carried = kept(parts, true)
    if carried is None:
        return LOST, parts
    true, parts_kept = true.rows(carried), replace(parts, per_token=parts.per_token[carried])
    states, rows = hidden.detach().double()[carried], weight.detach().double()
    of_hidden = _norm_error(
        grad_hidden[carried],
        true.gradient @ rows,
        true.gradient_size @ rows.abs(),
        true.value,
        true.slack * _longest(rows),
        share,
    )
    # The head's gradient is one sum over all tokens: compared as a whole.
    of_weight = _norm_error(
        grad_weight.flatten().unsqueeze(0),
        (true.gradient.t() @ states).flatten().unsqueeze(0),
        (true.gradient_size.t() @ states.abs()).flatten().unsqueeze(0),
        torch.full((1,), _largest(true.value), dtype=torch.float64),
        true.slack.sum().unsqueeze(0) * _longest(states),
        share,
    )
    worst = tuple(max(pair) for pair in zip(of_hidden, of_weight, strict=True))
    return (*_value_errors(parts_kept, true, share), *worst), parts


def _logits(inputs: Inputs, form: str) -> tuple[Tensor, Tensor]:
    student = inputs.student_hidden.double() @ inputs.student_weight.double().t()
    teacher = inputs.teacher_hidden.double() @ inputs.teacher_weight.double().t()
    # The dense form is handed logits of the dtype, the fused form makes its own from the inputs.
    dtype = inputs.student_hidden.dtype if form == "dense" else torch.float64
    return student.to(dtype), teacher.to(dtype)


def _settings(short: bool) -> Iterator[tuple[Order, float | None, float]]:
    alphas = settings.SHORT_ALPHAS if short else settings.ALPHAS
    lams = settings.SHORT_LAMS if short else settings.LAMS
    for order in settings.orders():
        for alpha in alphas:
            for lam in lams if alpha is not None else (0.5,):
                yield order, alpha, lam


def run_grid(*, short: bool) -> list[Row]:
    """One row per divergence, form and kind of inputs."""
    rows = []
    for name in settings.SHORT_DIVERGENCES if short else settings.DIVERGENCES:
        divergence = settings.divergence_called(name)
        for title, make_inputs in INPUTS.items():
            inputs = make_inputs()
            for form in FORMS:
                row = Row(name, form, title)
                share = WIDE_PLAIN_SHARE if row.is_wide else 0.0
                student_z, teacher_z = _logits(inputs, form)
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
                        errors, parts = _dense_errors(objective, true, student_z, teacher_z, share)
                    else:
                        errors, parts = _fused_errors(objective, true, inputs, share)
                    row.take(f"{order}, alpha {alpha}, lam {lam}", errors, parts)
                rows.append(row)
    return rows
