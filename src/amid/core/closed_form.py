"""Closed forms as data: which arithmetic of `block` gives a value and its gradient, with every number decided."""

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Kernel:
    """Which divergence `block` computes: AB of the powers (A, B), GJS of the left argument's weight, or else KL."""

    powers: tuple[float, float] | None = None
    mixture: float | None = None


@dataclass(frozen=True)
class ClosedForm:
    """At most one divergence and the cross-entropy of the labels, with every number decided.

    order: of the divergence, None without one. powers, mixture: see `Kernel`. kappa: None without an assistant.
    weight, label_weight: of the divergence and of the cross-entropy.
    """

    order: str | None = None
    powers: tuple[float, float] | None = None
    mixture: float | None = None
    kappa: float | None = None
    lam: float = 0.5
    detached: bool = False
    weight: float = 0.0
    label_weight: float = 0.0

    def beside(self, other: "ClosedForm") -> "ClosedForm | None":
        """The sum of both; None if each holds a divergence."""
        if self.order is not None and other.order is not None:
            return None
        divergence = other if self.order is None else self
        return replace(divergence, label_weight=self.label_weight + other.label_weight)


def closed_sum(parts: Iterable[ClosedForm | None]) -> ClosedForm | None:
    """The closed form of a sum of terms; None if a part has none, or two hold a divergence."""
    whole: ClosedForm | None = ClosedForm()
    for part in parts:
        whole = None if whole is None or part is None else whole.beside(part)
    return whole
