"""The objective from hidden states and output heads, in chunks of tokens, without ever holding [N, V].

Legend: N labelled tokens; H_s, H_t hidden sizes; V shared vocabulary. The loss is one scalar, and its gradient is taken
while a chunk's logits are alive: extra memory is the head's gradient plus two [chunk_tokens, V] buffers and a few
[block, V] ones, whatever N is. Equals `dense_objective` of the two heads' logits in value and gradient.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amid.core.block import Buffers, closed_form_block, write_gradient
from amid.core.closed_form import ClosedForm, closed_sum
from amid.core.dense import checked_inputs, loss_parts, rows_of, signal_sums, values_and_gradient
from amid.core.heads import Head, backproject, empty_gradients, native_dtype, project_into
from amid.core.logprob import to_log_prob
from amid.core.objective import LossParts, Objective
from amid.core.terms import LABELS, SettledTerm, TokenInputs

# Elements of one block buffer: on a CPU about 1 MB, so that a block's working set stays in the second-level cache.
BLOCK_ELEMENTS_CPU = 2**18
BLOCK_ELEMENTS_ACCELERATOR = 2**24
DEFAULT_CHUNK_TOKENS = 192


class _Precomputed(torch.autograd.Function):
    """A scalar whose gradients are already known; backward only scales them."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor | None], *inputs: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradients of this loss have been used; compute it again")
        # Scaled in place, so that the head's gradient is never held twice.
        gradients = [None if gradient is None else gradient.mul_(grad_outputs[0]) for gradient in ctx.gradients]
        ctx.gradients = None
        return None, None, *gradients


@dataclass
class _Collected:
    """Values per token [N] gathered over blocks; signals as in `LossParts`; how many tokens took the dense form."""

    per_token: Tensor
    finite: Tensor
    terms: dict[str, Tensor]
    signals: dict[str, Tensor]
    num_dense: int = 0

    @staticmethod
    def empty(names: Iterable[str], num_tokens: int, device: torch.device) -> "_Collected":
        def zeros() -> Tensor:
            return torch.zeros(num_tokens, device=device)

        finite = torch.ones(num_tokens, dtype=torch.bool, device=device)
        return _Collected(zeros(), finite, {name: zeros() for name in names}, {})

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of weights * value over the finite tokens, scalar."""
        return (weights * self.per_token.masked_fill(~self.finite, 0.0)).sum()

    def parts(self, loss: Tensor, weights: Tensor) -> LossParts:
        """The loss parts of a loss whose values these are."""
        return loss_parts(
            loss,
            weights=weights,
            per_token=self.per_token,
            finite=self.finite,
            terms=self.terms,
            signals=self.signals,
            num_dense=torch.full((), self.num_dense, dtype=torch.int64, device=loss.device),
        )

    def add_signals(self, found: dict[str, Tensor]) -> None:
        """Adds one block's sums and counts."""
        for name, value in found.items():
            self.signals[name] = self.signals[name] + value if name in self.signals else value


@dataclass(frozen=True)
class _Problem:
    """What every block needs to know.

    form: the closed form of the whole objective, None for autograd on the dense form; parts: those of its terms, in
    order. student_dtype, teacher_dtype: of their own logits, read by compat.native_loss_dtype only.
    """

    objective: Objective
    settled: dict[str, SettledTerm]
    form: ClosedForm | None
    parts: tuple[ClosedForm, ...]
    inputs: TokenInputs
    student_dtype: torch.dtype
    teacher_dtype: torch.dtype
    wants_gradient: bool


def _problem(
    objective: Objective,
    settled: dict[str, SettledTerm],
    inputs: TokenInputs,
    dtypes: tuple[torch.dtype, torch.dtype],
    wants_gradient: bool,
) -> _Problem:
    parts = [term.closed_form() for term in settled.values()]
    form = None if objective.compat.native_loss_dtype else closed_sum(parts)
    known = tuple(part for part in parts if part is not None)
    return _Problem(objective, settled, form, known, inputs, *dtypes, wants_gradient)


