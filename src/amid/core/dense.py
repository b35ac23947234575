"""The dense form of an objective, on given logits: the definition that every faster form must equal.

Legend: N labelled tokens; V shared vocabulary; W_s, W_t head widths; p teacher, q student, r assistant. A token whose
value, or its gradient in the logits, float32 cannot carry leaves the sum with gradient exactly zero and is counted.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from amid.core.assistants import alpha_mixture
from amid.core.logprob import LogProb, to_log_prob
from amid.core.objective import LossParts, Objective
from amid.core.schedules import ASSISTANT_CROSS_ENTROPY, OVERLAP
from amid.core.terms import CrossEntropy, DivergenceTerm, Level

# A gradient whose norm is beyond this cannot be clipped: between logits and weights lie factors of the weights, and the
# squares of 1e19 end float32. It says that a divergence has left its range, not where to go.
LARGEST_GRADIENT = 1e15


def rows_of(value: Level, rows: Tensor | slice) -> Level:
    """The entries of a per-token value for some tokens; anything else unchanged."""
    return value[rows] if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] > 1 else value


@dataclass(frozen=True)
class SettledTerm:
    """A term with everything decided for one evaluation: weight, present alpha and lam, no maximum left to take."""

    name: str
    weight: float
    term: DivergenceTerm | CrossEntropy
    alpha: Level | None
    lam: Level

    def rows(self, rows: Tensor | slice) -> "SettledTerm":
        """The same term for some of the tokens."""
        alpha = None if self.alpha is None else rows_of(self.alpha, rows)
        return SettledTerm(self.name, self.weight, self.term, alpha, rows_of(self.lam, rows))

    def per_token(self, log_p: LogProb | None, log_q: LogProb, labels: Tensor | None) -> Tensor:
        """Value per token, without the weight: log_p, log_q [N, V], labels [N] -> [N]."""
        if isinstance(self.term, CrossEntropy):
            assert labels is not None
            return -log_q.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        assert log_p is not None
        return self.term.per_token(log_p, log_q, alpha=self.alpha, lam=self.lam)


def settle(objective: Objective, candidate_sum: Callable[[DivergenceTerm], float]) -> tuple[SettledTerm, ...]:
    """The active terms at the schedules' present values, each maximum replaced by its largest candidate.

    candidate_sum: a candidate's weighted sum over the finite tokens of the batch.
    """
    settled: list[SettledTerm] = []
    for name, term in objective.active_terms:
        if isinstance(term, CrossEntropy):
            settled.append(SettledTerm(name, term.weight, term, None, 0.5))
        elif isinstance(term, DivergenceTerm):
            settled.append(SettledTerm(name, term.weight, term, *objective.values(term)))
        else:
            best = max(term.candidates, key=candidate_sum)
            settled.append(SettledTerm(name, term.weight * best.weight, best, *objective.values(best)))
    return tuple(settled)


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` gives: the loss, a scalar with a graph; without one, per token [N]: the value (NaN where only its
    gradient is not finite), whether both are finite, and the value by term; the signals as in `LossParts`.

    gradient: of the summed values in the student's logits, [N, W_s], zero where left out; None where grad is disabled.
    """

    loss: Tensor
    per_token: Tensor
    finite: Tensor
    terms: dict[str, Tensor]
    signals: dict[str, Tensor]
    gradient: Tensor | None


def evaluate(
    student_logits: Tensor,
    log_p: LogProb | None,
    settled: tuple[SettledTerm, ...],
    *,
    objective: Objective,
    labels: Tensor | None,
    weights: Tensor,
    vocab_size: int,
) -> Evaluation:
    """Values of settled terms on logits, non-finite tokens left out; a graph to student_logits where grad is enabled.

    Shapes: student_logits [N, W_s], log_p [N, V] or None, labels [N] or None, weights [N].
    Cost of knowing that the gradients are finite: they are taken here, one backward pass of the divergence, and again
    by whoever differentiates the loss. Without grad only the values decide.
    """

    def values_of(rows: Tensor | slice) -> tuple[dict[str, Tensor], LogProb]:
        log_q = to_log_prob(student_logits[rows], vocab_size, native_dtype=objective.compat.native_loss_dtype)
        rows_p = None if log_p is None else log_p[rows]
        rows_labels = None if labels is None else labels[rows]
        return {s.name: s.weight * s.rows(rows).per_token(rows_p, log_q, rows_labels) for s in settled}, log_q

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
    return Evaluation(
        loss=(weights[rows] * kept).sum(),
        per_token=per_token,
        finite=finite,
        terms=terms,
        signals=signal_sums(objective, kept_p, log_q.detach(), tuple(s.rows(rows) for s in settled)),
        gradient=gradient,
    )


