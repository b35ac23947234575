"""The assistant r and the weight w of its gradient in float64 with numpy: what Figures 1 and 2 draw. No torch here.

The definition for training is `amid.core.assistants`; tests compare the two. Legend: V values or grid points.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]


def log_normal(x: Array, *, mean: float, std: float) -> Array:
    """The log density of a normal distribution at x."""
    log_density: Array = -0.5 * ((x - mean) / std) ** 2 - math.log(std * math.sqrt(2.0 * math.pi))
    return log_density


def log_assistant(log_p: Array, log_q: Array, *, alpha: float, lam: float) -> Array:
    """log r on V points [..., V], normalised over them; p and q need not be.

    alpha: any real, inf or -inf; lam: the weight of p, in (0, 1).

    Source: paper Definition 1, Eqs. 7-8; the limits are maximum and minimum.
    """
    kappa = (1.0 - alpha) / 2.0
    if math.isinf(kappa):
        mean = np.maximum(log_p, log_q) if kappa > 0 else np.minimum(log_p, log_q)
    elif kappa == 0.0:
        mean = lam * log_p + (1.0 - lam) * log_q
    else:
        mean = np.logaddexp(math.log(lam) + kappa * log_p, math.log1p(-lam) + kappa * log_q) / kappa
    log_r: Array = mean - np.logaddexp.reduce(mean, axis=-1, keepdims=True)
    return log_r


def gradient_weight(log_ratio: Array, *, alpha: float, lam: float) -> Array:
    """w = d log r~ / d log q at log p - log q, in [0, 1]: how much of the gradient the student's own entry gets.

    Source: paper Prop. 3.5, as sigma(log((1 - lam) / lam) - kappa (log p - log q)).
    """
    kappa = (1.0 - alpha) / 2.0
    with np.errstate(over="ignore"):
        weight: Array = 1.0 / (1.0 + np.exp(math.log(lam / (1.0 - lam)) + kappa * log_ratio))
    return weight
