"""How sure a score is: spread over decode seeds, and the difference of two systems on the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap

# The resamples of one chunk hold about this many numbers, so memory does not grow with the number of examples.
_CHUNK_NUMBERS = 4_000_000


@dataclass(frozen=True)
class SeedSpread:
    """Mean and population standard deviation of one score over decode seeds."""

    mean: float
    std: float
    num_seeds: int


@dataclass(frozen=True)
class MeanInterval:
    """Mean of one system's scores over examples, and its bootstrap confidence interval [low, high]."""

    mean: float
    low: float
    high: float
    confidence: float
    num_examples: int


@dataclass(frozen=True)
class PairedDifference:
    """Mean of left minus right over the same examples, and its bootstrap confidence interval [low, high]."""

    difference: float
    low: float
    high: float
    confidence: float
    num_examples: int
    num_resamples: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0.0 or self.high < 0.0


def seed_spread(scores: Sequence[float]) -> SeedSpread:
    """Mean and standard deviation over decode seeds, with ddof 0 as the paper's tables have it.

    scores: one score per seed. Raises ValueError if there is none, or one is not finite.

    Source: reference parse_result.py.
    """
    values = _finite(scores, name="scores")
    if len(values) == 0:
        raise ValueError("scores must hold at least 1 seed, got 0")
    return SeedSpread(mean=float(values.mean()), std=float(values.std(ddof=0)), num_seeds=len(values))


def mean_bootstrap(
    scores: Sequence[float], *, rng: np.random.Generator, confidence: float = 0.95, num_resamples: int = 9999
) -> MeanInterval:
    """The mean score with its percentile bootstrap interval over examples.

    scores: one per example; of several decode seeds each example's mean. It covers the choice of examples, not of
    decode seeds. Raises ValueError if there are fewer than 2 examples or a score is not finite.

    Source: Efron and Tibshirani (1993), chapter 13; computed by scipy.stats.bootstrap.
    """
    found = paired_bootstrap(scores, [0.0] * len(scores), rng=rng, confidence=confidence, num_resamples=num_resamples)
    return MeanInterval(found.difference, found.low, found.high, confidence, found.num_examples)


def paired_bootstrap(
    left: Sequence[float],
    right: Sequence[float],
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    num_resamples: int = 9999,
) -> PairedDifference:
    """The mean difference left minus right with its percentile bootstrap interval over examples.

    left, right: per-example scores of two systems; entry i of both belongs to example i, both are resampled together.
    confidence: level of the two-sided interval, in (0, 1).
    The interval covers the choice of examples, not of decode seeds: for several seeds pass each example's mean.
    Raises ValueError if the lengths differ, there are fewer than 2 examples, a score is not finite, the confidence lies
    outside (0, 1) or num_resamples is below 1.

    Source: Efron and Tibshirani (1993), chapter 13; computed by scipy.stats.bootstrap.
    """
    left_values, right_values = _finite(left, name="left"), _finite(right, name="right")
    if len(left_values) != len(right_values):
        raise ValueError(
            f"left and right must score the same examples, got {len(left_values)} and {len(right_values)} scores"
        )
    if len(left_values) < 2:
        raise ValueError(f"a bootstrap over examples needs at least 2 of them, got {len(left_values)}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be at least 1, got {num_resamples}")
    interval = bootstrap(
        (left_values, right_values),
        _mean_difference,
        paired=True,
        vectorized=True,
        method="percentile",  # BCa is undefined when all differences are equal
        confidence_level=confidence,
        n_resamples=num_resamples,
        batch=max(1, _CHUNK_NUMBERS // len(left_values)),
        random_state=rng,
    ).confidence_interval
    return PairedDifference(
        difference=float(_mean_difference(left_values, right_values)),
        low=float(interval.low),
        high=float(interval.high),
        confidence=confidence,
        num_examples=len(left_values),
        num_resamples=num_resamples,
    )


def _mean_difference(
    left: npt.NDArray[np.float64], right: npt.NDArray[np.float64], axis: int = -1
) -> npt.NDArray[np.float64]:
    mean: npt.NDArray[np.float64] = np.mean(left - right, axis=axis)
    return mean


def _finite(scores: Sequence[float], *, name: str) -> npt.NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(values).all():
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(
            f"{name}[{index}] must be finite, got {values[index]}; leave failed examples out of both systems"
        )
    return values
