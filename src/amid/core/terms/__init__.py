"""Terms: the weighted parts of an objective, one kind a file."""

from amid.core.terms.divergence import ORDERS, DivergenceTerm, Order
from amid.core.terms.labels import CrossEntropy
from amid.core.terms.maximum import MaxDivergence
from amid.core.terms.policy_gradient import ADVANTAGE, BEHAVIOUR_LOG_PROB, PolicyGradient
from amid.core.terms.term import LABELS, Level, SettledTerm, Term, TokenInputs

__all__ = [
    "ADVANTAGE",
    "BEHAVIOUR_LOG_PROB",
    "LABELS",
    "ORDERS",
    "CrossEntropy",
    "DivergenceTerm",
    "Level",
    "MaxDivergence",
    "Order",
    "PolicyGradient",
    "SettledTerm",
    "Term",
    "TokenInputs",
]
