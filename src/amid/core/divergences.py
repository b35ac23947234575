"""Divergences: pure functions of two log-probabilities, left and right, with one value per token.

Legend: V vocabulary. Every function takes log_left, log_right [..., V] and returns [...], summed over V. An entry that
is exactly zero in both arguments contributes nothing; a token whose value is truly infinite or undefined comes back
non-finite and is left to the caller, which drops and counts it.
"""

import difflib
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from amid.core.alpha_beta import ab, amari
from amid.core.assistants import log_power_mean, log_ratio
from amid.core.closed_form import Kernel
from amid.core.declaration import Divergence, declares
from amid.core.logprob import LogProb


def _weighted_log_ratio(log_weight: LogProb, log_a: LogProb, log_b: LogProb) -> Tensor:
    """Elementwise exp(log_weight) (log_a - log_b), 0 where the weight is exactly zero."""
    ratio = (log_a - log_b).masked_fill(log_weight.isneginf(), 0.0)
    return torch.exp(log_weight) * ratio


def _kl_kernel() -> Kernel:
    return Kernel()


@declares(kernel=_kl_kernel)
def kl(log_left: LogProb, log_right: LogProb) -> Tensor:
    """Kullback-Leibler divergence sum left (log left - log right), per token.

    Shapes: [..., V] x2 -> [...]. The teacher's entropy is included: the reference code reports the cross-entropy, which
    has the same gradient. The paper's RKL(p||r) is this function with the arguments exchanged (order rp).

    Source: paper section 2.1.
    """
    return _weighted_log_ratio(log_left, log_left, log_right).sum(dim=-1)


def jeffreys(log_left: LogProb, log_right: LogProb) -> Tensor:
    """Jeffreys divergence KL(left||right) + KL(right||left), per token.

    Shapes: [..., V] x2 -> [...]. Source: the standard definition; names as in the reference losses.py.
    """
    ratio = log_ratio(log_left, log_right)
    return ((torch.exp(log_left) - torch.exp(log_right)) * ratio).sum(dim=-1)


def _gjs_kernel(*, gjs_weight: float = 0.1) -> Kernel | None:
    return Kernel(mixture=float(gjs_weight)) if 0.0 < gjs_weight < 1.0 else None


@declares(kernel=_gjs_kernel)
def gjs(log_left: LogProb, log_right: LogProb, *, gjs_weight: float = 0.1) -> Tensor:
    """Generalised Jensen-Shannon divergence w KL(left||m) + (1 - w) KL(right||m), per token; m is the mixture.

    Shapes: [..., V] x2 -> [...].
    gjs_weight: w, weight of left (the teacher in order pr) in m = w left + (1 - w) right, in [0, 1]; 0 and 1 give 0.
    Libraries define their end points as forward and reverse KL instead.
    Raises ValueError if gjs_weight lies outside [0, 1].

    Source: paper section 2.1; default 0.1 is DistiLLM's GKD.
    """
    if not 0.0 <= gjs_weight <= 1.0:
        raise ValueError(f"gjs_weight must lie in [0, 1], got {gjs_weight}")
    if gjs_weight in (0.0, 1.0):
        # Not a constant: the graph to the student stays, with gradient zero.
        return (torch.exp(log_left) - torch.exp(log_left) + torch.exp(log_right) - torch.exp(log_right)).sum(dim=-1)
    log_mean = log_power_mean(log_left, log_right, kappa=1.0, lam=gjs_weight)
    from_left = _weighted_log_ratio(log_left, log_left, log_mean)
    from_right = _weighted_log_ratio(log_right, log_right, log_mean)
    return (gjs_weight * from_left + (1.0 - gjs_weight) * from_right).sum(dim=-1)


def _js_kernel() -> Kernel:
    return Kernel(mixture=0.5)


@declares(kernel=_js_kernel)
def js(log_left: LogProb, log_right: LogProb) -> Tensor:
    """Jensen-Shannon divergence, per token: `gjs` with weight 1/2, in [0, log 2].

    Shapes: [..., V] x2 -> [...]. Source: the standard definition; names as in the reference losses.py.
    """
    return gjs(log_left, log_right, gjs_weight=0.5)


def tv(log_left: LogProb, log_right: LogProb) -> Tensor:
    """Total variation, half the L1 distance, per token, in [0, 1].

    Shapes: [..., V] x2 -> [...]. The subgradient at equal entries is 0.
    """
    return 0.5 * (torch.exp(log_left) - torch.exp(log_right)).abs().sum(dim=-1)


def _chi2(log_left: LogProb, log_right: LogProb) -> Tensor:
    ratio = log_ratio(log_left, log_right)
    falling = torch.exp(log_right) * torch.expm1(ratio.clamp(max=0.0)).square()
    # b (v - 1)^2 with v > 1, as a^2 / b (1 - 1/v)^2; the exponent is kept off the branch not taken.
    exponent = torch.where(ratio > 0, log_left + ratio, torch.zeros_like(ratio))
    rising = torch.exp(exponent) * torch.expm1((-ratio).clamp(max=0.0)).square()
    return torch.where(ratio > 0, rising, falling).sum(dim=-1)


