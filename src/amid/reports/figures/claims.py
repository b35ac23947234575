"""What the paper claims of a figure, as numbers with intervals: it holds, fails, or is undecided. No torch here.

A claim is that every one of its parts has the claimed sign. It holds where each interval lies on that side (each at
95 %, which needs no correction where all of them must), and there is no doubt named. It fails where a part lies on the
other side, significantly at 5 % after Holm's correction over the parts. Everything else is undecided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
LEVEL = 0.05
SHOWN = 4  # parts that are printed; of more the weakest


@dataclass(frozen=True)
class Part:
    """One number that a claim is about, with its interval [low, high] and the p of the number being 0.

    claimed: the sign it should have, +1 or -1. digits: decimals it is shown with.
    """

    what: str
    estimate: float
    low: float
    high: float
    p: float
    claimed: int = 1
    digits: int = 2

    @property
    def support(self) -> float:
        """How far the whole interval lies on the claimed side; negative where it does not."""
        return self.low if self.claimed > 0 else -self.high

    @property
    def text(self) -> str:
        """`what 0.41 [0.10, 0.72]`."""
        numbers = (f"{value:+z.{self.digits}f}" for value in (self.estimate, self.low, self.high))
        return "{} {} [{}, {}]".format(self.what, *numbers)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, or a question of our own, and what was measured of it.

    statement: what is claimed, in words. interval: what the intervals are over. doubts: what is missing or
    speaks against a decision; with any of them nothing holds.
    """

    statement: str
    parts: tuple[Part, ...]
    interval: str
    doubts: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """`holds`, `fails` or `undecided`."""
        from amid.metrics.paired import holm

        rejected = holm([part.p for part in self.parts], level=LEVEL)
        pairs = zip(self.parts, rejected, strict=True)
        if any(apart and part.estimate * part.claimed < 0.0 for part, apart in pairs):
            return FAILS
        if self.parts and not self.doubts and all(part.support > 0.0 for part in self.parts):
            return HOLDS
        return UNDECIDED

    @property
    def text(self) -> str:
        """The claim, its verdict and its numbers, in one line."""
        ranked = sorted(self.parts, key=lambda part: part.support)
        shown = self.parts if len(self.parts) <= SHOWN else tuple(ranked[: SHOWN - 1])
        said = [part.text for part in shown]
        if len(shown) < len(self.parts):
            sided = sum(part.support > 0.0 for part in self.parts)
            said.append(f"these are the weakest; {sided} of {len(self.parts)} intervals lie on the claimed side of 0")
        said += self.doubts
        numbers = "; ".join(said) or "no number yet"
        behind = f" ({self.interval})" if self.parts else ""
        return f"Claim: {self.statement}. {self.verdict.upper()}: {numbers}{behind}."


def slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float, float] | None:
    """The least-squares slope of y over x with its 95 % interval and p, by Student's t; None of fewer than 3 points."""
    if len(x) < 3 or len(set(x)) < 2:
        return None
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    spread = math.fsum((each - mean_x) ** 2 for each in x)
    estimate = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    left = math.fsum((b - mean_y - estimate * (a - mean_x)) ** 2 for a, b in zip(x, y, strict=True))
    return _with_t(estimate, math.sqrt(left / (len(x) - 2) / spread), len(x) - 2)


def mean_of_series(values: Sequence[float]) -> tuple[float, float, float, float] | None:
    """The mean of a series of neighbours that resemble each other, with its 95 % interval and p; None of fewer than 3.

    Student's t, with n (1 - c) / (1 + c) independent values in place of n, where c is the correlation of a value with
    the next one, at least 0: the variance of the mean of a first-order autoregression.
    """
    n = len(values)
    if n < 3:
        return None
    mean = math.fsum(values) / n
    rest = [value - mean for value in values]
    squares = math.fsum(each**2 for each in rest)
    if squares == 0.0:
        return mean, mean, mean, 0.0 if mean else 1.0
    c = max(0.0, math.fsum(a * b for a, b in zip(rest, rest[1:], strict=False)) / squares)
    independent = max(2.0, n * (1.0 - c) / (1.0 + c))
    return _with_t(mean, math.sqrt(squares / (n - 1) / independent), independent - 1.0)


def _with_t(estimate: float, error: float, freedom: float) -> tuple[float, float, float, float]:
    from scipy.special import stdtr, stdtrit

    if error == 0.0:
        return estimate, estimate, estimate, 0.0 if estimate else 1.0
    margin = float(stdtrit(freedom, 0.975)) * error
    p = 2.0 * float(stdtr(freedom, -abs(estimate) / error))
    return estimate, estimate - margin, estimate + margin, p
