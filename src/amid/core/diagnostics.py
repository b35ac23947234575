"""How teacher p, student q and the assistant r between them stand to each other at single positions.

Read beside the loss, never differentiated. docs/diagnostics.md says what each measure is for.
Legend: n positions; V shared vocabulary; kappa = (1 - alpha) / 2; r~ the assistant before it is normalised;
w = d log r~ / d log q, in [0, 1] (paper Prop. 3.5): the share of the gradient in log r that goes on to the student.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from amid.core.assistants import GEOMETRIC_KAPPA, Assistant
from amid.core.logprob import LogProb, overlap, to_log_prob

NUCLEUS = 0.95
# Likeliest tokens looked at first: of a trained model most nuclei are smaller, and to sort all takes 20 times as long.
FIRST_TOKENS = 128
# Every measure is a mean, kept as [2]: a sum and what it is divided by, both of which add up over positions and ranks.
OF_STUDENT = ("entropy_q",)
OF_BOTH = ("entropy_p", "overlap", "top1_agreement", "q_outside_nucleus_of_p", "p_outside_nucleus_of_q")
OF_ASSISTANT = ("gradient_weight_p_above_q", "gradient_weight_q_above_p", "dead_zone_share")


def measure_names(*, teacher: bool, assistants: Iterable[str]) -> tuple[str, ...]:
    """What `position_sums` measures; assistants: what the names of each one's measures end in."""
    of_assistants = tuple(f"{name}{suffix}" for suffix in assistants for name in OF_ASSISTANT)
    return OF_STUDENT + (OF_BOTH + of_assistants if teacher else ())


def weight_logit(log_p: LogProb, log_q: LogProb, assistant: Assistant) -> Tensor:
    """log(w / (1 - w)) = log((1 - lam) / lam) - kappa (log p - log q), elementwise, [n, V].

    The second part is 0 where p = q, and everywhere at kappa 0. Infinite where lam is 0 (w = 1) or 1 (w = 0).
    Source: paper Prop. 3.5; derived here: w is the logistic function of this.
    """
    kappa, lam = _levels(log_p, assistant)
    exponent = (log_p - log_q).mul_(torch.where(_has_zone(kappa, lam), kappa, 0.0))
    # Not a number where both are exactly 0, or equal under an infinite kappa, or infinite under none: all of them 0
    exponent.masked_fill_(exponent.isnan(), 0.0)
    return torch.log1p(-lam) - torch.log(lam) - exponent


def in_dead_zone(logit: Tensor, assistant: Assistant) -> Tensor:
    """Where r goes with the divergence's other argument, [n, V] bool; nowhere at kappa 0, or at an end point of lam.

    There both arguments differ by a constant factor, however far p and q are apart: the pull on an entry no longer
    grows with its error. In the orders pr and rp that is w < 1/2: p/q above ((1 - lam) / lam)^(1/kappa) for kappa > 0,
    below it for kappa < 0. In qr and rq it is w > 1/2, the other side of the same bound.
    logit: of w, by `weight_logit`.
    """
    return (logit < 0 if "p" in assistant.order else logit > 0) & _has_zone(*_levels(logit, assistant))


def _levels(like: Tensor, assistant: Assistant) -> tuple[Tensor, Tensor]:
    """kappa and lam as tensors that broadcast against [n, V]."""
    alpha, lam = (
        torch.as_tensor(each, dtype=like.dtype, device=like.device) for each in (assistant.alpha, assistant.lam)
    )
    return (1.0 - alpha) / 2.0, lam


def _has_zone(kappa: Tensor, lam: Tensor) -> Tensor:
    """Whether w depends on p / q at all."""
    return (kappa.abs() >= GEOMETRIC_KAPPA) & (lam > 0) & (lam < 1)


def entropy(prob: Tensor, log_prob: LogProb) -> Tensor:
    """-sum p log p in nats, [n, V] x2 -> [n]; an entry without mass adds nothing."""
    products: Tensor = torch.linalg.vecdot(prob, log_prob.clamp(min=torch.finfo(log_prob.dtype).min))
    return -products