def _differentiate(
    problem: _Problem, z: Tensor, teacher_z: Tensor | None, tokens: Tensor | slice, out: _Collected
) -> Tensor:
    """Gradient [b, V] of the summed values of some tokens, by autograd on the dense form; values go to `out`.

    tokens: which of all N these are. Those without a finite value or gradient have gradient zero.
    """
    native = problem.objective.compat.native_loss_dtype
    log_p = None
    if teacher_z is not None:
        teacher_logits = teacher_z.to(problem.teacher_dtype) if native else teacher_z
        log_p = to_log_prob(teacher_logits, z.shape[1], native_dtype=native)
    logits = z.to(problem.student_dtype if native else z.dtype, copy=True).requires_grad_(problem.wants_gradient)
    with torch.set_grad_enabled(problem.wants_gradient):
        result = values_and_gradient(
            logits,
            log_p,
            {name: term.rows(tokens) for name, term in problem.settled.items()},
            objective=problem.objective,
            inputs=rows_of(problem.inputs, tokens),
            weights=torch.ones(z.shape[0], device=z.device),
            vocab_size=z.shape[1],
        )
    out.per_token[tokens] = result.per_token.float()
    out.finite[tokens] = result.finite
    for name, value in result.terms.items():
        out.terms[name][tokens] = value.float()
    out.add_signals(result.signals)
    out.num_dense += z.shape[0]
    return torch.zeros_like(z) if result.gradient is None else result.gradient.float()


def _close(
    problem: _Problem,
    form: ClosedForm,
    z: Tensor,
    teacher_z: Tensor | None,
    first: int,
    out: _Collected,
    buffers: Buffers,
) -> None:
    """Replaces the logits z [b, V] by the gradient of the summed values, by the closed form.

    first: which of all N tokens is the first of these.
    """
    tokens = slice(first, first + z.shape[0])
    labels = problem.inputs[LABELS][tokens] if LABELS in problem.inputs else None
    result = closed_form_block(form, z, teacher_z, labels, buffers)
    total = out.per_token[tokens].zero_()
    for (name, term), part in zip(problem.settled.items(), problem.parts, strict=True):
        total.add_(torch.mul(result.value_of(part), term.weight, out=out.terms[name][tokens]))
    all_usable = bool(result.usable.all())
    if problem.objective.signals and result.logs is not None:
        kept = slice(None) if all_usable else result.usable.nonzero().squeeze(-1)
        out.add_signals(signal_sums(problem.objective, *result.log_probs(kept), problem.settled.values()))
    if all_usable:
        if problem.wants_gradient:
            write_gradient(form, result, labels, z)
        return
    lost = (~result.usable).nonzero().squeeze(-1)
    gradient = _differentiate(problem, z[lost], None if teacher_z is None else teacher_z[lost], first + lost, out)
    if problem.wants_gradient:
        write_gradient(form, result, labels, z)
        z[lost] = gradient


def _logits_to_gradient(
    problem: _Problem, z: Tensor, teacher_z: Tensor | None, *, start: int, out: _Collected, buffers: Buffers, block: int
) -> None:
    """Replaces a chunk's logits [n, V], in place and block by block, by the gradient of the summed values."""
    for first in range(0, z.shape[0], block):
        rows = slice(first, min(first + block, z.shape[0]))
        teacher_rows = None if teacher_z is None else teacher_z[rows]
        if problem.form is None:
            tokens = slice(start + rows.start, start + rows.stop)
            z[rows] = _differentiate(problem, z[rows], teacher_rows, tokens, out)
        else:
            _close(problem, problem.form, z[rows], teacher_rows, start + first, out, buffers)


