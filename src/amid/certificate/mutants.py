"""Wrong implementations of a distillation step, as the field has shipped them; the certificate must catch each one.

`distillation_step` is a plain float32 implementation with one switch per mistake; with every switch off it must pass.
Legend: B sequences, T positions, V shared vocabulary, V_s, V_t head widths, M micro-batches.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amid.certificate.oracle import FORMULAS, Formula, truth
from amid.core import ORDERS, Head, Objective, Order, alpha_mixture, dense_objective, linear_objective

IGNORE_INDEX = -100
END_OF_SEQUENCE = 0


@dataclass(frozen=True)
class Step:
    """One optimiser step: micro-batches of hidden states [B, T, H] with labels [B, T], two heads, an objective."""

    student: tuple[Tensor, ...]
    teacher: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    student_head: Head
    teacher_head: Head
    vocab_size: int
    divergence: str
    order: Order
    alpha: float
    lam: float


@dataclass(frozen=True)
class Mistakes:
    """Which mistakes to make; see `MUTANTS` for what each one is."""

    lam_of_student: bool = False
    vocabulary_mean: bool = False
    mask_ignored: bool = False
    normaliser_dropped: bool = False
    student_detached: bool = False
    softmax_dtype: torch.dtype = torch.float32
    zero_logit_padding: bool = False
    alpha_clamped: bool = False
    shifted_by_one: bool = False
    softcap_ignored: bool = False
    scale_ignored: bool = False
    bias_ignored: bool = False
    micro_batch_mean: bool = False
    arguments_exchanged: bool = False
    exponent_sign: float = -1.0
    ab_exchanged: bool = False
    entropy_dropped: bool = False
    end_dropped: bool = False
    direct_power_mean: bool = False
    temperature: float = 1.0
    limits_exchanged: bool = False
    logits_mixed: bool = False
    padding_counted: bool = False


MUTANTS: dict[str, Mistakes] = {
    "lam weighs the student": Mistakes(lam_of_student=True),
    "mean over the vocabulary": Mistakes(vocabulary_mean=True),
    "mask ignored": Mistakes(mask_ignored=True),
    "padding counted in the mean": Mistakes(padding_counted=True),
    "normaliser of r dropped": Mistakes(normaliser_dropped=True),
    "student detached inside r": Mistakes(student_detached=True),
    "softmax in bfloat16": Mistakes(softmax_dtype=torch.bfloat16),
    "smaller vocabulary padded with zero logits": Mistakes(zero_logit_padding=True),
    "alpha clamped at 1": Mistakes(alpha_clamped=True),
    "labels shifted by one": Mistakes(shifted_by_one=True),
    "soft-cap ignored": Mistakes(softcap_ignored=True),
    "logit scale ignored": Mistakes(scale_ignored=True),
    "bias ignored": Mistakes(bias_ignored=True),
    "token mean per micro-batch": Mistakes(micro_batch_mean=True),
    "arguments exchanged": Mistakes(arguments_exchanged=True),
    "sign of alpha": Mistakes(exponent_sign=1.0),
    "AB parameters exchanged": Mistakes(ab_exchanged=True),
    "teacher entropy dropped": Mistakes(entropy_dropped=True),
    "end of sequence not counted": Mistakes(end_dropped=True),
    "power mean without a series near alpha 1": Mistakes(direct_power_mean=True),
    "temperature without its square": Mistakes(temperature=2.0),
    "limits of alpha exchanged": Mistakes(limits_exchanged=True),
    "logits mixed instead of probabilities": Mistakes(logits_mixed=True),
}


def _scores(hidden: Tensor, head: Head, mistakes: Mistakes) -> Tensor:
    return replace(
        head,
        bias=None if mistakes.bias_ignored else head.bias,
        scale=1.0 if mistakes.scale_ignored else head.scale,
        softcap=None if mistakes.softcap_ignored else head.softcap,
    ).logits(hidden)


def _mixed(log_p: Tensor, log_q: Tensor, step: Step, mistakes: Mistakes) -> Tensor:
    alpha, lam = step.alpha, step.lam
    if mistakes.lam_of_student:
        lam = 1.0 - lam
    if mistakes.alpha_clamped:
        alpha = min(alpha, 1.0)
    if mistakes.exponent_sign > 0.0 or (mistakes.limits_exchanged and math.isinf(alpha)):
        alpha = -alpha
    if mistakes.logits_mixed:
        return torch.log_softmax(lam * log_p + (1.0 - lam) * log_q, dim=-1)
    kappa = (1.0 - alpha) / 2.0
    if math.isfinite(kappa) and kappa != 0.0 and (mistakes.normaliser_dropped or mistakes.direct_power_mean):
        weighted = torch.logaddexp(math.log(lam) + kappa * log_p, math.log1p(-lam) + kappa * log_q) / kappa
        return weighted if mistakes.normaliser_dropped else torch.log_softmax(weighted, dim=-1)
    return alpha_mixture(log_p, log_q, alpha=alpha, lam=lam)


def _per_token(log_p: Tensor, log_q: Tensor, step: Step, mistakes: Mistakes) -> Tensor:
    inner_q = log_q.detach() if mistakes.student_detached else log_q
    letters = {"p": log_p, "q": log_q, "r": _mixed(log_p, inner_q, step, mistakes)}
    order = step.order[::-1] if mistakes.arguments_exchanged else step.order
    a, b = letters[order[0]], letters[order[1]]
    if step.divergence == "kl":
        terms = a.exp() * ((0.0 if mistakes.entropy_dropped else a) - b)
    else:
        first, second = (0.7, 0.2) if mistakes.ab_exchanged else (0.2, 0.7)
        total = first + second
        parts = (first * a + second * b).exp() - first / total * (total * a).exp() - second / total * (total * b).exp()
        terms = -parts / (first * second)
    return terms.mean(-1) if mistakes.vocabulary_mean else terms.sum(-1)


def distillation_step(step: Step, mistakes: Mistakes) -> tuple[Tensor, list[Tensor]]:
    """Loss and the gradients in each micro-batch's student hidden states [B, T, H], with the given mistakes."""
    inputs = [hidden.detach().clone().requires_grad_() for hidden in step.student]
    # Zero times the inputs: a mistake may leave no gradient at all, which is then zero.
    total = torch.stack([hidden.sum() * 0.0 for hidden in inputs]).sum()
    masks = [_mask(labels, mistakes) for labels in step.labels]
    num_labelled = sum(int(mask.sum()) for mask in masks)
    if mistakes.padding_counted:
        num_labelled = sum(mask.numel() for mask in masks)
    for hidden, teacher, mask in zip(inputs, step.teacher, masks, strict=True):
        student_z = _scores(hidden, step.student_head, mistakes)
        teacher_z = _scores(teacher, step.teacher_head, mistakes)
        if mistakes.zero_logit_padding:
            missing = teacher_z.shape[-1] - student_z.shape[-1]
            student_z = torch.nn.functional.pad(student_z, (0, missing))
        else:
            student_z, teacher_z = student_z[..., : step.vocab_size], teacher_z[..., : step.vocab_size]
        if mistakes.shifted_by_one:
            teacher_z = teacher_z.roll(1, dims=1)
        logs = [
            torch.log_softmax((z / mistakes.temperature).to(mistakes.softmax_dtype), dim=-1).float()
            for z in (teacher_z, student_z)
        ]
        summed = (_per_token(logs[0], logs[1], step, mistakes) * mask).sum()
        if mistakes.micro_batch_mean:
            total = total + summed / mask.sum() / len(inputs)
        else:
            total = total + summed / num_labelled
    return total.detach(), list(torch.autograd.grad(total, inputs))