def _hellinger(log_left: LogProb, log_right: LogProb) -> Tensor:
    return (torch.exp(0.5 * log_left) - torch.exp(0.5 * log_right)).square().sum(dim=-1)


def _reverse_kl(log_left: LogProb, log_right: LogProb) -> Tensor:
    return kl(log_right, log_left)


# The f-divergences by the name of their generator; amari takes a parameter and is handled in `f_divergence`.
GENERATORS: dict[str, Divergence] = {
    "kl": kl,
    "rkl": _reverse_kl,
    "tv": tv,
    "chi2": _chi2,
    "hellinger": _hellinger,
    "jeffreys": jeffreys,
    "js": js,
}


def f_divergence(log_left: LogProb, log_right: LogProb, *, generator: str, amari_alpha: float | None = None) -> Tensor:
    """f-divergence sum right f(left / right), per token, for a generator chosen by name.

    Shapes: [..., V] x2 -> [...].
    generator: kl v log v; rkl -log v; tv |v - 1| / 2; chi2 (v - 1)^2; hellinger (sqrt v - 1)^2; jeffreys (v - 1) log v;
    js (v log v - (1 + v) log((1 + v)/2)) / 2; amari 4 / (1 - c^2) (1 - v^((1 - c)/2)) with c = amari_alpha.
    Raises ValueError if the generator is unknown, or amari_alpha is missing or given to another generator.

    Source: the standard definition; names as in the reference losses.py.
    """
    if generator == "amari":
        if amari_alpha is None:
            raise ValueError("generator 'amari' needs amari_alpha, any finite real")
        return amari(log_left, log_right, amari_alpha=amari_alpha)
    if amari_alpha is not None:
        raise ValueError(f"amari_alpha has no effect for generator '{generator}'; drop it or use generator 'amari'")
    if generator not in GENERATORS:
        raise ValueError(unknown_name_text("generator", generator, [*GENERATORS, "amari"]))
    return GENERATORS[generator](log_left, log_right)


def wsd(log_left: LogProb, log_right: LogProb, *, wsd_reverse_weight: float = 0.5) -> Tensor:
    """Weighted sum (1 - m) KL(left||right) + m KL(right||left), per token.

    Shapes: [..., V] x2 -> [...]. wsd_reverse_weight: m in [0, 1]. For other sums see `weighted_sum`.
    Raises ValueError if the weight lies outside [0, 1].

    Source: the standard definition; names as in the reference losses.py.
    """
    if not 0.0 <= wsd_reverse_weight <= 1.0:
        raise ValueError(f"wsd_reverse_weight must lie in [0, 1], got {wsd_reverse_weight}")
    return weighted_sum([(1.0 - wsd_reverse_weight, kl), (wsd_reverse_weight, _reverse_kl)])(log_left, log_right)


def weighted_sum(parts: list[tuple[float, Divergence]]) -> Divergence:
    """A divergence that is the weighted sum of others, each a (weight, divergence) pair with parameters bound.

    A part of weight 0 is skipped, not multiplied: where it is infinite the product would be undefined.
    Raises ValueError if no part has a weight other than 0.
    """
    counted = [(weight, divergence) for weight, divergence in parts if weight != 0.0]
    if not counted:
        raise ValueError(
            f"weighted_sum needs at least one (weight, divergence) pair of weight not 0, got {len(parts)} of weight 0"
        )

    def summed(log_left: LogProb, log_right: LogProb) -> Tensor:
        return torch.stack([weight * divergence(log_left, log_right) for weight, divergence in counted]).sum(dim=0)

    return summed


def _akl_head_weight(log_sorter: LogProb, log_other: LogProb, *, akl_mu: float) -> Tensor:
    """Share of the probability gap that lies in the head of `log_sorter`, per token; 1/2 where there is no gap."""
    sorted_p, index = torch.exp(log_sorter).sort(dim=-1, descending=True)
    gap = (torch.exp(log_sorter) - torch.exp(log_other)).abs().gather(-1, index)
    is_head = sorted_p.cumsum(dim=-1) <= akl_mu
    is_head[..., 0] = True
    head = (gap * is_head).sum(dim=-1)
    total = gap.sum(dim=-1)
    return torch.where(total > 0, head / torch.where(total > 0, total, torch.ones_like(total)), 0.5)


@declares(teacher_left=True, compat={"akl_swapped": {"akl_swapped": True}})
def akl(log_left: LogProb, log_right: LogProb, *, akl_mu: float = 0.5, akl_swapped: bool = False) -> Tensor:
    """Adaptive KL of teacher (left) and student (right), per token: forward KL by the head's gap, reverse by the rest.

    Shapes: [..., V] x2 -> [...]. Only for order pr without an assistant: head and tail are the teacher's.
    akl_mu: cumulative teacher probability of the head, in (0, 1); the top token is always in it.
    akl_swapped: teacher and student exchanged and gradient through the weights, as the reference code calls it.
    Raises ValueError if akl_mu lies outside (0, 1).

    Source: AKL, Wu et al. 2024.
    """
    if not 0.0 < akl_mu < 1.0:
        raise ValueError(f"akl_mu must lie in (0, 1), got {akl_mu}")
    forward, reverse = kl(log_left, log_right), kl(log_right, log_left)
    if akl_swapped:
        head = _akl_head_weight(log_right, log_left, akl_mu=akl_mu)
        return head * reverse + (1.0 - head) * forward
    with torch.no_grad():
        head = _akl_head_weight(log_left, log_right, akl_mu=akl_mu)
    return head * forward + (1.0 - head) * reverse


