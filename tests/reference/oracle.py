"""The objective's formulas in plain numpy float64, with probabilities instead of log-probabilities.

Nothing here is shared with the package. Legend: p teacher, q student, r assistant, each [V] and summing to 1.
"""

import math

import numpy as np


def softmax(z):
    """Probabilities of logits."""
    e = np.exp(np.asarray(z, dtype=np.float64) - np.max(z))
    return e / e.sum()


def assistant(p, q, alpha, lam):
    """r by Definition 1: the weighted power mean with exponent (1 - alpha)/2, divided by its sum."""
    if lam == 0:
        return q.copy()
    if lam == 1:
        return p.copy()
    if alpha == -math.inf:
        mean = np.where(p > q, p, q)
    elif alpha == math.inf:
        mean = np.where(p < q, p, q)
    elif alpha == 1:
        mean = p**lam * q ** (1 - lam)
    else:
        power = 0.5 - 0.5 * alpha
        # The largest term is taken out, so that small probabilities do not underflow at large |power|.
        top = np.where(p > q, p, q) if power > 0 else np.where(p < q, p, q)
        mean = top * (lam * (p / top) ** power + (1 - lam) * (q / top) ** power) ** (1 / power)
    return mean / mean.sum()


def kl(a, b):
    return float(np.sum(a * np.log(a / b)))


def ab(a, b, first, second):
    """Cichocki's AB divergence, case by case."""
    A, B, S = first, second, first + second
    if A == 0 and B == 0:
        return float(0.5 * np.sum((np.log(a) - np.log(b)) ** 2))
    if S == 0:
        return float(np.sum(np.log(b**A / a**A) + (b**A / a**A) ** -1 - 1) / A**2)
    if B == 0:
        return float(np.sum(a**A * np.log(a**A / b**A) - a**A + b**A) / A**2)
    if A == 0:
        return float(np.sum(b**B * np.log(b**B / a**B) - b**B + a**B) / B**2)
    return float(-np.sum(a**A * b**B - A / S * a**S - B / S * b**S) / (A * B))


def f_divergence(a, b, f):
    return float(np.sum(b * f(a / b)))


GENERATORS = {
    "kl": lambda v: v * np.log(v),
    "rkl": lambda v: -np.log(v),
    "tv": lambda v: np.abs(v - 1) / 2,
    "chi2": lambda v: (v - 1) ** 2,
    "hellinger": lambda v: (np.sqrt(v) - 1) ** 2,
    "jeffreys": lambda v: (v - 1) * np.log(v),
    "js": lambda v: (v * np.log(v) - (1 + v) * np.log((1 + v) / 2)) / 2,
}


def akl(p, q, mu):
    """Adaptive KL: the head grows token by token from the most probable, while its mass stays within mu."""
    order = sorted(range(len(p)), key=lambda k: -p[k])
    head, mass = {order[0]}, p[order[0]]
    for k in order[1:]:
        mass += p[k]
        if mass > mu:
            break
        head.add(k)
    gap = np.abs(p - q)
    in_head = sum(gap[k] for k in head)
    share = in_head / gap.sum() if gap.sum() > 0 else 0.5
    return share * kl(p, q) + (1 - share) * kl(q, p)


def csd(d, u, v):
    """1/4 sum_ij u_i v_j (d_i - d_j)^2 by the double sum."""
    return 0.25 * float((u[:, None] * v[None, :] * (d[:, None] - d[None, :]) ** 2).sum())


def arguments(order, p, q, r):
    """Left and right argument of an order."""
    table = {"p": p, "q": q, "r": r}
    return table[order[0]], table[order[1]]


def student_gradient(value, z, *, step=1e-5):
    """Central finite differences of value(z) in every logit, fourth order."""
    z = np.asarray(z, dtype=np.float64)
    gradient = np.empty_like(z)
    for k in range(len(z)):
        shift = np.zeros_like(z)
        shift[k] = step
        near = value(z + shift) - value(z - shift)
        far = value(z + 2 * shift) - value(z - 2 * shift)
        gradient[k] = (8 * near - far) / (12 * step)
    return gradient
