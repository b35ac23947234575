"""The objective as one torch module, for a plain loop, the Hugging Face Trainer or TRL.

Legend: B sequences; T positions; W_s, W_t head widths; H_s, H_t hidden sizes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from amid.core import (
    CrossEntropy,
    DivergenceTerm,
    Head,
    LossParts,
    Objective,
    Order,
    Schedule,
    Term,
    bind_divergence,
    chunked_objective_from_logits,
    constant,
    linear_objective,
    named_divergence,
)


def _schedule(value: float | Schedule) -> Schedule:
    return constant(value=float(value)) if isinstance(value, int | float) else value


def _head(head: Head | nn.Linear) -> Head:
    return Head(head.weight, head.bias) if isinstance(head, nn.Linear) else head


class AmidLoss(nn.Module):
    """Distillation loss of a student against a teacher through an alpha-mixture assistant: mean over labelled tokens.

    divergence: a name as on the command line (ab, akl, amari, bdkd, chi2, csd, gjs, hellinger, jeffreys, js, kl, rkl,
    tv, wsd), or a function of your own: log_left, log_right [..., V] and keyword parameters -> [...], differentiable.
    Default: AB with (0.2, 0.7). divergence_params: those that differ from the name's own; all of your own function's.
    order: left and right argument of the divergence; p teacher, q student, r assistant. Default: pr; rp for rkl, which
    is kl with its arguments exchanged and refuses an order beside it.
    alpha: geometry of the assistant, any real, inf or -inf, or a schedule; None for no assistant.
    lam: weight of the teacher in the assistant, in [0, 1], or a schedule.
    cross_entropy_weight: weight of the labels' cross-entropy beside the divergence (whose weight is 1).
    ignore_index: label of positions that carry no loss. chunk_tokens: tokens in float32 at a time.
    shift_labels: True for labels as transformers makes them (labels[t] is input_ids[t]); False for labels[t] being the
    target of position t.
    Raises ValueError for an unknown name, a value out of range, or a setting whose loss is identically 0.

        loss = AmidLoss(alpha=-5.0, lam=0.1)(student_logits, teacher_logits, labels)
    """

    def __init__(
        self,
        *,
        divergence: str | Callable[..., Tensor] = "ab",
        divergence_params: Mapping[str, Any] | None = None,
        order: Order | None = None,
        alpha: float | Schedule | None = -5.0,
        lam: float | Schedule = 0.1,
        detach_student: bool = False,
        cross_entropy_weight: float = 0.0,
        ignore_index: int = -100,
        shift_labels: bool = False,
        chunk_tokens: int = 192,
    ) -> None:
        super().__init__()
        given = dict(divergence_params or {})
        if isinstance(divergence, str):
            named = named_divergence(divergence, order)
            bound = bind_divergence(named.function, params={**named.params, **given})
            order = named.order
        else:
            bound = bind_divergence(divergence, params=given)
        terms: list[Term] = [
            DivergenceTerm(
                bound,
                order or "pr",
                None if alpha is None else _schedule(alpha),
                _schedule(lam),
                detach_student,
            )
        ]
        if cross_entropy_weight:
            terms.append(CrossEntropy(cross_entropy_weight))
        self.objective = Objective(tuple(terms))
        self.ignore_index = ignore_index
        self.shift_labels = shift_labels
        self.chunk_tokens = chunk_tokens

    def parts(
        self,
        student: Tensor,
        teacher: Tensor,
        labels: Tensor,
        *,
        student_head: Head | nn.Linear | None = None,
        teacher_head: Head | nn.Linear | None = None,
        vocab_size: int | None = None,
        num_labelled: float | Tensor | None = None,
    ) -> LossParts:
        """Loss with its values per labelled token, count of non-finite tokens, terms and signals; see `forward`."""
        if (student_head is None) != (teacher_head is None):
            raise ValueError("pass both heads (with hidden states) or neither (with logits)")
        if student.shape[:-1] != labels.shape or teacher.shape[:-1] != labels.shape:
            raise ValueError(
                f"student and teacher must be labels' shape {tuple(labels.shape)} plus one axis, got "
                f"{tuple(student.shape)} and {tuple(teacher.shape)}"
            )
        if self.shift_labels:
            student, teacher, labels = student[:, :-1], teacher[:, :-1], labels[:, 1:]
        mask = labels != self.ignore_index
        chosen, taught, targets = student[mask], teacher[mask], labels[mask]
        count = float(max(targets.numel(), 1)) if num_labelled is None else num_labelled
        weights = torch.ones(targets.shape, device=student.device) / count
        heads = None
        if student_head is not None and teacher_head is not None:
            heads = _head(student_head), _head(teacher_head)
        widths = (student.shape[-1], teacher.shape[-1]) if heads is None else (heads[0].width, heads[1].width)
        if vocab_size is None:
            if widths[0] != widths[1]:
                raise ValueError(
                    f"the student scores {widths[0]} tokens, the teacher {widths[1]}; pass vocab_size, the number of "
                    "first tokens that mean the same in both"
                )
            vocab_size = widths[0]
        if heads is None:
            return chunked_objective_from_logits(
                chosen,
                taught,
                self.objective,
                labels=targets,
                token_weights=weights,
                vocab_size=vocab_size,
                chunk_tokens=self.chunk_tokens,
            )
        return linear_objective(
            chosen,
            heads[0],
            taught,
            heads[1],
            self.objective,
            labels=targets,
            token_weights=weights,
            vocab_size=vocab_size,
            chunk_tokens=self.chunk_tokens,
        )

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        labels: Tensor,
        *,
        student_head: Head | nn.Linear | None = None,
        teacher_head: Head | nn.Linear | None = None,
        vocab_size: int | None = None,
        num_labelled: float | Tensor | None = None,
    ) -> Tensor:
        """The loss, a scalar with gradients to the student (and to its head, where given), differentiable once.

        Shapes: student [B, T, W_s] logits, or [B, T, H_s] hidden states with student_head; teacher likewise;
        labels [B, T]. With heads no [B, T, V] tensor is ever made.
        vocab_size: shared first tokens; needed where the widths differ.
        num_labelled: labelled tokens of the whole step, over micro-batches and ranks; default: of this call.
        Raises ValueError if shapes do not fit, one head is missing, or widths differ without vocab_size.
        """
        return self.parts(
            student,
            teacher,
            labels,
            student_head=student_head,
            teacher_head=teacher_head,
            vocab_size=vocab_size,
            num_labelled=num_labelled,
        ).loss