def block_tokens(vocab_size: int, device: torch.device) -> int:
    """Tokens of one block: as many as fit the cache on a CPU, more on an accelerator."""
    elements = BLOCK_ELEMENTS_CPU if device.type == "cpu" else BLOCK_ELEMENTS_ACCELERATOR
    return max(1, elements // vocab_size)


def _uncap(grad_scores: Tensor, z: Tensor, softcap: float) -> None:
    """Carries a gradient of capped logits z back through the cap, in place in grad_scores; z is overwritten."""
    grad_scores.mul_(z.div_(softcap).square_().neg_().add_(1.0))


def _check_heads(student: Tensor, student_head: Head, teacher: Tensor | None, teacher_head: Head | None) -> None:
    for name, hidden, head in (("student", student, student_head), ("teacher", teacher, teacher_head)):
        if hidden is not None and head is not None and (hidden.dim() != 2 or hidden.shape[1] != head.hidden_size):
            raise ValueError(
                f"{name}_hidden must have shape [N, {head.hidden_size}], got {tuple(hidden.shape)}; "
                "keep the labelled tokens only"
            )


def _check_chunk(chunk_tokens: int) -> None:
    if chunk_tokens < 1:
        raise ValueError(f"chunk_tokens must be at least 1, got {chunk_tokens}")


def linear_objective(
    student_hidden: Tensor,
    student_head: Head,
    teacher_hidden: Tensor | None,
    teacher_head: Head | None,
    objective: Objective,
    *,
    labels: Tensor | None,
    inputs: TokenInputs | None = None,
    token_weights: Tensor,
    vocab_size: int,
    chunk_tokens: int = DEFAULT_CHUNK_TOKENS,
) -> LossParts:
    """Value of the objective on the logits of two heads, with gradients to the student's hidden states and head.

    Shapes: student_hidden [N, H_s], teacher_hidden [N, H_t] or None, labels [N] or None, token_weights [N]; only
    labelled tokens. Any float dtype; arithmetic and accumulation in float32.
    inputs: what terms read of each token beside its label, by name, [N, ...].
    vocab_size: shared vocabulary, at most either head's width. chunk_tokens: tokens whose logits are alive at a time.
    The loss can be differentiated once; parts of the head that require no gradient cost none. A maximum over terms
    costs one pass over the values of each candidate.
    Raises ValueError if the teacher is missing, or shapes, labels or widths do not fit.
    """
    num_tokens = student_hidden.shape[0]
    device = student_hidden.device
    _check_chunk(chunk_tokens)
    given = checked_inputs(
        objective,
        num_tokens=num_tokens,
        labels=labels,
        inputs=inputs,
        token_weights=token_weights,
        vocab_size=vocab_size,
    )
    _check_heads(student_hidden, student_head, teacher_hidden, teacher_head)
    if objective.needs_teacher and (teacher_hidden is None or teacher_head is None):
        raise ValueError("this objective reads the teacher; pass teacher_hidden and teacher_head")
    if teacher_hidden is not None and teacher_hidden.shape[0] != num_tokens:
        raise ValueError(f"teacher_hidden holds {teacher_hidden.shape[0]} tokens, student_hidden {num_tokens}")
    for name, head in (("student", student_head), ("teacher", teacher_head)):
        if head is not None and head.width < vocab_size:
            raise ValueError(f"the {name}'s head scores {head.width} tokens, fewer than vocab_size {vocab_size}")

    def loss_of(alone: Objective) -> Tensor:
        return linear_objective(
            student_hidden,
            student_head,
            teacher_hidden,
            teacher_head,
            alone,
            labels=labels,
            inputs=inputs,
            token_weights=token_weights,
            vocab_size=vocab_size,
            chunk_tokens=chunk_tokens,
        ).loss

    settled = objective.settled(loss_of)
    lora = student_head.lora
    trained = [student_hidden, student_head.weight, student_head.bias]
    trained += [None, None] if lora is None else [lora.down, lora.up]
    wants_gradient = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in trained)
    dtypes = native_dtype(student_head), native_dtype(student_head if teacher_head is None else teacher_head)
    # What is multiplied, as the models themselves would: autocast casts the operands too.
    read, student_states, teacher_read = student_head, student_hidden.detach(), teacher_head
    if objective.compat.native_loss_dtype:
        read, student_states = student_head.rounded_to(dtypes[0]), student_states.to(dtypes[0])
        if teacher_head is not None and teacher_hidden is not None:
            teacher_read, teacher_hidden = teacher_head.rounded_to(dtypes[1]), teacher_hidden.to(dtypes[1])
    problem = _problem(objective, settled, given, dtypes, wants_gradient)
    weights = token_weights.detach().float()
    out = _Collected.empty(settled, num_tokens, device)
    with torch.no_grad(), torch.autocast(device_type=device.type, enabled=False):
        gradients = empty_gradients(student_hidden, student_head, vocab_size=vocab_size) if wants_gradient else None
        chunk = min(chunk_tokens, max(num_tokens, 1))
        block = min(chunk, block_tokens(vocab_size, device))
        buffers = Buffers(block, vocab_size, device)
        student_z = torch.empty(chunk, vocab_size, device=device)
        teacher_z = torch.empty(chunk, vocab_size, device=device) if objective.needs_teacher else None
        for start in range(0, num_tokens, chunk):
            stop = min(start + chunk, num_tokens)
            states = student_states[start:stop].float()
            z = student_z[: stop - start]
            project_into(z, states, read)
            teacher_rows = None
            if teacher_z is not None:
                assert teacher_hidden is not None
                assert teacher_read is not None
                teacher_rows = teacher_z[: stop - start]
                project_into(teacher_rows, teacher_hidden[start:stop].float(), teacher_read)
            capped = z.clone() if student_head.softcap is not None and gradients is not None else None
            _logits_to_gradient(problem, z, teacher_rows, start=start, out=out, buffers=buffers, block=block)
            if gradients is not None:
                if capped is not None and student_head.softcap is not None:
                    _uncap(z, capped, student_head.softcap)
                factors = student_head.scale * weights[start:stop]
                backproject(gradients, z, states, student_head, start=start, token_factors=factors)
        loss = out.weighted_sum(weights)
    if gradients is not None:
        known = [gradients.hidden, gradients.weight, gradients.bias, gradients.down, gradients.up]
        loss = _Precomputed.apply(loss, known, *trained)  # type: ignore[no-untyped-call]
    return out.parts(loss, weights)


