"""What the toy experiment is asked for, and what it finds. No torch here: whoever draws it needs none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Parametrisation: TypeAlias = Literal["variance", "log_std"]
PARAMETRISATIONS: tuple[Parametrisation, ...] = ("variance", "log_std")


@dataclass(frozen=True)
class Peak:
    """One normal distribution of the mixture p."""

    weight: float
    mean: float
    variance: float


@dataclass(frozen=True)
class Setting:
    """p, the grid it is on, and the optimiser.

    low, high: ends of the grid, of `points` points: sums over smooth densities do not change with more of them (a test
    compares with 4001). steps: of Adam at `lr`.

    Source: paper Appendix B.1. Whether 2 and 0.8 are variances, alpha and lambda are not printed there: variances, as
    the notation of q suggests, and both of the lambdas that the paper uses elsewhere.
    """

    peaks: tuple[Peak, ...] = (Peak(0.7, -3.0, 2.0), Peak(0.3, 3.0, 0.8))
    alphas: tuple[float, ...] = (-5.0, -3.0, -1.0, 0.0, 1.0, 3.0)
    lams: tuple[float, ...] = (0.1, 0.3)
    steps: int = 5000
    lr: float = 5e-2
    low: float = -15.0
    high: float = 15.0
    points: int = 1001

    @property
    def mean(self) -> float:
        """The mean of p."""
        return sum(peak.weight * peak.mean for peak in self.peaks)

    @property
    def std(self) -> float:
        """The standard deviation of p."""
        square = sum(peak.weight * (peak.variance + peak.mean**2) for peak in self.peaks)
        return float((square - self.mean**2) ** 0.5)


@dataclass(frozen=True)
class Fit:
    """The q = N(mean, std^2) that one alpha and lambda ended at, and KL(p || r) there, in nats.

    moved: how far mean and std moved over the last tenth of the steps; much says that it had not ended.
    """

    alpha: float
    lam: float
    parametrisation: Parametrisation
    mean: float
    std: float
    loss: float
    moved: float
