"""The dense form of an objective, on given logits: the definition that every faster form must equal.

Legend: N labelled tokens; V shared vocabulary; W_s, W_t head widths; p teacher, q student, r assistant. A token whose
value, or its gradient in the logits, float32 cannot carry leaves the sum with gradient exactly zero and is counted.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from amid.core.logprob import LogProb, overlap, to_log_prob
from amid.core.objective import LossParts, Objective
from amid.core.schedules import OVERLAP
from amid.core.terms import LABELS, SettledTerm, TokenInputs

# A gradient whose norm is beyond this cannot be clipped: between logits and weights lie factors of the weights, and the
# squares of 1e19 end float32. It says that a divergence has left its range, not where to go.
LARGEST_GRADIENT = 1e15


@dataclass(frozen=True)
class DenseValues:
    """What `values_and_gradient` gives; only the loss, a scalar, has a graph. The signals are as in `LossParts`.

    per_token, finite, terms: per token [N], the value (NaN where only its gradient is not finite), whether both are
    finite, and the value by term.
    gradient: of the summed values in the student's logits, [N, W_s], zero where left out; None where grad is disabled.
    """

    loss: Tensor
    per_token: Tensor
    finite: Tensor
    terms: dict[str, Tensor]
    signals: dict[str, Tensor]
    gradient: Tensor | None


def values_and_gradient(
    student_logits: Tensor,
    log_p: LogProb | None,
    settled: Mapping[str, SettledTerm],
    *,
    objective: Objective,
    inputs: TokenInputs,
    weights: Tensor,
    vocab_size: int,
) -> DenseValues:
    """Values of settled terms on logits, non-finite tokens left out; a graph to student_logits where grad is enabled.

    Shapes: student_logits [N, W_s], log_p [N, V] or None, inputs [N, ...], weights [N].
    Cost of knowing that the gradients are finite: they are taken here, one backward pass of the divergence, and again
    by whoever differentiates the loss. Without grad only the values decide.
    """

    def values_of(rows: Tensor | slice) -> tuple[dict[str, Tensor], LogProb]:
        log_q = to_log_prob(student_logits[rows], vocab_size, native_dtype=objective.compat.native_loss_dtype)
        rows_p = None if log_p is None else log_p[rows]
        rows_inputs = rows_of(inputs, rows)
        values = {
            name: term.weight * term.rows(rows).per_token(rows_p, log_q, rows_inputs) for name, term in settled.items()
        }
        return values, log_q

    rows: Tensor | slice = slice(None)
    values, log_q = values_of(rows)
    terms = {name: value.detach() for name, value in values.items()}
    per_token = functools.reduce(torch.add, values.values()).detach()
    finite = torch.isfinite(per_token)
    if not bool(finite.all()):
        # Left out before the softmax, not masked after it: 0 times an undefined gradient is undefined.
        rows = finite.nonzero().squeeze(-1)
        values, log_q = values_of(rows)
    kept = functools.reduce(torch.add, values.values())
    gradient = None
    if kept.requires_grad:
        (gradient,) = torch.autograd.grad(kept.sum(), student_logits, retain_graph=True)
        fits = torch.linalg.vector_norm(gradient, dim=-1, dtype=torch.float32) <= LARGEST_GRADIENT
        if not bool(fits.all()):
            gradient = gradient.masked_fill(~fits.unsqueeze(-1), 0.0)
            per_token = per_token.masked_fill(finite & ~fits, torch.nan)
            finite = finite & fits
            rows = finite.nonzero().squeeze(-1)
            values, log_q = values_of(rows)
            kept = functools.reduce(torch.add, values.values())
    kept_p = None if log_p is None else log_p[rows]
    return DenseValues(
        loss=(weights[rows] * kept).sum(),
        per_token=per_token,
        finite=finite,
        terms=terms,
        signals=signal_sums(objective, kept_p, log_q.detach(), [term.rows(rows) for term in settled.values()]),
        gradient=gradient,
    )


@torch.no_grad()
def signal_sums(
    objective: Objective, log_p: LogProb | None, log_q: LogProb, settled: Iterable[SettledTerm]
) -> dict[str, Tensor]:
    """The signals that the objective's schedules read from the distributions, as in `LossParts`.

    Of a signal that several terms measure, the first one's.
    """
    found: dict[str, Tensor] = {}
    if log_p is None:
        return found
    if OVERLAP in objective.signals:
        found[OVERLAP] = _finite_sum(overlap(log_p, log_q))
    for term in settled:
        for name, per_token in term.signals(log_p, log_q).items():
            found.setdefault(name, _finite_sum(per_token))
    return found


def _finite_sum(per_token: Tensor) -> Tensor:
    """[2]: sum over the finite tokens of [N], and how many there are."""
    finite = torch.isfinite(per_token)
    return torch.stack([per_token.masked_fill(~finite, 0.0).sum(), finite.sum().to(per_token.dtype)])


def rows_of(inputs: TokenInputs, rows: Tensor | slice) -> dict[str, Tensor]:
    """The inputs of some of the tokens."""
    return {name: values[rows] for name, values in inputs.items()}


def checked_inputs(
    objective: Objective,
    *,
    num_tokens: int,
    labels: Tensor | None,
    inputs: TokenInputs | None,
    token_weights: Tensor,
    vocab_size: int,
) -> dict[str, Tensor]:
    """All that is known of the tokens, labels included, by name.

    Raises ValueError if something does not fit num_tokens, or a term lacks what it reads, or finds it out of range.
    """
    if token_weights.shape != (num_tokens,):
        raise ValueError(f"token_weights must have shape ({num_tokens},), got {tuple(token_weights.shape)}")
    if labels is not None and labels.shape != (num_tokens,):
        raise ValueError(f"labels must have shape ({num_tokens},), got {tuple(labels.shape)}")
    given = {**(inputs or {}), **({} if labels is None else {LABELS: labels})}
    for name, values in given.items():
        if values.shape[:1] != (num_tokens,):
            raise ValueError(f"input '{name}' must hold {num_tokens} tokens, got shape {tuple(values.shape)}")
    for _, term in objective.active_terms:
        term.check(given, vocab_size=vocab_size)
    return given


def loss_parts(
    loss: Tensor,
    *,
    weights: Tensor,
    per_token: Tensor,
    finite: Tensor,
    terms: dict[str, Tensor],
    signals: dict[str, Tensor],
    num_dense: Tensor,
) -> LossParts:
    """Loss parts from values per token [N] and sums of signals."""
    return LossParts(
        loss=loss,
        per_token=per_token,
        num_nonfinite=finite.numel() - finite.sum(),
        num_dense=num_dense,
        terms={name: (weights * value.masked_fill(~finite, 0.0)).sum() for name, value in terms.items()},
        signals=dict(sorted(signals.items())),
    )


def dense_objective(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    objective: Objective,
    *,
    labels: Tensor | None,
    inputs: TokenInputs | None = None,
    token_weights: Tensor,
    vocab_size: int,
) -> LossParts:
    """Value of the objective on given logits; the definition that every faster form must equal.

    Shapes: student_logits [N, W_s], teacher_logits [N, W_t] or None, labels [N] or None, token_weights [N]; only
    labelled tokens. Each width at least vocab_size. Gradient to student_logits only.
    token_weights: usually 1 / (number of labelled tokens of the step); the loss is a sum.
    labels: read by a cross-entropy term only. inputs: what other terms read of each token, by name, [N, ...].
    A token leaves the sum if its value is not finite, or its gradient's norm is above LARGEST_GRADIENT; to know the
    second costs one more backward pass of the divergence (see `values_and_gradient`).
    Raises ValueError if the teacher is missing, or shapes, labels or widths do not fit.
    """
    num_tokens = student_logits.shape[0]
    given = checked_inputs(
        objective,
        num_tokens=num_tokens,
        labels=labels,
        inputs=inputs,
        token_weights=token_weights,
        vocab_size=vocab_size,
    )
    if objective.needs_teacher and teacher_logits is None:
        raise ValueError("this objective reads the teacher; pass teacher_logits")
    weights = token_weights.detach().float()
    log_p = None
    if teacher_logits is not None and objective.needs_teacher:
        log_p = to_log_prob(teacher_logits.detach(), vocab_size, native_dtype=objective.compat.native_loss_dtype)

    def loss_of(alone: Objective) -> Tensor:
        return dense_objective(
            student_logits,
            teacher_logits,
            alone,
            labels=labels,
            inputs=inputs,
            token_weights=token_weights,
            vocab_size=vocab_size,
        ).loss

    result = values_and_gradient(
        student_logits,
        log_p,
        objective.settled(loss_of),
        objective=objective,
        inputs=given,
        weights=weights,
        vocab_size=vocab_size,
    )
    return loss_parts(
        result.loss,
        weights=weights,
        per_token=result.per_token,
        finite=result.finite,
        terms=result.terms,
        signals=result.signals,
        num_dense=torch.full((), num_tokens, dtype=torch.int64, device=student_logits.device),
    )
