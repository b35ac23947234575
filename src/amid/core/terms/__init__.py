"""Terms: the weighted parts of an objective, one kind a file."""

from amid.core.terms.divergence import ORDERS, DivergenceTerm, Order
from amid.core.terms.labels import CrossEntropy
from amid.core.terms.maximum import MaxDivergence
from amid.core.terms.term import LABELS, Level, SettledTerm, Term, TokenInputs

__all__ = [
    "LABELS",
    "ORDERS",
    "CrossEntropy",
    "DivergenceTerm",
    "Level",
    "MaxDivergence",
    "Order",
    "SettledTerm",
    "Term",
    "TokenInputs",
]