def chunked_objective_from_logits(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    objective: Objective,
    *,
    labels: Tensor | None,
    inputs: TokenInputs | None = None,
    token_weights: Tensor,
    vocab_size: int,
    chunk_tokens: int = DEFAULT_CHUNK_TOKENS,
) -> LossParts:
    """Value of the objective on given logits, like `dense_objective`, but without float32 tensors of all tokens.

    For a model whose head is not data: holds the given logits and their gradient in their own dtype, and float32 only
    for a chunk. The loss can be differentiated once.
    Shapes: student_logits [N, W_s], teacher_logits [N, W_t] or None, labels [N] or None, token_weights [N].
    inputs: what terms read of each token beside its label, by name, [N, ...].
    Raises ValueError if the teacher is missing, or shapes, labels or widths do not fit.
    """
    num_tokens = student_logits.shape[0]
    device = student_logits.device
    _check_chunk(chunk_tokens)
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
    for name, logits in (("student", student_logits), ("teacher", teacher_logits)):
        if logits is not None and logits.shape[-1] < vocab_size:
            raise ValueError(f"{name}_logits hold {logits.shape[-1]} tokens, fewer than vocab_size {vocab_size}")

    def loss_of(alone: Objective) -> Tensor:
        return chunked_objective_from_logits(
            student_logits,
            teacher_logits,
            alone,
            labels=labels,
            inputs=inputs,
            token_weights=token_weights,
            vocab_size=vocab_size,
            chunk_tokens=chunk_tokens,
        ).loss

    settled = objective.settled(loss_of)
    wants_gradient = torch.is_grad_enabled() and student_logits.requires_grad
    dtypes = student_logits.dtype, (student_logits if teacher_logits is None else teacher_logits).dtype
    problem = _problem(objective, settled, given, dtypes, wants_gradient)
    weights = token_weights.detach().float()
    out = _Collected.empty(settled, num_tokens, device)
    with torch.no_grad(), torch.autocast(device_type=device.type, enabled=False):
        gradient = torch.zeros_like(student_logits) if wants_gradient else None
        chunk = min(chunk_tokens, max(num_tokens, 1))
        block = min(chunk, block_tokens(vocab_size, device))
        buffers = Buffers(block, vocab_size, device)
        for start in range(0, num_tokens, chunk):
            rows = slice(start, min(start + chunk, num_tokens))
            # A copy also in float32: the logits given belong to the caller.
            z = student_logits[rows, :vocab_size].to(torch.float32, copy=True)
            teacher_z = None
            if objective.needs_teacher and teacher_logits is not None:
                teacher_z = teacher_logits[rows, :vocab_size].float()
            _logits_to_gradient(problem, z, teacher_z, start=start, out=out, buffers=buffers, block=block)
            if gradient is not None:
                gradient[rows, :vocab_size] = z.mul_(weights[rows].unsqueeze(1)).to(gradient.dtype)
        loss = out.weighted_sum(weights)
    if gradient is not None:
        loss = _Precomputed.apply(loss, [gradient], student_logits)  # type: ignore[no-untyped-call]
    return out.parts(loss, weights)