def _mask(labels: Tensor, mistakes: Mistakes) -> Tensor:
    if mistakes.mask_ignored:
        return torch.ones_like(labels, dtype=torch.float32)
    labelled = labels != IGNORE_INDEX
    return (labelled & (labels != END_OF_SEQUENCE) if mistakes.end_dropped else labelled).float()


def our_step(step: Step, objective: Objective, form: str) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients of the same step by the package, in the dense or the fused form."""
    inputs = [hidden.detach().clone().requires_grad_() for hidden in step.student]
    num_labelled = sum(int((labels != IGNORE_INDEX).sum()) for labels in step.labels)
    losses = []
    for hidden, teacher, labels in zip(inputs, step.teacher, step.labels, strict=True):
        mask = labels != IGNORE_INDEX
        chosen, taught = hidden[mask], teacher[mask]
        weights = torch.full((chosen.shape[0],), 1.0 / num_labelled)
        if form == "dense":
            z = step.student_head.logits(chosen), step.teacher_head.logits(taught)
            parts = dense_objective(
                z[0], z[1], objective, labels=None, token_weights=weights, vocab_size=step.vocab_size
            )
        else:
            parts = linear_objective(
                chosen,
                step.student_head,
                taught,
                step.teacher_head,
                objective,
                labels=None,
                token_weights=weights,
                vocab_size=step.vocab_size,
                chunk_tokens=3,
            )
        losses.append(parts.loss)
    total = torch.stack(losses).sum()
    return total.detach(), list(torch.autograd.grad(total, inputs))


def true_step(step: Step) -> tuple[float, list[Tensor], float, list[float]]:
    """Oracle's loss, gradients [B, T, H], and the sizes that errors are relative to."""
    formula: Formula = FORMULAS["kl" if step.divergence == "kl" else "ab(0.2,0.7)"]
    num_labelled = sum(int((labels != IGNORE_INDEX).sum()) for labels in step.labels)
    loss, size, gradients, gradient_sizes = 0.0, 0.0, [], []
    for hidden, teacher, labels in zip(step.student, step.teacher, step.labels, strict=True):
        mask = labels != IGNORE_INDEX
        leaf = hidden.detach().double().requires_grad_()
        student_z = _double_logits(leaf, step.student_head)[..., : step.vocab_size][mask]
        teacher_z = _double_logits(teacher.double(), step.teacher_head)[..., : step.vocab_size][mask]
        true = truth(formula, step.order, alpha=step.alpha, lam=step.lam, student_z=student_z, teacher_z=teacher_z)
        (gradient,) = torch.autograd.grad(student_z, leaf, true.gradient / num_labelled)
        loss += float(true.value.sum()) / num_labelled
        size += float(true.size.sum()) / num_labelled
        gradients.append(gradient)
        weight = step.student_head.weight.detach()[: step.vocab_size].double().abs()
        carried = true.gradient_size @ weight * abs(step.student_head.scale) / num_labelled
        gradient_sizes.append(float(torch.linalg.vector_norm(carried)))
    return loss, gradients, size, gradient_sizes