@torch.no_grad()
def signal_sums(
    objective: Objective, log_p: LogProb | None, log_q: LogProb, settled: tuple[SettledTerm, ...]
) -> dict[str, Tensor]:
    """The signals that the objective's schedules read from the distributions, as in `LossParts`."""
    found: dict[str, Tensor] = {}
    if log_p is None:
        return found
    if OVERLAP in objective.signals:
        found[OVERLAP] = _finite_sum(torch.exp(torch.minimum(log_p, log_q)).sum(-1))
    if ASSISTANT_CROSS_ENTROPY in objective.signals:
        for s in settled:
            if s.alpha is not None and ASSISTANT_CROSS_ENTROPY in _signals_of(s.term):
                log_r = alpha_mixture(log_p, log_q, alpha=s.alpha, lam=s.lam)
                per_token = -(torch.exp(log_r) * log_q.masked_fill(log_r.isneginf(), 0.0)).sum(-1)
                found[ASSISTANT_CROSS_ENTROPY] = _finite_sum(per_token)
                break
    return found


def _finite_sum(per_token: Tensor) -> Tensor:
    """[2]: sum over the finite tokens of [N], and how many there are."""
    finite = torch.isfinite(per_token)
    return torch.stack([per_token.masked_fill(~finite, 0.0).sum(), finite.sum().to(per_token.dtype)])


def _signals_of(term: DivergenceTerm | CrossEntropy) -> frozenset[str]:
    if isinstance(term, CrossEntropy) or term.alpha is None:
        return frozenset()
    return term.alpha.signals | term.lam.signals


def check_shapes(
    objective: Objective,
    *,
    num_tokens: int,
    labels: Tensor | None,
    token_weights: Tensor,
    vocab_size: int,
) -> None:
    """Raises ValueError if labels or token_weights do not fit num_tokens, or a label lies outside V."""
    if token_weights.shape != (num_tokens,):
        raise ValueError(f"token_weights must have shape ({num_tokens},), got {tuple(token_weights.shape)}")
    has_cross_entropy = any(isinstance(term, CrossEntropy) for _, term in objective.active_terms)
    if labels is None:
        if has_cross_entropy:
            raise ValueError("a cross-entropy term needs labels; pass labels of the labelled tokens")
        return
    if labels.shape != (num_tokens,):
        raise ValueError(f"labels must have shape ({num_tokens},), got {tuple(labels.shape)}")
    if has_cross_entropy and num_tokens and not bool(((labels >= 0) & (labels < vocab_size)).all()):
        raise ValueError(
            f"labels must lie in [0, {vocab_size}), got {int(labels.min())} .. {int(labels.max())}; "
            "drop unlabelled tokens before the loss"
        )


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
    token_weights: Tensor,
    vocab_size: int,
) -> LossParts:
    """Value of the objective on given logits; the definition that every faster form must equal.

    Shapes: student_logits [N, W_s], teacher_logits [N, W_t] or None, labels [N] or None, token_weights [N]; only
    labelled tokens. Each width at least vocab_size. Gradient to student_logits only.
    token_weights: usually 1 / (number of labelled tokens of the step); the loss is a sum.
    labels: read by a cross-entropy term only.
    A token leaves the sum if its value is not finite, or its gradient's norm is above LARGEST_GRADIENT; to know the
    second costs one more backward pass of the divergence (see `evaluate`).
    Raises ValueError if the teacher is missing, or shapes, labels or widths do not fit.
    """
    num_tokens = student_logits.shape[0]
    check_shapes(objective, num_tokens=num_tokens, labels=labels, token_weights=token_weights, vocab_size=vocab_size)
    if objective.needs_teacher and teacher_logits is None:
        raise ValueError("this objective reads the teacher; pass teacher_logits")
    weights = token_weights.detach().float()
    log_p = None
    if teacher_logits is not None and objective.needs_teacher:
        log_p = to_log_prob(teacher_logits.detach(), vocab_size, native_dtype=objective.compat.native_loss_dtype)

    def candidate_sum(term: DivergenceTerm) -> float:
        candidate = Objective((term,), objective.compat)
        with torch.no_grad():
            alone = settle(candidate, candidate_sum)
            return float(
                evaluate(
                    student_logits,
                    log_p,
                    alone,
                    objective=candidate,
                    labels=None,
                    weights=weights,
                    vocab_size=vocab_size,
                ).loss
            )

    result = evaluate(
        student_logits,
        log_p,
        settle(objective, candidate_sum),
        objective=objective,
        labels=labels,
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
