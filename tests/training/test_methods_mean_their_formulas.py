"""Every method as composed by its file: loss and gradient are those of its own paper's formula, written out here.

The formulas know nothing of assistants, terms or orders. Theirs in float64, ours in float32, 3 tokens over 7 words.
"""

import pytest
import torch

from amid.core import dense_objective
from amid.sweep.compose import run_of_overrides
from amid.training.objective import objective_of

TAID_START = 0.4


def kl(a, b):
    return (a * (a.log() - b.log())).sum(-1)


def ab(a, b, alpha, beta):
    """Cichocki et al. 2011, Eq. 5."""
    total = alpha + beta
    inner = a**alpha * b**beta - alpha / total * a**total - beta / total * b**total
    return -inner.sum(-1) / (alpha * beta)


def gkd(z_p, z_q):
    """Agarwal et al. 2024, Eq. 1 with beta 0.1, the weight of the teacher."""
    p, q = z_p.softmax(-1), z_q.softmax(-1)
    m = 0.1 * p + 0.9 * q
    return (0.1 * kl(p, m) + 0.9 * kl(q, m)).mean()


def skl(z_p, z_q):
    """Ko et al. 2024: KL(p || 0.1 p + 0.9 q)."""
    p, q = z_p.softmax(-1), z_q.softmax(-1)
    return kl(p, 0.1 * p + 0.9 * q).mean()


def srkl(z_p, z_q):
    """Ko et al. 2024: KL(q || 0.9 p + 0.1 q)."""
    p, q = z_p.softmax(-1), z_q.softmax(-1)
    return kl(q, 0.9 * p + 0.1 * q).mean()


def abkd(z_p, z_q):
    """Wang et al. 2025: D_AB(p || q) with (0.2, 0.7)."""
    return ab(z_p.softmax(-1), z_q.softmax(-1), 0.2, 0.7).mean()


def taid(z_p, z_q):
    """Shing et al. 2025: KL(softmax((1 - t) sg[z_q] + t z_p) || q) at the start of its schedule."""
    target = ((1.0 - TAID_START) * z_q.detach() + TAID_START * z_p).softmax(-1)
    return kl(target, z_q.softmax(-1)).mean()


def amid(z_p, z_q):
    """The paper's Eq. 7-8 with alpha -5, lam 0.1, under D_AB(p || r)."""
    p, q = z_p.softmax(-1), z_q.softmax(-1)
    r = (0.1 * p**3 + 0.9 * q**3) ** (1.0 / 3.0)
    return ab(p, r / r.sum(-1, keepdim=True), 0.2, 0.7).mean()


def jeffreys(z_p, z_q):
    """KL(p || q) + KL(q || p)."""
    p, q = z_p.softmax(-1), z_q.softmax(-1)
    return (kl(p, q) + kl(q, p)).mean()


def total_variation(z_p, z_q):
    """Half of the L1 distance."""
    return 0.5 * (z_p.softmax(-1) - z_q.softmax(-1)).abs().sum(-1).mean()


def amari(z_p, z_q):
    """Amari's divergence at 0: 4 (1 - sum sqrt(p q))."""
    return 4.0 * (1.0 - (z_p.softmax(-1) * z_q.softmax(-1)).sqrt().sum(-1)).mean()


def akl(z_p, z_q):
    """Wu et al. 2024: both KLs, weighted by the gaps over the head (half of the teacher's mass) and the tail."""
    p, q = z_p.softmax(-1), z_q.softmax(-1)
    values = []
    for p_row, q_row in zip(p, q, strict=True):
        order = p_row.argsort(descending=True)
        inside = p_row[order].cumsum(0) <= 0.5
        inside[0] = True
        head = torch.zeros_like(p_row, dtype=torch.bool)
        head[order[inside]] = True
        gap = (p_row - q_row).abs().detach()
        of_head, of_tail = gap[head].sum(), gap[~head].sum()
        forward, reverse = kl(p_row, q_row), kl(q_row, p_row)
        values.append((of_head * forward + of_tail * reverse) / (of_head + of_tail))
    return torch.stack(values).mean()


def csd(z_p, z_q):
    """Kim et al.: a quarter of the squared differences of d = z_q - z_p, weighted by the detached student twice."""
    weights, d = z_q.softmax(-1).detach(), z_q - z_p
    squares = (d.unsqueeze(-1) - d.unsqueeze(-2)) ** 2
    return 0.25 * (weights.unsqueeze(-1) * weights.unsqueeze(-2) * squares).sum((-1, -2)).mean()


def max_ab(z_p, z_q):
    """The larger of the two batch means."""
    p, q = z_p.softmax(-1), z_q.softmax(-1)
    return torch.maximum(ab(p, q, 0.2, 0.8).mean(), ab(p, q, 0.7, 0.3).mean())


def forward_kl(z_p, z_q):
    """Hinton et al.; Lin et al. on other data; Xu et al. on other data."""
    return kl(z_p.softmax(-1), z_q.softmax(-1)).mean()


FORMULAS = {
    "kd": forward_kl,
    "imitkd": forward_kl,
    "skd": forward_kl,
    "gkd": gkd,
    "distillm_skl": skl,
    "distillm_srkl": srkl,
    "abkd": abkd,
    "taid": taid,
    "amid": amid,
    "jeffreys": jeffreys,
    "tv": total_variation,
    "amari": amari,
    "akl": akl,
    "csd": csd,
    "max_ab": max_ab,
}


@pytest.fixture(scope="module")
def objectives():
    return {name: objective_of((run := run_of_overrides([f"method={name}"])).terms, run.compat) for name in FORMULAS}


def value_and_gradient(loss_of, z_p, z_q):
    student = z_q.clone().requires_grad_()
    loss = loss_of(z_p, student)
    (gradient,) = torch.autograd.grad(loss, student)
    return loss.item(), gradient


def composed(objective, z_p, z_q):
    weights = torch.full((len(z_q),), 1.0 / len(z_q))
    labels = torch.zeros(len(z_q), dtype=torch.int64)
    return dense_objective(z_q, z_p, objective, labels=labels, token_weights=weights, vocab_size=z_q.shape[-1]).loss


def random_logits(seed, count):
    generator = torch.Generator().manual_seed(seed)
    return [2.0 * torch.randn(3, 7, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", FORMULAS)
def test_a_method_gives_the_loss_and_the_gradient_of_its_own_formula(objectives, name, seed):
    z_p, z_q = random_logits(seed, 2)
    theirs, of_theirs = value_and_gradient(FORMULAS[name], z_p.double(), z_q.double())
    ours, of_ours = value_and_gradient(lambda p, q: composed(objectives[name], p, q), z_p, z_q)
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(of_ours.double(), of_theirs, rtol=1e-4, atol=1e-6)
    assert float(of_theirs.norm()) > 1e-3, "there is something to compare"


@pytest.mark.parametrize("name", sorted(set(FORMULAS) - {"tv"}))  # |x| has no gradient at 0
def test_a_student_that_is_its_teacher_has_nothing_to_learn(objectives, name):
    """Theory: D = 0 only where p = q, so value and gradient vanish there."""
    (z,) = random_logits(4, 1)
    value, gradient = value_and_gradient(lambda p, q: composed(objectives[name], p, q), z, z)
    assert value == pytest.approx(0.0, abs=1e-6)
    assert float(gradient.norm()) < 1e-6