def _double_logits(hidden: Tensor, head: Head) -> Tensor:
    scores = hidden @ head.weight.detach().double().t()
    if head.bias is not None:
        scores = scores + head.bias.detach().double()
    scores = scores * head.scale
    return scores if head.softcap is None else head.softcap * torch.tanh(scores / head.softcap)


def make_steps(*, short: bool) -> list[Step]:
    """Steps over both main divergences, all orders and telling alphas; heads with bias, scale, soft-cap, two widths."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    student = (normal(2, 4, 6), normal(2, 4, 6))
    teacher = (normal(2, 4, 8), normal(2, 4, 8))
    labels = (
        torch.tensor([[IGNORE_INDEX, 5, 3, END_OF_SEQUENCE], [IGNORE_INDEX, 4, END_OF_SEQUENCE, IGNORE_INDEX]]),
        torch.tensor([[IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX, END_OF_SEQUENCE], [IGNORE_INDEX, 9, 2, 8]]),
    )
    vocab_size = 24
    student_head = Head(normal(vocab_size, 6), bias=normal(vocab_size), scale=0.7, softcap=4.0)
    teacher_head = Head(normal(vocab_size + 8, 8), bias=normal(vocab_size + 8), scale=0.6, softcap=6.0)
    alphas = (-5.0, 1.0 - 1e-5, 3.0) if short else (-math.inf, -5.0, -1.0, 0.5, 1.0 - 1e-5, 1.0, 3.0, math.inf)
    if short:
        alphas = (*alphas, math.inf)
    return [
        Step(student, teacher, labels, student_head, teacher_head, vocab_size, divergence, order, alpha, lam)
        for divergence in ("kl", "ab")
        for order in ORDERS
        for alpha in alphas
        for lam in ((0.1,) if short else (0.1, 0.9))
    ]


def worst_error(result: tuple[Tensor, list[Tensor]], true: tuple[float, list[Tensor], float, list[float]]) -> float:
    """Largest error of a step's loss and gradients relative to the sizes of their terms; inf if not finite."""
    loss, gradients = result
    errors = [abs(float(loss) - true[0]) / true[2]]
    for ours, theirs, size in zip(gradients, true[1], true[3], strict=True):
        errors.append(float(torch.linalg.vector_norm(ours.double() - theirs)) / size)
    return max(error if error == error else math.inf for error in errors)
