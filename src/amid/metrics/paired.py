"""Systems on the same examples, all at once: differences of means over sets, their intervals and tests, and Holm's.

The closed form of resampling examples within sets: the variance of a mean difference is that of the sets' means, each
from its own examples, with Student's t for the small ones. The same sets give the same bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Differences:
    """Of left minus right systems, entry by entry: mean difference, interval [low, high], p of no difference [K]."""

    difference: Array
    low: Array
    high: Array
    p: Array


def paired_differences(left: Sequence[Array], right: Sequence[Array], *, confidence: float = 0.95) -> Differences:
    """The unweighted mean over sets of left minus right, with its interval and two-sided test, for K pairs of systems.

    left, right: per set [K, N], the value of each example; N may differ from set to set. Entry n of both is of example
    n: several seeds of a system are averaged per example before. K of either may be 1.
    The variance is sum_s var_s / N_s / S^2 with var_s the sample variance of the differences in set s, and the degrees
    of freedom are Welch and Satterthwaite's; of one set it is the paired t test. It covers the choice of examples, not
    of training seeds. A difference that is the same for all examples is certain: p is 0, or 1 if it is 0.
    Raises ValueError if there is no set, shapes do not match, or a set holds fewer than 2 examples.

    Source: Satterthwaite (1946); Student (1908).
    """
    if not left or len(left) != len(right):
        raise ValueError(f"left and right must hold the same sets, at least 1, got {len(left)} and {len(right)}")
    means, variances, freedoms = [], [], []
    for ours, theirs in zip(left, right, strict=True):
        if ours.shape[-1] != theirs.shape[-1]:
            raise ValueError(f"a set must have the same examples, got {ours.shape[-1]} and {theirs.shape[-1]}")
        if ours.shape[-1] < 2:
            raise ValueError(f"a set needs at least 2 examples, got {ours.shape[-1]}")
        found = ours - theirs
        means.append(found.mean(axis=-1))
        variances.append(found.var(axis=-1, ddof=1) / found.shape[-1])
        freedoms.append(found.shape[-1] - 1)
    difference: Array = np.mean(means, axis=0)
    parts = np.asarray(variances) / len(left) ** 2
    variance = parts.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = variance**2 / (parts**2 / np.asarray(freedoms)[:, None]).sum(axis=0)
        freedom = np.where(variance > 0.0, freedom, 1.0)
        error = np.sqrt(variance)
        t = np.where(error > 0.0, np.abs(difference) / error, np.where(difference == 0.0, 0.0, np.inf))
    margin = stdtrit(freedom, 0.5 + confidence / 2.0) * error
    return Differences(difference, difference - margin, difference + margin, 2.0 * stdtr(freedom, -t))


def holm(p: Sequence[float], *, level: float = 0.05) -> list[bool]:
    """Which hypotheses are rejected so that any true one is with probability at most `level`, whatever they share.

    Source: Holm (1979), sequentially rejective Bonferroni.
    """
    rejected = [False] * len(p)
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[index] > level / (len(p) - rank):
            break
        rejected[index] = True
    return rejected