def _entropy(log_p: LogProb) -> Tensor:
    return -_weighted_log_ratio(log_p, log_p, torch.zeros_like(log_p)).sum(dim=-1)


@declares(teacher_left=True)
def bdkd(log_left: LogProb, log_right: LogProb, *, bdkd_factor: float = 2.0) -> Tensor:
    """BDKD value c_t CE(teacher, student) + c_s KL(student||teacher), per token; left is the teacher.

    Shapes: [..., V] x2 -> [...]. Only for order pr without an assistant. Not zero at equal arguments: the forward term
    is a cross-entropy. c_t is bdkd_factor where the teacher has the higher entropy, c_s where the student has; else 1.

    Source: BDKD, reference losses.py; factor 2 as there (ABKD's has 3). Entropies without the 1e-9 inside the log.
    """
    with torch.no_grad():
        teacher_higher = _entropy(log_left) > _entropy(log_right)
        student_higher = _entropy(log_right) > _entropy(log_left)
        one = torch.ones((), dtype=log_left.dtype, device=log_left.device)
        forward_weight = torch.where(teacher_higher, bdkd_factor * one, one)
        reverse_weight = torch.where(student_higher, bdkd_factor * one, one)
    cross_entropy = -_weighted_log_ratio(log_left, log_right, torch.zeros_like(log_right)).sum(dim=-1)
    return forward_weight * cross_entropy + reverse_weight * kl(log_right, log_left)


@declares(teacher_left=True)
def csd(
    log_left: LogProb,
    log_right: LogProb,
    *,
    csd_weights: str = "student",
    csd_temperature: float = 1.0,
    csd_mix: float = 0.5,
) -> Tensor:
    """Concrete score objective 1/4 sum_ij u_i v_j (d_i - d_j)^2, per token; d = log right - log left, left the teacher.

    Shapes: [..., V] x2 -> [...]. Only for order pr without an assistant. Shift-invariant, so log-probs do for logits.
    csd_weights: student u = v = softmax(log right / csd_temperature); teacher_student u = p, v = q; uniform_student
    u = 1/V over the entries that p or q has, v = q; mixed u = v = csd_mix p + (1 - csd_mix) q. Gradient only through d,
    never through u and v.
    Raises ValueError for an unknown csd_weights, a temperature not above 0, or a mix outside [0, 1].

    Source: CSD losses.py. Reports the objective; the reference code reports a surrogate with the same gradient.
    """
    if not csd_temperature > 0.0:
        raise ValueError(f"csd_temperature must be above 0, got {csd_temperature}")
    if not 0.0 <= csd_mix <= 1.0:
        raise ValueError(f"csd_mix must lie in [0, 1], got {csd_mix}")
    with torch.no_grad():
        teacher, student = torch.exp(log_left), torch.exp(log_right)
        # An entry outside both supports has no score, so no weight either.
        inside = (~(log_left.isneginf() & log_right.isneginf())).to(teacher.dtype)
        choices: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
            "student": lambda: (torch.softmax(log_right / csd_temperature, dim=-1),) * 2,
            "teacher_student": lambda: (teacher, student),
            "uniform_student": lambda: (inside / inside.sum(dim=-1, keepdim=True), student),
            "mixed": lambda: (csd_mix * teacher + (1.0 - csd_mix) * student,) * 2,
        }
        if csd_weights not in choices:
            raise ValueError(unknown_name_text("csd_weights", csd_weights, choices))
        u, v = choices[csd_weights]()
    difference = (log_right - log_left).masked_fill((u == 0) & (v == 0), 0.0)
    # Centred first: the variance of d does not change, and the products below do not cancel.
    with torch.no_grad():
        centre = (v * difference).sum(dim=-1, keepdim=True)
    difference = difference - centre
    mean_u, mean_v = (u * difference).sum(dim=-1), (v * difference).sum(dim=-1)
    squares = ((u + v) * difference.square()).sum(dim=-1)
    return 0.25 * (squares - 2.0 * mean_u * mean_v)


DIVERGENCES: dict[str, Callable[..., Tensor]] = {
    "ab": ab,
    "akl": akl,
    "amari": amari,
    "bdkd": bdkd,
    "csd": csd,
    "f_divergence": f_divergence,
    "gjs": gjs,
    "jeffreys": jeffreys,
    "js": js,
    "kl": kl,
    "tv": tv,
    "wsd": wsd,
}


def unknown_name_text(noun: str, name: str, valid: Iterable[str]) -> str:
    """Error text for an unknown name: the nearest match, then every valid name in order."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{noun} '{name}' unknown; {hint}valid: {', '.join(names)}"