def outside_nucleus(of: Tensor, prob: Tensor, share: float = NUCLEUS) -> Tensor:
    """Mass of one distribution outside the smallest set of likeliest tokens of another that holds `share` of it.

    Shapes: of, prob [n, V] -> [n]. As top-p sampling has it, the token that reaches the share belongs to the set.
    """
    vocab_size = of.shape[-1]
    count = min(FIRST_TOKENS, vocab_size)
    outside, reached = _outside(of, prob, share=share, count=count)
    while count < vocab_size and not bool(reached.all()):
        rows, count = (~reached).nonzero().squeeze(-1), min(32 * count, vocab_size)
        outside[rows], reached[rows] = _outside(of[rows], prob[rows], share=share, count=count)
    return outside


def _outside(of: Tensor, prob: Tensor, *, share: float, count: int) -> tuple[Tensor, Tensor]:
    """[n] of `outside_nucleus`, the set being among the `count` likeliest; [n] bool: whether it is."""
    top = prob.topk(count, dim=-1)
    mass = top.values.cumsum(-1)
    # By the mass of those before a token: the first is in, whatever the rounding.
    within = torch.nn.functional.pad(mass[:, :-1], (1, 0)) < share
    held = of.gather(-1, top.indices).masked_fill_(~within, 0.0).sum(-1)
    return (1.0 - held).clamp(min=0.0), mass[:, -1] >= share


@torch.no_grad()
def position_sums(
    student_logits: Tensor, teacher_logits: Tensor | None, assistants: Mapping[str, Assistant], *, vocab_size: int
) -> dict[str, Tensor]:
    """The measures of some positions by name, each [2]: a sum, and what it is divided by to give the mean.

    Shapes: student_logits [n, W_s], teacher_logits [n, W_t] or None, each at least vocab_size wide.
    assistants: by what the names of its measures end in; none without a teacher. w is averaged over the vocabulary with
    |p - q| on either side of p = q; the share of the dead zone is the mass in it of the divergence's other argument.
    A position whose probabilities are not numbers is left out.
    """
    with torch.autocast(device_type=student_logits.device.type, enabled=False):
        log_q = to_log_prob(student_logits, vocab_size)
        if teacher_logits is None:
            entropy_q = entropy(log_q.exp(), log_q)
            return {"entropy_q": _mean(entropy_q[~entropy_q.isnan()])}
        return _sums_of_pair(to_log_prob(teacher_logits, vocab_size), log_q, assistants)


def _sums_of_pair(log_p: LogProb, log_q: LogProb, assistants: Mapping[str, Assistant]) -> dict[str, Tensor]:
    p, q = log_p.exp(), log_q.exp()
    entropy_p, entropy_q = entropy(p, log_p), entropy(q, log_q)
    lost = (entropy_p + entropy_q).isnan()
    if bool(lost.any()):
        kept = (~lost).nonzero().squeeze(-1)
        return _sums_of_pair(log_p[kept], log_q[kept], {name: each.rows(kept) for name, each in assistants.items()})
    found = {
        "entropy_q": _mean(entropy_q),
        "entropy_p": _mean(entropy_p),
        "overlap": _mean(overlap(log_p, log_q)),
        "top1_agreement": _mean((p.argmax(-1) == q.argmax(-1)).to(p.dtype)),
        "q_outside_nucleus_of_p": _mean(outside_nucleus(q, p)),
        "p_outside_nucleus_of_q": _mean(outside_nucleus(p, q)),
    }
    gap = p - q
    sides = {"p_above_q": gap.clamp(min=0.0), "q_above_p": gap.neg_().clamp_(min=0.0)}
    for suffix, assistant in assistants.items():
        logit = weight_logit(log_p, log_q, assistant)
        dead = in_dead_zone(logit, assistant)
        mass = p if "p" in assistant.order else q
        found[f"dead_zone_share{suffix}"] = _mean(torch.linalg.vecdot(mass, dead.to(mass.dtype)))
        w = logit.sigmoid_()
        for name, side in sides.items():
            found[f"gradient_weight_{name}{suffix}"] = torch.stack([torch.linalg.vecdot(side, w).sum(), side.sum()])
    return found


def _mean(per_position: Tensor) -> Tensor:
    """[2]: the sum of [n], and n."""
    return torch.stack([per_position.sum(), per_position.new_tensor(float(per_position.numel()))])
